"""What the baseline of a pack does on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from recipelab.evaluation.calibration import calibration_of, calibration_words
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import noise_of
from recipelab.inspection.findings import Finding, error, ok, warning
from recipelab.pack import Pack
from recipelab.pack_measures import SANDBOX_MEASURES
from recipelab.trial import Outcome, Phase, SeedRun, Status

NEARLY = 0.7
"""Share of a budget from which a phase is told to be near its end."""

NEAR_GATE = 3.0
"""Standard errors of the mean below which a gate is told to be near."""


async def try_baseline(evaluator: Evaluator, labels: dict[str, str]) -> AsyncIterator[Finding]:
    """Runs the baseline as a campaign does, and once more with a seed that it had.

    Args:
        evaluator: Of the pack.
        labels: What it belongs to.
    """
    pack = evaluator.pack
    outcome = await evaluator.evaluate(pack.baseline(), None, labels=labels)
    if outcome.status is not Status.BASELINE:
        log = f"\n{outcome.failure.excerpt}" if outcome.failure is not None else ""
        yield error("baseline", f"{outcome.status}: {outcome.reason}{log}")
        return
    yield ok("baseline", f"{pack.metric.name} {outcome.score:.5g} {pack.metric.unit}".rstrip())
    for finding in (
        *_budgets(pack, outcome.seed_runs),
        *_gates(pack, outcome),
        *_noise(pack, outcome),
    ):
        yield finding
    yield await _repeated(evaluator, outcome, labels)


def _budgets(pack: Pack, runs: tuple[SeedRun, ...]) -> Iterator[Finding]:
    longest: dict[Phase, float] = {}
    for run in runs:
        for timing in run.timings:
            longest[timing.phase] = max(longest.get(timing.phase, 0.0), timing.wall_seconds)
    for phase, seconds in longest.items():
        budget = pack.seconds(phase)
        told = f"{phase} took up to {seconds:.1f} of {budget:g} s"
        near = seconds > NEARLY * budget
        yield warning("budgets", f"{told}: leave more room") if near else ok("budgets", told)


def _gates(pack: Pack, outcome: Outcome) -> Iterator[Finding]:
    noise = noise_of(outcome.seed_runs, pack.metric)
    for gate, result in zip(pack.gates, outcome.gates, strict=True):
        spread = noise.measures.get(gate.measure) if noise is not None else None
        error_of_mean = spread.sd / len(pack.seeds) ** 0.5 if spread is not None else 0.0
        told = f"{gate.name}: {result.value:.5g}, limit {result.limit:g}"
        if error_of_mean and result.margin < NEAR_GATE * error_of_mean:
            far = result.margin / error_of_mean
            yield warning("gates", f"{told}: only {far:.1f} standard errors away, luck decides")
        else:
            yield ok("gates", told)


def _noise(pack: Pack, outcome: Outcome) -> Iterator[Finding]:
    found = calibration_of(pack, outcome.seed_runs)
    if found is not None:
        yield ok("noise", calibration_words(pack, found))


async def _repeated(evaluator: Evaluator, outcome: Outcome, labels: dict[str, str]) -> Finding:
    """Whether the same seed gives the same score."""
    first = outcome.seed_runs[0]
    again = await evaluator.measure(
        evaluator.pack.baseline(), (first.seed,), labels={**labels, "purpose": "again"}
    )
    if not again.seed_runs:
        return error("repeats", f"the same seed fails the second time: {again.reason}")
    two = again.seed_runs[0]
    of_sandbox = {f"{Phase.SCORE}.{name}" for name in SANDBOX_MEASURES}
    names = [name for name in first.measures if name.startswith("score.")]
    names = [name for name in names if name not in of_sandbox]
    differ = [name for name in names if first.measures[name] != two.measures.get(name)]
    if not differ:
        return ok("repeats", "the same seed gives the same scores")
    told = ", ".join(
        f"{name} {first.measures[name]:.6g} and {two.measures[name]:.6g}" for name in differ
    )
    return warning("repeats", f"the same seed differs: {told}; noise beyond the seed costs power")
