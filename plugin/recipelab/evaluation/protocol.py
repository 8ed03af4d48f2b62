"""The protocol of a trial: screen it, confirm it if it is promising, and judge it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, replace

from recipelab.acceptance import LineAcceptance, NeedMoreSeeds, waves
from recipelab.acceptance.sequential import look_of
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Outcome, Status
from recipelab.evaluation.checkpoints import gone_bad
from recipelab.evaluation.control import control_run, is_claim
from recipelab.evaluation.curves import StoppedOnCurve
from recipelab.evaluation.fidelity import FidelityBook, run_short
from recipelab.evaluation.judge import Judge, TrialRuns
from recipelab.evaluation.levels import History, RunningTests
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


@dataclass
class _Comparison:
    """A promising trial that is compared with the best on fresh seeds.

    Attributes:
        screened: The seeds of its screening.
        wanted: What the policy wanted after that.
        first: What it was screened against.
        best: What it is compared with.
        overtaken: How often the best was another when it had beaten the former.
        holds_turn: Whether no other trial is judged before it.
        drawn_for: Number of the best that its fresh seeds were drawn for.
        found: What the policy says by now.
        fresh: Its fresh seeds so far.
        gate_asked: Whether a gate has asked for more of them.
        asked: How often more of them were asked for.
    """

    screened: tuple[int, ...]
    wanted: NeedMoreSeeds
    first: Incumbent
    best: Incumbent
    overtaken: int = 0
    holds_turn: bool = False

    def __post_init__(self) -> None:
        self.start(self.best)

    @property
    def beside(self) -> Incumbent | None:
        """What it was screened against, if that is another than it is compared with."""
        return self.first if self.best.number != self.first.number else None

    def start(self, best: Incumbent) -> None:
        """Begin anew with another best, on seeds that are fresh once more."""
        self.best, self.drawn_for = best, best.number
        self.found: Outcome | NeedMoreSeeds = self.wanted
        self.fresh: tuple[int, ...] = ()
        self.gate_asked, self.asked = False, 0


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
    decide. The policy says how many, and whether the incumbent has to run them, too. Several trials
    are confirmed at the same time, on all slots that are free; each has the level of its test when
    that begins (:class:`~recipelab.evaluation.levels.RunningTests`). Only the verdict takes a turn:
    the trial is kept, and recorded, if the incumbent is still the one that it was compared with.

    **Overtaken.** Where it is another by then, a trial that beat the former is merged onto the new
    one and compared with that, on seeds that are fresh once more. One that is overtaken again, or
    cannot be merged, is compared as it is: with all runs of the new best at once, where these tell;
    else, if its score is the better one, both run in turns while no other trial is judged. So a
    trial comes to its end however often the best changes. A trial that did not beat what it was
    compared with is discarded, whatever the best is by then.

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
    secret, the trial and the best, so they are the same again.

    Args:
        judge: Gives the trial its status.
        incumbent: Returns the incumbent of the moment, which may change while the trial runs.
        tests: The tests of the campaign that run, and the turn to judge.
        rebase: Moves the trial to a new best; ``None`` if it is compared as it is.
        fidelity: What is known of short trainings; ``None`` where the pack has none.
        record: Stores the outcome of a promising trial, in its turn to judge.
    """

    def __init__(
        self,
        judge: Judge,
        incumbent: Callable[[], Incumbent],
        tests: RunningTests,
        rebase: Rebase | None = None,
        fidelity: FidelityBook | None = None,
        record: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        self._judge = judge
        self._incumbent = incumbent
        self._tests = tests
        self._rebase = rebase
        self._fidelity = fidelity
        self._record = record
        self._is_recorded = False
        self._note = ""

    async def run(self, trial: SeedRuns) -> Outcome:
        """Screen and, if need be, confirm a trial that passed its preflight.

        Raises:
            PhaseFailed: A phase of the trial failed.
            SandboxError: The machinery failed, or the incumbent did.
        """
        outcome = await self._promoted(trial, self._incumbent())
        return outcome if self._is_recorded else self._whole(trial, outcome)

    async def _promoted(self, trial: SeedRuns, first: Incumbent) -> Outcome:
        """Judge a trial at full length, if its short trainings are worth it."""
        book = self._fidelity
        if book is None or trial.seeds.again:
            return await self._judged(trial, first)
        if book.off:
            self._note = book.off
            return await self._judged(trial, first)
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
            if isinstance(found, NeedMoreSeeds):
                outcome = await self._confirmed(trial, screened, first, found)
            elif found.status is Status.KEPT:
                outcome = await self._kept_at_once(trial, screened, first, found)
            else:
                return self._told(found, first)
            if outcome is not None:
                return outcome
            # It was to be kept over another best, or that best has gone bad: it is screened anew.
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

    async def _kept_at_once(
        self, trial: SeedRuns, screened: tuple[int, ...], first: Incumbent, found: Outcome
    ) -> Outcome | None:
        """Record a trial that a policy without a confirmation keeps; ``None`` to screen it anew."""
        proven = await self._proven(trial, first, found)
        if proven is None:
            return None
        async with self._tests.judging():
            best = self._incumbent()
            if best.number == first.number:
                return self._recorded(trial, proven)
        return await self._move(trial, screened, first, best, forget=True)

    async def _confirmed(
        self, trial: SeedRuns, screened: tuple[int, ...], first: Incumbent, wanted: NeedMoreSeeds
    ) -> Outcome | None:
        """Compare a promising trial with the best on fresh seeds; ``None`` to screen it anew."""
        async with AsyncExitStack() as stack:
            history: History | None = None
            if not isinstance(self._judge.policy, LineAcceptance):
                test = self._tests.testing(f"trial {trial.name}", self._history)
                history = await stack.enter_async_context(test)
            # The incumbent may have changed while the trial was screened.
            work = _Comparison(screened, wanted, first, self._best(history))
            if work.beside is not None:
                refused = await self._move(trial, screened, first, work.best, forget=False)
                if refused is not None:
                    return refused
            turn = await stack.enter_async_context(AsyncExitStack())
            while True:
                found = await self._proven(trial, work.best, await self._looked(trial, work))
                if found is None:
                    return None
                if not work.holds_turn:
                    await self._take(turn, trial)
                best = self._best(history)
                if found.status is not Status.KEPT or best.number == work.best.number:
                    return self._recorded(trial, self._told(found, work.best))
                ended = await self._overtaken(trial, work, found, turn, history)
                if ended is not None:
                    return ended

    async def _overtaken(
        self,
        trial: SeedRuns,
        work: _Comparison,
        found: Outcome,
        turn: AsyncExitStack,
        history: History | None,
    ) -> Outcome | None:
        """Move a trial to the new best that beat the former; return its outcome if it has ended.

        Args:
            trial: The trial.
            work: Its comparison with the former best.
            found: What came of that.
            turn: Holds the turn to judge. It still does afterwards where the trial is to be judged
                before any other.
            history: As its test has it.
        """
        work.overtaken += 1
        if work.overtaken == 1:
            await turn.aclose()
            best, before = self._best(history), trial.recipe
            refused = await self._move(trial, work.screened, work.best, best, forget=False)
            if refused is not None:
                return refused
            if trial.recipe is not before:
                work.start(best)
                return None
            await self._take(turn, trial)
        best = self._best(history)
        if work.wanted.alone:
            work.best, work.holds_turn = best, True
            runs = _runs(trial, work.screened, work.fresh)
            work.found = self._judge.trial(
                runs, best, screened_against=work.beside, gate_asked=work.gate_asked
            )
            return None
        if not self._judge.leads(found, best):
            return self._recorded(trial, self._judge.overtaken(found, best))
        work.start(best)
        if work.overtaken > 1:
            work.holds_turn = True
        else:
            await turn.aclose()
        return None

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
            # What it changes is told from the new best from here on.
            again = replace(self._rebase, number=best.number, recipe=best.recipe)
            self._rebase = again if moved.merges else None
        if forget or recipe is not trial.recipe:
            await trial.rebase(recipe, forget=forget)
        return None

    async def _looked(self, trial: SeedRuns, work: _Comparison) -> Outcome:
        """Run fresh seeds until the policy has a verdict."""
        tests_line = isinstance(self._judge.policy, LineAcceptance)
        while isinstance(work.found, NeedMoreSeeds):
            wanted = work.found
            work.gate_asked = work.gate_asked or wanted.for_gate
            work.asked += 1
            looks = look_of(wanted.seeds, trial.pack.acceptance.confirm)
            # Where lines are tested, a trial has some fresh seeds and no looks.
            trial.observer.confirming(*((work.asked, work.asked) if tests_line else looks))
            work.fresh = trial.seeds.confirmation(
                trial.name, wanted.seeds, work.screened, best=work.drawn_for
            )
            await trial.run(work.fresh, work.best, alone=wanted.alone)
            runs = _runs(trial, work.screened, work.fresh)
            work.found = self._judge.trial(
                runs, work.best, screened_against=work.beside, gate_asked=work.gate_asked
            )
        return work.found

    async def _proven(self, trial: SeedRuns, best: Incumbent, found: Outcome) -> Outcome | None:
        """Return an outcome after what a keep needs besides.

        Returns:
            The outcome, after a control run if it claims much; ``None`` if it was kept beside a
            best that is not what it was, so that it has to be screened anew.
        """
        if found.status is not Status.KEPT:
            return found
        claims = is_claim(found, best, trial.pack.metric.scale)
        if claims or not trial.pack.metric.side_by_side:
            bad = await gone_bad(trial, best, [run.seed for run in found.seed_runs])
            if bad and not self._is_best(best):
                await trial.rebase(trial.recipe, forget=True)
                return None
        if not claims:
            return found
        words = await control_run(trial)
        return replace(found, reason=f"{found.reason}; {words}") if words else found

    async def _take(self, turn: AsyncExitStack, trial: SeedRuns) -> None:
        """Wait for the turn to judge a trial, which needs no slot meanwhile."""
        waiting = trial.observer.resting() if self._tests.is_judging else nullcontext()
        with waiting:
            await turn.enter_async_context(self._tests.judging())

    def _history(self) -> History:
        return self._incumbent().history

    def _best(self, history: History | None) -> Incumbent:
        """Return the incumbent of the moment, with the history by which a test has its level."""
        best = self._incumbent()
        return best if history is None else replace(best, history=history)

    def _is_best(self, best: Incumbent) -> bool:
        return self._incumbent().number == best.number

    def _recorded(self, trial: SeedRuns, outcome: Outcome) -> Outcome:
        """Record the outcome of a promising trial, whose turn it is, and return it."""
        outcome = self._whole(trial, outcome)
        self._record(outcome)
        self._is_recorded = True
        return outcome

    def _whole(self, trial: SeedRuns, outcome: Outcome) -> Outcome:
        """Return an outcome with what is known of short trainings and curves."""
        check = trial.curves.note_check(trial.name, outcome) if trial.curves is not None else ""
        told = "; ".join(filter(None, (outcome.reason, self._note, check)))
        return replace(outcome, reason=told)

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
