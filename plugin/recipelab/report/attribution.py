"""Shares of a gain for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from recipelab.shown import plain, short

Facts = Mapping[str, Any]

NAMED = 4
"""So many steps that go with another are named."""


def attribution_parts(facts: Facts, *, metric: str, unit: str) -> Iterator[RenderableType]:
    """What is printed of an attribution.

    Args:
        facts: What :func:`recipelab.attribution.attribution_facts` gives.
        metric: Name of the metric.
        unit: Its unit.
    """
    gain = facts["gain"]
    if gain is None:
        told = f"the baseline fails, so that no gain can be told: {facts['failure']}"
    else:
        noise = "" if gain["certain"] else ", which is within the noise"
        told = f"trial {facts['best']} gains {_value(gain)} {unit} on the baseline{noise}"
    yield Text(plain(f"{metric}: {told}"))
    yield _steps(facts)
    yield from (_failure(step) for step in facts["steps"] if step["failure"] is not None)
    yield _surfaces(facts)
    yield from _rest(facts)


def _steps(facts: Facts) -> Table:
    title = "What the best loses without each step"
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("without", no_wrap=True)
    for head in ("surface", "specialist"):
        table.add_column(head, no_wrap=True)
    for head in ("loss (95 % interval)", "its own part", "share"):
        table.add_column(head, justify="right", no_wrap=True)
    # The only column that may wrap, so that figures and names stay whole.
    table.add_column("what it was")
    for step in facts["steps"]:
        who = [Text(short(step[key], 24)) for key in ("surface", "specialist")]
        words = Text(short(step["hypothesis"], 60))
        table.add_row(_named(step["without"]), *who, *_figures(step), words)
    return table


def _named(numbers: list[int]) -> str:
    first, *others = map(str, numbers)
    if len(others) > NAMED:
        others = [*others[: NAMED - 1], f"{len(others) - NAMED + 1} more"]
    return f"{first} with {', '.join(others)}" if others else first


def _figures(step: Facts) -> tuple[str, str, str]:
    if not step["changes"]:
        return "no effect in the best", "", ""
    loss = "fails" if step["failure"] is not None else _value(step["loss"])
    group = len(step["without"]) > 1
    own = _value(step["own"]) if group and step["own"] is not None else ""
    return loss, own, _share(step)


def _value(effect: Facts) -> str:
    return f"{effect['value']:.4g} ({effect['low']:.4g} to {effect['high']:.4g})"


def _share(row: Facts) -> str:
    if row["share"] is None:
        return "-"
    noise = "" if row["own"]["certain"] else " (noise)"
    return f"{row['share']:.1%}{noise}"


def _failure(step: Facts) -> Text:
    return Text(f"without {_named(step['without'])}: {short(step['failure'], 120)}")


def _surfaces(facts: Facts) -> Table:
    table = Table(title="By surface", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("surface")
    for head in ("of the gain (95 % interval)", "share"):
        table.add_column(head, justify="right")
    table.add_column("steps")
    for row in facts["surfaces"]:
        value = "-" if row["own"] is None else _value(row["own"])
        steps = ", ".join(
            f"{n} (not known)" if n in row["unknown"] else f"{n}" for n in row["trials"]
        )
        table.add_row(Text(short(row["surface"], 24)), value, _share(row), steps)
    return table


def _rest(facts: Facts) -> Iterator[Text]:
    rest = facts["unexplained"]
    if rest is None:
        yield Text("Whether the parts add up to the gain cannot be told, as something fails.")
    elif facts["adds_up"]:
        yield Text("The parts add up to the gain, as far as the noise lets one see.")
    else:
        yield Text(f"The parts do not add up to the gain: {_value(rest)} is left. Steps interact.")
    for item in facts["interactions"]:
        yield Text(_interaction(item))


def _interaction(item: Facts) -> str:
    one, other = (_named(side) for side in item["without"])
    more = item["more"]
    if not more["certain"]:
        return f"  {one} and {other}: within the noise ({_value(more)})"
    why = "either will do" if more["value"] > 0 else "they need each other"
    size = f"{abs(more['value']):.4g}"
    how = "more" if more["value"] > 0 else "less"
    return f"  {one} and {other}: together they cost {size} {how} than one by one: {why}"
