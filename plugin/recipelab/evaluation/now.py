"""What goes on in a campaign right now: who has the floor, what waits, and what will stop it.

The process that runs a campaign keeps it in a small file of ``live/``, beside those of
:mod:`recipelab.evaluation.live`; a reader in any process of the user makes a :class:`Now` of it.
The file is written as a whole when something has changed, at most four times a second.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipelab.core.content import make_private, read_limited
from recipelab.core.text import plain, shorten
from recipelab.lineage import PAUSED, CampaignRecord

if TYPE_CHECKING:
    from recipelab.evaluation.live import LivePhase

WRITE_SECONDS = 0.25
"""Least time between two writes of the file."""

REASON_CHARACTERS = 240
"""Characters of the reason for which a specialist passed."""

MOST_WARNINGS = 20
"""Newest warnings that are kept."""

LARGEST_FILE = 1_000_000
"""Bytes of the file at most that are read."""

THINKING = "thinking"


@dataclass(frozen=True)
class Floor:
    """Somebody whose turn it is.

    Attributes:
        specialist: Who.
        since: Since when, in seconds since 1970.
        doing: ``thinking``, or ``calling`` with the names of the tools.
        call_since: Since when it does that.
    """

    specialist: str
    since: float
    doing: str = THINKING
    call_since: float = 0.0


@dataclass(frozen=True)
class Passed:
    """Somebody whose last turn brought no trial.

    Attributes:
        specialist: Who.
        at: When the turn ended, in seconds since 1970.
        reason: Why, in its own words or in those of the error.
    """

    specialist: str
    at: float
    reason: str


@dataclass(frozen=True)
class RunningPhase:
    """A phase that runs.

    Attributes:
        trial: Number of the trial for which it runs.
        phase: The phase.
        seed: Its seed; ``None`` in preflight.
        slot: Where it runs; empty if that has no name.
        began: When it began, in seconds since 1970.
        budget: Its budget in seconds.
        beside: Whether it is the incumbent's, which runs beside the trial.
        look: The look that the trial is at, and how many there are, while it is confirmed.
        log: The newest lines of its log, safe to show.
    """

    trial: int
    phase: str
    seed: int | None
    slot: str
    began: float
    budget: float
    beside: bool
    look: tuple[int, int] | None
    log: tuple[str, ...]


@dataclass(frozen=True)
class Confirming:
    """A test on fresh seeds that goes on: of a trial, or of the working line up to it.

    Attributes:
        trial: Number of the trial.
        look: The look that it is at, from 1.
        of: How many looks there are at most.
        kind: ``trial`` or ``checkpoint``.
    """

    trial: int
    look: int
    of: int
    kind: str = "trial"


@dataclass(frozen=True)
class SlotsNow:
    """The slots of a campaign.

    Attributes:
        busy: Slots that its trials hold.
        total: Slots that it has; ``None`` if that is not known.
    """

    busy: int = 0
    total: int | None = None


@dataclass(frozen=True)
class BudgetNow:
    """A limit of a campaign.

    Attributes:
        kind: As in :class:`recipelab.budget.BudgetLimits`.
        used: How much is used.
        limit: The limit.
    """

    kind: str
    used: float
    limit: float


@dataclass(frozen=True)
class Now:
    """What goes on in a campaign at one moment.

    Attributes:
        state: The state of the campaign in the lineage.
        since: Since when it runs, or when it ended, in seconds since 1970.
        paused: Whether no trial begins for now.
        driver_alive: Whether a process on this machine runs it.
        floor: Who has the floor, longest first.
        passes: Whose last turn brought no trial, newest first.
        queued: Numbers of the trials that wait for a slot, in order.
        running: The phases that run.
        confirming: The test on fresh seeds that goes on, if one does.
        next_stop: What will end the campaign, in words.
        seconds_left: Estimate of when that is, in seconds from now; ``None`` if nothing tells.
        warnings: What people should not miss, each once, oldest first.
        slots: Its slots.
        budget: Its limits.
    """

    state: str
    since: float
    paused: bool
    driver_alive: bool
    floor: tuple[Floor, ...] = ()
    passes: tuple[Passed, ...] = ()
    queued: tuple[int, ...] = ()
    running: tuple[RunningPhase, ...] = ()
    confirming: Confirming | None = None
    next_stop: str = ""
    seconds_left: float | None = None
    warnings: tuple[str, ...] = ()
    slots: SlotsNow = SlotsNow()
    budget: tuple[BudgetNow, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        facts: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return facts


@dataclass(frozen=True)
class TeamNow:
    """What the process that runs a campaign tells: the part of :class:`Now` that a file holds.

    Attributes are those of :class:`Now`; ``began`` is when this run of the campaign began.
    """

    began: float
    floor: tuple[Floor, ...] = ()
    passes: tuple[Passed, ...] = ()
    queued: tuple[int, ...] = ()
    confirming: Confirming | None = None
    next_stop: str = ""
    ends_at: float | None = None
    warnings: tuple[str, ...] = ()
    slots: SlotsNow = SlotsNow()
    budget: tuple[BudgetNow, ...] = ()


@dataclass(frozen=True)
class QueueNow:
    """What a queue tells of itself.

    Attributes:
        queued: Numbers of the trials that wait for a slot, in order.
        slots: Slots that it has.
        next_stop: What will end the campaign, in words.
        ends_at: Estimate of when, in seconds since 1970; ``None`` if nothing tells.
        budget: Its limits.
    """

    queued: tuple[int, ...] = ()
    slots: int | None = None
    next_stop: str = ""
    ends_at: float | None = None
    budget: tuple[BudgetNow, ...] = ()


class NowBoard:
    """Keeps what goes on, and writes it where people look.

    All but :meth:`warn` is for the thread of the campaign's event loop.

    Args:
        file: Where it is written; ``None`` writes nothing.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._began = time.time()
        self._floor: dict[str, list[Floor]] = {}
        self._passes: dict[str, Passed] = {}
        self._warnings: dict[str, None] = {}
        self._held: Counter[str] = Counter()
        self._confirming: dict[int, Confirming] = {}
        self._written = b""

    @property
    def thinking(self) -> tuple[str, ...]:
        """Names of the specialists whose turn it is."""
        return tuple(self._floor)

    def turns_of(self, specialist: str) -> int:
        """Return how many turns a specialist has now."""
        return len(self._floor.get(specialist, ()))

    def took_floor(self, specialist: str) -> None:
        """Note that a specialist's turn begins."""
        now = time.time()
        self._passes.pop(specialist, None)
        self._floor.setdefault(specialist, []).append(Floor(specialist, now, call_since=now))

    def left_floor(self, specialist: str) -> None:
        """Note that a specialist's turn has ended: of several, the one that began first."""
        turns = self._floor.get(specialist, [])
        del turns[:1]
        if not turns:
            self._floor.pop(specialist, None)

    def calls(self, specialist: str, tools: Sequence[str]) -> None:
        """Note that a specialist calls tools; none if it thinks again."""
        if turns := self._floor.get(specialist):
            names = ", ".join(dict.fromkeys(shorten(tool, 60) for tool in tools))
            doing = f"calling {names}" if names else THINKING
            # Of several turns, nobody says which it is.
            turns[0] = replace(turns[0], doing=doing, call_since=time.time())

    def passed(self, specialist: str, reason: str) -> None:
        """Note that a turn of a specialist brought no trial, and why."""
        words = shorten(reason, REASON_CHARACTERS)
        self._passes[specialist] = Passed(specialist, time.time(), words)

    def warn(self, text: str) -> None:
        """Note what people should not miss; a text that was noted before stays where it is."""
        self._warnings.setdefault(plain(text))
        for old in list(self._warnings)[:-MOST_WARNINGS]:
            self._warnings.pop(old, None)

    def confirming(self, trial: int, look: int, of: int, kind: str = "trial") -> None:
        """Note the look that a test on fresh seeds is at."""
        self._confirming.pop(trial, None)
        self._confirming[trial] = Confirming(trial, look, of, kind)

    def confirmed(self, trial: int) -> None:
        """Note that nothing of a trial is tested any more."""
        self._confirming.pop(trial, None)

    @contextmanager
    def holding(self, slot: str) -> Iterator[None]:
        """Note that a slot is held, as long as the context lasts."""
        self._held[slot] += 1
        try:
            yield
        finally:
            self._held[slot] -= 1

    def team(self, queue: QueueNow) -> TeamNow:
        """Return what goes on, with what the queue tells."""
        return TeamNow(
            self._began,
            tuple(sorted(itertools.chain(*self._floor.values()), key=lambda one: one.since)),
            tuple(sorted(self._passes.values(), key=lambda one: -one.at)),
            queue.queued,
            next(reversed(self._confirming.values()), None),
            queue.next_stop,
            queue.ends_at,
            tuple(self._warnings),
            SlotsNow(sum(count > 0 for count in self._held.values()), queue.slots),
            queue.budget,
        )

    @asynccontextmanager
    async def kept(self, queue: Callable[[], QueueNow]) -> AsyncIterator[None]:
        """Keep the file as it should be for as long as the context lasts; then it is removed."""

        async def keep() -> None:
            while True:
                self.write(queue())
                await asyncio.sleep(WRITE_SECONDS)

        if self._file is None:
            yield
            return
        task = asyncio.create_task(keep())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._file.unlink(missing_ok=True)

    def write(self, queue: QueueNow) -> None:
        """Write the file, unless it is as it should be. A full disk costs the view alone."""
        if self._file is None:
            return
        text = json.dumps(asdict(self.team(queue))).encode()
        if text == self._written:
            return
        fresh = self._file.with_suffix(".new")
        with suppress(OSError):
            make_private(self._file.parent)
            opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(opened, text)
            finally:
                os.close(opened)
            os.replace(fresh, self._file)
            self._written = text


