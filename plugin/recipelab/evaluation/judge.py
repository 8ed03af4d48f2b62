"""Holds measurements against the gates of a pack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from recipelab.acceptance import (
    Acceptance,
    Confirmed,
    KeepIfBetter,
    NeedMoreSeeds,
    Noise,
    PairedTwoSigma,
    Samples,
    Spread,
    Standing,
    Verdict,
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
from recipelab.evaluation.metric import METRIC, Reference, noise_of
from recipelab.lineage import TrialRecord
from recipelab.packs.pack import Pack
from recipelab.packs.sections import AcceptanceSpec, Gate


def judge_gates(gates: Iterable[Gate], runs: Sequence[SeedRun]) -> tuple[GateResult, ...]:
    """Judges every gate on its measurement's mean over the seed runs."""
    return tuple(_judge(gate, fmean(run.measures[gate.measure] for run in runs)) for gate in gates)


def missed_gate(
    gates: Sequence[Gate], results: Sequence[GateResult]
) -> tuple[Status, Failure] | None:
    """The status and failure of the first gate that was missed, or ``None``."""
    for gate, result in zip(gates, results, strict=True):
        if not result.passed:
            side = "at least" if gate.at_least is not None else "at most"
            text = (
                f"gate {gate.name}: {gate.measure} is {result.value:.6g}, must be {side} "
                f"{result.limit:g} (missed by {-result.margin:.3g})"
            )
            kind = FailureKind.SIZE if gate.failure is Status.OVERSIZE else FailureKind.GATE
            return Status(gate.failure), Failure(None, kind, f"gate {gate.name} missed", text)
    return None


def _judge(gate: Gate, value: float) -> GateResult:
    return GateResult(gate.name, value, gate.limit, gate.margin(value))


def policy_of(spec: AcceptanceSpec) -> Acceptance:
    """The acceptance policy that a pack asks for."""
    if spec.policy == "confirmed":
        return Confirmed(false_keep_rate=spec.false_keep_rate, looks=spec.confirm)
    return PairedTwoSigma() if spec.policy == "paired-two-sigma" else KeepIfBetter()


@dataclass(frozen=True)
class Measured:
    """What was measured of a trial so far.

    Attributes:
        screen: Seed runs of the screening, with their metric.
        confirm: Seed runs of the confirmation, with their metric.
        planned: How many seed runs a whole screening has.
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
    """Judges trials of one pack.

    Args:
        pack: Metric and gates.
        policy: What tells a gain from noise; by default the one that the pack asks for.
    """

    def __init__(self, pack: Pack, policy: Acceptance | None = None) -> None:
        self._pack = pack
        self._policy = policy or policy_of(pack.acceptance)

    def baseline(self, measured: Measured) -> Outcome:
        """The outcome of the starting recipe, which nothing is compared with."""
        outcome = self._measured(measured)
        missed = missed_gate(self._pack.gates, outcome.gates)
        if missed is None:
            return replace(outcome, status=Status.BASELINE, reason="the starting recipe")
        return replace(outcome, status=missed[0], failure=missed[1], reason=missed[1].excerpt)

    def trial(self, measured: Measured, best: Reference) -> Outcome | NeedMoreSeeds:
        """The outcome of a trial, or what has to be seen first.

        Args:
            measured: What was measured.
            best: The best, with its seed runs on the same seeds.
        """
        found = self._policy.judge(self._standing(measured, best))
        outcome = self._measured(measured)
        if missed := missed_gate(self._pack.gates, outcome.gates):
            status, failure = missed
            reason = failure.excerpt + _stopped(measured)
            delta, error = self._delta(measured, best)
            outcome = replace(outcome, status=status, failure=failure, reason=reason)
            return replace(
                outcome, delta=delta, delta_se=error, evidence=_evidence(measured, best, None)
            )
        if isinstance(found, NeedMoreSeeds):
            return found
        return replace(
            outcome,
            status=Status.KEPT if found.kept else Status.DISCARDED,
            reason=found.reason + _stopped(measured),
            delta=found.delta,
            delta_se=found.delta_se,
            evidence=_evidence(measured, best, found),
        )

    def hopeless(self, runs: Sequence[SeedRun], planned: int, best: Reference) -> str | None:
        """Why a screening need not go on; ``None`` if it has to, or if nobody knows the noise.

        Args:
            runs: The seed runs so far, with their metric.
            planned: How many there will be.
            best: The best, with its seed runs on the same seeds.
        """
        error, noise = self._pack.acceptance.racing_error, best.noise
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
        promise = self._policy.promise(
            self._standing(Measured(tuple(runs), planned), best), planned
        )
        if promise is not None and promise < error:
            return f"a gain is out of reach (chance {promise:.2g})"
        return None

    def _measured(self, measured: Measured) -> Outcome:
        runs = measured.judged
        score, score_se = mean_and_error(_sample(runs))
        return Outcome(
            status=Status.DISCARDED,
            reason="",
            seed_runs=(*measured.screen, *measured.confirm),
            gates=judge_gates(self._pack.gates, runs),
            score=score,
            score_se=score_se,
            log_tail=measured.log,
            environment=measured.environment,
        )

    def _standing(self, measured: Measured, best: Reference) -> Standing:
        return Standing(
            goal=self._pack.metric.goal,
            screen=self._samples(measured.screen, best),
            confirm=self._samples(measured.confirm, best),
            noise=best.noise,
            history=best.history,
        )

    def _samples(self, runs: Sequence[SeedRun], best: Reference) -> Samples:
        candidate = _sample(runs)
        return Samples(candidate, best.sample(candidate, self._pack.metric))

    def _delta(self, measured: Measured, best: Reference) -> tuple[float, float | None]:
        differences = self._samples(measured.judged, best).differences
        return mean_and_error(dict(enumerate(differences)))


def _sample(runs: Sequence[SeedRun]) -> Mapping[int, float]:
    return {run.seed: run.measures[METRIC] for run in runs}


def _stopped(measured: Measured) -> str:
    done = len(measured.screen)
    if done >= measured.planned:
        return ""
    return (
        f"; stopped after {done} of {measured.planned} seed runs, as the rest could not change it"
    )


def _evidence(measured: Measured, best: Reference, verdict: Verdict | None) -> Evidence:
    left_out = measured.planned - len(measured.screen)
    each = fmean(sum(timing.wall_seconds for timing in run.timings) for run in measured.screen)
    return Evidence(
        against=best.number,
        planned=measured.planned,
        screened=len(measured.screen),
        confirmed=len(measured.confirm),
        saved_seconds=left_out * each,
        p=verdict.p if verdict else None,
        level=verdict.level if verdict else None,
    )


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
