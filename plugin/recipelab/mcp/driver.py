"""The server as a driver of the campaign: it runs what was submitted where nobody else does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from recipelab.budget import BudgetLimits
from recipelab.campaign.campaign import Campaign
from recipelab.core.errors import RecipelabError
from recipelab.core.logs import logger
from recipelab.evaluation.proposals import BASELINE
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.session import Overrides

IDLE_SECONDS = 60.0
"""After so long without a trial in flight the campaign is closed, so that others may run it."""

LOCAL = "local"
"""Kind of the sandbox that does not isolate as a container does."""

LOOK_SECONDS = 0.5
"""Time between two looks whether anything is in flight."""

PREPARE_SECONDS = 15.0
"""How long a call waits for sandbox and data; clients give it up after a minute."""

_log = logger(__name__)


@dataclass(frozen=True)
class DriverOptions:
    """How a server runs trials.

    Attributes:
        lineage: Path or URL of the lineage; ``None`` for that of the home.
        limits: New limits of the campaign, where the server opens it.
        slots: Phases at the same time; ``None`` as in the campaign, 0 runs nothing here.
        sandbox: ``auto``, ``docker`` or ``local``; ``None`` as in the campaign.
        idle_seconds: After so long without a trial the campaign is closed.
    """

    lineage: str | None = None
    limits: BudgetLimits | None = None
    slots: int | None = None
    sandbox: str | None = None
    idle_seconds: float = IDLE_SECONDS


class OwnDriver:
    """Runs the trials of a campaign in this process, from a submission on.

    Where another process of this home runs the campaign, that one takes what is submitted. Where
    drivers elsewhere do, as a lineage in PostgreSQL allows, this process joins them. Where nobody
    does, it opens the campaign, and closes it when nothing was in flight for a while.

    A coding agent is a language model, so code runs as that of one does: without isolation only if
    a person has asked for that.

    Args:
        campaign: The campaign, to be looked at.
        options: How trials are run.
        say: Called with what a person should read.
    """

    def __init__(
        self, campaign: Campaign, options: DriverOptions, say: Callable[[str], None]
    ) -> None:
        self._campaign = campaign
        self._options = options
        self._say = say
        self._task: asyncio.Task[None] | None = None
        self._is_open = asyncio.Event()
        self._opened: Campaign | None = None
        self._lent: set[asyncio.Task[str]] = set()
        self._preparing = 0
        self._error: str | None = None
        self._stopped = False
        self._closing = False

    @property
    def _runs(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def _is_elsewhere(self) -> bool:
        """Whether another process has what is submitted, so that nothing is to be done here."""
        campaign = self._campaign
        if self._runs:
            return False
        if not campaign.store.is_shared:
            return campaign.is_running
        return self._options.slots == 0 and bool(campaign.drivers)

    def limits(self) -> BudgetLimits | None:
        """Return the new limits of the campaign; ``None`` where another process has its own."""
        is_theirs = self._is_elsewhere or bool(self._campaign.drivers)
        return None if is_theirs else self._options.limits

    def look(self) -> None:
        """Begin to run trials here, if any is in flight and nobody does."""
        if self._runs or self._closing or self._stopped or self._error is not None:
            return
        if self._options.slots == 0 or self._is_elsewhere:
            return
        self._is_open.clear()
        self._task = asyncio.create_task(self._drive(), name="mcp-driver")

    async def prepare(self, seconds: float) -> None:
        """Have somebody ready to run a trial, before it is submitted.

        Args:
            seconds: Waits so long at most: what takes longer, as an image that is built, goes on.

        Raises:
            RecipelabError: Nobody runs trials, and this process cannot.
        """
        if self._task is not None and self._opened is not None and not self._is_open.is_set():
            await asyncio.wait({self._task}, timeout=seconds)  # It is being closed.
        if self._stopped:
            raise RecipelabError(
                f"a person has stopped campaign {self._campaign.name}; it goes on with: recipelab "
                f"resume {self._campaign.name}, or when this server is started anew"
            )
        if self._is_elsewhere:
            self._check_isolated()
            return
        if self._options.slots == 0:
            raise RecipelabError(
                f"no process runs campaign {self._campaign.name}, and this server runs no trials "
                f"(--slots 0); run it: recipelab resume {self._campaign.name}"
            )
        self._error = None
        self._preparing += 1
        self.look()
        opened = asyncio.ensure_future(self._is_open.wait())
        try:
            await asyncio.wait(
                {opened, *([self._task] if self._task else [])},
                timeout=seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._preparing -= 1
            opened.cancel()
        if self._error is not None:
            raise RecipelabError(f"no trial can be run: {self._error}")

    @property
    def may_lend(self) -> bool:
        """Whether this process ever runs the campaign, so that code of a session can run here."""
        return self._options.slots != 0

    @property
    def queue(self) -> TrialQueue:
        """The queue of the campaign, while this process runs it.

        Raises:
            RecipelabError: It does not.
        """
        if self._opened is None:
            raise RecipelabError(f"campaign {self._campaign.name} does not run here")
        return self._opened.queue

    def _check_here(self) -> None:
        """Check that the campaign is open in this process.

        Raises:
            RecipelabError: It is not.
        """
        if self._is_open.is_set():
            return
        name = self._campaign.name
        if self._is_elsewhere:
            raise RecipelabError(
                f"another process runs campaign {name}, and code of a session runs only where this "
                "server does; go on without, or submit what you would try"
            )
        raise RecipelabError("sandbox and data are not ready yet; call again in a minute")

    async def lend(self, work: Callable[[], Awaitable[str]], seconds: float) -> str:
        """Return what work on the campaign's queue returns; it is not closed meanwhile.

        Args:
            work: Uses :attr:`queue`.
            seconds: Waits so long for sandbox and data at most.

        Raises:
            RecipelabError: This process does not run the campaign, or it was closed meanwhile.
        """

        async def prepared() -> str:
            await self.prepare(seconds)
            self._check_here()
            return await work()

        task = asyncio.create_task(prepared(), name="mcp-lent")
        self._lent.add(task)
        task.add_done_callback(self._lent.discard)
        try:
            await asyncio.wait({task})
        finally:
            if not task.done():  # The client has given up.
                task.cancel()
                await asyncio.wait({task})
        if task.cancelled():
            raise RecipelabError(f"campaign {self._campaign.name} was closed meanwhile")
        return task.result()

    async def _end_lent(self) -> None:
        """End what works on the queue, before its sandbox is gone."""
        lent = tuple(self._lent)
        for task in lent:
            task.cancel()
        await asyncio.gather(*lent, return_exceptions=True)

    def _check_isolated(self) -> None:
        """Check that a process that runs the rules' proposals may run those of a model, too.

        Raises:
            RecipelabError: It has fallen back to the local sandbox, as only rules proposed.
        """
        campaign = self._campaign
        plan, outcome = campaign.plan, campaign.trial(BASELINE).outcome
        is_local = outcome is not None and outcome.environment.startswith(LOCAL)
        asked = LOCAL in (plan.sandbox, self._options.sandbox) or plan.has_real_model
        if is_local and not asked:
            raise RecipelabError(
                f"campaign {campaign.name} runs in the local sandbox, which is not isolated as a "
                "container is and which nobody asked for; run it with --sandbox docker, or start "
                "this server with --sandbox local if you mean it"
            )

    def words(self) -> str:
        """Return who runs trials, in words."""
        if self._campaign.is_paused and self._campaign.is_running:
            return "the campaign is paused: trials wait until a person resumes it"
        if self._runs:
            opened = self._is_open.is_set()
            return "here" if opened else "here, once sandbox and data are ready"
        if self._campaign.is_running:
            return "by the process that runs the campaign"
        if self._error is not None:
            return f"nobody: {self._error}"
        return f"nobody now; a person can: recipelab resume {self._campaign.name}"

    async def close(self) -> None:
        """Stop running trials; those in flight run again when the campaign goes on."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _drive(self) -> None:
        name = self._campaign.name
        try:
            with self._to_run() as campaign:
                async with campaign.opened():
                    self._opened = campaign
                    self._is_open.set()
                    try:
                        await self._until_idle(campaign)
                    finally:
                        self._is_open.clear()
                        await self._end_lent()
        except RecipelabError as error:
            self._error = str(error)
            self._say(f"campaign {name} cannot be run here: {error}")
        except asyncio.CancelledError:
            if self._closing:
                raise
            self._stopped = True  # As ``recipelab stop`` ends a campaign where it runs.
        except Exception as error:
            # A fault of this program; whoever waits for a trial has to hear of it.
            self._error = f"{type(error).__name__}: {error}"
            _log.exception("the campaign cannot be run here", campaign=name)
        finally:
            self._opened = None

    def _to_run(self) -> Campaign:
        """Return the campaign with a lineage of its own, which acts for this driver alone.

        Raises:
            RecipelabError: It cannot be run from here.
        """
        options, mine = self._options, self._campaign
        overrides = Overrides(has_real_model=True)
        lineage = options.lineage or mine.store.url
        if mine.drivers:
            return Campaign.join(
                mine.name,
                home=mine.home,
                lineage=lineage,
                overrides=overrides,
                say=self._say,
                slots=options.slots,
                sandbox=options.sandbox,
            )
        campaign = Campaign.open(
            mine.name, home=mine.home, lineage=lineage, overrides=overrides, say=self._say
        )
        campaign.extend(options.limits, slots=options.slots, sandbox=options.sandbox)
        return campaign

    async def _until_idle(self, campaign: Campaign) -> None:
        """Return when the budget is spent, or nothing was in flight or lent for a while."""
        since = time.monotonic()
        while True:
            async for _ in campaign.judged():
                since = time.monotonic()
            if self._lent or self._preparing:
                since = time.monotonic()
            elif campaign.budget.remaining == 0:
                return  # Leaving it tests the working line, and ends the campaign.
            elif time.monotonic() - since > self._options.idle_seconds:
                return
            await asyncio.sleep(LOOK_SECONDS)
