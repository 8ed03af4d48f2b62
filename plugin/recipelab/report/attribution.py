"""Shares of a gain for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from recipelab.shown import plain, short


def attribution_parts(facts: Mapping[str, Any], *, metric: str) -> Iterator[RenderableType]:
    """What is printed of an attribution.

    Args:
        facts: What :func:`recipelab.attribution.facts.attribution_facts` gives.
        metric: Name of the metric.
    """
    if facts["gain"] is None:
        yield Text(f"The baseline fails by now: {plain(str(facts['failure']))}")
    else:
        yield Text(
            f"{plain(metric)}: trial {facts['best']} gains {facts['gain']:.5g} on the baseline "
            f"(95 % interval {facts['gain_low']:.5g} to {facts['gain_high']:.5g})"
        )
    yield _steps(facts)
    shares = ", ".join(f"{plain(name)} {share:.0%}" for name, share in facts["surfaces"].items())
    yield Text(f"by surface: {shares or '-'}")
    yield from _rest(facts)


def _steps(facts: Mapping[str, Any]) -> Table:
    title = "what the best loses without each step"
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for head in ("without", "surface", "loss", "95 % interval", "share"):
        table.add_column(head, justify="left" if head == "surface" else "right", no_wrap=True)
    table.add_column("what it was", no_wrap=True)
    for step in facts["steps"]:
        named = " with ".join(map(str, step["trials"]))
        words = Text(short(step["hypothesis"], 60))
        table.add_row(named, Text(short(step["surface"], 20)), *_figures(step), words)
    return table


def _figures(step: Mapping[str, Any]) -> tuple[str | Text, str, str]:
    if not step["changes"]:
        return "no effect", "a later step undid it", "0%"
    if step["failure"] is not None:
        return "fails", "", Text(short(step["failure"], 40)).plain
    share = "-" if step["share"] is None else f"{step['share']:.0%}"
    noise = "" if step["certain"] else " (noise)"
    return f"{step['loss']:.4g}", f"{step['low']:.4g} to {step['high']:.4g}{noise}", share


def _rest(facts: Mapping[str, Any]) -> Iterator[Text]:
    if facts["unexplained"] is None:
        return
    yield Text(
        f"The losses do not add up to the gain: {facts['unexplained']:+.4g} are left, so steps "
        "interact."
    )
    for item in facts["interactions"]:
        one, other = item["trials"]
        sign = "more" if item["more"] > 0 else "less"
        noise = "" if item["certain"] else ", which is within the noise"
        yield Text(
            f"  {one} and {other} together cost {abs(item['more']):.4g} {sign} than one by one "
            f"(standard error {item['error']:.2g}){noise}"
        )
