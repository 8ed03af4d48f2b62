"""The budget of a campaign: its limits, and the ledger of what is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from recipelab.core.errors import BudgetSpent
from recipelab.core.text import duration
from recipelab.core.trial import Outcome, Status
from recipelab.packs.judging_sections import Goal

if TYPE_CHECKING:
    from recipelab.lineage import LineageStore, NewUsage


MOST = 10**15
"""The largest limit of a number: a lineage stores it, and nobody reaches it."""


class BudgetLimits(BaseModel):
    """The limits of a campaign; ``None`` is no limit. The first that is reached ends it.

    Attributes:
        trials: Trials that count (see :attr:`recipelab.core.trial.Status.counts`).
        hours: Wall-clock hours of one run; a resumed campaign has them anew.
        device_hours: Hours that trials hold slots (a GPU or a set of cores each).
        tokens: Tokens sent to and received from models.
        money: US dollars for models, as far as prices are known.
        target: Score that is good enough.
        plateau: Judged trials in a row without one kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: int | None = Field(default=None, ge=1, le=MOST)
    hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    device_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    tokens: int | None = Field(default=None, ge=1, le=MOST)
    money: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    target: float | None = Field(default=None, allow_inf_nan=False)
    plateau: int | None = Field(default=None, ge=1, le=MOST)

    @property
    def bounded(self) -> bool:
        """Whether a campaign under these limits ends by itself."""
        # A target may never be reached, so it bounds nothing.
        return any(value is not None for name, value in self if name != "target")

    def given(self) -> dict[str, Any]:
        """Return the limits that are set, by name."""
        return {name: value for name, value in self if value is not None}


def reached(score: float, target: float, goal: Goal) -> bool:
    """Return whether a score is at least as good as a target."""
    return goal.sign * (score - target) >= 0


DEVICE = "device"
"""Takes the place of a model's name in rows of usage that hold the time on slots."""

WARNINGS = (0.5, 0.8, 1.0)
"""Shares of a limit at which a warning is given."""

_HOUR = 3600.0


@dataclass(frozen=True)
class Spent:
    """What a campaign has spent so far.

    Attributes:
        trials: Trials that count.
        hours: Wall-clock hours of this run.
        device_hours: Hours that trials held slots.
        tokens: Tokens sent and received.
        money: US dollars, as far as prices are known.
        unpriced: Tokens of models whose price is unknown.
        since_kept: Judged trials since one was kept.
        best: Score of the best trial; ``None`` before the baseline.
    """

    trials: int = 0
    hours: float = 0.0
    device_hours: float = 0.0
    tokens: int = 0
    money: float = 0.0
    unpriced: int = 0
    since_kept: int = 0
    best: float | None = None


def spent_limit(limits: BudgetLimits, spent: Spent, goal: Goal) -> str | None:
    """Return which limit has been reached, in words; ``None`` if none has."""
    if limits.trials is not None and spent.trials >= limits.trials:
        return "the budget of trials is spent"
    if limits.hours is not None and spent.hours >= limits.hours:
        return "the time is up"
    if limits.device_hours is not None and spent.device_hours >= limits.device_hours:
        return "the budget of device time is spent"
    if limits.tokens is not None and spent.tokens >= limits.tokens:
        return "the budget of tokens is spent"
    if limits.money is not None and spent.money >= limits.money:
        return "the budget of money is spent"
    target, best = limits.target, spent.best
    if target is not None and best is not None and reached(best, target, goal):
        return f"the target of {target:g} is reached"
    if limits.plateau is not None and spent.since_kept >= limits.plateau:
        return f"none of the last {spent.since_kept} trials was kept"
    return None


