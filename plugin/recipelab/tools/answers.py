"""Turns records into the compact JSON that tools answer with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from recipelab.knobs import Knob, find_knobs
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.trial import Edit

ANSWER_CHARACTERS = 24_000
"""An answer longer than this is cut by whole rows, and says so."""

TEXT_CHARACTERS = 400


def to_json(table: Mapping[str, Any]) -> str:
    """Compact JSON; text from agents stays data inside it."""
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"))


def trial_row(store: LineageStore, campaign: str, record: TrialRecord) -> dict[str, Any]:
    """One trial as a row of an answer: short texts, no empty keys."""
    outcome = record.outcome
    row: dict[str, Any] = {
        "trial": record.number,
        "parents": list(record.parents),
        "specialist": record.specialist,
        "surface": record.surface,
        "hypothesis": record.hypothesis[:TEXT_CHARACTERS],
        "expected_delta": record.expected_delta,
        "changes": knob_changes(record.edits),
        "status": outcome.status if outcome else "in_flight",
    }
    if outcome is not None:
        row["reason"] = outcome.reason[:TEXT_CHARACTERS]
        row |= {
            name: round(value, 6)
            for name in ("score", "score_se", "delta", "delta_se")
            if (value := getattr(outcome, name)) is not None
        }
        row["gates"] = {
            gate.name: {"value": round(gate.value, 6), "margin": round(gate.margin, 6)}
            for gate in outcome.gates
        }
        if outcome.failure is not None:
            row["failure"] = {
                "phase": outcome.failure.phase,
                "kind": outcome.failure.kind,
                "signature": outcome.failure.signature,
            }
    return {key: value for key, value in row.items() if value not in ({}, [], None)}


def capped_rows(rows: list[dict[str, Any]], total: int, offset: int) -> dict[str, Any]:
    """Rows up to the size cap, with how many there are and how to get the rest."""
    kept: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        size += len(to_json(row))
        if size > ANSWER_CHARACTERS and kept:
            break
        kept.append(row)
    answer: dict[str, Any] = {"total": total, "trials": kept}
    if offset + len(kept) < total:
        answer["more"] = f"{total - offset - len(kept)} more; ask with offset={offset + len(kept)}"
    return answer


def knob_changes(edits: tuple[Edit, ...]) -> list[str]:
    """The knobs that edits turn, as ``EPOCHS: 3 -> 2``, read from the edits themselves."""
    changes: list[str] = []
    for edit in edits:
        if edit.search is None:
            continue
        before, after = (_knobs_by_name(edit.path, text) for text in (edit.search, edit.replace))
        changes += [
            f"{name}: {before[name].value!r} -> {knob.value!r}"
            for name, knob in after.items()
            if name in before and before[name].value != knob.value
        ]
    return changes


def _knobs_by_name(path: str, text: str) -> dict[str, Knob]:
    return {knob.name: knob for knob in find_knobs({path: text})}


def knob_rows(files: Mapping[str, str]) -> list[dict[str, Any]]:
    """The knobs of a recipe as rows of an answer."""
    return [
        {
            "path": knob.path,
            "line": knob.text,
            "name": knob.name,
            "surface": knob.surface,
            "value": knob.value,
            "domain": list(knob.choices)
            if knob.choices
            else f"{knob.low:g} .. {knob.high:g}{' log' if knob.log else ''}",
        }
        for knob in find_knobs(files)
    ]
