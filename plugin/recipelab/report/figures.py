"""The figures of campaigns, printed, and the papers that a campaign leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from recipelab.core.recipe import Recipe
from recipelab.core.text import plain, shorten
from recipelab.core.text_form import BYTES_KEPT, TextForm, original_patch
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore
from recipelab.lineage.campaigns import heading_of
from recipelab.report.transcript import Transcript, TranscriptFormat
from recipelab.report.trial import line_words, projected_words

if TYPE_CHECKING:
    pass

SIGNATURES = 8
"""How many signatures are shown; ``--json`` has more."""
SIGNATURE_CHARACTERS = 90
REPAIRS = 20
"""How many repairs of near misses are shown; ``--json`` has all."""

Facts = Mapping[str, Any]


def figures(stats: Facts) -> Iterator[RenderableType]:
    """Yield the printed parts of the figures of a campaign.

    Args:
        stats: The figures, from :func:`recipelab.analysis.campaign_stats`.
    """
    yield _headline(stats)
    yield _statuses(stats)
    yield _groups("by surface", "surface", stats["by_surface"])
    yield _groups("by specialist", "specialist", stats["by_specialist"])
    if stats["by_source"]:
        yield _sources(stats["by_source"])
    yield from _curve(stats)
    yield from _failures(stats)
    yield Text("\n".join(_sentences(stats)))
    if stats["line"] is not None:
        yield Text(line_words(stats["line"]))
        yield from _checkpoints(stats["line"]["tests"])
    if words := projected_words(stats["projected"]):
        yield Text(words)


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
        statuses = ", ".join(f"{many} {status}" for status, many in group["by_status"].items())
        counts = (str(group[key]) for key in ("trials", "kept", "failed"))
        table.add_row(Text(shorten(name, 40)), *counts, statuses)
    return table


def _sources(found: Mapping[str, Mapping[str, int]]) -> Table:
    """Return what came of the trials that cite sources of the pack's knowledge."""
    counts = ("trials", "kept", "certified", "failed")
    table = _table("by source that hypotheses cite", ("source",), counts)
    for name, group in found.items():
        table.add_row(Text(shorten(name, 40)), *(str(group[key]) for key in counts))
    return table


def _curve(stats: Facts) -> Iterator[RenderableType]:
    points = stats["curve"]["points"]
    if not points:
        return
    table = _table("best so far", (), ("trial", "after", "score", "change"))
    for point in points:
        percent = point["change_percent"]
        change = "-" if percent is None else f"{percent:+.2f} %"
        table.add_row(_named(point), str(point["judged"]), f"{point['score']:.8g}", change)
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
        yield Text(f"  gate {shorten(name, 40)}: {missed}")
    repeats = stats["repeats"]
    yield Text(
        f"  repeats: {repeats['repeated']} of {repeats['failures']} failures had the signature of "
        f"an earlier one ({repeats['signatures']} signatures)"
    )
    for item in repeats["most_frequent"][:SIGNATURES]:
        yield Text(f"  {item['count']:>5}  {shorten(item['signature'], SIGNATURE_CHARACTERS)}")


def _checkpoints(tests: Sequence[Facts]) -> Iterator[RenderableType]:
    if not tests:
        return
    heads = ("change", "95 %", "p", "level", "seeds")
    table = _table("checkpoints of the working line", ("up to trial", "against", "verdict"), heads)
    for test in tests:
        low, high = test["delta_low"], test["delta_high"]
        reach = "-" if low is None or high is None else f"{low:+.4g} to {high:+.4g}"
        figures = (test["delta"], "+.4g"), (test["p"], ".2g"), (test["level"], ".2g")
        delta, p, level = ("-" if value is None else f"{value:{how}}" for value, how in figures)
        ends = str(test["trial"]), str(test["against"]), test["verdict"]
        table.add_row(*ends, delta, reach, p, level, str(test["seeds"]))
    yield table


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
    """Return the name of a trial in a released run, or its number."""
    return shorten(str(item.get("source_id") or item["trial"]), 20)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


NO_FORMS: Mapping[str, TextForm] = MappingProxyType({})
TRANSCRIPT, MESSAGES, PATCH = "transcript.md", "transcript.jsonl", "best.patch"
HEAD_PATCH = "head.patch"
"""The head of the working line, where it is another than the certified trial."""


def patch_of(
    store: LineageStore,
    campaign: str,
    number: int,
    forms: Mapping[str, TextForm] = NO_FORMS,
    prefix: str = "",
) -> str:
    """Return the diff from the baseline to a trial's recipe, as ``git apply`` takes it.

    Lines of comment come first where nothing of the campaign is proven; Git passes over them.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        number: The trial.
        forms: The user's own files, to which it has to apply; one that has been edited since is
            passed over. Bytes that are no UTF-8 are kept as :data:`BYTES_KEPT` says.
        prefix: What stands before the recipe's paths, as ``task_packs/toy/``.

    Raises:
        LineageError: No trial has that number.
    """
    files = store.files(campaign, 0)
    same = {prefix + path: form for path, form in forms.items() if files.get(path) == form.text}
    before, after = (
        Recipe({prefix + path: text for path, text in found.items()})
        for found in (files, store.files(campaign, number))
    )
    diff = original_patch(before, after, same)
    head = heading_of(store.campaign(campaign))
    return f"# {head}\n{diff}" if head else diff


def write_papers(
    folder: Path,
    store: LineageStore,
    campaign: str,
    forms: Mapping[str, TextForm] = NO_FORMS,
    prefix: str = "",
) -> None:
    """Write transcript and patches: of the certified trial, and of the head if it is another.

    Args:
        folder: Where to.
        store: The lineage.
        campaign: Name of the campaign.
        forms: As in :func:`patch_of`.
        prefix: As in :func:`patch_of`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    transcript = Transcript(store, store.campaign(campaign))
    transcript.write(folder / TRANSCRIPT, TranscriptFormat.MARKDOWN)
    transcript.write(folder / MESSAGES, TranscriptFormat.JSONL)
    if Status.BASELINE not in store.counts(campaign):
        return
    winner = store.winner_brief(campaign).number
    head = store.best_brief(campaign).number
    for name, number in ((PATCH, winner), (HEAD_PATCH, 0 if head == winner else head)):
        if number:
            patch = patch_of(store, campaign, number, forms, prefix)
            (folder / name).write_bytes(patch.encode("utf-8", BYTES_KEPT))
        else:
            (folder / name).unlink(missing_ok=True)
