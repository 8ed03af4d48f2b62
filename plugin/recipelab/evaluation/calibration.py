"""What the baseline's seed runs say before the first trial: noise, gates and projections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from recipelab.acceptance import (
    Confirmed,
    Line,
    Noise,
    SmallestGain,
    acceptance_policy,
    smallest_gain,
)
from recipelab.core.trial import SeedRun, Status
from recipelab.evaluation.gates import near_misses
from recipelab.evaluation.metric import METRIC, noise_of
from recipelab.evaluation.projection import projection_note
from recipelab.lineage import TrialRecord
from recipelab.packs.pack import Pack

LATER = 20
"""Confirmations after which the smallest gain is told once more, as tests are stricter by then."""


@dataclass(frozen=True)
class Calibration:
    """What the seed runs of the baseline say about the noise of a pack.

    Attributes:
        noise: The spread of everything that was measured.
        smallest: The smallest true gain that is claimed four times in five by the campaign's first
            test, on the metric's scale; ``None`` if the policy cannot say.
        smallest_later: The same after twenty tests.
    """

    noise: Noise
    smallest: SmallestGain | None
    smallest_later: SmallestGain | None


def calibration_of(pack: Pack, runs: Iterable[SeedRun]) -> Calibration | None:
    """Return what the seed runs of the baseline say; ``None`` if there are too few."""
    noise = noise_of(runs, pack.metric)
    if noise is None:
        return None
    policy = acceptance_policy(pack.acceptance)
    if not isinstance(policy, Confirmed | Line):
        return Calibration(noise, None, None)
    seeds = len(pack.seeds)
    gains = (smallest_gain(policy, noise.pair, seeds, tested=count) for count in (0, LATER))
    return Calibration(noise, *gains)


def baseline_text(pack: Pack, record: TrialRecord) -> str:
    """Return what a judged baseline says before the first trial; empty for any other trial.

    How noisy the pack is, which gates it misses by what the noise allows, and what it does not
    project.
    """
    if record.outcome is None or record.outcome.status is not Status.BASELINE:
        return ""
    runs = record.outcome.seed_runs
    calibration = calibration_of(pack, runs)
    noise = calibration_text(pack, calibration) if calibration is not None else ""
    near = (
        f"The starting recipe starts although {text}."
        for text in near_misses(pack.gates, runs).values()
    )
    projected = projection_note(pack, runs[0].measures) if runs else ""
    return " ".join(filter(None, (noise, *near, projected)))


def calibration_text(pack: Pack, calibration: Calibration) -> str:
    """Return what people and agents are told about the noise before the first trial."""
    return " ".join(_calibration_sentences(pack, calibration))


def smallest_claim(pack: Pack, calibration: Calibration) -> float | None:
    """Return the smallest gain that is claimed four times in five, in the metric's unit.

    ``None`` where the policy cannot say, or every seed measured the same.
    """
    if calibration.smallest is None or calibration.noise.pair.sd == 0.0:
        return None
    mean = calibration.noise.measures[METRIC].mean
    return pack.metric.scale.error(calibration.smallest.gain, mean)


def _calibration_sentences(pack: Pack, calibration: Calibration) -> Iterator[str]:
    metric, noise = pack.metric, calibration.noise
    spread, unit = noise.measures[METRIC], f" {metric.unit}" if metric.unit else ""
    pair = metric.scale.error(noise.pair.sd, spread.mean)
    yield (
        f"Noise, from {spread.runs} seed runs of the baseline: {metric.name} "
        f"{spread.mean:.5g}{unit}, standard deviation {spread.sd:.2g}; of the difference of two "
        f"equal recipes {pair:.2g}."
    )
    for gate in pack.gates:
        if gate.relative or (found := noise.measures.get(gate.measure)) is None:
            continue
        margin = gate.margin(found.mean)
        distance = (
            f", which is {margin / found.sd:.1f} standard deviations of one seed run."
            if found.sd
            else ", the same every time."
        )
        yield f"Gate {gate.name}: {found.mean:.5g}, {margin:+.3g} from its limit{distance}"
    if calibration.smallest is None:
        yield f"The policy {pack.acceptance.policy} states no bound on how often luck is kept."
        return
    if pack.acceptance.deterministic:
        yield "The pack says that every seed measures the same: one run tells all."
        return
    if noise.pair.sd == 0.0:
        yield (
            "Every seed measured the same, so seeds cannot confirm a gain. If that is meant, say "
            "deterministic = true in [acceptance], or have the scorer leave its losses by item."
        )
        return
    yield _smallest_sentence(pack, calibration, spread.mean, unit)


def _smallest_sentence(pack: Pack, calibration: Calibration, mean: float, unit: str) -> str:
    """Return how small a gain can be seen, as a range: four runs tell the noise to a factor."""
    if calibration.smallest is None or calibration.smallest_later is None:
        raise AssertionError("unreachable: the policy states a bound")
    scale, gain, later = pack.metric.scale, calibration.smallest, calibration.smallest_later
    now, low, high, then = (
        scale.error(x, mean) for x in (gain.gain, gain.low, gain.high, later.gain)
    )
    share = f", {100.0 * now / abs(mean):.2g} %" if mean else ""
    what = "lead of a line" if pack.acceptance.policy == "line" else "true gain"
    return (
        f"The smallest {what} that is claimed four times in five: about {now:.2g}{unit} ({low:.2g} "
        f"to {high:.2g}{share}), after {LATER} tests {then:.2g}{unit}; as trials tell more of the "
        "noise, this changes. Chance to claim anything if nothing is ever better: "
        f"{pack.acceptance.false_keep_rate:.0%} over the whole campaign."
    )
