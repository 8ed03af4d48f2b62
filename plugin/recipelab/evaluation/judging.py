"""Gives a measured trial its status: gates first, then acceptance under noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from recipelab.acceptance import (
    Acceptance,
    Confirmed,
    KeepIfBetter,
    More,
    PairedTwoSigma,
    Samples,
    Standing,
    Verdict,
    chance_to_reach,
    mean_and_error,
)
from recipelab.evaluation.gates import judge_gates, missed_gate
from recipelab.evaluation.metric import METRIC, Reference
from recipelab.pack import Pack
from recipelab.pack_parts import AcceptanceSpec
from recipelab.trial import Evidence, Outcome, SeedRun, Status


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

    def trial(self, measured: Measured, best: Reference) -> Outcome | More:
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
        if isinstance(found, More):
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
