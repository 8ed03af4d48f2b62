"""Show trials and campaigns to people and programs: JSON, tables, one trial in full."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from recipelab.core.text import plain, shorten
from recipelab.core.trial import Checkpoint, Outcome, SeedRun, Standing, Status
from recipelab.lineage import (
    CampaignRecord,
    LineageStore,
    TrialBrief,
    TrialRecord,
    prior_campaigns,
)
from recipelab.lineage.campaigns import trust_of
from recipelab.lineage.trial_view import (
    FULL_REPORT,
    REPORT,
    TrialView,
    checkpoint_verdict,
    evidence_words,
    failure_place,
    status_words,
)
from recipelab.packs.judging_sections import Goal, change_percent


def trial_facts(record: TrialRecord, *, full: bool = False) -> dict[str, Any]:
    """Return one trial as plain values; times are ISO 8601 in UTC.

    Args:
        record: The trial.
        full: With edits, diff, seed runs, failure and log.
    """
    return TrialView.of_record(record).facts(FULL_REPORT if full else REPORT)


def campaign_facts(store: LineageStore, campaign: CampaignRecord) -> dict[str, Any]:
    """Return one campaign as plain values: its plan, its state, and baseline against best."""
    counts = store.counts(campaign.name)
    facts: dict[str, Any] = {
        "campaign": campaign.name,
        "pack": campaign.pack,
        "profile": campaign.profile,
        "trust": trust_of(campaign),
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
        certified = store.certified(campaign.name)
        facts |= {"baseline": trial_facts(baseline), "best": trial_facts(best)}
        facts["certified"] = trial_facts(certified)
        before = _score_of(baseline)
        facts["certified_percent"] = change_percent(before, _score_of(certified))
        facts["change_percent"] = change_percent(before, _score_of(best))
        facts["racing"] = store.racing(campaign.name)
        facts["projected"] = store.projected(campaign.name)
    return facts


def line_facts(store: LineageStore, campaign: str, goal: Goal) -> dict[str, Any] | None:
    """Return how far the working line got, and how much of it is certified.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        goal: Which way the metric is better.

    Returns:
        Numbers of head and certified trial with their gains in percent of the baseline's score
        (positive is better), the checkpoints by how they ended, the seed runs that these took of
        both sides, and what each of them found (``tests``); ``None`` before there is a baseline.
    """
    if Status.BASELINE not in store.counts(campaign):
        return None
    baseline = store.trial(campaign, 0)
    ends = {"head": store.best(campaign), "certified": store.certified(campaign)}
    facts: dict[str, Any] = {}
    for name, record in ends.items():
        gain = goal.gain_percent(_score_of(baseline), _score_of(record))
        facts |= {name: record.number, f"{name}_gain_percent": gain}
    checkpoints = [item.found for item in store.checkpoints(campaign)]
    return facts | {
        "checkpoints": len(checkpoints),
        "held": sum(item.held for item in checkpoints),
        "fell_back": sum(item.fell_back for item in checkpoints),
        "checkpoint_seed_runs": sum(len(c.runs) + len(c.against_runs) for c in checkpoints),
        "further_seed_runs": len(store.all_further_runs(campaign)),
        "tests": [_checkpoint_facts(found) for found in checkpoints],
    }


def _checkpoint_facts(found: Checkpoint) -> dict[str, Any]:
    left_out = ("reason", "gates", "runs", "against_runs")
    facts = {field.name: getattr(found, field.name) for field in fields(found)}
    kept = {name: value for name, value in facts.items() if name not in left_out}
    return {"verdict": checkpoint_verdict(found)} | kept


def line_words(line: Mapping[str, Any]) -> str:
    """Return :func:`line_facts` in a sentence."""
    told = (
        f"{what} trial {line[what]}"
        + (f" ({line[f'{what}_gain_percent']:+.2f} %)" if line[f"{what}_gain_percent"] else "")
        for what in ("head", "certified")
    )
    return (
        f"working line: {', '.join(told)}; {line['checkpoints']} checkpoints, {line['held']} held, "
        f"{line['fell_back']} fell back, {line['checkpoint_seed_runs']} seed runs; "
        f"{line['further_seed_runs']} further seed runs of the best"
    )


def spent(counts: Mapping[Status | None, int]) -> int:
    """Return how many trials count toward the budget."""
    return sum(count for status, count in counts.items() if status is not None and status.counts)


def _score_of(record: TrialRecord) -> float | None:
    return record.outcome.score if record.outcome else None


STYLES = {
    Status.BASELINE: "bold",
    Status.KEPT: "bold green",
    Status.DISCARDED: "dim",
    Status.GATE_MISSED: "yellow",
    Status.REJECTED: "magenta",
    Status.ABORTED: "blue",
}
STANDING_STYLES = {
    Standing.CERTIFIED: "bold green",
    Standing.PROVISIONAL: "cyan",
    Standing.UNPROVEN: "dim strike",
    Standing.UNTESTED: "green",
}
FAILED_STYLE = "red"

SHEET_DIFF_CHARACTERS = 16_000
"""Characters of a diff in a trial's sheet: to lay out 100,000 lines would take seconds."""

