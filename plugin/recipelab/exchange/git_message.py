"""What a commit of an exported trial says: hypothesis, outcome, measurements, and trailers."""

from __future__ import annotations

from collections.abc import Iterator

from recipelab.exchange.mark import MetricFacts
from recipelab.exchange.tables import measure_means
from recipelab.lineage import TrialRecord
from recipelab.shown import plain, short
from recipelab.trial import Outcome

SUBJECT_CHARACTERS = 72


def commit_message(
    record: TrialRecord, outcome: Outcome, *, campaign: str, metric: MetricFacts | None, bare: bool
) -> str:
    """The message of a trial's commit.

    Args:
        record: The trial.
        outcome: How it ended.
        campaign: Name of its campaign.
        metric: What its score is, if that is known.
        bare: Whether the lineage holds no recipe of it.
    """
    hypothesis = plain(record.hypothesis).strip() or "(no hypothesis)"
    subject = short(f"trial {record.number}, {record.surface}: {hypothesis}", SUBJECT_CHARACTERS)
    parts = [
        subject,
        hypothesis,
        f"{outcome.status}: {plain(outcome.reason).strip()}",
        "\n".join(_measured(record, outcome, metric)),
    ]
    if bare:
        parts.append("The lineage holds no recipe of this trial.")
    parts.append("\n".join(_trailers(record, campaign)))
    return "\n\n".join(parts) + "\n"


def _measured(record: TrialRecord, outcome: Outcome, metric: MetricFacts | None) -> Iterator[str]:
    unit = f" {metric.unit}" if metric and metric.unit else ""
    name = metric.name if metric else "score"
    yield f"{name}: {_number(outcome.score)}{unit}, standard error {_number(outcome.score_se)}"
    yield (
        f"change: {_number(outcome.delta)}{unit}, standard error {_number(outcome.delta_se)}, "
        f"expected {_number(record.expected_delta)}"
    )
    for gate in outcome.gates:
        limits = f"limit {_number(gate.limit)}, margin {_number(gate.margin)}"
        yield _line(f"gate {gate.name}: {_number(gate.value)}, {limits}")
    means = measure_means(outcome)
    if means:
        yield f"means over seed runs (n = {len(outcome.seed_runs)}):"
    for key, mean in means.items():
        yield _line(f"  {key}: {_number(mean)}", indent="  ")


def _trailers(record: TrialRecord, campaign: str) -> Iterator[str]:
    """The last paragraph: what git reads as trailers, so nothing in the text can pose as one."""
    yield f"Recipelab-Campaign: {campaign}"
    yield f"Recipelab-Trial: {record.number}"
    yield f"Recipelab-Parents: {' '.join(map(str, record.parents)) or 'none'}"
    yield _line(f"Recipelab-Specialist: {record.specialist}")
    yield _line(f"Recipelab-Surface: {record.surface}")
    yield _line(f"Recipelab-Digest: {record.digest or 'none'}")


def _line(text: str, indent: str = "") -> str:
    return indent + " ".join(plain(text).split())


def _number(value: float | None) -> str:
    """All digits of a number, so that nothing measured is rounded away."""
    return "none" if value is None else repr(value)
