"""The judge: holds what was measured of a trial against the gates and the incumbent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from recipelab.acceptance import (
    CERTIFIED_BOUND,
    PROVISIONAL_BOUND,
    Acceptance,
    Confirmed,
    LineAcceptance,
    NeedMoreSeeds,
    Observations,
    Sample,
    Samples,
    Verdict,
    acceptance_policy,
    chance_to_reach,
    item_difference,
    level_of_next,
    mean_and_error,
)
from recipelab.core.trial import Evidence, Outcome, SeedRun, Status
from recipelab.evaluation.curves import StoppedOnCurve
from recipelab.evaluation.gates import (
    JudgedGate,
    judge_gates,
    missed_gate,
    near_misses,
    not_shown,
    results_of,
    surely_missed,
    unclear_gate,
    with_limits,
)
from recipelab.evaluation.metric import (
    METRIC,
    Incumbent,
    divergence_words,
    metric_by_seed,
    on_scale,
    pair_values,
)
from recipelab.evaluation.seeds import SeedSource
from recipelab.packs.judging_sections import Scale
from recipelab.packs.pack import Pack


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


def errors_to_hold(policy: Acceptance) -> float:
    """Return the standard errors by which a trial has to hold its gates to be kept."""
    if isinstance(policy, LineAcceptance):
        return PROVISIONAL_BOUND
    # A policy that tests nothing takes the mean for the truth.
    return CERTIFIED_BOUND if isinstance(policy, Confirmed) else 0.0


class Judge:
    """Judges trials of one pack: the gates first, then the gain over the incumbent.

    Args:
        pack: Metric and gates.
        policy: Tells a gain from noise; by default the policy that the pack asks for.
    """

    def __init__(self, pack: Pack, policy: Acceptance | None = None) -> None:
        self._pack = pack
        self.policy = policy or acceptance_policy(pack.acceptance)

    @property
    def pools(self) -> bool:
        """Whether a trial is compared with all runs of the best, whatever their seeds.

        Not side by side, where only runs of the same moment can be compared, nor where trial and
        best of one seed have a hidden round in common, whose luck their difference is free of, nor
        by a policy that compares seed by seed.
        """
        paired = self._pack.metric.side_by_side or self._pack.has_rounds
        return not paired and getattr(self.policy, "pools", False)

    def screening_seeds(self, seeds: SeedSource, best: Incumbent, trial: str) -> tuple[int, ...]:
        """Return the seeds that a trial is screened on."""
        every = seeds.screening(best.number, trial, shared=not self.pools)
        policy = self.policy
        count = policy.screening if isinstance(policy, LineAcceptance) else None
        return every if seeds.again else every[:count]

    def baseline(
        self, runs: TrialRuns, incumbent: Incumbent | None = None, *, lenient: bool = False
    ) -> Outcome:
        """Return the outcome of a recipe that is compared with nothing: gates alone decide.

        Args:
            runs: What was measured.
            incumbent: It knows the campaign's baseline, to which gates that are relative to that
                hold the recipe; ``None`` for the baseline itself.
            lenient: Whether a gate may be missed by what its noise allows, as by the starting
                recipe of a campaign, which nobody chose for its luck.
        """
        gates = tuple(gate for gate in self._pack.gates if not gate.relative)
        judged, outcome = self._measured(runs, None, None)
        if incumbent is not None and incumbent.baseline:
            held = [gate for gate in self._pack.gates if gate.relative_to == "baseline"]
            judged = (*judged, *judge_gates(held, runs.judged, incumbent))
            outcome = replace(outcome, gates=results_of(judged))
        near = near_misses(gates, runs.judged) if lenient else {}
        if missed := missed_gate(judged, allowed=near):
            status, failure = missed
            return replace(outcome, status=status, failure=failure, reason=failure.excerpt)
        reason = "; ".join(["the starting recipe", *near.values()])
        return replace(outcome, status=Status.BASELINE, reason=reason)

    def trial(
        self,
        runs: TrialRuns,
        incumbent: Incumbent,
        *,
        screened_against: Incumbent | None = None,
        gate_asked: bool = False,
    ) -> Outcome | NeedMoreSeeds:
        """Return the outcome of a trial, or how many fresh seeds have to run first.

        Args:
            runs: What was measured.
            incumbent: What it is compared with.
            screened_against: What it was screened against, if that is another recipe.
            gate_asked: Whether a gate has asked for more seeds before, and may not again.
        """
        observed = self.observations(runs, incumbent)
        verdict = self.policy.judge(observed)
        judged, outcome = self._measured(runs, incumbent, screened_against)
        missed = missed_gate(judged)
        is_promising = isinstance(verdict, NeedMoreSeeds)
        # A promising trial may just have been unlucky with a gate: more seeds tell.
        if missed and (not is_promising or surely_missed(judged)):
            status, failure = missed
            outcome = replace(outcome, status=status, failure=failure, reason=failure.excerpt)
            return self._not_compared(outcome, runs, incumbent, screened_against)
        if isinstance(verdict, NeedMoreSeeds):
            return verdict
        if verdict.kept and (near := unclear_gate(judged)):
            if near.bound.more and not gate_asked:
                more = len(runs.judged) + near.bound.more
                words = f"gate {near.gate.name} is near"
                return NeedMoreSeeds(more, words, alone=self.pools, for_gate=True)
            failure = not_shown(near, len(runs.screen) + len(runs.confirm))
            outcome = replace(outcome, status=Status(near.gate.failure), failure=failure)
            verdict = replace(verdict, kept=False, standing=None, reason=failure.excerpt)
        found = replace(
            outcome,
            status=Status.KEPT if verdict.kept else outcome.status,
            reason=verdict.reason + _left_out(runs) + self._divergence(runs, incumbent),
            delta=observed.scale.delta(verdict.delta, observed.at),
            delta_se=_error(verdict.delta_se, observed),
            evidence=_evidence(runs, incumbent, verdict),
        )
        return self._against_parent(found, runs, screened_against)

    def not_merged(self, runs: TrialRuns, parent: Incumbent, reason: str) -> Outcome:
        """Return the outcome of a promising trial that cannot be moved to the new best."""
        outcome = replace(self._measured(runs, parent, None)[1], reason=reason)
        return self._not_compared(outcome, runs, parent, None)

    def stopped(self, runs: TrialRuns, best: Incumbent, stopped: StoppedOnCurve) -> Outcome:
        """Return the outcome of a trial whose training was stopped on its curve.

        Nothing that the curve says counts as a score: what was measured before stays, if anything.

        Args:
            runs: What was measured before.
            best: What it was held against.
            stopped: Where and why it was stopped.
        """
        reason, log = str(stopped), stopped.result.log
        if runs.screen:
            outcome = replace(self._measured(runs, best, None)[1], reason=reason)
            outcome = self._not_compared(outcome, runs, best, None)
        else:
            environment = stopped.result.environment
            outcome = Outcome(Status.DISCARDED, reason, log_tail=log, environment=environment)
        left = runs.planned - len(runs.screen)
        saved = left * _mean_seconds(best) - stopped.result.wall_seconds
        evidence = Evidence(
            against=best.number,
            planned=runs.planned,
            screened=len(runs.screen),
            saved_seconds=max(0.0, saved),
            stopped_early=1,
        )
        return replace(outcome, evidence=evidence)

    def not_promoted(self, runs: TrialRuns, best: Incumbent, reason: str) -> Outcome:
        """Return the outcome of a trial that is not worth a training at full length.

        Args:
            runs: No runs, and how many a screening has.
            best: What its short trainings were held against.
            reason: What these said.
        """
        spec = self._pack.fidelity
        share = 1.0 - spec.share if spec is not None else 0.0
        evidence = Evidence(
            against=best.number,
            planned=runs.planned,
            screened=0,
            saved_seconds=share * runs.planned * _mean_seconds(best),
        )
        environment = runs.environment
        return Outcome(
            Status.DISCARDED,
            reason,
            log_tail=runs.log,
            environment=environment,
            evidence=evidence,
        )

    def outdated(self, outcome: Outcome, best: Incumbent) -> Outcome:
        """Return the outcome of a trial that was judged against its parent, and says so."""
        against = outcome.evidence.against if outcome.evidence is not None else 0
        words = f"against trial {against}; the best changed meanwhile to trial {best.number}"
        return replace(outcome, reason=f"{outcome.reason}; {words}")

    def leads(self, outcome: Outcome, best: Incumbent) -> bool:
        """Return whether the score of a trial is better than that of a best it was not run with."""
        if outcome.score is None:
            return False
        return self._pack.metric.goal.sign * (outcome.score - best.mean(METRIC)) > 0.0

    def overtaken(self, outcome: Outcome, best: Incumbent) -> Outcome:
        """Return the outcome of a trial that beat the best of its time, and not the new one.

        Args:
            outcome: What its comparison with the former best found.
            best: The new one, whose score is better.
        """
        evidence = outcome.evidence
        if evidence is not None:
            evidence = replace(evidence, standing=None)
        discarded = replace(outcome, status=Status.DISCARDED, evidence=evidence)
        told = self.outdated(discarded, best)
        return replace(told, reason=f"{told.reason}, whose score is better")

    def hopeless(self, runs: Sequence[SeedRun], planned: int, incumbent: Incumbent) -> str | None:
        """Return why a screening need not go on; ``None`` if it has to.

        It has to, too, where the noise is unknown.

        Args:
            runs: The seed runs so far, with their metric.
            planned: How many there will be.
            incumbent: The incumbent.
        """
        error, noise = self._pack.acceptance.racing_error, incumbent.noise
        if noise is None or error <= 0.0:
            return None
        for gate in with_limits(self._pack.gates, incumbent):
            if (spread := noise.measures.get(gate.measure)) is None:
                continue
            margins = [gate.margin(run.measures[gate.measure]) for run in runs]
            chance = chance_to_reach(margins, planned, 0.0, spread)
            if chance < error:
                return f"gate {gate.name} is out of reach (chance {chance:.2g})"
        observed = self.observations(TrialRuns(tuple(runs), planned), incumbent)
        promise = self.policy.promise(observed, planned)
        if promise is not None and promise < error:
            return f"a gain is out of reach (chance {promise:.2g})"
        return None

    def spread_group(self, outcome: Outcome) -> tuple[float, ...]:
        """Return what the seed runs of an outcome say about the noise, on the metric's scale.

        Side by side these are differences to what ran beside it, elsewhere the metric itself.
        """
        metric, runs = self._pack.metric, outcome.seed_runs
        if outcome.evidence is not None and outcome.evidence.rebased_from is not None:
            # The screening was of another recipe.
            runs = tuple(run for run in runs if run.seed in outcome.judged_seeds)
        if metric.side_by_side:
            return tuple(pair_values(runs, metric))
        measured = [run for run in runs if METRIC in run.measures]
        return tuple(on_scale(metric_by_seed(measured), metric.scale).values())

    def _measured(
        self, runs: TrialRuns, incumbent: Incumbent | None, screened_against: Incumbent | None
    ) -> tuple[tuple[JudgedGate, ...], Outcome]:
        """Return the gates, and the outcome without a verdict: score, gates and seed runs.

        Gates are judged over all runs of the recipe. Those of a screening against another best
        were of another recipe.
        """
        score, score_se = mean_and_error(metric_by_seed(runs.judged))
        gates = [gate for gate in self._pack.gates if incumbent is not None or not gate.relative]
        own = runs.confirm if screened_against is not None else (*runs.screen, *runs.confirm)
        judged = judge_gates(
            gates, own or runs.screen, incumbent, errors=errors_to_hold(self.policy)
        )
        return judged, Outcome(
            status=Status.DISCARDED,
            reason="",
            seed_runs=(*runs.screen, *runs.confirm),
            gates=results_of(judged),
            score=score,
            score_se=score_se,
            log_tail=runs.log,
            environment=runs.environment,
        )

    def observations(self, runs: TrialRuns, incumbent: Incumbent) -> Observations:
        """Return what a policy is shown of a trial: everything on the metric's scale.

        Raises:
            EvaluatorFault: The metric has no logarithm, where the scale asks for it.
        """
        metric = self._pack.metric
        screen, confirm = metric_by_seed(runs.screen), metric_by_seed(runs.confirm)

        def samples(candidate: Sample) -> Samples:
            best = incumbent.sample(candidate, metric)
            return Samples(on_scale(candidate, metric.scale), on_scale(best, metric.scale))

        pool = dict(enumerate(incumbent.values(METRIC))) if self.pools else {}
        return Observations(
            goal=metric.goal,
            screen=samples(screen),
            confirm=samples(confirm),
            noise=incumbent.noise,
            history=incumbent.history,
            pool=tuple(on_scale(pool, metric.scale).values()),
            scale=metric.scale,
            at=incumbent.mean(METRIC),
            item_error=self._item_error(runs.confirm, incumbent),
            deterministic=self._pack.acceptance.deterministic,
            tried=incumbent.tried,
        )

    def _item_error(self, runs: Sequence[SeedRun], incumbent: Incumbent) -> float:
        """Return the error of the difference that the finite hidden set makes, on the scale.

        It is known where the scorer leaves items of the metric, and both have run in this process.
        """
        metric = self._pack.metric
        if self._pack.evaluator.items != metric.measure:
            return 0.0
        seeds = [run.seed for run in runs if run.seed in incumbent.runs]
        own = {run.seed: run.items for run in runs if run.seed in seeds and run.items}
        others = {s: incumbent.runs[s].items for s in seeds if incumbent.runs[s].items}
        found = item_difference(own, others, fresh=self._pack.has_rounds)
        if found is None:
            return 0.0
        size = abs(incumbent.mean(METRIC)) if metric.scale is Scale.LOG else 1.0
        return found.added_error / size

    def _divergence(self, runs: TrialRuns, incumbent: Incumbent) -> str:
        """Return a further clause that a recipe diverged on some seeds; empty if on none."""
        every = (*runs.screen, *runs.confirm)
        words = divergence_words(every, self._pack.metric, self._pack.gates, incumbent.noise)
        return f"; {words}" if words else ""

    def _not_compared(
        self,
        outcome: Outcome,
        runs: TrialRuns,
        incumbent: Incumbent,
        screened_against: Incumbent | None,
    ) -> Outcome:
        """Return the outcome of a trial without a verdict of the policy, but with its delta."""
        delta, error = self._difference(runs, incumbent)
        evidence = _evidence(runs, incumbent, None)
        if runs.confirm and not isinstance(self.policy, LineAcceptance):
            # It was looked at and might have been kept, so its test has used up a level.
            rate = self._pack.acceptance.false_keep_rate
            level = level_of_next(rate, incumbent.history, Confirmed.half)
            evidence = replace(evidence, level=level)
        found = replace(
            outcome,
            reason=outcome.reason + _left_out(runs) + self._divergence(runs, incumbent),
            delta=delta,
            delta_se=error,
            evidence=evidence,
        )
        return self._against_parent(found, runs, screened_against)

    def _difference(self, runs: TrialRuns, incumbent: Incumbent) -> tuple[float, float | None]:
        """Return the mean difference of the judged runs to the incumbent, and its error."""
        observed = self.observations(runs, incumbent)
        samples = observed.confirm if runs.confirm else observed.screen
        if observed.pool:
            values = [x - fmean(observed.pool) for x in samples.candidate.values()]
        else:
            values = list(samples.differences)
        delta, error = mean_and_error(dict(enumerate(values)))
        return observed.scale.delta(delta, observed.at), _error(error, observed)

    def _against_parent(
        self, outcome: Outcome, runs: TrialRuns, parent: Incumbent | None
    ) -> Outcome:
        """Return an outcome that tells its parent's part apart, if the best changed meanwhile."""
        if parent is None or outcome.evidence is None:
            return outcome
        delta, error = self._difference(TrialRuns(runs.screen, runs.planned), parent)
        evidence = replace(
            outcome.evidence,
            rebased_from=parent.number,
            parent_delta=delta,
            parent_delta_se=error,
        )
        reason = (
            f"{outcome.reason}; the best changed meanwhile from trial {parent.number} to trial "
            f"{evidence.against}, and against the former it had {delta:+.4g}"
        )
        return replace(outcome, reason=reason, evidence=evidence)


def _error(error: float | None, observed: Observations) -> float | None:
    return None if error is None else observed.scale.error(error, observed.at)


def _mean_seconds(best: Incumbent) -> float:
    """Return how long a seed run of the best takes; 0 if none is known."""
    times = [sum(timing.wall_seconds for timing in run.timings) for run in best.runs.values()]
    return fmean(time for time in times if time) if any(times) else 0.0


def _left_out(runs: TrialRuns) -> str:
    if len(runs.screen) >= runs.planned:
        return ""
    return (
        f"; stopped after {len(runs.screen)} of {runs.planned} seed runs, as the rest could not "
        "change it"
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
        standing=verdict.standing if verdict else None,
        deterministic=_has_repeats((*runs.screen, *runs.confirm)),
    )


def _has_repeats(runs: Sequence[SeedRun]) -> bool:
    """Return whether some seed runs stand for others that were the same, and so took no time."""
    return len({bool(run.timings) for run in runs}) > 1
