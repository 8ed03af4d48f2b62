"""What a ``pack.toml`` of format 1 may hold is what it might when 0.1 came out (docs/upgrades.md).

``data/format_1.json`` has each key of each table with its default and its words, as release 0.1 has
them. It is written once for a format, and a key that came later is not in it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recipelab.packs.load import pack_schema

PROMISED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "data/format_1.json").read_text("utf-8")
)


def tables() -> dict[str, dict[str, Any]]:
    schema = pack_schema()
    return {"": schema, **schema["$defs"]}


def keys_of_today() -> dict[str, dict[str, Any]]:
    found = {
        f"{name}.{key}": value
        for name, table in tables().items()
        for key, value in table.get("properties", {}).items()
    }
    return found | {name: table for name, table in tables().items() if "enum" in table}


def test_no_key_was_taken_away() -> None:
    assert sorted(set(PROMISED) - set(keys_of_today())) == []


def test_every_default_means_what_it_meant() -> None:
    today = keys_of_today()
    changed = {
        key: (told["default"], today[key].get("default"))
        for key, told in PROMISED.items()
        if "default" in told and not _covers(today[key].get("default"), told["default"])
    }
    assert changed == {}


def _covers(now: Any, then: Any) -> bool:
    """Whether a default is what it was; that of a table may have keys that came later."""
    if isinstance(then, dict) and isinstance(now, dict):
        return all(key in now and _covers(now[key], value) for key, value in then.items())
    return bool(now == then)


def test_every_word_is_still_valid() -> None:
    today = keys_of_today()
    gone = {
        key: sorted(set(told["enum"]) - set(today[key].get("enum", ())))
        for key, told in PROMISED.items()
        if "enum" in told
    }
    assert {key: words for key, words in gone.items() if words} == {}


def test_a_key_that_came_later_has_a_default() -> None:
    later = keys_of_today().keys() - PROMISED.keys()
    known = {name for name in tables() if any(key.startswith(f"{name}.") for key in PROMISED)}
    without = [
        key
        for key in later
        if key.partition(".")[0] in known and "default" not in keys_of_today()[key]
    ]
    assert without == []