PADDING = 3
"""Columns between two cells of a table."""

HYPOTHESIS_COLUMNS = 10
"""What is shorter tells nothing of a hypothesis."""


class TrialColumn(NamedTuple):
    """A column of the table of trials: its head, its cell for a trial, and its alignment."""

    head: str
    cell: Callable[[TrialView], Text]
    side: Literal["left", "right"] = "right"


def trial_columns(unit: str) -> tuple[TrialColumn, ...]:
    """Return the columns of the table of trials; the hypothesis follows them.

    The delta is the change against the best of its time, signed as measured, with the standard
    error of the paired difference, in the metric's unit; the error of the score holds what the
    seeds have in common, too.

    Args:
        unit: Unit of the score.
    """
    return (
        TrialColumn("trial", lambda view: Text(str(view.trial))),
        TrialColumn("surface", lambda view: Text(plain(view.surface)), "left"),
        TrialColumn("status", lambda view: _status(view.status, view.standing), "left"),
        TrialColumn(f"score ({unit})", lambda view: Text(_score(view.score, view.score_se))),
        TrialColumn("delta", _delta),
        TrialColumn("gates", _gates),
    )


def trials_table(records: Sequence[TrialRecord], *, unit: str, title: str, width: int) -> Table:
    """Return a table with one row a trial.

    Args:
        records: The trials.
        unit: Unit of the score.
        title: Title of the table.
        width: Width of the terminal, of which the hypothesis gets the rest. Where there is none,
            it is left out, then the gates, and then the delta.
    """
    views = [TrialView.of_record(record) for record in records]
    for columns in _column_sets(unit):
        rows = [[column.cell(view) for column in columns] for view in views]
        used = [
            max(map(cell_len, (column.head, *(row[i].plain for row in rows))))
            for i, column in enumerate(columns)
        ]
        left = width - sum(used) - PADDING * (len(columns) + 1)
        if left >= 0:
            break
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    if left < 0:
        table.padding = 0
    for column in columns:
        table.add_column(column.head, justify=column.side, no_wrap=True)
    if left < HYPOTHESIS_COLUMNS:
        for row in rows:
            table.add_row(*row)
        return table
    table.add_column("hypothesis", no_wrap=True)
    for record, row in zip(records, rows, strict=True):
        table.add_row(*row, Text(shorten(record.hypothesis, left)))
    return table


def _column_sets(unit: str) -> Iterator[tuple[TrialColumn, ...]]:
    """Yield the columns to try on ever narrower terminals."""
    number, surface, status, score, delta, gates = trial_columns(unit)
    yield number, surface, status, score, delta, gates
    yield number, surface, status, score, delta
    yield number, surface, status, score
    plain_status = status._replace(cell=lambda view: _status(view.status))
    yield number._replace(head="#"), surface, plain_status, score._replace(head="score")


def status_text(outcome: Outcome | None) -> Text:
    """Return the status in its color, with the standing that the trial was judged to have."""
    if outcome is None:
        return _status(None)
    return _status(outcome.status, outcome.evidence.standing if outcome.evidence else None)


def brief_status_text(brief: TrialBrief) -> Text:
    """Return the status in its color, with the standing that the trial has by now."""
    return _status(brief.status, brief.standing)


def _status(status: Status | None, standing: Standing | None = None) -> Text:
    words = status_words(status, standing)
    if status is None:
        return Text(words, style="cyan")
    if standing is not None:
        return Text(words, style=STANDING_STYLES[standing])
    return Text(words, style=STYLES.get(status, FAILED_STYLE))


def score_text(outcome: Outcome | None) -> str:
    """Return the score with its standard error, or a dash."""
    return "-" if outcome is None else _score(outcome.score, outcome.score_se)