def read_team(file: Path) -> TeamNow | None:
    """Return what the file of a running campaign tells; ``None`` if it tells nothing."""
    try:
        table: Mapping[str, Any] = json.loads(read_limited(file, LARGEST_FILE))
        confirming = table["confirming"]
        return TeamNow(
            began=float(table["began"]),
            floor=tuple(Floor(**one) for one in table["floor"]),
            passes=tuple(Passed(**one) for one in table["passes"]),
            queued=tuple(table["queued"]),
            confirming=None if confirming is None else Confirming(**confirming),
            next_stop=str(table["next_stop"]),
            ends_at=table["ends_at"],
            warnings=tuple(table["warnings"]),
            slots=SlotsNow(**table["slots"]),
            budget=tuple(BudgetNow(**one) for one in table["budget"]),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def now_of(
    record: CampaignRecord, team: TeamNow | None, phases: Sequence[LivePhase], *, alive: bool
) -> Now:
    """Return what goes on.

    Args:
        record: The campaign.
        team: What the process that runs it tells; ``None`` if it tells nothing.
        phases: The phases that run.
        alive: Whether a process runs it.
    """
    if not alive:
        ended = record.ended_at is not None
        words = (
            record.stop_reason if ended else f"no process runs it: recipelab resume {record.name}"
        )
        since = record.ended_at or record.created_at
        return Now(
            record.state, since.timestamp(), record.state == PAUSED, False, next_stop=words or ""
        )
    team = team or TeamNow(record.created_at.timestamp(), next_stop="it is getting ready")
    confirming = team.confirming
    running = tuple(
        RunningPhase(
            phase.trial,
            phase.phase,
            phase.seed,
            phase.slot,
            phase.began,
            phase.budget,
            phase.beside,
            (confirming.look, confirming.of)
            if confirming is not None and confirming.trial == phase.trial
            else None,
            phase.log,
        )
        for phase in phases
    )
    return Now(
        state=record.state,
        since=team.began,
        paused=record.state == PAUSED,
        driver_alive=True,
        floor=team.floor,
        passes=team.passes,
        queued=team.queued,
        running=running,
        confirming=confirming,
        next_stop="paused: no trial begins until it goes on"
        if record.state == PAUSED
        else team.next_stop,
        seconds_left=None if team.ends_at is None else max(0.0, team.ends_at - time.time()),
        warnings=team.warnings,
        slots=team.slots,
        budget=team.budget,
    )
