"""A campaign as one object: made or opened, run, looked at, steered, certified, exported."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from recipelab.campaign.planning import (
    IfExists,
    Say,
    changed_plan,
    named_plan,
    next_epoch_plan,
    say_nothing,
)
from recipelab.campaign.reader import enter_store, find_home
from recipelab.campaign.steering import CampaignSteering
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Edit, Proposal
from recipelab.lineage import (
    LineageStore,
    TrialRecord,
)
from recipelab.lineage.leases import LeaseTimes
from recipelab.plan import Plan

if TYPE_CHECKING:
    from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage

    from recipelab.ablation import AblationReport
    from recipelab.budget import BudgetLimits, Spent
    from recipelab.campaign.planning import Estimate
    from recipelab.campaign.running import OpenQueue
    from recipelab.campaign.submitting import Submission
    from recipelab.core.trial import Certificate, Checkpoint
    from recipelab.evaluation.proposals import Approve
    from recipelab.evaluation.queue import TrialQueue
    from recipelab.evaluation.session import Overrides
    from recipelab.team import Ended, Listener, ResearchGroupChat
    from recipelab.team.messages import Task


@dataclass(frozen=True)
class CampaignBudget:
    """What a campaign may spend, and what it has spent.

    Attributes:
        limits: The limits.
        spent: What was spent; its hours are those of the present run, if it runs in this object.
        remaining: Trials that may still begin; ``None`` without a bound.
        over: Why no trial may begin any more; ``None`` while one may.
    """

    limits: BudgetLimits
    spent: Spent
    remaining: int | None
    over: str | None


class Campaign(CampaignSteering):
    """A search for a better recipe: its plan, its trials, and all that can be done with it.

    :meth:`create` makes a new one and :meth:`open` finds one in the lineage. Both open the lineage
    if they are not given one; leaving the ``with`` block closes it again.

    There are two ways to run a campaign. :meth:`run` and :meth:`stream` let a group chat of
    specialists propose. :meth:`opened` makes it ready for proposals of your own, which
    :meth:`evaluate` measures and judges. The lineage has a campaign from its first run on.

    Attributes:
        ended: How its last run in this object ended; ``None`` before.

    Examples:
        .. code-block:: python

            plan = Plan(pack="airbench96", profile="mini", limits=BudgetLimits(trials=12))
            with Campaign.create(plan) as campaign:
                await campaign.run()
                print(campaign.best.hypothesis, await campaign.certify())
                campaign.export("night.jsonl")
    """

    def __init__(
        self,
        store: LineageStore,
        name: str,
        *,
        plan: Plan | None = None,
        home: Home | None = None,
        overrides: Overrides | None = None,
        say: Say = say_nothing,
    ) -> None:
        super().__init__(store, name, plan=plan, home=home, overrides=overrides, say=say)
        self.ended: Ended | None = None
        self._open: OpenQueue | None = None

    # Make, open, close.

    @classmethod
    def create(
        cls,
        plan: Plan,
        *,
        home: Home | str | Path | None = None,
        lineage: LineageStore | str | Path | None = None,
        overrides: Overrides | None = None,
        if_exists: IfExists = IfExists.FAIL,
        say: Say = say_nothing,
    ) -> Self:
        """Make a campaign that has yet to run.

        Args:
            plan: What is asked of it; without a name it gets the first free one.
            home: As in :meth:`open`.
            lineage: As in :meth:`open`.
            overrides: As in :meth:`open`.
            if_exists: ``CONTINUE`` takes an unfinished campaign of that name, or starts the next.
            say: As in :meth:`open`.

        Raises:
            RecipelabError: The pack cannot be read, or the name is taken or cannot name a campaign.
        """
        place = find_home(home)
        with ExitStack() as stack:
            store = enter_store(place, lineage, stack, create=True)
            plan = named_plan(plan, store, place, if_exists, say, stack)
            campaign = cls(
                store, str(plan.name), plan=plan, home=place, overrides=overrides, say=say
            )
            _ = campaign.pack  # raises for a pack that cannot be read
            campaign._stack = stack.pop_all()
        return campaign

    @classmethod
    def join(
        cls,
        name: str,
        *,
        home: Home | str | Path | None = None,
        lineage: LineageStore | str | Path | None = None,
        pack: str | None = None,
        overrides: Overrides | None = None,
        times: LeaseTimes | None = None,
        say: Say = say_nothing,
        **changes: Any,
    ) -> Self:
        """Make this process a further driver of a campaign that runs, from its next run on.

        It brings a chat, slots and models of its own; budget, working line and end are common.
        ``docs/drivers.md`` describes it.

        Args:
            name: Name of the campaign.
            home: As in :meth:`open`.
            lineage: As in :meth:`open`; it has to be a PostgreSQL database.
            pack: Name or folder of the campaign's pack here; ``None`` for that in the lineage.
            overrides: As in :meth:`open`.
            times: How long this driver may be silent; ``None`` for the default.
            say: As in :meth:`open`.
            **changes: Fields of :class:`~recipelab.plan.Plan` that are another here, as ``model``
                or ``sandbox``; those that are ``None`` are as in the campaign, but ``slots``, which
                are what the machine has then.

        Raises:
            RecipelabError: There is no such campaign or it does not run, the lineage is a file, or
                a field cannot be changed.
        """
        from recipelab.evaluation.driver import check_joinable, check_shared
        from recipelab.evaluation.session import Overrides as Given

        campaign = cls.open(name, home=home, lineage=lineage, say=say)
        with campaign._stack.pop_all() as stack:
            check_shared(campaign.store)
            check_joinable(campaign.record)
            campaign._check_ran_here()
            plan = changed_plan(campaign.plan, None, {"track": (), **changes})
            # The rules of the offline model would propose what another driver proposes.
            seed = plan.seed + len(campaign.store.drivers(name))
            here = {"seed": seed, "pack": pack or plan.pack, "slots": changes.get("slots")}
            plan = plan.model_copy(update=here)
            given = replace(overrides or Given(), joins=True, times=times or LeaseTimes())
            joined = cls(
                campaign.store, name, plan=plan, home=campaign.home, overrides=given, say=say
            )
            _ = joined.pack  # raises for a pack that cannot be read
            joined._stack = stack.pop_all()
        return joined

    @staticmethod
    def estimate(
        plan: Plan, *, home: Home | str | Path | None = None, lineage: str | Path | None = None
    ) -> Estimate:
        """Estimate what a campaign would take, without running or recording anything.

        Raises:
            RecipelabError: Pack, charters, prices or slots cannot be had.
        """
        from recipelab.campaign.planning import estimate_plan

        return estimate_plan(plan, find_home(home), lineage)

    @property
    def budget(self) -> CampaignBudget:
        """What the campaign may spend, and what it has spent."""
        from recipelab.budget import Ledger

        if self._open is not None:
            ledger = self._open.queue.ledger
        else:
            ledger = Ledger(self.store, self.name, self.plan.limits, goal=self.metric.goal)
        return CampaignBudget(ledger.limits, ledger.spent, ledger.remaining, ledger.over)

    # Run it as a group chat.

    def team(
        self, *, listener: Listener | None = None, approve: Approve | None = None, **options: Any
    ) -> ResearchGroupChat:
        """Return the AutoGen team that runs the campaign, for a larger app; close it after use.

        Args:
            listener: Told how the campaign goes on; ``None`` hands its notes to ``say``.
            approve: Asked before each trial: an async function that is given the trial's record
                and returns ``None``, or why the trial is not to be run.
            **options: Other arguments of :class:`recipelab.ResearchGroupChat`, as ``clients``,
                ``participants`` or ``termination_condition``.

        Raises:
            RecipelabError: The campaign was imported, or a charter or model cannot be had.
        """
        from recipelab.campaign.running import research_chat

        self._check_ran_here()
        return research_chat(self, listener, approve, options)

    async def stream(
        self,
        *,
        task: Task = None,
        listener: Listener | None = None,
        approve: Approve | None = None,
        **options: Any,
    ) -> AsyncGenerator[BaseAgentEvent | BaseChatMessage, None]:
        """Run the campaign as a group chat, and yield its messages as they come.

        How it ended is in ``ended`` afterwards.

        Args:
            task: What the specialists are told at the beginning of every round: text, or messages.
            listener: As in :meth:`team`.
            approve: As in :meth:`team`.
            **options: As in :meth:`team`.

        Raises:
            RecipelabError: The campaign was imported, or something is missing: data, a sandbox,
                slots, a budget, a baseline that passes its gates.
        """
        from autogen_agentchat.base import TaskResult

        from recipelab.campaign.tracking import tracked, trackers_of
        from recipelab.team import Ended

        self.ended, trackers = None, trackers_of(self)
        plan, team = self.plan, self.team(listener=listener, approve=approve, **options)
        team.listener.note(
            f"Campaign {self.name}: {plan.pack}, model {plan.model_name}, sandbox {plan.sandbox}"
        )
        async with tracked(self, trackers, team.listener.warning):
            try:
                async with aclosing(team.run_stream(task=task)) as items:
                    async for item in items:
                        if not isinstance(item, TaskResult):
                            yield item
            finally:
                await team.close()
                self._write_papers()
        self.ended = team.ended or Ended(False, "it was stopped")

    async def run(
        self,
        *,
        task: Task = None,
        listener: Listener | None = None,
        approve: Approve | None = None,
        **options: Any,
    ) -> Ended:
        """Run the campaign as a group chat until a limit is reached, or go on with it.

        Args:
            task: As in :meth:`stream`.
            listener: As in :meth:`stream`.
            approve: As in :meth:`stream`.
            **options: As in :meth:`stream`.

        Returns:
            Whether it finished as planned, and why it ended.

        Raises:
            RecipelabError: As in :meth:`stream`.
        """
        messages = self.stream(task=task, listener=listener, approve=approve, **options)
        async with aclosing(messages):
            async for _ in messages:
                pass
        if self.ended is None:
            raise AssertionError("unreachable: a stream that ends says how")
        return self.ended

    def extend(
        self,
        limits: BudgetLimits | None = None,
        *,
        sandbox: str | None = None,
        **changes: Any,
    ) -> None:
        """Give the campaign more to spend, another sandbox or model, from its next run on.

        Args:
            limits: New limits, in place of those of the same name; the others stay.
            sandbox: ``auto``, ``docker`` or ``local``; ``None`` as before.
            **changes: Other fields of :class:`~recipelab.plan.Plan`, as ``model``, ``prices`` or
                ``slots``; those that are ``None`` stay as before.

        Raises:
            RecipelabError: The campaign was imported, or a field cannot be changed; the message
                lists those that can.
        """
        self._check_ran_here()
        self._plan = changed_plan(self.plan, limits, {"sandbox": sandbox, **changes})

    def next_epoch(self, limits: BudgetLimits | None = None) -> Self:
        """Return the campaign of the next epoch, in which baseline and best are measured anew.

        It is a campaign of its own in the lineage, ``NAME.2`` after ``NAME``, so that nothing is
        compared across. Its agents can ask this one. It shares the lineage of this object.

        Args:
            limits: What it may spend; a limit that is not given is what is left of this campaign's.

        Raises:
            RecipelabError: The campaign was imported or runs, another pack of the same name is
                found from here, or nothing is left to spend.
        """
        self._check_ran_here()
        if self.is_running:
            raise RecipelabError(f"campaign {self.name} is running; stop it first")
        _ = self.pack  # raises for a namesake of it
        plan = next_epoch_plan(self.store, self.plan, limits, self.budget.spent)
        self.say(
            f"Campaign {plan.name} is the next epoch of {self.name}: the baseline and the best "
            f"(trial {self.best.number}) are measured anew."
        )
        return type(self)(
            self.store,
            str(plan.name),
            plan=plan,
            home=self.home,
            overrides=self.overrides,
            say=self.say,
        )

    async def resume(self, limits: BudgetLimits | None = None, **options: Any) -> Ended:
        """Run what is left of the campaign: trials without an outcome again, then new ones.

        Args:
            limits: As in :meth:`extend`.
            **options: Arguments of :meth:`run`.

        Returns:
            As in :meth:`run`.

        Raises:
            RecipelabError: As in :meth:`run`.
        """
        self.extend(limits)
        return await self.run(**options)

    # Run it from a script.

    @asynccontextmanager
    async def opened(self, *, approve: Approve | None = None) -> AsyncIterator[Self]:
        """Make the campaign ready to run proposals of a script: sandbox, slots and baseline.

        Inside, :meth:`submit` queues trials here, :meth:`evaluate` waits for one, and
        :meth:`judged` yields them as they end. Trials that other processes submit run too. At the
        end, trials in flight are stopped; they run again when the campaign is opened or resumed.

        Args:
            approve: As in :meth:`team`.

        Raises:
            RecipelabError: The campaign was imported, something is missing, as in :meth:`stream`,
                or the campaign runs already.
        """
        from recipelab.campaign.running import open_queue, warn_by
        from recipelab.campaign.tracking import tracked, trackers_of

        self._check_ran_here()
        if self._open is not None:
            raise RecipelabError(f"campaign {self.name} is open already")
        tracking = tracked(self, trackers_of(self), warn_by(self.say))
        try:
            async with tracking, open_queue(self, approve) as self._open:
                yield self
        finally:
            self._open = None
            self._write_papers()

    async def evaluate(self, proposal: Proposal) -> TrialRecord:
        """Run a proposal's trial and return it with its outcome; :meth:`opened` must be entered.

        A proposal that does not pass the checks is recorded as ``rejected`` and returned at once.

        Raises:
            RecipelabError: The campaign is not open, or its budget has no room for another trial.
        """
        return await self._queue.evaluate(proposal)

    def judged(self) -> AsyncIterator[TrialRecord]:
        """Yield trials as they end, until none is in flight; :meth:`opened` must be entered.

        Trials that a call of :meth:`evaluate` waits for are returned there, and not here.

        Raises:
            RecipelabError: The campaign is not open.
        """
        return self._queue.judged()

    @property
    def queue(self) -> TrialQueue:
        """The queue that runs its trials; :meth:`opened` must be entered.

        Raises:
            RecipelabError: The campaign is not open.
        """
        return self._queue.queue

    @property
    def _queue(self) -> OpenQueue:
        if self._open is None:
            raise RecipelabError(
                f"campaign {self.name} is not open here; enter: async with campaign.opened()"
            )
        return self._open

    # Steer it.

    def proposal(
        self,
        hypothesis: str,
        *,
        edits: Sequence[Edit] = (),
        patch: bytes | None = None,
        parent: int | None = None,
        surface: str | None = None,
        expected_delta: float = 0.0,
        proposer: str = "person",
    ) -> Proposal:
        """Make a proposal out of edits or a patch, without recording anything.

        Args:
            hypothesis: Why the change should help; specialists will read it.
            edits: The changes, applied in order.
            patch: The changes as a unified diff, in place of edits.
            parent: The trial whose recipe is changed; ``None`` for the best.
            surface: What the change is about; ``None`` only if the pack has one surface.
            expected_delta: The change of the metric that you expect, signed, in its unit.
            proposer: Name of the person or script in the lineage.

        Raises:
            RecipelabError: An argument is not valid, or the patch does not apply; the message
                lists the valid choices.
        """
        from recipelab.campaign.submitting import check_room, checked_proposal

        self._check_ran_here()
        if self._open is None:
            check_room(self)
        return checked_proposal(
            self,
            hypothesis,
            edits=edits,
            patch=patch,
            parent=parent,
            surface=surface,
            expected_delta=expected_delta,
            proposer=proposer,
        )

    def submit(self, proposal: Proposal) -> Submission:
        """Check a proposal and record it: for the queue of this object, or of another process.

        Raises:
            BudgetSpent: The campaign runs, and its budget has no room for another trial.
            LineageError: The parent is not a trial, or has no recipe.
            RecipelabError: The campaign was imported.
        """
        from recipelab.campaign.submitting import submit_to_lineage

        self._check_ran_here()
        if self._open is not None:
            return self._open.submit(proposal)
        return submit_to_lineage(self, proposal)

    # Measure what it found.

    async def certify(
        self,
        trial: int | None = None,
        *,
        seeds: int | None = None,
        sandbox: str | None = None,
        slots: int | None = None,
    ) -> Certificate:
        """Certify a trial against the baseline on held-out answers and seeds that no trial had.

        Args:
            trial: Its number; ``None`` for the certified one, or else the head of the line.
            seeds: Seed runs; ``None`` for the number of the pack.
            sandbox: ``auto``, ``docker`` or ``local``; ``None`` for the campaign's own.
            slots: Phases at the same time; ``None`` for what the machine has.

        Returns:
            The certificate, which the lineage keeps.

        Raises:
            RecipelabError: The campaign was imported, the trial has no recipe, or data, sandbox or
                slots are missing.
        """
        from recipelab.campaign.studies import certify_trial

        # Where nothing is certified yet, there is only the head of the line.
        number = (self.certified.number or self.best.number) if trial is None else trial
        return await certify_trial(self, number, seeds=seeds, sandbox=sandbox, slots=slots)

    async def checkpoint(
        self, *, sandbox: str | None = None, slots: int | None = None
    ) -> Checkpoint | None:
        """Test the working line now: its head against the certified recipe, on fresh seeds.

        A campaign that ends as planned has done so by itself.

        Args:
            sandbox: ``auto``, ``docker`` or ``local``; ``None`` for the campaign's own.
            slots: Phases at the same time; ``None`` for what the machine has.

        Returns:
            What was found; ``None`` if no kept trial is untested.

        Raises:
            RecipelabError: The campaign was imported or runs, or data, sandbox or slots are
                missing.
        """
        from recipelab.campaign.studies import test_line

        self._check_ran_here()
        return await test_line(self, sandbox=sandbox, slots=slots)

    async def ablate(
        self,
        *,
        seeds: int = 4,
        pairs: int = 6,
        sandbox: str | None = None,
        slots: int | None = None,
    ) -> AblationReport:
        """Measure the best recipe without each of its edits: which gave what share of the gain.

        What was measured is kept in :attr:`folder`: stopped and called again, it goes on.

        Args:
            seeds: Seeds of each recipe.
            pairs: Pairs of edits to measure at most, if edits interact.
            sandbox: As in :meth:`certify`.
            slots: As in :meth:`certify`.

        Returns:
            The gain, the steps with their losses and shares, and interactions;
            ``docs/ablate-best.md`` explains them.

        Raises:
            RecipelabError: The campaign was imported or has kept no trial, or the best fails now.
        """
        from recipelab.campaign.studies import ablate_best

        return await ablate_best(self, seeds=seeds, pairs=pairs, sandbox=sandbox, slots=slots)

    def _write_papers(self) -> None:
        from recipelab.exchange.patches import patch_prefix
        from recipelab.report.figures import write_papers

        if self.name in {record.name for record in self.store.campaigns()}:
            folder = self.pack_folder()
            prefix = "" if folder is None else patch_prefix(folder, Path.cwd())
            forms = self.text_forms()
            try:
                write_papers(self.folder, self.store, self.name, forms, prefix)
            except OSError as error:
                # What was measured is in the lineage; the papers come with the next run.
                self.say(f"transcript and patches could not be written: {error}")
