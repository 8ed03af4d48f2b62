"""The desk where proposals are handed in and judged trials come out.

It checks a proposal, writes it to the lineage, has it evaluated while the caller goes on, and
writes the outcome to the lineage in one transaction. It knows nothing of agents.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from recipelab.errors import LineageError
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.intake import Checked, Rejection, check_edits
from recipelab.evaluation.metric import Reference, mean_predict
from recipelab.evaluation.watch import LineageWatch
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.pack import Pack
from recipelab.recipe import Recipe
from recipelab.trial import Edit, Outcome, Phase, Proposal, Status

ALIKE = 3
"""How many trials with an edit like the proposed one are told."""

BASELINE = 0
"""Number of the baseline trial."""

TrialWatch = Callable[[int, Phase, int | None], None]
"""Told trial, phase and seed when a phase begins."""


@dataclass(frozen=True)
class Submitted:
    """What came of handing in a proposal.

    Attributes:
        number: The trial's number.
        rejection: Why it is not tried, or ``None`` if it is being tried now.
        alike: Earlier trials with an edit like this one, a line each.
    """

    number: int
    rejection: Rejection | None
    alike: tuple[str, ...] = ()


class TrialDesk:
    """Takes proposals and runs their trials, at most ``slots`` at the same time.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        evaluator: Judges recipes; its sandbox must have been started.
        slots: How many trials may run at once.
        budget: How many trials (that count) the campaign may have; ``None`` for no bound.
        deadline: Time on the monotonic clock after which no trial is taken, in seconds.
        watch: Told when a phase begins.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        evaluator: Evaluator,
        *,
        slots: int = 1,
        budget: int | None = None,
        deadline: float | None = None,
        watch: TrialWatch = lambda number, phase, seed: None,
    ) -> None:
        self.store = store
        self.campaign = campaign
        self._evaluator = evaluator
        self._slots = slots
        self._budget = budget
        self._deadline = deadline
        self._watch = watch
        self._running: dict[int, asyncio.Task[None]] = {}

    @property
    def pack(self) -> Pack:
        """The pack of the campaign."""
        return self._evaluator.pack

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the trials that were submitted and not yet collected."""
        return tuple(self._running)

    @property
    def has_free_slot(self) -> bool:
        """Whether another trial could start now."""
        return len(self._running) < self._slots

    @property
    def remaining(self) -> int | None:
        """Trials left in the budget, those running taken off; ``None`` without a bound."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return 0
        if self._budget is None:
            return None
        counts = self.store.counts(self.campaign)
        spent = sum(n for status, n in counts.items() if status is not None and status.counts)
        running = sum(not task.done() for task in self._running.values())
        return max(0, self._budget - spent - running)

    def best(self) -> TrialRecord:
        """The best trial so far: the last one kept, or the baseline."""
        return self.store.best(self.campaign)

    def check(self, parent: int, edits: tuple[Edit, ...]) -> Checked | Rejection:
        """Checks edits as :meth:`submit` would, without recording anything.

        Raises:
            LineageError: There is no such parent.
        """
        checked = check_edits(self.pack, self.recipe_of(parent), edits, self._twin)
        if isinstance(checked, Rejection):
            return checked
        return replace(checked, alike=self._alike(edits, parent))

    def recipe_of(self, number: int) -> dict[str, str]:
        """The files of a trial's recipe.

        Raises:
            LineageError: There is no such trial, or it was rejected and so has no recipe.
        """
        files = self.store.files(self.campaign, number)
        if not files:
            raise LineageError(f"trial {number} was rejected and has no recipe; take its parent")
        return files

    def submit(self, proposal: Proposal, *, round_number: int | None) -> Submitted:
        """Hands in a proposal: it is recorded, and tried unless it is rejected at once.

        Raises:
            LineageError: There is no such parent.
            RuntimeError: No slot is free; ask :attr:`has_free_slot` first.
        """
        if not self.has_free_slot:
            raise RuntimeError("no slot is free")
        checked = self.check(proposal.parent, proposal.edits)
        if isinstance(checked, Rejection):
            number = self.store.propose_and_record(
                self.campaign,
                proposal,
                checked.outcome(),
                parents=(proposal.parent,),
                files={},
                digest="",
                diff=checked.diff,
                round_number=round_number,
            )
            return Submitted(number, checked)
        number = self.store.propose(
            self.campaign,
            proposal,
            parents=(proposal.parent,),
            files=checked.recipe.files,
            digest=checked.recipe.digest,
            diff=checked.diff,
            round_number=round_number,
        )
        self._start(number, checked.recipe)
        return Submitted(number, None, checked.alike)

    def propose_baseline(self) -> None:
        """Records the starting recipe as trial 0 and runs it."""
        recipe = self.pack.baseline()
        proposal = Proposal("campaign", "baseline", -1, "the starting recipe of the pack", 0.0, ())
        number = self.store.propose(
            self.campaign,
            proposal,
            parents=(),
            files=recipe.files,
            digest=recipe.digest,
            diff="",
            round_number=None,
        )
        self._start(number, recipe)

    def retry(self, number: int) -> None:
        """Runs a recorded trial again that never got its outcome, or was aborted."""
        self._start(number, Recipe(self.store.files(self.campaign, number)))

    async def next_ended(self) -> tuple[TrialRecord, ...]:
        """Waits for the next trials to end and gives their records, lowest number first.

        Returns:
            At least one judged trial; empty if none is running.
        """
        if not self._running:
            return ()
        done, _ = await asyncio.wait(self._running.values(), return_when="FIRST_COMPLETED")
        ended = sorted(number for number, task in self._running.items() if task in done)
        for number in ended:
            self._running.pop(number).result()
        return tuple(self.store.trial(self.campaign, number) for number in ended)

    async def stop(self) -> None:
        """Stops the running trials; they stay without an outcome and can be retried."""
        tasks = list(self._running.values())
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, number: int, recipe: Recipe) -> None:
        name = f"{self.campaign}-trial-{number}"
        self._running[number] = asyncio.create_task(self._run(number, recipe), name=name)

    async def _run(self, number: int, recipe: Recipe) -> None:
        outcome = await self._evaluator.evaluate(
            recipe,
            None if number == BASELINE else self._reference,
            labels={"campaign": self.campaign, "trial": str(number)},
            watch=LineageWatch(
                self.store,
                self.campaign,
                number,
                self._evaluator.sandbox_name,
                partial(self._watch, number),
            ),
        )
        self.store.record(self.campaign, number, outcome)

    def _reference(self) -> Reference:
        best = self.best()
        outcome = best.outcome
        if outcome is None or outcome.status not in (Status.BASELINE, Status.KEPT):
            raise RuntimeError("a trial cannot be judged before the baseline")
        baseline = self.store.trial(self.campaign, BASELINE).outcome
        return Reference(
            best.number,
            Recipe(self.recipe_of(best.number)),
            {run.seed: run for run in outcome.seed_runs},
            mean_predict(baseline.seed_runs) if baseline is not None else None,
        )

    def _alike(self, edits: tuple[Edit, ...], parent: int) -> tuple[str, ...]:
        """Trials that made the same change, formatting aside, or turned a knob so."""
        found = self.store.edit_alike(self.campaign, edits, parent)
        return tuple(
            f"{item.why}: trial {item.brief.number} by {item.brief.specialist}, "
            + (f"{item.brief.status} ({item.brief.reason})" if item.brief.status else "in flight")
            for item in found[:ALIKE]
        )

    def _twin(self, digest: str) -> str | None:
        record = self.store.find_digest(self.campaign, digest)
        return None if record is None else describe(record)


def describe(record: TrialRecord) -> str:
    """One line on a trial and how it ended."""
    outcome: Outcome | None = record.outcome
    if outcome is None:
        return f"trial {record.number} by {record.specialist} is running now"
    return f"trial {record.number} by {record.specialist}: {outcome.status} ({outcome.reason})"
