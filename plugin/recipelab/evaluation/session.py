"""A session of one campaign run: opens pack, data, sandbox, lineage and queue, and closes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypedDict

from recipelab.budget import Ledger
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError, SandboxUnavailable, unknown_name
from recipelab.core.trial import Checkpoint, Status, Trust
from recipelab.evaluation.artifacts import ArtifactStore
from recipelab.evaluation.driver import (
    Driver,
    SharedLedger,
    SharedTests,
    check_joinable,
    check_shared,
)
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.live import LiveBoard
from recipelab.evaluation.log_book import LogBook
from recipelab.evaluation.now import BudgetNow, NowBoard, QueueNow
from recipelab.evaluation.proposals import Approve
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.seal import MOST_TOLD, Seal, check_folder, check_seal
from recipelab.evaluation.shared_queue import SharedQueue
from recipelab.evaluation.trial_runner import OnPhase
from recipelab.lineage import CampaignRecord, LineageStore
from recipelab.lineage.campaigns import SEAL, check_campaign, checked_priors, prior_note
from recipelab.lineage.leases import LeaseTimes
from recipelab.lineage.trial_view import checkpoint_words
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.places.base import LOCAL, PlaceRequest, check_place, open_place
from recipelab.plan import Plan, settings_of
from recipelab.sandbox import Sandbox
from recipelab.sandbox.choose import check_kind_name
from recipelab.sandbox.requirements import image_spec_of
from recipelab.sandbox.slots import SlotPool, machine_pool
from recipelab.sandbox.spec import ImageSpec

MEASURED_ONCE = frozenset({Status.BASELINE, Status.KEPT, Status.DISCARDED})
"""Statuses of trials with a score, which others are compared with."""

MOST_SLOTS = 8
"""Slots that a campaign takes by default; it may be given more."""


@dataclass(frozen=True)
class Overrides:
    """Parts of a session that a caller brings along, in place of those that the plan names.

    Attributes:
        store: An open lineage; it stays open.
        sandbox: A sandbox, started or not; one that was started stays so.
        evaluator: A whole evaluator; no data is fetched and no sandbox is opened.
        approve: Asked before each trial.
        joins: Whether it drives a campaign beside other processes that do.
        times: How long a driver may be silent, where several may drive a campaign.
        has_real_model: Whether a language model proposes, although the plan names none: one that
            is asked elsewhere, as by a coding agent.
    """

    store: LineageStore | None = None
    sandbox: Sandbox | None = None
    evaluator: Evaluator | None = None
    approve: Approve | None = None
    joins: bool = False
    times: LeaseTimes = field(default_factory=LeaseTimes)
    has_real_model: bool = False


@dataclass
class CampaignSession:
    """Everything that one run of a campaign needs, from its opening to its closing.

    :meth:`opened` opens the queue of a campaign, which runs trials and records them in the lineage.
    :meth:`measuring` opens an evaluator alone, to certify or ablate, and records nothing.

    Attributes:
        plan: What is asked for; it has the campaign's name once the session was open.
        home: Where the campaign's files are, and its lineage by default.
        lineage: Path or URL of the lineage, if it is elsewhere.
        overrides: Parts that the caller brings along.
        say: Called with what a person should know.
        warn: Called with what a person should not miss; ``None`` says it.
        on_phase: Called when a phase begins.
        sealed: What a campaign was measured with, which :meth:`measuring` has to find again;
            ``None`` where that does not matter.
        pack: The campaign's pack.
        has_real_model: Whether a language model proposes.
    """

    plan: Plan
    home: Home
    lineage: str | None = None
    overrides: Overrides = Overrides()
    say: Callable[[str], None] = lambda text: None
    warn: Callable[[str], None] | None = None
    on_phase: OnPhase = lambda number, phase, seed: None
    sealed: Seal | None = None
    pack: Pack = field(init=False)
    has_real_model: bool = field(init=False)
    _queue: TrialQueue | None = field(init=False, default=None)
    _users: int = field(init=False, default=0)
    _warned: list[str] = field(init=False, default_factory=list[str])
    _stack: AsyncExitStack = field(init=False, default_factory=AsyncExitStack)

    def __post_init__(self) -> None:
        self.pack = load_pack(self.plan.pack, self.plan.profile)
        self.has_real_model = self.plan.has_real_model or self.overrides.has_real_model

    @property
    def queue(self) -> TrialQueue | None:
        """The queue, while the session is open."""
        return self._queue

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[TrialQueue]:
        """Open the session, which may be nested: it is closed when the outermost context ends.

        Raises:
            RecipelabError: Something the user can fix: data, sandbox, slots, lineage, budget.
        """
        if self._queue is None:
            self._queue = await self._open()
        self._users += 1
        try:
            yield self._queue
        finally:
            self._users -= 1
            if not self._users:
                self._queue = None
                await self._stack.aclose()

    @asynccontextmanager
    async def measuring(self, pack: Pack | None = None) -> AsyncIterator[Evaluator]:
        """Open an evaluator without a campaign: nothing is written to a lineage.

        Args:
            pack: The pack to measure with; ``None`` for that of the plan.

        Raises:
            RecipelabError: Something the user can fix: data, sandbox, slots, or what the campaign
                was measured with has changed.
        """
        own, self.pack = self.pack, pack or self.pack
        name = self.plan.name or ""
        if self.sealed is not None:
            check_seal(name, self.sealed, Seal.of_pack(own))
        self._stack = AsyncExitStack()
        async with self._stack:
            evaluator = self.overrides.evaluator or await self._open_evaluator()
            if self.sealed is not None:
                check_seal(name, self.sealed, Seal.of_pack(own, evaluator.data, evaluator.image))
            yield evaluator

    async def _open(self) -> TrialQueue:
        self._check_plan()
        self._stack = AsyncExitStack()
        try:
            return await self._open_queue()
        except BaseException:
            await self._stack.aclose()
            raise

    def _check_plan(self) -> None:
        """Check what a user asks for, before anything is written: nothing begins by halves.

        Raises:
            RecipelabError: The campaign would not come to an end, whoever it asks is not there, or
                a name is not valid.
        """
        plan = self.plan
        name = "new" if plan.name is None else plan.name
        check_campaign(name, plan.seed, plan.limits.trials)
        if self.overrides.sandbox is None and self.overrides.evaluator is None:
            check_kind_name(plan.sandbox)
            check_place(plan.place, plan.place_options)
        elif plan.place != LOCAL:
            raise RecipelabError(
                f"a sandbox or evaluator of your own runs here, and not at the place {plan.place}"
            )
        if not plan.limits.bounded:
            raise RecipelabError(
                "a campaign needs a budget: give trials, hours, device hours, tokens, money or a "
                "plateau"
            )
        trust = self.pack.trust
        if trust is Trust.SELF_REPORTED and self.has_real_model and not plan.accept_self_reported:
            # A model that may print its own score finds out that it may.
            raise RecipelabError(
                f"the pack {self.pack.name} is self-reported: code that the model may change "
                "prints the score. If you mean it, say --accept-self-reported (in a plan, "
                "accept_self_reported), or let the pack climb: recipelab packs adopt "
                f"{self.pack.name} --to protected"
            )
        if plan.approve and self.overrides.approve is None:
            # To go on without asking would train what a person wanted to see first.
            raise RecipelabError(
                "the campaign is to ask a person before each trial, and nobody is there to ask: "
                "run it by the command line, or give approve a function that is told of a trial"
            )

    async def _open_queue(self) -> TrialQueue:
        plan = self.plan
        store = self.overrides.store or self._stack.enter_context(
            LineageStore.open(self.lineage or self.home.lineage, create=True)
        )
        priors = checked_priors(store, plan.priors, plan.name or "")
        name = plan.name or claimed_name(store, self.home, Path(plan.pack).name, self._stack)
        self.plan = plan = plan.model_copy(update={"name": name, "priors": priors})
        is_first_here = self._locked(name)
        known = {campaign.name: campaign for campaign in store.campaigns()}.get(name)
        if known is not None:
            # Before data are fetched and an image is built.
            self._check_seal(store, known, Seal.of_pack(self.pack))
        elif self.overrides.joins:
            raise RecipelabError(unknown_name("campaign", name, known_names(store)))
        evaluator = self.overrides.evaluator or await self._open_evaluator()
        seal = Seal.of_pack(self.pack, evaluator.data, evaluator.image)
        if known is not None:
            seal = seal.first_in(self._check_seal(store, known, seal, say=self.say))
        driver = self._driver(store, name)
        if driver is not None and known is not None:
            # Before anything of it is changed: it may run elsewhere.
            self._enter(driver, alone=not driver.joined)
        if not self.overrides.joins:
            self._register(store, name, seal, known=known is not None)
        if driver is not None and known is None:
            self._enter(driver, alone=False)  # Nobody else has made it.
        trust = self.pack.trust
        self.say(trust.warning or f"trust: {trust}, as {self.pack.trust_reason}")
        queue = self._new_queue(store, name, evaluator, driver, is_first_here=is_first_here)
        if driver is not None:
            await self._stack.enter_async_context(driver.beating())
            if driver.joined:
                self.say(f"driver {driver.number} of campaign {name}")
        for text in self._warned:
            queue.now.warn(text)
        await self._stack.enter_async_context(
            queue.now.kept(partial(queue_now, queue, evaluator.slots))
        )
        self._stack.push_async_callback(queue.stop)
        return queue

    def _locked(self, name: str) -> bool:
        """Keep others of this home from running the campaign; return whether none does already.

        Raises:
            RecipelabError: Another process runs it, and this one does not join it.
        """
        try:
            self._stack.enter_context(self.home.locked(name))
        except RecipelabError:
            if not self.overrides.joins:
                raise
            return False
        return True

    def _driver(self, store: LineageStore, name: str) -> Driver | None:
        """Return this process as a driver of the campaign; ``None`` where one alone may run it.

        Raises:
            RecipelabError: It is to join others in a lineage that cannot be shared, or a campaign
                that does not run.
        """
        joins = self.overrides.joins
        if joins:
            check_shared(store)
            check_joinable(store.campaign(name))
        if not store.is_shared:
            return None
        model = self.plan.model_name
        return Driver(store, name, model=model, times=self.overrides.times, joins=joins)

    def _enter(self, driver: Driver, *, alone: bool) -> None:
        driver.enter(alone=alone)
        self._stack.callback(driver.close)

    def _new_queue(
        self,
        store: LineageStore,
        name: str,
        evaluator: Evaluator,
        driver: Driver | None,
        *,
        is_first_here: bool,
    ) -> TrialQueue:
        plan, goal = self.plan, self.pack.metric.goal
        options: dict[str, Any] = {
            "slots": trials_at_once(evaluator.slots, seeds_at_once(self.pack)),
            "approve": self.overrides.approve,
            "repeats": plan.blind,
            "follows": plan.follows,
            "live": self._live_board(name, is_first_here),
            "artifacts": ArtifactStore(self.home.artifacts(name), plan.keep_artifacts),
            "logs": LogBook(self.home.logs(name)),
            "on_phase": lambda number, phase, seed: self.on_phase(number, phase, seed),
            "on_checkpoint": self._say_checkpoint,
        }
        if driver is None:
            ledger = Ledger(store, name, plan.limits, goal=goal, say=self.say)
            return TrialQueue(store, name, evaluator, ledger=ledger, **options)
        evaluator.tests = SharedTests(store, name)
        shared = SharedLedger(store, driver, plan.limits, goal=goal, say=self.say)
        return SharedQueue(store, name, evaluator, driver=driver, ledger=shared, **options)

    def _live_board(self, name: str, is_first_here: bool) -> LiveBoard:
        """Return where people see what runs; a second driver of this home shows its phases only."""
        board = LiveBoard(self.home.live(name))
        if is_first_here:
            board.clear()
        else:
            board.now = NowBoard()
        return board

    def _tell_warning(self, text: str) -> None:
        """Warn, and keep it for those who look later."""
        self._warned.append(text)
        if self._queue is not None:
            self._queue.now.warn(text)
        (self.warn or self.say)(text)

    def _say_checkpoint(self, found: Checkpoint) -> None:
        self.say(checkpoint_words(found, self.pack.metric.name, self.pack.metric.unit))

    async def _open_evaluator(self) -> Evaluator:
        spec = image_spec_of(self.pack.sandbox, self.pack.requirements)
        place = open_place(self.plan.place, self._place_request(spec))
        data = await asyncio.to_thread(ensure_data, self.pack, say=self.say)
        if self.overrides.sandbox is None:
            await self._stack.enter_async_context(place)
        sandbox = self.overrides.sandbox or place.sandbox
        await asyncio.to_thread(self._tell_isolation, sandbox)
        if not sandbox.started:
            await self._stack.enter_async_context(sandbox)
        return Evaluator(self.pack, sandbox, data, pool=place.pool)

    def _place_request(self, spec: ImageSpec) -> PlaceRequest:
        plan = self.plan
        return PlaceRequest(
            spec=spec,
            sandbox=plan.sandbox,
            **slot_size(self.pack, spec),
            slots=plan.slots,
            most=most_slots(self.pack),
            share=plan.share_devices,
            # A real model writes code that nobody has read: without isolation only if asked for.
            allow_local_fallback=not self.has_real_model,
            needs_isolation=self.has_real_model,
            options=plan.place_options,
            say=self.say,
            warn=self._tell_warning,
        )

    def _tell_isolation(self, sandbox: Sandbox) -> None:
        """Tell what a sandbox cannot promise here.

        Raises:
            SandboxUnavailable: Code that nobody has read would run with less than was asked for.
        """
        lost = sandbox.lost_isolation()
        if lost and self.has_real_model:
            raise SandboxUnavailable(
                f"{lost}; a language model writes code that nobody has read, so the campaign does "
                "not begin: have what is missing mended (recipelab doctor), or use Docker"
            )
        if lost:
            self._tell_warning(lost)
        elif notice := sandbox.notice():
            self.say(notice)

    def _check_seal(
        self,
        store: LineageStore,
        known: CampaignRecord,
        now: Seal,
        say: Callable[[str], None] = lambda text: None,
    ) -> Seal | None:
        """Check that a campaign goes on with what its trials were measured with.

        Where nothing was measured yet, as the baseline failed, a pack may have been mended.

        Returns:
            Its seal so far, if it has one.

        Raises:
            RecipelabError: It does not.
        """
        sealed = Seal.of_campaign(known)
        if sealed is None:
            say(
                f"campaign {known.name} was begun by an earlier recipelab, which kept no hashes of "
                "pack, evaluator, data and image: they are taken as they are now"
            )
        elif self.overrides.joins or any(
            status in MEASURED_ONCE for status in store.counts(known.name)
        ):
            check_seal(known.name, sealed, now)
        else:
            check_folder(sealed, now)
            if found := sealed.changes(now):
                say(f"changed since the baseline failed: {'; '.join(found[:MOST_TOLD])}")
        return sealed

    def _register(self, store: LineageStore, name: str, seal: Seal, *, known: bool) -> None:
        """Create the campaign in the lineage, or reopen it."""
        plan = self.plan
        settings = settings_of(plan, self.pack.metric, self.pack.trust) | {
            SEAL: seal.model_dump(mode="json")
        }
        if known:
            record = store.reopen_campaign(
                name,
                trials=plan.limits.trials,
                hours=plan.limits.hours,
                model=plan.model_name,
                sandbox=plan.sandbox,
                settings=settings,
            )
        else:
            record = store.create_campaign(
                name=name,
                pack=plan.pack,
                profile=self.pack.profile,
                model=plan.model_name,
                sandbox=plan.sandbox,
                seed=plan.seed,
                trials=plan.limits.trials,
                hours=plan.limits.hours,
                settings=settings,
            )
        for prior in plan.priors:
            self.say(prior_note(record, store.campaign(prior)))


def seeds_at_once(pack: Pack) -> int:
    """Return how many seeds of a trial surely run at the same time: one, if it may be stopped."""
    return 1 if pack.acceptance.racing_error > 0.0 else len(pack.seeds)


def trials_at_once(slots: int, seeds: int) -> int:
    """Return how many trials run at the same time, so that every slot has work.

    A trial has a phase to run for each of its seeds; while the last of them end, the next trial
    takes the slots that are free.

    Args:
        slots: Phases that may run at the same time.
        seeds: Seeds of a trial that run at the same time.
    """
    if slots == 1:
        return 1
    return min(slots, -(-slots // seeds) + (seeds > 1))


def known_names(store: LineageStore) -> list[str]:
    """Return the names of all campaigns of a lineage."""
    return [campaign.name for campaign in store.campaigns()]


def claimed_name(
    store: LineageStore, home: Home, stem: str, stack: ExitStack | AsyncExitStack
) -> str:
    """Return the first of ``stem-1``, ``stem-2``, ... that no campaign has or is about to take.

    Args:
        store: The lineage.
        home: The folder of the campaigns' papers.
        stem: The name without its number.
        stack: Keeps the name from other campaigns that begin at the same moment.
    """
    taken = {campaign.name for campaign in store.campaigns()}
    for name in (f"{stem}-{number}" for number in count(1)):
        if name in taken:
            continue
        with ExitStack() as claim, suppress(RecipelabError):
            claim.enter_context(home.claimed(name))
            with home.locked(name):  # One that was named by hand may be about to begin.
                pass
            # It may have begun, and ended, since they were listed.
            if name not in {campaign.name for campaign in store.campaigns()}:
                stack.enter_context(claim.pop_all())
                return name
    raise AssertionError("unreachable: numbers do not end")


class SlotSize(TypedDict):
    """Cores and GPUs of one slot."""

    cpus: float
    gpus: int


def slot_size(pack: Pack, spec: ImageSpec) -> SlotSize:
    """Return what a phase of a pack takes of a machine."""
    gpus = max(1, pack.hardware.gpus) if spec.container.gpu else 0
    return SlotSize(cpus=pack.limits.cpus, gpus=gpus)


def most_slots(pack: Pack) -> int:
    """Return how many slots a campaign takes by default."""
    return max(len(pack.seeds), MOST_SLOTS)


def slots_for(pack: Pack, spec: ImageSpec, plan: Plan) -> SlotPool:
    """Return the slots that the phases of a pack run in on this machine.

    Raises:
        RecipelabError: The machine does not have what is asked for.
    """
    return machine_pool(
        **slot_size(pack, spec),
        wanted=plan.slots,
        most=most_slots(pack),
        share=plan.share_devices,
    )


def queue_now(queue: TrialQueue, slots: int) -> QueueNow:
    """Return what a queue tells people of itself.

    Args:
        queue: The queue.
        slots: Slots that its trials may hold.
    """
    limits = queue.ledger.limit_states()
    soonest = next((state.seconds for state in limits if state.seconds is not None), None)
    ends = None if soonest is None or queue.ledger.over else round(time.time() + soonest, -1)
    budget = tuple(
        BudgetNow(state.kind, round(state.used, 2) if state.used < 100 else state.used, state.limit)
        for state in limits
    )
    return QueueNow(queue.waiting, slots, queue.ledger.next_stop(), ends, budget)
