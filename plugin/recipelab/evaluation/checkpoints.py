"""Checkpoints: the head of the working line against the last certified recipe, on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from recipelab.acceptance import (
    LineAcceptance,
    NeedMoreSeeds,
    Spread,
    Verdict,
    compare,
    mean_and_error,
    pooled,
    spread_of,
)
from recipelab.acceptance.gates import MOST_SEEDS
from recipelab.acceptance.sequential import look_of
from recipelab.core.errors import SandboxError
from recipelab.core.trial import Checkpoint, Phase, SeedRun, Status
from recipelab.evaluation.control import control_run
from recipelab.evaluation.failures import PhaseFailed
from recipelab.evaluation.gates import (
    judge_gates,
    missed_gate,
    not_shown,
    results_of,
    surely_missed,
    unclear_gate,
)
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.levels import History
from recipelab.evaluation.metric import METRIC, Incumbent, divergence_words
from recipelab.evaluation.seed_runs import SeedRuns
from recipelab.packs.judging_sections import Metric
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import Ending

MOVED_ERRORS = 4.0
"""Standard errors by which an incumbent that has gone bad is worse than it was."""

ENOUGH_LEAD = 1e-9
"""A lead below this many standard deviations is none: it is rounding."""


@dataclass(frozen=True)
class WorkingLine:
    """The kept trials since the last certified recipe, by their two ends.

    Attributes:
        head: The last one, which trials are compared with.
        certified: The certified recipe.
        position: How many checkpoints the campaign had before.
        tested: The last checkpoint since the line began, which did not hold; ``None`` without one.
        tested_score: Score of the head that it tested.
    """

    head: Incumbent
    certified: Incumbent
    position: int = 0
    tested: Checkpoint | None = None
    tested_score: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is anything to test that no checkpoint has tested."""
        number = self.head.number
        return number != self.certified.number and (
            self.tested is None or self.tested.trial != number
        )

    def with_history(self, history: History) -> WorkingLine:
        """Return the line as a test sees it that has its level by a history."""
        return replace(self, certified=replace(self.certified, history=history))

    def lead(self, pack: Pack) -> float:
        """Return the estimated lead of the head, in standard deviations of a seed run.

        It is the difference of the scores. A checkpoint that did not hold has measured the lead of
        its head on seeds that it was not chosen for, so that counts, and what came after on top.
        """
        metric, noise = pack.metric, self.head.noise
        scale, score = metric.scale, self.certified.mean(METRIC)
        lead = scale.on(self.head.mean(METRIC)) - scale.on(score)
        tested = self.tested
        if tested is not None and tested.delta is not None and self.tested_score is not None:
            measured = scale.on(score + tested.delta) - scale.on(score)
            lead = measured + scale.on(self.head.mean(METRIC)) - scale.on(self.tested_score)
        gain = metric.goal.sign * lead
        if noise is None or noise.run.sd <= 0.0:
            return math.copysign(math.inf, gain) if abs(gain) > ENOUGH_LEAD else 0.0
        return gain / noise.run.sd


def is_due(judge: Judge, line: WorkingLine, pack: Pack, *, at_end: bool) -> bool:
    """Return whether a checkpoint of the line is due.

    Args:
        judge: Its policy says.
        line: The line.
        pack: The campaign's pack.
        at_end: Whether the campaign ends, or a person asks.
    """
    policy = judge.policy
    if not isinstance(policy, LineAcceptance) or not line.is_open:
        return False
    return policy.is_due(line.lead(pack), at_end=at_end)


STARVED = 0.8
"""Share of the CPU time of earlier runs below which a run at its deadline was kept waiting."""


BUSY = 0.5
"""Share of its time that a recipe gets as CPU time, from which on it is bound by the CPU."""

WAITING = 0.6
"""Share of that below which another was kept waiting."""


def is_starved(failed: PhaseFailed, recipe: Incumbent) -> bool:
    """Return whether a recipe overran because it was kept waiting, as on a busy machine.

    It did not even get the CPU time in which it ended before.
    """
    if failed.result.ending is not Ending.DEADLINE:
        return False
    before = recipe.values(f"{failed.failure.phase}.cpu_seconds")
    return bool(before) and failed.result.cpu_seconds < STARVED * min(before)


