"""``recipelab stats``: what a campaign's trials show as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from recipelab.cli.common import AsJson, HomeOption, clear_errors, opened, out, print_json
from recipelab.trial import Status

SIGNATURE_CHARACTERS = 90
SHOWN = 10
"""Rows of the longer lists; ``--json`` has more."""

Facts = Mapping[str, Any]


def stats(
    name: Annotated[str | None, typer.Argument(help="Campaign; default the newest.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Analyse a campaign: what was kept where, failures, repairs, time, diversity."""
    from recipelab.analysis import campaign_stats, history_of

    with clear_errors(), opened(home, name) as (store, campaign):
        facts = campaign_stats(history_of(store, campaign.name))
        if as_json:
            print_json(facts)
            return
        _print(facts)


def _print(facts: Facts) -> None:
    unit = facts["metric"]["unit"]
    _say(f"Campaign {facts['campaign']}: {facts['trials']} trials, {facts['kept']} kept")
    for title, point in (("baseline", facts["baseline"]), ("best", facts["best"])):
        if point is not None:
            change = point["change_percent"]
            moved = f" ({change:+.2f} %)" if title == "best" and change is not None else ""
            _say(f"{title}: trial {_id(point)}, {point['score']:.6g} {unit}{moved}")
    _say(f"best so far: {facts['curve']['sparkline']}")
    chain = facts["chain"]
    _say(f"chain: the best is {chain['best_depth']} steps deep, the deepest {chain['deepest']}")
    out.print(_statuses(facts))
    for title in ("surface", "specialist"):
        out.print(_groups(title, facts[f"by_{title}"]))
    _print_failures(facts)
    _print_near_misses(facts["near_misses"])
    found = facts["diversity"]
    _say(
        f"diversity: {found['effective_clusters']:.1f} effective clusters of ideas "
        f"({found['clusters']} clusters of {found['hypotheses']} hypotheses)"
    )


def _print_failures(facts: Facts) -> None:
    failures, repeats = facts["failures"], facts["repeats"]
    rate = failures["rate"]
    _say(
        f"failures: {failures['failed']} of {facts['trials']}"
        + (f" ({100 * rate:.1f} %)" if rate is not None else "")
        + f", {repeats['signatures']} signatures, {repeats['repeated']} repeats of an earlier one"
    )
    rows = [
        (item["count"], _id(item["first"]), _id(item["last"]), item["signature"])
        for item in repeats["most_frequent"][:SHOWN]
    ]
    if rows:
        out.print(_table("Failures that repeat", ("count", "first", "last", "signature"), rows))


def _print_near_misses(facts: Facts) -> None:
    _say(f"near misses: {facts['count']}, repaired {facts['repaired']}")
    rows = [
        (
            _id(item),
            item["status"],
            f"{item['score']:.6g}",
            f"{item['best']:.6g}",
            _id(item["repaired_by"]) if item["repaired_by"] else "-",
            item["repaired_by"]["how"] if item["repaired_by"] else "",
        )
        for item in facts["trials"][:SHOWN]
    ]
    if rows:
        heads = ("trial", "status", "score", "best then", "repaired by", "how")
        out.print(_table("Near misses", heads, rows))


def _id(item: Facts) -> str:
    """The number of a trial, and what a released run called it."""
    source = item.get("source_id")
    return f"{item['trial']} ({source})" if source else str(item["trial"])


def _statuses(facts: Facts) -> Table:
    time = facts["time"]["by_status"]
    rows = [
        (
            status,
            count,
            *(
                _seconds(time.get(status, {}).get(kind))
                for kind in ("wall_seconds", "cpu_seconds", "device_seconds")
            ),
        )
        for status, count in facts["by_status"].items()
    ]
    return _table("By status", ("status", "trials", "wall s", "CPU s", "device s"), rows)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _groups(title: str, groups: Mapping[str, Facts]) -> Table:
    shown = [s for s in Status if any(s in group["by_status"] for group in groups.values())]
    rows = [
        (name, group["trials"], *(group["by_status"].get(status, 0) for status in shown))
        for name, group in groups.items()
    ]
    return _table(f"By {title}", (title, "trials", *(str(status) for status in shown)), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    from recipelab.report.text import short

    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place == 0 or head == "signature" else "right")
    for row in rows:
        table.add_row(*(Text(short(str(cell), SIGNATURE_CHARACTERS)) for cell in row))
    return table


def _say(text: str) -> None:
    out.print(Text(text), soft_wrap=True)
