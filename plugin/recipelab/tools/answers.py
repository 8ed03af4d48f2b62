"""Turns what the lineage and recipes hold into the compact JSON that tools answer with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recipelab.knobs import Knob, find_knobs
from recipelab.trial import Edit

ANSWER_CHARACTERS = 24_000
"""An answer longer than this is cut by whole rows, and says so."""

Row = dict[str, Any]


def to_json(table: Mapping[str, Any]) -> str:
    """Compact JSON; text from agents stays data inside it."""
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"), default=str)


def shortened(text: str, characters: int) -> str:
    """A text on one line, cut where it is too long."""
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def without_empty(row: Mapping[str, Any]) -> Row:
    """A row without what is not there; zero and false stay."""
    return {key: value for key, value in row.items() if value not in ({}, [], "", None)}


def rounded(value: float | None) -> float | None:
    """A figure with the digits that a reader needs."""
    return None if value is None else float(f"{value:.7g}")


def capped_rows(
    name: str, rows: Iterable[Row], total: int, offset: int, *, capped: bool = False
) -> Row:
    """Rows up to the size cap, with how many there are and how to get the rest.

    Args:
        name: What the rows are, as ``trials``.
        rows: One page of rows.
        total: How many there are in all; at least so many if ``capped``.
        offset: How many come before this page.
        capped: Whether counting stopped at ``total``.
    """
    kept: list[Row] = []
    size = 0
    for row in rows:
        size += len(to_json(row))
        if size > ANSWER_CHARACTERS and kept:
            break
        kept.append(row)
    answer: Row = {"total": f"{total} or more" if capped else total, name: kept}
    seen = offset + len(kept)
    if seen < total:
        more = f"{total - seen} or more" if capped else f"{total - seen}"
        answer["more"] = f"{more} more; ask with offset={seen}"
    return answer


def paged_text(name: str, text: str, offset: int, characters: int) -> Row:
    """A part of a long text, with how much more there is and how to get it."""
    end = offset + characters
    answer: Row = {name: text[offset:end]}
    if end < len(text):
        answer[f"{name}_more"] = f"{len(text) - end:,} more characters; ask with offset={end}"
    return answer


def knob_changes(edits: Sequence[Edit]) -> list[str]:
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
