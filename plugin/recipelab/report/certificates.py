"""Certificates in words, the leaderboard, and what an ablation found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from recipelab.ablation.ablate import (
    AblationReport,
    InteractionReport,
    StepReport,
    SurfaceReport,
)
from recipelab.ablation.attribution import Effect
from recipelab.core.text import plain, shorten
from recipelab.core.trial import Certificate
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.sections import Goal


def certificate_words(record: TrialRecord, certificate: Certificate) -> str:
    """Return what a certification of a trial found, in some lines."""
    status = certificate.status.replace("_", " ")
    head = f"Trial {record.number}: {status}; {certificate.reason}."
    if certificate.delta is None:
        return head
    search = record.outcome.score if record.outcome is not None else None
    where = "held-out answers and fresh seeds" if certificate.held_out else "fresh seeds"
    return "\n".join(
        (
            head,
            f"search score {_number(search)}, certified score {_number(certificate.score)} "
            f"(baseline {_number(certificate.baseline_score)}) on {certificate.seeds} seeds: "
            f"{where}",
            f"against the baseline {certificate.delta:+.5g}, 95 % interval "
            f"{certificate.delta_low:+.5g} to {certificate.delta_high:+.5g}, "
            f"p {certificate.p:.2g} ({certificate.test})",
        )
    )


@dataclass(frozen=True)
class LeaderboardRow:
    """A certified trial.

    Attributes:
        trial: Its number.
        specialist: Who proposed it.
        hypothesis: Why it was to help.
        search_score: Its score in the search; ``None`` if it has none.
        made_at: When it was certified.
        certificate: What the certification found.
    """

    trial: int
    specialist: str
    hypothesis: str
    search_score: float | None
    made_at: datetime
    certificate: Certificate

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain data, with the figures of the certificate beside the others."""
        found = {name: value for name, value in asdict(self).items() if name != "certificate"}
        return {**found, "made_at": self.made_at.isoformat(), **asdict(self.certificate)}


def leaderboard_rows(store: LineageStore, campaign: str, goal: Goal) -> list[LeaderboardRow]:
    """Return the newest certificate of each trial, best certified score first; failed ones last."""
    newest = {item.trial: item for item in store.certificates(campaign)}
    rows = []
    for number, item in newest.items():
        record = store.trial(campaign, number)
        score = record.outcome.score if record.outcome else None
        rows.append(
            LeaderboardRow(
                number, record.specialist, record.hypothesis, score, item.made_at, item.found
            )
        )

    def rank(row: LeaderboardRow) -> tuple[bool, float]:
        found = row.certificate
        if found.delta is None or found.score is None:
            return True, 0.0
        return False, -goal.sign * found.score

    return sorted(rows, key=rank)


def newest_words(store: LineageStore, campaign: str, number: int) -> str:
    """Return the newest certificate of a trial in words; how to make one, if there is none."""
    found = [item.found for item in store.certificates(campaign) if item.trial == number]
    if found:
        return certificate_words(store.trial(campaign, number), found[-1])
    return "certify it on seeds and answers that no trial had: recipelab verify best"


