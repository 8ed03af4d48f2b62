"""What calibration found, in words and figures: the noise, and what can be seen through it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from recipelab.acceptance import Confirmed, Noise, Spread, smallest_gain
from recipelab.evaluation.judging import policy_of
from recipelab.evaluation.metric import METRIC, noise_of
from recipelab.lineage import TrialRecord
from recipelab.pack import Pack
from recipelab.pack_measures import Gate
from recipelab.trial import SeedRun, Status

LATER = 20
"""Confirmations after which the smallest gain is told once more, as tests are stricter by then."""


@dataclass(frozen=True)
class Calibration:
    """What the seed runs of the baseline tell.

    Attributes:
        noise: The spread of everything that was measured.
        smallest: The smallest true gain that is kept four times in five, in the metric's unit, by
            the campaign's first confirmation; ``None`` if the policy cannot say.
        smallest_later: The same after twenty confirmations.
    """

    noise: Noise
    smallest: float | None
    smallest_later: float | None


def calibration_of(pack: Pack, runs: Iterable[SeedRun]) -> Calibration | None:
    """What the seed runs of the baseline tell; ``None`` if there are too few."""
    noise = noise_of(runs, pack.metric)
    if noise is None:
        return None
    policy = policy_of(pack.acceptance)
    if not isinstance(policy, Confirmed):
        return Calibration(noise, None, None)
    seeds = len(pack.seeds)
    gains = (smallest_gain(policy, noise.pair, seeds, tested=many) for many in (0, LATER))
    return Calibration(noise, *gains)


def noise_words(pack: Pack, record: TrialRecord) -> str:
    """What a judged baseline tells of the noise; nothing for any other trial."""
    if record.outcome is None or record.outcome.status is not Status.BASELINE:
        return ""
    found = calibration_of(pack, record.outcome.seed_runs)
    return calibration_words(pack, found) if found is not None else ""


def calibration_words(pack: Pack, found: Calibration) -> str:
    """What people and agents are told before the first trial."""
    return " ".join(_sentences(pack, found))


def _sentences(pack: Pack, found: Calibration) -> Iterator[str]:
    metric, noise = pack.metric, found.noise
    spread, unit = noise.measures[METRIC], f" {metric.unit}" if metric.unit else ""
    yield (
        f"Noise, from {spread.runs} seed runs of the baseline: {metric.name} "
        f"{spread.mean:.5g}{unit}, standard deviation {spread.sd:.2g}; of the difference of two "
        f"equal recipes {noise.pair.sd:.2g}."
    )
    for gate in pack.gates:
        if gate.measure in noise.measures:
            yield _gate(gate, noise.measures[gate.measure])
    if found.smallest is None:
        yield f"The policy {pack.acceptance.policy} does not bound how often luck is kept."
        return
    if noise.pair.sd == 0.0:
        yield "Nothing here has any noise: any gain can be seen."
        return
    later = found.smallest_later or found.smallest
    yield (
        f"The smallest true gain that is kept four times in five: {found.smallest:.2g}{unit}"
        f"{_percent(found.smallest, spread)}, after {LATER} confirmations {later:.2g}{unit}; "
        "chance to keep anything if nothing is ever better: "
        f"{pack.acceptance.false_keep_rate:.0%} over the whole campaign."
    )


def _gate(gate: Gate, spread: Spread) -> str:
    margin = gate.margin(spread.mean)
    told = f"Gate {gate.name}: {spread.mean:.5g}, {margin:+.3g} from its limit"
    if spread.sd == 0.0:
        return f"{told}, the same every time."
    return f"{told}, which is {margin / spread.sd:.1f} standard deviations of one seed run."


def _percent(gain: float, spread: Spread) -> str:
    return f" ({100.0 * gain / abs(spread.mean):.2g} %)" if spread.mean else ""
