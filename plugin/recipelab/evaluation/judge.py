"""The judge: holds what was measured of a trial against the gates and the incumbent."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from recipelab.acceptance import (
    Acceptance,
    Confirmed,
    Line,
    NeedMoreSeeds,
    Noise,
    Observations,
    Samples,
    Verdict,
    acceptance_policy,
    chance_to_reach,
    mean_and_error,
    smallest_gain,
)
from recipelab.core.trial import (
    Evidence,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    SeedRun,
    Status,
)
from recipelab.evaluation.metric import METRIC, Incumbent, metric_by_seed, noise_of
from recipelab.evaluation.projection import projection_note
from recipelab.lineage import TrialRecord
from recipelab.packs.pack import Pack
from recipelab.packs.sections import FILE_MEASURES, Gate


@dataclass(frozen=True)
class TrialRuns:
    """The seed runs of a trial so far, with their metric.

    Attributes:
        screen: Those of the screening.
        planned: How many a whole screening has.
        confirm: Those of the confirmation.
        log: Log of the last phase.
        environment: What it ran in.
    """

    screen: tuple[SeedRun, ...]
    planned: int
    confirm: tuple[SeedRun, ...] = ()
    log: str = ""
    environment: str = ""

    @property
    def judged(self) -> tuple[SeedRun, ...]:
        """The seed runs that the judgment rests on: the fresh ones, once there are any."""
        return self.confirm or self.screen


class Judge:
    """Judges trials of one pack: the gates first, then the gain over the incumbent.

    Args:
        pack: Metric and gates.
        policy: Tells a gain from noise; by default the policy that the pack asks for.
    """

    def __init__(self, pack: Pack, policy: Acceptance | None = None) -> None:
        self._pack = pack
        self._policy = policy or acceptance_policy(pack.acceptance)

    def baseline(self, runs: TrialRuns, *, lenient: bool = False) -> Outcome:
        """Return the outcome of a recipe that is compared with nothing: gates alone decide.

        Args:
            runs: What was measured.
            lenient: Whether a gate may be missed by what its noise allows, as by the starting
                recipe of a campaign, which nobody chose for its luck.
        """
        outcome = self._measured(runs)
        near = near_misses(self._pack.gates, runs.judged) if lenient else {}
        if missed := missed_gate(self._pack.gates, outcome.gates, allowed=near):
            status, failure = missed
            return replace(outcome, status=status, failure=failure, reason=failure.excerpt)
        reason = "; ".join(["the starting recipe", *near.values()])
        return replace(outcome, status=Status.BASELINE, reason=reason)

    def trial(self, runs: TrialRuns, incumbent: Incumbent) -> Outcome | NeedMoreSeeds:
        """Return the outcome of a trial, or how many fresh seeds have to run first.

        Args:
            runs: What was measured.
            incumbent: The incumbent, which has run the same seeds.
        """
        observed = self._observations(runs, incumbent)
        verdict = self._policy.judge(observed)
        outcome = self._measured(runs)
        left_out = runs.planned - len(runs.screen)
        stopped = (
            f"; stopped after {len(runs.screen)} of {runs.planned} seed runs, as the rest could "
            "not change it"
            if left_out > 0
            else ""
        )
        if missed := missed_gate(self._pack.gates, outcome.gates):
            status, failure = missed
            samples = observed.confirm if runs.confirm else observed.screen
            delta, error = mean_and_error(dict(enumerate(samples.differences)))
            return replace(
                outcome,
                status=status,
                failure=failure,
                reason=failure.excerpt + stopped,
                delta=delta,
                delta_se=error,
                evidence=_evidence(runs, incumbent, None),
            )
        if isinstance(verdict, NeedMoreSeeds):
            return verdict
        return replace(
            outcome,
            status=Status.KEPT if verdict.kept else Status.DISCARDED,
            reason=verdict.reason + stopped,
            delta=verdict.delta,
            delta_se=verdict.delta_se,
            evidence=_evidence(runs, incumbent, verdict),
        )

    def hopeless(self, runs: Sequence[SeedRun], planned: int, incumbent: Incumbent) -> str | None:
        """Return why a screening need not go on; ``None`` if it has to.

        It has to, too, where the noise is unknown.

        Args:
            runs: The seed runs so far, with their metric.
            planned: How many there will be.
            incumbent: The incumbent, which has run the same seeds.
        """
        error, noise = self._pack.acceptance.racing_error, incumbent.noise
        if noise is None or error <= 0.0:
            return None
        for gate in self._pack.gates:
            if (spread := noise.measures.get(gate.measure)) is None:
                continue
            side = 1.0 if gate.at_least is not None else -1.0
            values = [side * run.measures[gate.measure] for run in runs]
            chance = chance_to_reach(values, planned, side * gate.limit, spread)
            if chance < error:
                return f"gate {gate.name} is out of reach (chance {chance:.2g})"
        observed = self._observations(TrialRuns(tuple(runs), planned), incumbent)
        promise = self._policy.promise(observed, planned)
        if promise is not None and promise < error:
            return f"a gain is out of reach (chance {promise:.2g})"
        return None

    def _measured(self, runs: TrialRuns) -> Outcome:
        """Return the outcome without a verdict: score, gates and seed runs."""
        score, score_se = mean_and_error(metric_by_seed(runs.judged))
        return Outcome(
            status=Status.DISCARDED,
            reason="",
            seed_runs=(*runs.screen, *runs.confirm),
            gates=judge_gates(self._pack.gates, runs.judged),
            score=score,
            score_se=score_se,
            log_tail=runs.log,
            environment=runs.environment,
        )

    def _observations(self, runs: TrialRuns, incumbent: Incumbent) -> Observations:
        metric = self._pack.metric
        screen, confirm = metric_by_seed(runs.screen), metric_by_seed(runs.confirm)
        return Observations(
            goal=metric.goal,
            screen=Samples(screen, incumbent.sample(screen, metric)),
            confirm=Samples(confirm, incumbent.sample(confirm, metric)),
            noise=incumbent.noise,
            history=incumbent.history,
        )


def _evidence(runs: TrialRuns, incumbent: Incumbent, verdict: Verdict | None) -> Evidence:
    left_out = runs.planned - len(runs.screen)
    each = fmean(sum(timing.wall_seconds for timing in run.timings) for run in runs.screen)
    return Evidence(
        against=incumbent.number,
        planned=runs.planned,
        screened=len(runs.screen),
        confirmed=len(runs.confirm),
        saved_seconds=left_out * each,
        p=verdict.p if verdict else None,
        level=verdict.level if verdict else None,
    )


def judge_gates(gates: Iterable[Gate], runs: Sequence[SeedRun]) -> tuple[GateResult, ...]:
    """Judge every gate by the mean of its measurement over the seed runs."""
    values = ((gate, fmean(run.measures[gate.measure] for run in runs)) for gate in gates)
    return tuple(GateResult(gate.name, x, gate.limit, gate.margin(x)) for gate, x in values)


NOISE_ERRORS = 3.0
"""Standard errors of its mean by less than which a starting recipe may miss a gate."""


def near_misses(gates: Iterable[Gate], runs: Sequence[SeedRun]) -> dict[str, str]:
    """Return the gates that were missed by no more than noise allows, by name, each with words.

    A mean of seed runs moves by its standard error. What does not move, as the size of files that
    are the same every time, has none; a rule and a size are never a matter of luck.

    Args:
        gates: The gates.
        runs: The seed runs.
    """
    found = {}
    for gate in gates:
        if gate.measure in FILE_MEASURES or gate.failure is Status.ILLEGAL:
            continue
        # An evaluator of an app's own need not measure what the pack's does.
        values = {
            run.seed: run.measures[gate.measure] for run in runs if gate.measure in run.measures
        }
        if len(values) < max(1, len(runs)):
            continue
        mean, error = mean_and_error(values)
        if not error or not -NOISE_ERRORS * error < gate.margin(mean) < 0.0:
            continue
        found[gate.name] = (
            f"it misses gate {gate.name} ({gate.measure} is {mean:.6g}, must be {gate.bound}) by "
            f"{-gate.margin(mean):.2g}, which is {-gate.margin(mean) / error:.1f} standard errors "
            f"of its {len(runs)} seed runs and so may be bad luck: trials have to pass it"
        )
    return found


def missed_gate(
    gates: Sequence[Gate], results: Sequence[GateResult], *, allowed: Container[str] = ()
) -> tuple[Status, Failure] | None:
    """Return the status and failure of the first gate that was missed, if one was.

    Args:
        gates: The gates.
        results: What was measured of each.
        allowed: Names of gates that may be missed.
    """
    for gate, result in zip(gates, results, strict=True):
        if not result.passed and gate.name not in allowed:
            text = (
                f"gate {gate.name}: {gate.measure} is {result.value:.6g}, must be {gate.bound} "
                f"(missed by {-result.margin:.3g})"
            )
            kind = FailureKind.SIZE if gate.failure is Status.OVERSIZE else FailureKind.GATE
            return Status(gate.failure), Failure(None, kind, f"gate {gate.name} missed", text)
    return None


LATER = 20
"""Confirmations after which the smallest gain is told once more, as tests are stricter by then."""


@dataclass(frozen=True)
class Calibration:
    """What the seed runs of the baseline say about the noise of a pack.

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
    """Return what the seed runs of the baseline say; ``None`` if there are too few."""
    noise = noise_of(runs, pack.metric)
    if noise is None:
        return None
    policy = acceptance_policy(pack.acceptance)
    if not isinstance(policy, Confirmed | Line):
        return Calibration(noise, None, None)
    seeds = len(pack.seeds)
    gains = (smallest_gain(policy, noise.pair, seeds, tested=count).gain for count in (0, LATER))
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


def _calibration_sentences(pack: Pack, calibration: Calibration) -> Iterator[str]:
    metric, noise = pack.metric, calibration.noise
    spread, unit = noise.measures[METRIC], f" {metric.unit}" if metric.unit else ""
    yield (
        f"Noise, from {spread.runs} seed runs of the baseline: {metric.name} "
        f"{spread.mean:.5g}{unit}, standard deviation {spread.sd:.2g}; of the difference of two "
        f"equal recipes {noise.pair.sd:.2g}."
    )
    for gate in pack.gates:
        if (found := noise.measures.get(gate.measure)) is None:
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
    if noise.pair.sd == 0.0:
        yield "Nothing here has any noise: any gain can be seen."
        return
    smallest, later = calibration.smallest, calibration.smallest_later or calibration.smallest
    share = f" ({100.0 * smallest / abs(spread.mean):.2g} %)" if spread.mean else ""
    yield (
        f"The smallest true gain that is kept four times in five: {smallest:.2g}{unit}{share}, "
        f"after {LATER} confirmations {later:.2g}{unit}; "
        "chance to keep anything if nothing is ever better: "
        f"{pack.acceptance.false_keep_rate:.0%} over the whole campaign."
    )
