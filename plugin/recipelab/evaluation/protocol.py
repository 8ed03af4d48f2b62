"""The protocol of a trial: screen it, confirm it if it is promising, and judge it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

from recipelab.acceptance import LineAcceptance, NeedMoreSeeds, waves
from recipelab.acceptance.sequential import look_of
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, Status
from recipelab.evaluation.checkpoints import gone_bad
from recipelab.evaluation.control import control_run, is_claim
from recipelab.evaluation.curves import StoppedOnCurve
from recipelab.evaluation.fidelity import FidelityBook, run_short
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.seed_runs import SeedRuns


@dataclass(frozen=True)
class Rebase:
    """How a trial moves to a new best, if the best changes while it is under way.

    Attributes:
        number: The parent that the trial was proposed on, which was the best then.
        recipe: The parent's recipe.
        accept: Called with the number of the new best and the merged recipe before that runs: it
            stores it, or returns why it cannot be tried.
        by_bytes: Whether comments count, so that to leave them out is a change.
    """

    number: int
    recipe: Recipe
    accept: Callable[[int, Recipe], str | None]
    by_bytes: bool = False

    def onto(self, best: Incumbent, trial: Recipe) -> Moved:
        """Merge the trial's change onto a new best, as far as that can be done."""
        merged = best.recipe.merged(self.recipe, trial)
        words = f"the best changed meanwhile from trial {self.number} to trial {best.number}"
        if isinstance(merged, str):
            clash = f"{words}, and both changed the same lines of {merged}: it is compared as it is"
            return Moved(trial, clash, merges=False)
        same = merged.digest == best.recipe.digest
        if same or (merged.meaning == best.recipe.meaning and not self.by_bytes):
            return Moved(None, f"{words}, which has this change already")
        if (refused := self.accept(best.number, merged)) is not None:
            return Moved(None, f"{words}, and merged onto it {refused}")
        return Moved(merged, words)


@dataclass(frozen=True)
class Moved:
    """What came of moving a trial to a new best.

    Attributes:
        recipe: The recipe that goes on; ``None`` if none does.
        words: What has happened, for its outcome.
        merges: Whether the recipe has the new best's changes, too.
    """

    recipe: Recipe | None
    words: str
    merges: bool = True


