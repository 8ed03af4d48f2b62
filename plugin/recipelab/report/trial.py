"""Trials and campaigns as JSON-ready tables, for ``--json`` and for files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from recipelab.core.text import plain, shorten
from recipelab.core.trial import Outcome, SeedRun, Status
from recipelab.lineage import CampaignRecord, LineageStore, TrialRecord, prior_campaigns


def trial_facts(record: TrialRecord, *, full: bool = False) -> dict[str, Any]:
    """One trial.

    Args:
        record: The trial.
        full: With edits, diff, seed runs, failure and log.

    Returns:
        A table of plain values; times are ISO 8601 in UTC.
    """
    outcome = record.outcome
    facts: dict[str, Any] = {
        "trial": record.number,
        "round": record.round,
        "specialist": record.specialist,
        "surface": record.surface,
        "parents": list(record.parents),
        "hypothesis": record.hypothesis,
        "expected_delta": record.expected_delta,
        "status": outcome.status if outcome else None,
        "reason": outcome.reason if outcome else None,
        "score": outcome.score if outcome else None,
        "score_se": outcome.score_se if outcome else None,
        "delta": outcome.delta if outcome else None,
        "delta_se": outcome.delta_se if outcome else None,
        "evidence": asdict(outcome.evidence) if outcome and outcome.evidence else None,
        "gates": [asdict(gate) for gate in outcome.gates] if outcome else [],
        "cpu_seconds": outcome.cpu_seconds if outcome else None,
        "proposed_at": record.proposed_at.isoformat(),
        "judged_at": record.judged_at.isoformat() if record.judged_at else None,
    }
    if full:
        facts |= {
            "edits": [asdict(edit) for edit in record.edits],
            "diff": record.diff,
            "digest": record.digest,
            "seed_runs": [asdict(run) for run in outcome.seed_runs] if outcome else [],
            "failure": asdict(outcome.failure) if outcome and outcome.failure else None,
            "environment": outcome.environment if outcome else None,
            "log_tail": outcome.log_tail if outcome else None,
        }
    return facts


def campaign_facts(store: LineageStore, campaign: CampaignRecord) -> dict[str, Any]:
    """One campaign: what was asked for, how it stands, and baseline against best."""
    counts = store.counts(campaign.name)
    facts: dict[str, Any] = {
        "campaign": campaign.name,
        "pack": campaign.pack,
        "profile": campaign.profile,
        "model": campaign.model,
        "sandbox": campaign.sandbox,
        "seed": campaign.seed,
        "priors": list(prior_campaigns(campaign)),
        "state": campaign.state,
        "stop_reason": campaign.stop_reason,
        "counts": {status or "in_flight": count for status, count in counts.items()},
        "trials": spent(counts),
    }
    if Status.BASELINE in counts:
        baseline, best = store.trial(campaign.name, 0), store.best(campaign.name)
        facts |= {"baseline": trial_facts(baseline), "best": trial_facts(best)}
        facts["change_percent"] = change_percent(baseline, best)
        facts["racing"] = store.racing(campaign.name)
    return facts


def spent(counts: dict[Status | None, int]) -> int:
    """How many trials count toward the budget."""
    return sum(count for status, count in counts.items() if status is not None and status.counts)


def change_percent(baseline: TrialRecord, best: TrialRecord) -> float | None:
    """How far the best's score lies from the baseline's, in percent of the baseline's."""
    before = baseline.outcome.score if baseline.outcome else None
    after = best.outcome.score if best.outcome else None
    if before is None or after is None or before == 0.0:
        return None
    return 100.0 * (after - before) / abs(before)


STYLES = {
    Status.BASELINE: "bold",
    Status.KEPT: "bold green",
    Status.DISCARDED: "dim",
    Status.GATE_MISSED: "yellow",
    Status.REJECTED: "magenta",
    Status.ABORTED: "blue",
}
FAILED_STYLE = "red"

PADDING = 3
"""Columns between two cells of a table."""


def status_text(outcome: Outcome | None) -> Text:
    """The status in its color."""
    if outcome is None:
        return Text("in flight", style="cyan")
    return Text(outcome.status, style=STYLES.get(outcome.status, FAILED_STYLE))


def trials_table(records: Sequence[TrialRecord], *, unit: str, title: str, width: int) -> Table:
    """One row a trial: number, surface, status, score with its error, gain, gates, hypothesis.

    The gain is the change against the best of its time with the standard error of the paired
    difference, in the metric's unit; the error of the score holds what the seeds have in common
    too. The hypothesis gets what is left of the width, in columns of the terminal.
    """
    rows = [_cells(record) for record in records]
    heads = ("trial", "surface", "status", f"score ({unit})", "gain", "gates")
    used = [
        max(map(cell_len, (head, *(row[i].plain for row in rows)))) for i, head in enumerate(heads)
    ]
    left = max(10, width - sum(used) - PADDING * (len(heads) + 1))
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for head in heads:
        side: Literal["left", "right"] = "left" if head in ("surface", "status") else "right"
        table.add_column(head, justify=side, no_wrap=True)
    table.add_column("hypothesis", no_wrap=True)
    for record, row in zip(records, rows, strict=True):
        table.add_row(*row, Text(shorten(record.hypothesis, left)))
    return table