def leaderboard_table(rows: Sequence[LeaderboardRow], *, title: str) -> Table:
    """Return the leaderboard for a terminal."""
    table = Table(title=Text(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for head in ("trial", "certified", "search", "against the baseline", "seeds"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("hypothesis", no_wrap=True)
    for row in rows:
        found = row.certificate
        interval = (
            f"{found.delta:+.4g} ({found.delta_low:+.4g} to {found.delta_high:+.4g})"
            if found.delta is not None
            else "-"
        )
        table.add_row(
            str(row.trial),
            _number(found.score),
            _number(row.search_score),
            interval,
            str(found.seeds),
            found.status.replace("_", " "),
            Text(shorten(row.hypothesis, 40)),
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


NAMED_STEPS = 4
"""Up to so many trials that were left out together are named."""


def ablation_parts(report: AblationReport, *, metric: str, unit: str) -> Iterator[RenderableType]:
    """Yield what is printed of an ablation.

    Args:
        report: What it found.
        metric: Name of the metric.
        unit: Its unit.
    """
    if report.gain is None:
        text = f"the baseline fails, so that no gain can be told: {report.failure}"
    else:
        noise = "" if report.gain.certain else ", which is within the noise"
        text = f"trial {report.best} gains {_interval(report.gain)} {unit} on the baseline{noise}"
    yield Text(plain(f"{metric}: {text}"))
    yield _steps_table(report.steps)
    for step in report.steps:
        if step.failure is not None:
            yield Text(f"without {_named(step.without)}: {shorten(step.failure, 120)}")
    yield _surfaces_table(report.surfaces)
    if report.unexplained is None:
        yield Text("Whether the parts add up to the gain cannot be told, as something fails.")
    elif report.adds_up:
        yield Text("The parts add up to the gain, as far as the noise lets one see.")
    else:
        rest = _interval(report.unexplained)
        yield Text(f"The parts do not add up to the gain: {rest} is left. Steps interact.")
    for item in report.interactions:
        yield Text(_interaction_words(item))


def _steps_table(steps: Sequence[StepReport]) -> Table:
    title = "What the best loses without each step"
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("without", no_wrap=True)
    for head in ("surface", "specialist"):
        table.add_column(head, no_wrap=True)
    for head in ("loss (95 % interval)", "its own part", "share"):
        table.add_column(head, justify="right", no_wrap=True)
    # The only column that may wrap, so that figures and names stay whole.
    table.add_column("what it was")
    for step in steps:
        who = (Text(shorten(step.surface, 24)), Text(shorten(step.specialist, 24)))
        words = Text(shorten(step.hypothesis, 60))
        table.add_row(_named(step.without), *who, *_figures(step), words)
    return table


def _figures(step: StepReport) -> tuple[str, str, str]:
    if not step.changes:
        return "no effect in the best", "", ""
    loss = _interval(step.loss) if step.loss is not None else "fails"
    group = len(step.without) > 1
    own = _interval(step.own) if group and step.own is not None else ""
    return loss, own, _share(step.share, step.own)


def _surfaces_table(surfaces: Sequence[SurfaceReport]) -> Table:
    table = Table(title="By surface", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("surface")
    for head in ("of the gain (95 % interval)", "share"):
        table.add_column(head, justify="right")
    table.add_column("steps")
    for row in surfaces:
        own = "-" if row.own is None else _interval(row.own)
        steps = ", ".join(f"{n} (not known)" if n in row.unknown else f"{n}" for n in row.trials)
        table.add_row(Text(shorten(row.surface, 24)), own, _share(row.share, row.own), steps)
    return table


def _named(numbers: Sequence[int]) -> str:
    first, *others = map(str, numbers)
    if len(others) > NAMED_STEPS:
        others = [*others[: NAMED_STEPS - 1], f"{len(others) - NAMED_STEPS + 1} more"]
    return f"{first} with {', '.join(others)}" if others else first


def _interval(effect: Effect) -> str:
    return f"{effect.value:.4g} ({effect.low:.4g} to {effect.high:.4g})"


def _share(share: float | None, own: Effect | None) -> str:
    if share is None or own is None:
        return "-"
    return f"{share:.1%}{'' if own.certain else ' (noise)'}"


def _interaction_words(item: InteractionReport) -> str:
    one, other = (_named(side) for side in item.without)
    more = item.more
    if not more.certain:
        return f"  {one} and {other}: within the noise ({_interval(more)})"
    why = "either will do" if more.value > 0 else "they need each other"
    how = "more" if more.value > 0 else "less"
    size = f"{abs(more.value):.4g}"
    return f"  {one} and {other}: together they cost {size} {how} than one by one: {why}"
