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
from recipelab.core.trial import CERTIFIED, RE_MEASURED, Certificate
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.judging_sections import Goal


def certificate_words(record: TrialRecord, certificate: Certificate) -> str:
    """Return what a certification of a trial found, in some lines."""
    status = certificate.status.replace("_", " ")
    head = f"Trial {record.number}: {status}; {certificate.reason}."
    if certificate.delta is None:
        return head
    search = record.outcome.score if record.outcome is not None else None
    word = RE_MEASURED if certificate.status == RE_MEASURED else CERTIFIED
    where = "held-out answers and fresh seeds" if certificate.held_out else "fresh seeds"
    return "\n".join(
        (
            head,
            f"search score {_number(search)}, {word} score {_number(certificate.score)} "
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
        tries: Certifications of the campaign's trials, for which its interval is corrected.
    """

    trial: int
    specialist: str
    hypothesis: str
    search_score: float | None
    made_at: datetime
    certificate: Certificate
    tries: int = 1

    @property
    def p(self) -> float | None:
        """The certificate's p, corrected for all tries (Bonferroni), later ones too."""
        found = self.certificate
        return None if found.p is None else min(1.0, found.p * self.tries / found.tries)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the delta, corrected for all tries (Bonferroni).

        The certificate's own interval holds for the tries up to it. Each end is moved away from the
        delta by the ratio of the quantiles of Student's t for all tries and for those, with one
        degree of freedom less than there are seeds.
        """
        found = self.certificate
        if found.delta is None or found.delta_low is None or found.delta_high is None:
            return None
        df = found.seeds - 1
        wider = _wider(self.tries, df) / _wider(found.tries, df)
        low, high = found.delta_low - found.delta, found.delta_high - found.delta
        return found.delta + wider * low, found.delta + wider * high

    def gain_percent(self, goal: Goal) -> float | None:
        """Return the gain in percent of the baseline's score beside it; positive is better."""
        found = self.certificate
        before = found.baseline_score
        if found.delta is None or before is None:
            return None
        return goal.gain_percent(before, before + found.delta)

    def holds(self, goal: Goal) -> bool:
        """Return whether it is certified, and still is so after the correction."""
        if not self.certificate.certified or self.interval is None:
            return False
        low, high = self.interval
        return (low if goal.sign > 0 else -high) > 0

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain data, with the figures of the certificate beside the others."""
        found = {name: value for name, value in asdict(self).items() if name != "certificate"}
        low, high = self.interval or (None, None)
        corrected = {"p_corrected": self.p, "low_corrected": low, "high_corrected": high}
        made = {"made_at": self.made_at.isoformat()}
        return {**found, **made, **asdict(self.certificate), **corrected}


def _wider(tries: int, df: int) -> float:
    """Return how much wider a 95 % interval is when it holds for so many tries at once."""
    if tries < 2 or df < 1:
        return 1.0
    from scipy.special import stdtrit

    return float(stdtrit(df, 1.0 - 0.025 / tries) / stdtrit(df, 0.975))


def leaderboard_rows(store: LineageStore, campaign: str, goal: Goal) -> list[LeaderboardRow]:
    """Return all certificates of a campaign, the largest relative gain first, failed ones last.

    Scores of different days are not compared: each is told against the baseline that ran beside it.
    """
    made = store.certificates(campaign)
    rows = []
    for item in made:
        record = store.trial(campaign, item.trial)
        score = record.outcome.score if record.outcome else None
        who = (item.trial, record.specialist, record.hypothesis, score)
        rows.append(LeaderboardRow(*who, item.made_at, item.found, len(made)))

    def rank(row: LeaderboardRow) -> tuple[bool, float]:
        gain = row.gain_percent(goal)
        return gain is None, 0.0 if gain is None else -gain

    return sorted(rows, key=rank)


def newest_words(store: LineageStore, campaign: str, number: int) -> str:
    """Return the newest certificate of a trial in words; how to make one, if there is none."""
    found = [item.found for item in store.certificates(campaign) if item.trial == number]
    if found:
        return certificate_words(store.trial(campaign, number), found[-1])
    return "certify it on seeds and answers that no trial had: recipelab verify best"


def leaderboard_table(rows: Sequence[LeaderboardRow], *, goal: Goal, title: str) -> Table:
    """Return the leaderboard for a terminal.

    Args:
        rows: The certificates in order.
        goal: Which way the metric is better.
        title: Title of the table.
    """
    if len(rows) > 1:
        title += f" (intervals corrected for {len(rows)} tries)"
    table = Table(title=Text(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    heads = ("trial", "gain", "certified", "search", "delta to the baseline", "seeds")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("hypothesis", no_wrap=True)
    for row in rows:
        found = row.certificate
        low, high = row.interval or (0.0, 0.0)
        interval = f"{found.delta:+.4g} ({low:+.4g} to {high:+.4g})" if row.interval else "-"
        gain = row.gain_percent(goal)
        status = found.status.replace("_", " ")
        if found.certified and not row.holds(goal):
            status = "not certified after correction"
        table.add_row(
            str(row.trial),
            "-" if gain is None else f"{gain:+.2f} %",
            _number(found.score),
            _number(row.search_score),
            interval,
            str(found.seeds),
            status,
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
