"""The figures of ``recipelab stats`` for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from recipelab.shown import plain, short

SIGNATURES = 8
"""How many signatures are shown; ``--json`` has more."""
SIGNATURE_CHARACTERS = 90
REPAIRS = 20
"""How many repairs of near misses are shown; ``--json`` has all."""

Facts = Mapping[str, Any]


def figures(stats: Facts) -> Iterator[RenderableType]:
    """What is printed of the figures, part by part.

    Args:
        stats: What :func:`recipelab.analysis.campaign_stats` gives.
    """
    yield _headline(stats)
    yield _statuses(stats)
    yield _groups("by surface", "surface", stats["by_surface"])
    yield _groups("by specialist", "specialist", stats["by_specialist"])
    yield from _curve(stats)
    yield from _failures(stats)
    yield Text("\n".join(_sentences(stats)))


def _headline(stats: Facts) -> Text:
    metric = stats["metric"]
    unit = f" ({metric['unit']})" if metric["unit"] else ""
    return Text(
        plain(
            f"Campaign {stats['campaign']}: {stats['trials']} trials, {stats['kept']} kept; "
            f"{metric['name']}{unit}, {metric['goal']}"
        )
    )


def _statuses(stats: Facts) -> Table:
    time = stats["time"]["by_status"]
    table = _table("by status", ("status",), ("trials", "seed runs", "wall s", "CPU s", "device s"))
    for status, many in stats["by_status"].items():
        spent = time.get(status, {})
        seconds = (spent.get(f"{kind}_seconds") for kind in ("wall", "cpu", "device"))
        table.add_row(
            status, str(many), str(spent.get("seed_runs", "-")), *(_number(s) for s in seconds)
        )
    return table


def _groups(title: str, head: str, groups: Mapping[str, Facts]) -> Table:
    table = _table(title, (head,), ("trials", "kept", "failed"))
    table.add_column("by status")
    for name, group in groups.items():
        told = ", ".join(f"{many} {status}" for status, many in group["by_status"].items())
        counts = (str(group[key]) for key in ("trials", "kept", "failed"))
        table.add_row(Text(short(name, 40)), *counts, told)
    return table


def _curve(stats: Facts) -> Iterator[RenderableType]:
    points = stats["curve"]["points"]
    if not points:
        return
    table = _table("best so far", (), ("trial", "after", "score", "change"))
    for point in points:
        change = point["change_percent"]
        told = "-" if change is None else f"{change:+.2f} %"
        table.add_row(_named(point), str(point["judged"]), f"{point['score']:.8g}", told)
    yield table
    yield Text(f"  {stats['curve']['sparkline']}\n")


def _failures(stats: Facts) -> Iterator[RenderableType]:
    failures = stats["failures"]
    if not failures["failed"]:
        return
    yield Text(f"failed: {failures['failed']}, {_percent(failures['rate'])} of the trials")
    for title, key in (("kind", "by_kind"), ("phase", "by_phase")):
        rates = ", ".join(f"{name} {_percent(rate)}" for name, rate in failures[key].items())
        yield Text(f"  by {title}: {rates or '-'}")
    for name, gate in failures["missed_gates"].items():
        excess = f"{gate['median_excess']:.6g}"
        missed = f"missed by {gate['missed']}, at the median by {excess}"
        yield Text(f"  gate {short(name, 40)}: {missed}")
    repeats = stats["repeats"]
    yield Text(
        f"  repeats: {repeats['repeated']} of {repeats['failures']} failures had the signature of "
        f"an earlier one ({repeats['signatures']} signatures)"
    )
    for item in repeats["most_frequent"][:SIGNATURES]:
        yield Text(f"  {item['count']:>5}  {short(item['signature'], SIGNATURE_CHARACTERS)}")


def _sentences(stats: Facts) -> Iterator[str]:
    chain, near, spread = stats["chain"], stats["near_misses"], stats["diversity"]
    yield f"\nbest chain: {' > '.join(map(_named, chain['best_chain'])) or '-'}"
    yield (
        f"depth: best {chain['best_depth']}, deepest kept {chain['deepest_kept']}, deepest "
        f"{chain['deepest']}, mean {_number(chain['mean'])}"
    )
    yield (
        f"near misses: {near['count']}, repaired {near['repaired']}, of these kept "
        f"{near['kept_after_repair']}"
    )
    repaired = [item for item in near["trials"] if item["repaired_by"]]
    for item in repaired[:REPAIRS]:
        repair = item["repaired_by"]
        kept = "kept" if repair["kept"] else "discarded"
        yield f"  {_named(item)} by {_named(repair)} ({repair['how']}, {kept})"
    yield (
        f"diversity: {spread['effective_clusters']:.1f} effective clusters of "
        f"{spread['hypotheses']} hypotheses ({spread['clusters']} clusters)"
    )


def _table(title: str, texts: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    sides: tuple[tuple[Sequence[str], Literal["left", "right"]], ...]
    sides = ((texts, "left"), (numbers, "right"))
    for heads, side in sides:
        for head in heads:
            table.add_column(head, justify=side, no_wrap=side == "right")
    return table


def _named(item: Facts) -> str:
    """A trial by the name that it had in a released run, or by its number."""
    return short(str(item.get("source_id") or item["trial"]), 20)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