def _score(score: float | None, error: float | None) -> str:
    if score is None:
        return "-"
    return f"{score:.3f}" + (f" ± {error:.2f}" if error is not None else "")


def _delta(view: TrialView) -> Text:
    if view.delta is None:
        return Text("-")
    error = f" ± {view.delta_se:.3f}" if view.delta_se is not None else ""
    return Text(f"{view.delta:+.3f}{error}")


def _gates(view: TrialView) -> Text:
    cells = [
        Text(f"{gate.name} {gate.value:.4g}", style="" if gate.passed else "yellow")
        for gate in view.gates
    ]
    return Text(", ").join(cells) if cells else Text("-")


def comparison(baseline: TrialRecord, best: TrialRecord, *, metric: str, unit: str) -> Text:
    """Return the best recipe against the baseline, in one line."""
    percent = change_percent(_score_of(baseline), _score_of(best))
    start = f"{metric}: baseline {score_text(baseline.outcome)} {unit}"
    if best.number == baseline.number or percent is None:
        return Text(f"{start}; no trial was better beyond the noise")
    change = f" ({percent:+.1f} %)"
    standing = f", {best.standing}" if best.standing else ""
    return Text.assemble(
        f"{start}, best {score_text(best.outcome)} {unit}",
        (change, "bold green"),
        f", trial {best.number}{standing}",
    )


def racing_words(racing: Mapping[str, float]) -> str:
    """Return what racing left out and confirmations took; empty if there was neither."""
    parts = []
    if racing["left_out"]:
        parts.append(
            f"{racing['left_out']:.0f} of {racing['planned']:.0f} seed runs left out as hopeless, "
            f"some {racing['saved_seconds']:,.0f} device seconds"
        )
    if racing["fresh_seeds"]:
        parts.append(f"{racing['fresh_seeds']:.0f} fresh seeds for confirmations")
    return "; ".join(parts)


def projected_words(projected: Mapping[str, float | None]) -> str:
    """Return what refusals by projection saved; empty if there was none."""
    refused, each, saved = (projected[k] for k in ("refused", "train_seconds", "saved_seconds"))
    if not refused:
        return ""
    trials = f"{refused:.0f} trials were refused by what their preflight projects"
    if each is None or saved is None:
        return trials
    return (
        f"{trials}; at {each:,.1f} s for a training of the best that saved {saved / 3600:,.3g} "
        "device hours"
    )


def trial_sheet(record: TrialRecord, *, unit: str) -> RenderableType:
    """Return all of one trial: hypothesis, diff, phases, gates, failure, log."""
    outcome = record.outcome
    head = Text.assemble(
        f"Trial {record.number}, {plain(record.surface)} by {plain(record.specialist)}, ",
        _status(record.status, record.standing),
    )
    parents = ", ".join(map(str, record.parents)) or "none"
    expected = f"{record.expected_delta:+.4g} {unit}"
    facts = Text(f"parent {parents}   expected change {expected}   score {score_text(outcome)}")
    parts: list[RenderableType] = [head, facts, Text(plain(record.hypothesis), style="italic")]
    if outcome is not None:
        parts += _outcome_parts(outcome)
    if record.diff:
        shown = plain(record.diff[:SHEET_DIFF_CHARACTERS])
        parts.append(Panel(Syntax(shown, "diff", word_wrap=True), title="diff"))
        if len(record.diff) > SHEET_DIFF_CHARACTERS:
            whole = f"recipelab show {record.number} --json"
            parts.append(Text(f"... {len(record.diff):,} characters in all; whole: {whole}"))
    if outcome is not None and outcome.log_tail:
        parts.append(Panel(Text(plain(outcome.log_tail)), title="end of the last log"))
    return Group(*parts)


def _outcome_parts(outcome: Outcome) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(f"reason: {plain(outcome.reason)}")]
    if outcome.evidence is not None:
        parts += [Text(f"{words}.") for words in evidence_words(outcome.evidence)]
    if outcome.environment:
        parts.append(Text(f"ran in: {plain(outcome.environment)}"))
    if outcome.seed_runs:
        parts.append(_phases_table(outcome.seed_runs))
    parts += [Text(plain(f"gate {gate.name}: {gate.figures}")) for gate in outcome.gates]
    if outcome.failure is not None:
        failure = outcome.failure
        title = f"{failure_place(failure)}: {shorten(failure.signature, 80)}"
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