def waiting_words(failed: PhaseFailed, best: Incumbent) -> str:
    """Return how a recipe was kept waiting as it overran; empty if it was not.

    Then it got a much smaller share of its time as CPU time than the best ever did. Where the best
    itself waits most of the time, as for a GPU or a disk, nobody can tell.

    Args:
        failed: How it ended.
        best: The best, whose own runs tell the share.
    """
    # Of a preflight, the load of the machine is asked for by itself.
    if failed.result.ending is not Ending.DEADLINE or failed.failure.phase is Phase.PREFLIGHT:
        return ""
    phase, wall = failed.failure.phase, failed.result.wall_seconds
    times = zip(
        best.values(f"{phase}.cpu_seconds"), best.values(f"{phase}.wall_seconds"), strict=True
    )
    usual = min((cpu / seconds for cpu, seconds in times if seconds > 0), default=0.0)
    share = failed.result.cpu_seconds / wall if wall > 0 else 1.0
    if usual < BUSY or share >= WAITING * usual:
        return ""
    return (
        f"the machine was busy: {phase} got {share:.0%} of its time as CPU time, and the best at "
        f"least {usual:.0%}"
    )


async def gone_bad(trial: SeedRuns, other: Incumbent, seeds: Sequence[int]) -> str:
    """Return why an incumbent is not any more what it was kept for; empty if it is.

    Whoever is compared with a recipe that is slower than it was seems to gain what that has lost.
    Times of one recipe at two moments cannot be compared, as the machine drifts, and a recipe can
    see how fast the machine is. So where times count, the incumbent runs beside the starting
    recipe, which nobody could prepare: one pair, and as many as confirm a trial if that one is
    suspicious. Elsewhere its runs on the seeds of the comparison are held against its others.
    If it is bad, it loses its standing (:attr:`Incumbent.fall`).

    Args:
        trial: Runs what is compared with it.
        other: The incumbent.
        seeds: The seeds that both were compared on.

    Raises:
        SandboxError: The machinery failed.
    """
    metric, noise = trial.pack.metric, other.noise
    if other.number == 0 or noise is None:
        return ""
    if not metric.side_by_side:
        # Those that it was chosen on may even be of the recipe that it was before it was merged.
        own = {seed: run for seed, run in other.runs.items() if seed not in other.chosen_on}
        now = tuple(own[seed] for seed in seeds if seed in own)
        then = tuple(run for seed, run in own.items() if seed not in seeds)
        return _fallen(other, then, now, metric, noise.run)
    if other.start is None:
        return ""
    then = tuple(run for seed, run in other.runs.items() if seed not in other.chosen_on)
    fresh = trial.seeds.fresh(f"start/{other.number}/{trial.name}", trial.pack.acceptance.fresh)
    first = 2 if metric.in_turns else 1
    now = await trial.beside_start(other, fresh[:first])
    if not _is_worse(then, now, metric, noise.pair):
        return ""
    now = (*now, *await trial.beside_start(other, fresh[first:]))
    return _fallen(other, then, now, metric, noise.pair)


def _is_worse(
    then: Sequence[SeedRun], now: Sequence[SeedRun], metric: Metric, spread: Spread
) -> bool:
    """Return whether an incumbent is worse now than it was, by more than noise."""
    if not then or not now:
        return False
    values = [[metric.scale.on(run.measures[METRIC]) for run in runs] for runs in (then, now)]
    worse = metric.goal.sign * (fmean(values[0]) - fmean(values[1]))
    known = pooled([spread, *(spread_of(own) for own in values if len(own) > 1)])
    # One pair raises a suspicion; a verdict takes several, and the upper end of their spread.
    sd = known.sd if len(now) == 1 else known.interval()[1]
    bound = MOVED_ERRORS * sd * math.sqrt(1.0 / len(then) + 1.0 / len(now))
    if metric.side_by_side:
        # What it was kept for was measured over several steps from the start, each with its luck.
        bound = max(bound, metric.drift)
    return worse > max(bound, ENOUGH_LEAD)


def _fallen(
    other: Incumbent,
    then: Sequence[SeedRun],
    now: Sequence[SeedRun],
    metric: Metric,
    spread: Spread,
) -> str:
    if not _is_worse(then, now, metric, spread):
        return ""
    was, is_now = (fmean(run.measures[METRIC] for run in runs) for runs in (then, now))
    where = "beside the starting recipe" if metric.side_by_side else "on fresh seeds"
    reason = (
        f"trial {other.number} has gone bad: its {metric.name} was {was:.4g}, and is {is_now:.4g} "
        f"{where} by now ({len(now)} seed runs), so nothing may be compared with it"
    )
    other.fall(reason, tuple(now))
    return reason


