"""A call of a tool in one line: what was asked, and in short what was answered."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from recipelab.report.transcript.blocks import Line, Span, Tone, code, line, quiet
from recipelab.report.transcript.payloads import table_of
from recipelab.report.transcript.turns import Call
from recipelab.shown import short

ARGUMENT_CHARACTERS = 120
ANSWER_CHARACTERS = 240
ERROR_CHARACTERS = 600

_LONG = ("edits", "hypothesis")
"""Arguments that are told elsewhere, or by the diff."""


def call_line(call: Call) -> Line:
    """One call as an item of a list."""
    head = (code(call.name), quiet(_arguments(call.arguments)), ": ")
    if call.answer is None:
        return line(*head, Span("no answer", Tone.BAD), is_item=True)
    if call.is_error:
        told = short(call.answer, ERROR_CHARACTERS)
        return line(*head, Span("error", Tone.BAD), f": {told}", is_item=True)
    return line(*head, summary(call), is_item=True)


def summary(call: Call) -> str:
    """In short what a tool answered: of rows their number, of a recipe its files."""
    table = table_of(call.answer)
    if call.name == "read_recipe" and "files" in table:
        return _recipe(table)
    if call.name == "check_edit" and "ok" in table:
        return _checked(table)
    if call.name == "trial_detail" and "trial" in table:
        return short(f"trial {table['trial']}, {table.get('status')}", ANSWER_CHARACTERS)
    rows = next((name for name, value in table.items() if isinstance(value, list)), None)
    if rows is not None and "total" in table:
        return _rows(rows, table)
    return short(str(call.answer), ANSWER_CHARACTERS)


def _arguments(arguments: Mapping[str, Any]) -> str:
    told = [
        f"{short(str(name), 40)}={short(_json(value), ARGUMENT_CHARACTERS)}"
        for name, value in arguments.items()
        if name not in _LONG and value not in (None, "", [], {})
    ]
    return f" ({', '.join(told)})" if told else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _recipe(table: Mapping[str, Any]) -> str:
    files, knobs = table.get("files"), table.get("knobs")
    names = ", ".join(map(str, files)) if isinstance(files, Mapping | list) else str(files)
    count = len(knobs) if isinstance(knobs, list) else 0
    told = f"recipe of trial {table.get('trial')}: {names}; {count} knobs"
    return short(told, ANSWER_CHARACTERS)


def _checked(table: Mapping[str, Any]) -> str:
    told = "it would be taken" if table["ok"] else f"it would be rejected: {table.get('reason')}"
    alike = table.get("alike")
    if isinstance(alike, list) and alike:
        told += f"; alike: {'; '.join(map(str, alike))}"
    return short(told, ANSWER_CHARACTERS)


def _rows(name: str, table: Mapping[str, Any]) -> str:
    rows = table[name]
    statuses = Counter(
        str(row["status"]) for row in rows if isinstance(row, Mapping) and row.get("status")
    )
    told = ", ".join(f"{count} {status}" for status, count in statuses.items())
    where = f" of {table['prior_campaign']}" if "prior_campaign" in table else ""
    found = f"{name.replace('_', ' ')} found{where}: {table['total']}"
    shown = f", {len(rows)} shown" if str(table["total"]) != str(len(rows)) else ""
    return short(f"{found}{shown}{f' ({told})' if told else ''}", ANSWER_CHARACTERS)