class TrialProtocol:
    """Runs the seeds that it takes to judge one trial against the incumbent, and no more.

    **Screen.** The trial runs the screening seeds. They run in growing portions; after each, the
    judge is asked whether a gate or a gain is out of reach, and if so the rest is left out (early
    stopping; the literature calls it racing). Nothing is kept for a screening alone: a promising
    trial may just be lucky on these seeds.

    Where the pack has a training curve, a run is stopped, too, whose curve is hopeless
    (:mod:`~recipelab.evaluation.curves`).

    Where the pack has short trainings, they come first, and a trial that is behind the best in
    them does not train at full length (:mod:`~recipelab.evaluation.fidelity`).

    **Confirm.** A promising trial runs on fresh seeds, which nobody had run before, and only these
    decide. The policy says how many, and whether the incumbent has to run them, too. One trial is
    confirmed at a time: the incumbent may not change meanwhile, and the levels of tests have an
    order. The lock is held until the outcome is returned, and the caller records it before it
    awaits anything, so the next confirmation already knows the new incumbent and history.

    **Again.** A recipe that was measured before is screened on more seeds, all of them fresh, and
    no run of it is stopped early: whoever asks for that wants to know what it is worth.

    **Rebase.** Where the incumbent has changed since a promising trial was screened, its change is
    merged onto the new one before it is confirmed. So it is compared with what it is built on, in
    both stages, and what it gained over its parent is told apart. Where both changed the same
    lines, the trial goes on as it is: it may well be the better of the two.

    **Control.** Where the pack has control runs, a trial that is kept for good, or gains
    surprisingly much, is trained once on data that tell nothing of the answers. A recipe that knows
    them all the same is illegal.

    **A best that has gone bad.** Before a trial is kept for good, or for a surprising gain, the
    best that it ran beside is held against the starting recipe
    (:func:`~recipelab.evaluation.checkpoints.gone_bad`). One that is not any more what it was loses
    its standing, and the trial is screened anew, beside what the line fell back to. Every other
    trial that joins the line is tested so at the checkpoint that claims it.

    **Side by side.** Where the pack compares times, the incumbent runs beside the trial on every
    seed, in both stages (:class:`~recipelab.evaluation.side_by_side.SideBySide`). Everywhere else
    its earlier seed runs count.

    **A kill** costs the seed runs that it interrupts, and nothing else: the trial is in flight
    without an outcome, and no level was used up. The seed runs of the trial and the incumbent are
    stored as they end. When the campaign resumes, the trial is screened and confirmed from the
    beginning, but a seed that has run is not run again. Its fresh seeds follow from the campaign's
    secret and the trial, so they are the same again.

    Args:
        judge: Gives the trial its status.
        incumbent: Returns the incumbent of the moment, which may change during a screening.
        confirming: The lock that a confirmation holds, one for all trials of the evaluator.
        rebase: Moves the trial to a new best; ``None`` if it is compared as it is.
        fidelity: What is known of short trainings; ``None`` where the pack has none.
    """

    def __init__(
        self,
        judge: Judge,
        incumbent: Callable[[], Incumbent],
        confirming: AbstractAsyncContextManager[Any],
        rebase: Rebase | None = None,
        fidelity: FidelityBook | None = None,
    ) -> None:
        self._judge = judge
        self._incumbent = incumbent
        self._confirming = confirming
        self._rebase = rebase
        self._fidelity = fidelity

    async def run(self, trial: SeedRuns) -> Outcome:
        """Screen and, if need be, confirm a trial that passed its preflight.

        Raises:
            PhaseFailed: A phase of the trial failed.
            SandboxError: The machinery failed, or the incumbent did.
        """
        outcome = await self._promoted(trial, self._incumbent())
        check = trial.curves.note_check(trial.name, outcome) if trial.curves is not None else ""
        return replace(outcome, reason=f"{outcome.reason}; {check}") if check else outcome

    async def _promoted(self, trial: SeedRuns, first: Incumbent) -> Outcome:
        """Judge a trial at full length, if its short trainings are worth it."""
        book = self._fidelity
        if book is None or trial.seeds.again:
            return await self._judged(trial, first)
        if book.off:
            outcome = await self._judged(trial, first)
            return replace(outcome, reason=f"{outcome.reason}; {book.off}")
        short = await run_short(trial, first, book)
        if not book.promotes(short, is_check=trial.seeds.is_check(trial.name)):
            planned = self._judge.screening_seeds(trial.seeds, first, trial.name)
            runs = _runs(trial, planned, ())
            return self._told(self._judge.not_promoted(runs, first, short.words), first)
        outcome = await self._judged(trial, first)
        if outcome.delta is not None:
            book.add(trial.name, short, trial.pack.metric.goal.sign * outcome.delta)
        return outcome

    async def _judged(self, trial: SeedRuns, first: Incumbent) -> Outcome:
        """Screen and, if need be, confirm a trial at full length."""
        while True:
            try:
                screened = await self._screen(trial, first)
            except StoppedOnCurve as stopped:
                planned = self._judge.screening_seeds(trial.seeds, first, trial.name)
                ended = self._judge.stopped(_runs(trial, planned, ()), first, stopped)
                return self._told(ended, first)
            found = self._judge.trial(_runs(trial, screened, ()), first)
            if not isinstance(found, NeedMoreSeeds) and found.status is not Status.KEPT:
                return self._told(found, first)
            async with self._confirming:
                # The incumbent may have changed while this trial was screened or waited.
                best = self._incumbent()
                moved = best.number != first.number
                confirms = isinstance(found, NeedMoreSeeds)
                refused = await self._move(trial, screened, first, best, forget=not confirms)
                if refused is not None:
                    return refused
                if isinstance(found, NeedMoreSeeds):
                    beside = first if moved else None
                    found = await self._confirm(trial, screened, found, best, beside)
                    moved = False
                if not moved:
                    told = await self._unless_gone_bad(trial, best, found)
                    if told is not None:
                        return await self._controlled(trial, told, best)
            # A policy that tests nothing kept it, but over another best, or that best has gone bad:
            # it is screened anew.
            first = self._incumbent()

    async def _screen(self, trial: SeedRuns, incumbent: Incumbent) -> tuple[int, ...]:
        """Run the screening seeds, and stop as soon as the rest cannot change the result.

        Returns:
            The seeds of the whole screening.
        """
        pack = trial.pack
        seeds = self._judge.screening_seeds(trial.seeds, incumbent, trial.name)
        # A recipe that is measured again is to be known better, whatever comes of it.
        known_noise = incumbent.noise is not None and pack.acceptance.racing_error > 0.0
        may_stop = known_noise and not trial.seeds.again
        # In turns, two seeds make one comparison.
        portions = waves(seeds, first=2 if pack.metric.in_turns else 1) if may_stop else [seeds]
        done = 0
        for portion in portions:
            await trial.run(
                portion, incumbent, alone=self._judge.pools, may_stop=not trial.seeds.again
            )
            done += len(portion)
            runs = trial.runs(seeds[:done])
            if done < len(seeds) and self._judge.hopeless(runs, len(seeds), incumbent):
                break
        return seeds

    async def _move(
        self,
        trial: SeedRuns,
        screened: tuple[int, ...],
        first: Incumbent,
        best: Incumbent,
        *,
        forget: bool,
    ) -> Outcome | None:
        """Merge a trial onto the best, if that is a new one; return its outcome if it cannot be.

        A trial that was not proposed on the best goes on as it is.
        """
        if best.number == first.number:
            return None
        recipe = trial.recipe
        if self._rebase is not None and self._rebase.number == first.number:
            moved = self._rebase.onto(best, recipe)
            if moved.recipe is None:
                return self._judge.not_merged(_runs(trial, screened, ()), first, moved.words)
            recipe = moved.recipe
        if forget or recipe is not trial.recipe:
            await trial.rebase(recipe, forget=forget)
        return None

    async def _confirm(
        self,
        trial: SeedRuns,
        screened: tuple[int, ...],
        found: Outcome | NeedMoreSeeds,
        best: Incumbent,
        beside: Incumbent | None,
    ) -> Outcome:
        """Run fresh seeds until the policy has a verdict.

        Args:
            trial: The trial.
            screened: The seeds of its screening.
            found: What the policy wants.
            best: What it is compared with.
            beside: What it was screened against, if that is another.
        """
        gate_asked, asked = False, 0
        tests_line = isinstance(self._judge.policy, LineAcceptance)
        while isinstance(found, NeedMoreSeeds):
            gate_asked = gate_asked or found.for_gate
            asked += 1
            looks = look_of(found.seeds, trial.pack.acceptance.confirm)
            # Where lines are tested, a trial has some fresh seeds and no looks.
            trial.observer.confirming(*((asked, asked) if tests_line else looks))
            fresh = trial.seeds.confirmation(trial.name, found.seeds, screened)
            await trial.run(fresh, best, alone=found.alone)
            runs = _runs(trial, screened, fresh)
            found = self._judge.trial(runs, best, screened_against=beside, gate_asked=gate_asked)
        return found

    async def _controlled(self, trial: SeedRuns, outcome: Outcome, best: Incumbent) -> Outcome:
        """Return an outcome after a control run, if it needs one."""
        if not is_claim(outcome, best, trial.pack.metric.scale):
            return outcome
        words = await control_run(trial)
        return replace(outcome, reason=f"{outcome.reason}; {words}") if words else outcome

    async def _unless_gone_bad(
        self, trial: SeedRuns, best: Incumbent, found: Outcome
    ) -> Outcome | None:
        """Return an outcome; ``None`` if it was kept beside a best that is not what it was."""
        if found.status is not Status.KEPT:
            return found
        if trial.pack.metric.side_by_side and not is_claim(found, best, trial.pack.metric.scale):
            return found
        bad = await gone_bad(trial, best, [run.seed for run in found.seed_runs])
        if not bad or self._incumbent().number == best.number:
            return found
        await trial.rebase(trial.recipe, forget=True)
        return None

    def _told(self, outcome: Outcome, first: Incumbent) -> Outcome:
        """Return an outcome that says if the best is another by now."""
        best = self._incumbent()
        if best.number == first.number:
            return outcome
        return self._judge.outdated(outcome, best)


def _runs(trial: SeedRuns, screened: Sequence[int], fresh: Sequence[int]) -> TrialRuns:
    return TrialRuns(
        screen=trial.runs(screened),
        planned=len(screened),
        confirm=trial.runs(fresh),
        log=trial.log,
        environment=trial.environment,
    )


def told_moved(outcome: Outcome, words: str, parent: int) -> Outcome:
    """Return the outcome of a trial whose best changed before it ran, and says so."""
    evidence = outcome.evidence
    if evidence is not None and evidence.rebased_from is None:
        evidence = replace(evidence, rebased_from=parent)
    return replace(outcome, reason=f"{outcome.reason}; {words}", evidence=evidence)