class LineTest:
    """Runs one checkpoint: fresh seeds of both recipes, in turns, until the policy has a verdict.

    Args:
        judge: Has the policy.
        pack: The campaign's pack.
        line: The line.
    """

    def __init__(self, judge: Judge, pack: Pack, line: WorkingLine) -> None:
        self._judge = judge
        self._pack = pack
        self._line = line

    async def run(self, trial: SeedRuns) -> Checkpoint:
        """Run it.

        Args:
            trial: Runs the head's recipe.

        Raises:
            SandboxError: The machinery failed, or the certified recipe did.
        """
        runs: tuple[SeedRun, ...] = ()
        found: Checkpoint | NeedMoreSeeds = NeedMoreSeeds(self._pack.acceptance.confirm[0], "")
        try:
            await trial.preflight()
            while isinstance(found, NeedMoreSeeds):
                fresh = trial.seeds.checkpoint(self._line.position, found.seeds)
                looks = look_of(found.seeds, self._pack.acceptance.confirm)
                trial.observer.confirming(*looks)
                await trial.run(fresh, self._line.certified)
                runs = trial.runs(fresh)
                found = self._judged(runs, gate_asked=found.for_gate)
            if found.held and (words := await control_run(trial)):
                found = replace(found, reason=f"{found.reason}; {words}")
        except PhaseFailed as failed:
            if is_starved(failed, self._line.head):
                raise SandboxError(
                    f"{failed.failure.phase} of the head had less CPU time within its budget than "
                    "it took before: the machine was busy"
                ) from failed
            what = "is illegal" if failed.status is Status.ILLEGAL else "failed on a fresh seed"
            reason = f"the head {what}: {failed.reason}"
            return Checkpoint(
                trial=self._line.head.number,
                against=self._line.certified.number,
                held=False,
                fell_back=True,
                reason=reason,
                seeds=len(trial.finished()),
                runs=trial.finished(),
            )
        if found.held and (bad := await gone_bad(trial, self._line.certified, fresh)):
            return replace(found, held=False, fell_back=True, reason=bad)
        return found

    def _judged(self, runs: Sequence[SeedRun], *, gate_asked: bool) -> Checkpoint | NeedMoreSeeds:
        """Return what was found, or how many fresh seeds have to run."""
        line, gates, policy = self._line, self._pack.gates, self._judge.policy
        if not isinstance(policy, LineAcceptance):
            raise TypeError(f"{type(policy).__name__} has no working line to test")
        observed = self._judge.observations(TrialRuns((), 0, tuple(runs)), line.certified)
        verdict = policy.test(observed)
        own = [run for seed, run in line.head.runs.items() if seed not in line.head.chosen_on]
        most = max(MOST_SEEDS, len(own) + len(runs) + self._pack.acceptance.most // 2)
        judged = judge_gates(gates, [*own, *runs], line.certified, most=most)
        missed = missed_gate(judged)
        if isinstance(verdict, NeedMoreSeeds):
            if not surely_missed(judged):
                return verdict
            delta, error = mean_and_error(dict(enumerate(observed.confirm.differences)))
            verdict = Verdict(False, delta, error, "")
        fails_gate = missed is not None
        if missed is not None:
            verdict = replace(verdict, kept=False, reason=missed[1].excerpt)
        elif verdict.kept and (near := unclear_gate(judged)):
            if near.bound.more and not gate_asked:
                words = f"gate {near.gate.name} is near"
                return NeedMoreSeeds(len(runs) + near.bound.more, words, for_gate=True)
            # A line that went on from a head at its gate would lead below it.
            fails_gate, reason = True, not_shown(near, len(own) + len(runs)).excerpt
            verdict = replace(verdict, kept=False, reason=reason)
        gain = observed.goal.sign * verdict.delta
        prior = observed.noise.pair if observed.noise is not None else None
        low, high = compare(
            observed.confirm, observed.goal, prior, item_error=observed.item_error
        ).interval()
        scale, at = observed.scale, observed.at
        words = divergence_words([*own, *runs], self._pack.metric, gates, line.head.noise)
        error = None if verdict.delta_se is None else scale.error(verdict.delta_se, at)
        return Checkpoint(
            trial=line.head.number,
            against=line.certified.number,
            held=verdict.kept,
            fell_back=not verdict.kept and (fails_gate or gain <= 0.0),
            reason=f"{verdict.reason}; the head {words}" if words else verdict.reason,
            seeds=len(runs),
            delta=scale.delta(verdict.delta, at),
            delta_se=error,
            delta_low=scale.delta(low, at),
            delta_high=scale.delta(high, at),
            p=verdict.p,
            level=verdict.level,
            gates=results_of(judged),
            runs=tuple(runs),
            against_runs=tuple(
                line.certified.runs[run.seed] for run in runs if run.seed in line.certified.runs
            ),
        )