def _cells(record: TrialRecord) -> list[Text]:
    return [
        Text(str(record.number)),
        Text(plain(record.surface)),
        status_text(record.outcome),
        Text(score_text(record.outcome)),
        _gain(record.outcome),
        _gates(record.outcome),
    ]


def score_text(outcome: Outcome | None) -> str:
    """Score with its standard error, or a dash."""
    if outcome is None or outcome.score is None:
        return "-"
    error = f" ± {outcome.score_se:.2f}" if outcome.score_se is not None else ""
    return f"{outcome.score:.3f}{error}"


def _gain(outcome: Outcome | None) -> Text:
    if outcome is None or outcome.delta is None:
        return Text("-")
    error = f" ± {outcome.delta_se:.3f}" if outcome.delta_se is not None else ""
    return Text(f"{outcome.delta:+.3f}{error}")


def _gates(outcome: Outcome | None) -> Text:
    gates = outcome.gates if outcome else ()
    parts = [(f"{gate.name} {gate.value:.4g}", "" if gate.passed else "yellow") for gate in gates]
    return Text(", ").join(Text(told, style=style) for told, style in parts) if parts else Text("-")


def comparison(baseline: TrialRecord, best: TrialRecord, *, metric: str, unit: str) -> Text:
    """The best recipe against the baseline, in one line."""
    percent = change_percent(baseline, best)
    told = f"{metric}: baseline {score_text(baseline.outcome)} {unit}"
    if best.number == baseline.number or percent is None:
        return Text(f"{told}; no trial was better beyond the noise")
    change = f" ({percent:+.1f} %)"
    return Text.assemble(
        f"{told}, best {score_text(best.outcome)} {unit}",
        (change, "bold green"),
        f", trial {best.number}",
    )


def racing_words(racing: Mapping[str, float]) -> str:
    """What racing left out and confirmations took; nothing if there was neither."""
    told = []
    if racing["left_out"]:
        told.append(
            f"{racing['left_out']:.0f} of {racing['planned']:.0f} seed runs left out as hopeless, "
            f"some {racing['saved_seconds']:,.0f} device seconds"
        )
    if racing["fresh_seeds"]:
        told.append(f"{racing['fresh_seeds']:.0f} fresh seeds for confirmations")
    return "; ".join(told)


def trial_sheet(record: TrialRecord, *, unit: str) -> RenderableType:
    """All of one trial: hypothesis, diff, phases, gates, failure, log."""
    outcome = record.outcome
    head = Text.assemble(
        f"Trial {record.number}, {plain(record.surface)} by {plain(record.specialist)}, ",
        status_text(outcome),
    )
    parents = ", ".join(map(str, record.parents)) or "none"
    expected = f"{record.expected_delta:+.4g} {unit}"
    facts = Text(f"parent {parents}   expected change {expected}   score {score_text(outcome)}")
    parts: list[RenderableType] = [head, facts, Text(plain(record.hypothesis), style="italic")]
    if outcome is not None:
        parts += _outcome_parts(outcome)
    if record.diff:
        parts.append(Panel(Syntax(plain(record.diff), "diff", word_wrap=True), title="diff"))
    if outcome is not None and outcome.log_tail:
        parts.append(Panel(Text(plain(outcome.log_tail)), title="end of the last log"))
    return Group(*parts)


def _outcome_parts(outcome: Outcome) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(f"reason: {plain(outcome.reason)}")]
    if outcome.environment:
        parts.append(Text(f"ran in: {plain(outcome.environment)}"))
    if outcome.seed_runs:
        parts.append(_phases_table(outcome.seed_runs))
    parts += [Text(f"gate {gate.name}: {gate.figures}") for gate in outcome.gates]
    if outcome.failure is not None:
        failure = outcome.failure
        where = f" in {failure.phase}" if failure.phase else ""
        title = f"{failure.kind}{where}: {shorten(failure.signature, 80)}"
        parts.append(Panel(Text(plain(failure.excerpt)), title=Text(title), border_style="red"))
    return parts


def _phases_table(runs: Sequence[SeedRun]) -> Table:
    table = Table(header_style="bold")
    for name in ("seed", "phase", "wall s", "cpu s", "memory MiB"):
        table.add_column(name, justify="left" if name == "phase" else "right")
    for run in runs:
        for timing in run.timings:
            memory = f"{timing.peak_memory_mb:.0f}" if timing.peak_memory_mb is not None else "-"
            cells = (f"{timing.wall_seconds:.2f}", f"{timing.cpu_seconds:.2f}", memory)
            table.add_row(str(run.seed), timing.phase, *cells)
    return table
