"""Numbered data files, written once in a ``pack.toml``: shards of one data set.

A data table whose ``file`` has ``{n}`` in it and that has ``numbers = { first, last, digits }``
stands for one file for each number; ``{n}`` in its sources, and in the ``data`` of phases, is
filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MARK = "{n}"
KEYS = {"first", "last", "digits"}


def with_series(table: Mapping[str, Any]) -> dict[str, Any]:
    """A pack's table with its series written out.

    Raises:
        ValueError: The numbers of a series are not as they have to be.
    """
    series: dict[str, list[str]] = {}
    data = [one for item in table.get("data", ()) for one in _files(item, series)]
    filled = dict(table)
    if series:
        filled["data"] = data
        for key in ("phases", "certify"):
            if key in table:
                filled[key] = _filled_phases(table[key], series)
    return filled


def _files(item: Any, series: dict[str, list[str]]) -> Iterator[Any]:
    if not isinstance(item, Mapping) or "numbers" not in item:
        yield item
        return
    spec, name = item["numbers"], str(item.get("file", ""))
    good = isinstance(spec, Mapping) and set(spec) == KEYS
    if not good or not all(isinstance(spec[key], int) for key in KEYS) or MARK not in name:
        told = "is a table of first, last and digits, and the file's name holds"
        raise ValueError(f"data: numbers of {name!r} {told} {MARK}")
    numbers = [f"{n:0{spec['digits']}d}" for n in range(spec["first"], spec["last"] + 1)]
    series[name] = numbers
    rest = {key: value for key, value in item.items() if key != "numbers"}
    for number in numbers:
        yield _with_number(rest, number)


def _with_number(value: Any, number: str) -> Any:
    if isinstance(value, str):
        return value.replace(MARK, number)
    if isinstance(value, Mapping):
        return {key: _with_number(inner, number) for key, inner in value.items()}
    return [_with_number(inner, number) for inner in value] if isinstance(value, list) else value


def _filled_phases(phases: Any, series: Mapping[str, list[str]]) -> Any:
    if not isinstance(phases, Mapping):
        return phases
    return {name: _filled_phase(phase, series) for name, phase in phases.items()}


def _filled_phase(phase: Any, series: Mapping[str, list[str]]) -> Any:
    if not isinstance(phase, Mapping) or not isinstance(phase.get("data"), Mapping):
        return phase
    data: dict[str, Any] = {}
    for target, file in phase["data"].items():
        for number in series.get(str(file), [""]):
            data[target.replace(MARK, number)] = str(file).replace(MARK, number)
    return {**phase, "data": data}