@dataclass(frozen=True)
class LimitState:
    """A limit of a campaign, and how far it is from it.

    Attributes:
        kind: Its name in :class:`BudgetLimits`.
        used: How much is used.
        limit: The limit.
        seconds: Estimate of when it is reached at the pace of this run, in seconds from now;
            ``None`` if nothing tells.
    """

    kind: str
    used: float
    limit: float
    seconds: float | None

    @property
    def left(self) -> float:
        """How much is left."""
        return max(0.0, self.limit - self.used)

    def words(self) -> str:
        """Return what is left, in words."""
        about = "" if self.seconds is None else f", some {duration(self.seconds)}"
        match self.kind:
            case "hours":
                return f"the budget of {self.limit:g} h ends in {duration(self.left * _HOUR)}"
            case "plateau":
                return f"it ends if none of the next {self.left:.0f} trials is kept"
            case "money":
                return f"${self.left:.2f} of ${self.limit:g} are left{about}"
            case "tokens" | "trials":
                return f"{self.left:,.0f} of {self.limit:,.0f} {self.kind} are left{about}"
            case _:
                what = self.kind.replace("_", " ")
                return f"{self.left:.3g} of {self.limit:g} {what} are left{about}"


class Ledger:
    """The account of one campaign: trials, time, devices, tokens and money.

    It reads the lineage once; afterwards everything is booked here first. A trial counts against
    the limits from its submission (:meth:`began`), a call of a model from its estimate
    (:meth:`reserve`), so that what runs at the same time cannot overspend together. What was really
    used is booked at the end (:meth:`ended`, :meth:`used`), and stored in the lineage.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        limits: What may be spent.
        goal: Which way the metric is better.
        say: Called with each warning that is due.
        clock: Returns seconds that only go up.

    Attributes:
        limits: What may be spent.
        round: The round that usage is booked under.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        limits: BudgetLimits,
        *,
        goal: Goal = Goal.MINIMIZE,
        say: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self.round: int | None = None
        self._store = store
        self._campaign = campaign
        self._goal = goal
        self._say = say
        self._clock = clock
        self._began = clock()
        self._first: float | None = None
        self._running: set[int] = set()
        self._tokens_reserved = 0
        self._money_reserved = 0.0
        self._unpriced = 0
        self._no_room: str | None = None
        self._kept: list[NewUsage] | None = None
        self._read_lineage()
        self._at_start = self.spent
        self._warned = dict(self._shares())

    def _read_lineage(self) -> None:
        """Read what earlier runs of the campaign have spent."""
        counts = self._store.counts(self._campaign)
        self._trials = sum(n for status, n in counts.items() if status and status.counts)
        self._since_kept = self._tried_since_kept()
        # Only a judged baseline or a kept trial stands on the chain, and has a score.
        has_best = any(status and status.is_parent for status in counts)
        self._best = self._store.best_brief(self._campaign).score if has_best else None
        usage = self._store.usage(self._campaign)
        held = [item for item in usage if item.model == DEVICE]
        self._device_seconds = sum(item.seconds for item in held)
        self._device_trials = sum(item.calls for item in held)
        asked = [item for item in usage if item.model != DEVICE]
        self._tokens = sum(item.prompt_tokens + item.completion_tokens for item in asked)
        self._money = sum(item.cost for item in asked)

    def _tried_since_kept(self) -> int:
        surfaces = self._store.surfaces(self._campaign, goal=self._goal)
        kept = max((item.last_kept for item in surfaces if item.last_kept is not None), default=0)
        newest = max((item.last_tried for item in surfaces), default=0)
        return newest - kept

    @property
    def spent(self) -> Spent:
        """What has been spent so far."""
        return Spent(
            trials=self._trials,
            hours=(self._clock() - self._began) / _HOUR,
            device_hours=self._device_seconds / _HOUR,
            tokens=self._tokens,
            money=self._money,
            unpriced=self._unpriced,
            since_kept=self._since_kept,
            best=self._best,
        )

    @property
    def remaining(self) -> int | None:
        """Trials that may still begin; ``None`` without a limit on their number."""
        if self.over is not None:
            return 0
        running, bounds = self._flying, []
        if self.limits.trials is not None:
            bounds.append(self.limits.trials - self._trials - running)
        if self.limits.device_hours is not None and self._device_trials:
            each = self._seconds_per_trial
            left = self.limits.device_hours * _HOUR - self._device_seconds
            bounds.append(int(left / each) - running if each else running + 1)
        return max(0, min(bounds)) if bounds else None

    @property
    def over(self) -> str | None:
        """Why no trial may begin any more; ``None`` while one may."""
        reason = spent_limit(self.limits, self.spent, self._goal) or self._no_room
        if reason is None and self.limits.device_hours is not None:
            # The running trials and one more of the usual length have to fit in.
            needed = self._seconds_per_trial * (self._flying + 1)
            if self._device_seconds + needed > self.limits.device_hours * _HOUR:
                return "the budget of device time is spent"
        return reason

    def limit_states(self) -> tuple[LimitState, ...]:
        """Return how far the campaign is from each of its limits, the soonest first.

        A target is left out: nothing tells when it is reached.
        """
        spent, start, found = self.spent, self._at_start, []
        names = {"plateau": "since_kept"}
        for kind in ("trials", "hours", "device_hours", "tokens", "money", "plateau"):
            limit = getattr(self.limits, kind)
            if limit is None:
                continue
            name = names.get(kind, kind)
            used, pace = getattr(spent, name), getattr(spent, name) - getattr(start, name)
            seconds = None
            if kind == "hours":
                seconds = max(0.0, limit - used) * _HOUR
            elif kind == "trials":
                # What came before the first trial, as the baseline, comes only once.
                lasted = self._clock() - self._first if self._first is not None else 0.0
                if pace > 0 and lasted > 0:
                    seconds = max(0.0, limit - used) / pace * lasted
            elif pace > 0 and spent.hours > 0 and kind != "plateau":
                seconds = max(0.0, limit - used) / pace * spent.hours * _HOUR
            found.append(LimitState(kind, used, limit, seconds))
        return tuple(
            sorted(found, key=lambda one: math.inf if one.seconds is None else one.seconds)
        )

    def next_stop(self) -> str:
        """Return what will end the campaign, in words, the soonest first."""
        if (reason := self.over) is not None:
            return f"{reason}: it ends when what runs has ended"
        parts = [state.words() for state in self.limit_states()]
        if (target := self.limits.target) is not None:
            parts.append(f"it ends at a score of {target:g}")
        return "; ".join(parts)

    @property
    def _flying(self) -> int:
        """Trials that were submitted and have not ended."""
        return len(self._running)

    @property
    def reserved(self) -> tuple[int, float] | None:
        """What calls have reserved in the lineage, in tokens and dollars; ``None`` for nothing."""
        return None

    @property
    def _seconds_per_trial(self) -> float:
        """Mean time that a trial has held slots; 0 before the first."""
        return self._device_seconds / self._device_trials if self._device_trials else 0.0

    def began(self, trial: int) -> None:
        """Reserve a trial that was submitted; it counts until it has ended."""
        self._running.add(trial)
        if self._first is None and trial > 0:  # Trial 0 is the baseline.
            self._first = self._clock()

    def ended(
        self, trial: int, specialist: str, outcome: Outcome | None, device_seconds: float
    ) -> None:
        """Book a trial that has ended.

        Args:
            trial: Its number.
            specialist: Who proposed it.
            outcome: How it ended; ``None`` if it was stopped and will be run again.
            device_seconds: How long it held slots, in seconds.
        """
        self._running.discard(trial)
        if device_seconds > 0:
            self._device_seconds += device_seconds
            self._device_trials += 1
            self._book(specialist, DEVICE, 0, 0, device_seconds, 0.0)
        if outcome is not None:
            self._trials += outcome.status.counts
            if outcome.status.is_parent:
                self._best, self._since_kept = outcome.score, 0
            elif outcome.status not in (Status.ABORTED, Status.REJECTED):
                self._since_kept += 1
        self._warn()

    def used_device(self, what: str, seconds: float) -> None:
        """Book slots that were held for no trial, as by a checkpoint, in seconds."""
        if seconds > 0:
            self._device_seconds += seconds
            self._book(what, DEVICE, 0, 0, seconds, 0.0)

    @property
    def has_time(self) -> bool:
        """Whether hours and device hours are not used up yet, where they are bounded."""
        limits, spent = self.limits, self.spent
        return (limits.hours is None or spent.hours < limits.hours) and (
            limits.device_hours is None or spent.device_hours < limits.device_hours
        )

    @property
    def best(self) -> float | None:
        """Score of the head of the working line; ``None`` before the baseline is judged."""
        return self._best

    @best.setter
    def best(self, score: float | None) -> None:
        self._best = score

    def reserve(self, tokens: int, cost: float | None) -> None:
        """Reserve what a call of a model may take.

        Args:
            tokens: Estimated tokens, sent and received.
            cost: Estimated cost in US dollars; ``None`` if the price is unknown.

        Raises:
            BudgetSpent: It would go beyond a limit; nothing was reserved. If no call that is on
                its way can make room, the budget is spent from now on: see :attr:`over`.
        """
        limits, reserved = self.limits, self._tokens_reserved
        if limits.tokens is not None and self._tokens + reserved + tokens > limits.tokens:
            self._note_no_room(tokens, 0.0)
            raise BudgetSpent(
                f"the budget of {limits.tokens:,} tokens has no room for a call of {tokens:,}"
            )
        money = cost or 0.0
        if limits.money is not None and self._money + self._money_reserved + money > limits.money:
            self._note_no_room(0, money)
            raise BudgetSpent(f"the budget of ${limits.money:g} has no room for another call")
        self._tokens_reserved += tokens
        self._money_reserved += cost or 0.0

    def _note_no_room(self, tokens: int, money: float) -> None:
        """Note that no call can be made any more, if none that is on its way can make room."""
        limits = self.limits
        if limits.tokens is not None and self._tokens and self._tokens + tokens > limits.tokens:
            self._no_room = "the budget of tokens is spent"
        if limits.money is not None and self._money and self._money + money > limits.money:
            self._no_room = "the budget of money is spent"

    def release(self, tokens: int, cost: float | None) -> None:
        """Give back what :meth:`reserve` took; :meth:`used` books what was really used."""
        self._tokens_reserved -= tokens
        self._money_reserved -= cost or 0.0

    def used(
        self,
        specialist: str,
        model: str,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        seconds: float,
        cost: float | None,
    ) -> None:
        """Book a call of a model; one of unknown cost counts as tokens without a price."""
        tokens = prompt_tokens + completion_tokens
        self._tokens += tokens
        self._money += cost or 0.0
        if cost is None:
            self._unpriced += tokens
        self._book(specialist, model, prompt_tokens, completion_tokens, seconds, cost or 0.0)
        self._warn()

    def defer_usage(self, kept: list[NewUsage] | None) -> None:
        """Put usage into a list that its owner writes and clears; ``None`` writes it at once.

        A group chat writes it with the messages of a turn, so that a turn costs one transaction.
        """
        self._kept = kept

    def _book(
        self, specialist: str, model: str, sent: int, received: int, seconds: float, cost: float
    ) -> None:
        if self._kept is None:
            self._store.add_usage(
                self._campaign,
                specialist=specialist,
                model=model,
                prompt_tokens=sent,
                completion_tokens=received,
                seconds=seconds,
                cost=cost,
                round_number=self.round,
                reserved=self.reserved,
            )
            return
        from recipelab.lineage import NewUsage

        self._kept.append(NewUsage(specialist, model, sent, received, seconds, cost, self.round))

    def _shares(self) -> Iterator[tuple[str, float]]:
        """Yield name and used share of each limit."""
        spent = self.spent
        for name in ("trials", "hours", "device_hours", "tokens", "money"):
            limit = getattr(self.limits, name)
            if limit is not None:
                yield name, getattr(spent, name) / limit

    def _warn(self) -> None:
        """Give each warning that is due, once."""
        for name, share in self._shares():
            due = [mark for mark in WARNINGS if self._warned[name] < mark <= share]
            self._warned[name] = max(self._warned[name], share)
            if due:
                limit, used = getattr(self.limits, name), getattr(self.spent, name)
                what = name.replace("_", " ")
                self._say(f"{due[-1]:.0%} of the {what} are used: {used:.4g} of {limit:g}")
