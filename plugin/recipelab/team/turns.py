"""The outcome of a specialist's turn, read from the messages of the group chat."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, ToolCallExecutionEvent

from recipelab.agents.evaluator_agent import TRIALS
from recipelab.agents.lineage_view import IN_TURN
from recipelab.agents.prompt import ASK_AGAIN
from recipelab.agents.specialist import FAULT
from recipelab.core.text import shorten
from recipelab.core.trial import Status
from recipelab.tools.names import SUBMITTING, WAITING
from recipelab.tools.submit import STILL_RUNS

_ASK_AGAIN = re.compile(rf"^\W*{ASK_AGAIN[:-1]}\W*(.*)$", re.IGNORECASE | re.MULTILINE)

BEST, NOTHING = "best", "nothing"
"""What a specialist that passes may name beside surfaces: any kept trial; none of others."""

DRY = 2
"""Passes in a row after which somebody who never proposed hears of its own surfaces alone."""

MOST_NEWS = 8
"""News at most that somebody waits for who has passed many times in a row."""

_ERROR_LENGTH = 160
"""Characters of an error that a report quotes."""


_LONGEST_NUMBER = 9
"""Digits that the number of a turn has at most."""


class TurnResult(StrEnum):
    """The result of a turn."""

    SUBMITTED = "submitted"
    """At least one proposal became a trial."""

    REJECTED = "rejected"
    """Every proposal was rejected before it ran."""

    REFUSED = "refused"
    """A proposal was made, and the last try was answered with an error: it was not recorded."""

    WAITED = "waited"
    """No proposal was made: a trial that was waited for had not ended."""

    PASSED = "passed"
    """No proposal was made."""

    FAILED = "failed"
    """The model failed, and no proposal was made before."""


@dataclass(frozen=True)
class TurnOutcome:
    """The outcome of one turn of a specialist.

    Attributes:
        specialist: The specialist whose turn it was.
        result: The result of the turn.
        trials: Numbers of the trials that were queued.
        rejected: Numbers of the proposals that were rejected before they ran.
        called_tools: Whether the specialist called a tool at all.
        tool_errors: What tools answered with an error, as ``"tool: message"``.
        fault: Why the model failed; ``None`` if it did not.
        waited: Whether it waited for a trial.
        ask_again: What must have a kept trial before the specialist is asked again, by name of
            the surface; ``best`` for any. Empty if only its own trials and notes matter, ``None``
            if it did not say.
    """

    specialist: str
    result: TurnResult
    trials: tuple[int, ...] = ()
    rejected: tuple[int, ...] = ()
    called_tools: bool = False
    tool_errors: tuple[str, ...] = ()
    fault: str | None = None
    waited: bool = False
    ask_again: frozenset[str] | None = None


@dataclass(frozen=True)
class SubmissionAnswer:
    """The answer of a tool that takes a proposal.

    Attributes:
        trial: Number of the trial.
        rejected: Whether the proposal was rejected before it ran.
    """

    trial: int
    rejected: bool


def submission_answers(message: ToolCallExecutionEvent) -> list[SubmissionAnswer]:
    """Return the answers of submitting tools in a message; error answers have no trial."""
    results = (r for r in message.content if r.name in SUBMITTING and not r.is_error)
    tables = (json.loads(result.content) for result in results)
    return [
        SubmissionAnswer(int(table["trial"]), table.get("status") == Status.REJECTED)
        for table in tables
        if "trial" in table
    ]


def trials_of(message: BaseAgentEvent | BaseChatMessage) -> list[int]:
    """Return the numbers of the trials that a message of the group chat is about."""
    if isinstance(message, BaseChatMessage):
        numbers = message.metadata.get(TRIALS, "")
        return [int(number) for number in numbers.split(",") if number]
    if isinstance(message, ToolCallExecutionEvent):
        return [answer.trial for answer in submission_answers(message)]
    return []


@dataclass
class _OpenTurn:
    answers: list[SubmissionAnswer] = field(default_factory=list)
    tool_errors: list[str] = field(default_factory=list)
    called_tools: bool = False
    refused: bool = False
    waited: bool = False
    in_flight: bool = False

    def hear(self, message: ToolCallExecutionEvent) -> None:
        """Take in the answers of tools."""
        self.called_tools = True
        self.answers += submission_answers(message)
        for result in message.content:
            if result.is_error:
                text = shorten(result.content, _ERROR_LENGTH)
                self.tool_errors.append(f"{result.name}: {text}")
            if result.name in SUBMITTING:
                self.refused = bool(result.is_error)
            elif result.name == WAITING and not result.is_error:
                self.waited = True
                self.in_flight = STILL_RUNS in json.loads(result.content)


class TurnReader:
    """Puts the messages of each specialist's turn together to the outcome of the turn.

    Specialists take turns at the same time, also several of one, so the messages of several turns
    interleave: each says to which it belongs. A turn ends with the specialist's chat message.

    Args:
        specialists: Names of the specialists; messages of others belong to no turn.
    """

    def __init__(self, specialists: Collection[str]) -> None:
        self._specialists = frozenset(specialists)
        self._open: defaultdict[tuple[str, int | None], _OpenTurn] = defaultdict(_OpenTurn)

    def start_round(self) -> None:
        """Drop turns that the end of the last round cut short."""
        self._open.clear()

    def number_of(self, message: BaseAgentEvent | BaseChatMessage) -> int | None:
        """Return the number in the lineage of the turn that a message belongs to, if it has one."""
        number = message.metadata.get(IN_TURN, "")
        is_number = number.isdecimal() and len(number) <= _LONGEST_NUMBER
        return int(number) if is_number and message.source in self._specialists else None

    def read(self, message: BaseAgentEvent | BaseChatMessage) -> TurnOutcome | None:
        """Return the outcome of the turn that a message ends; ``None`` if it ends none."""
        name = message.source
        if name not in self._specialists:
            return None
        key = name, self.number_of(message)
        if isinstance(message, ToolCallExecutionEvent):
            self._open[key].hear(message)
        elif isinstance(message, BaseChatMessage):
            turn = self._open.pop(key, _OpenTurn())
            return _outcome(name, turn, message.to_text(), failed=FAULT in message.metadata)
        return None


def _outcome(specialist: str, turn: _OpenTurn, words: str, *, failed: bool) -> TurnOutcome:
    trials = tuple(answer.trial for answer in turn.answers if not answer.rejected)
    rejected = tuple(answer.trial for answer in turn.answers if answer.rejected)
    if trials:
        result = TurnResult.SUBMITTED
    elif rejected:
        result = TurnResult.REJECTED
    elif failed:
        result = TurnResult.FAILED
    elif turn.refused:
        result = TurnResult.REFUSED
    else:
        result = TurnResult.WAITED if turn.in_flight else TurnResult.PASSED
    return TurnOutcome(
        specialist,
        result,
        trials,
        rejected,
        turn.called_tools,
        tuple(turn.tool_errors),
        words if failed else None,
        turn.waited,
        ask_again_in(words) if result is TurnResult.PASSED else None,
    )


def ask_again_in(words: str) -> frozenset[str] | None:
    """Return the surfaces after whose gains a specialist wants to be asked again, as it said.

    Returns:
        What the last line says that begins with :data:`recipelab.agents.prompt.ASK_AGAIN`; ``None``
        if there is none.
    """
    found = _ASK_AGAIN.findall(words)
    return frozenset(re.findall(r"[a-z][a-z0-9_]*", found[-1].lower())) if found else None


@dataclass
class _Pass:
    """A specialist that had nothing to say.

    Attributes:
        in_a_row: Passes since its last proposal.
        after: What it said must have a kept trial; ``None`` for anything.
        news: What has happened since, that concerns it.
    """

    in_a_row: int = 0
    after: frozenset[str] | None = None
    news: int = 0

    @property
    def is_over(self) -> bool:
        """Whether so much has happened that it may have an idea now."""
        return self.news >= min(MOST_NEWS, 1 << max(0, self.in_a_row - 1))


@dataclass
class _Turn:
    """A turn that goes on.

    Attributes:
        before: How its specialist had passed when it began; ``None`` if it had not.
        news: What has happened since, which its opening does not show.
    """

    before: _Pass | None
    news: list[tuple[Status, frozenset[str]]] = field(
        default_factory=list[tuple[Status, frozenset[str]]]
    )


class Silence:
    """Specialists who had nothing to say, and are not asked again until something has changed.

    News for somebody who has passed are a kept trial, which others build on, and any trial on its
    own surfaces. A specialist that said which surfaces must gain first hears of no other kept
    trials, and one that has only ever passed, twice or more, hears of those alone that change its
    surfaces: its passes say that the others do not matter to it. After one pass one piece of news
    is enough, after two in a row it takes two, then four, and so on up to :data:`MOST_NEWS`: ideas
    do not come back where they have run dry. A note from a person, or a proposal, begins anew.

    Two things cut that short, so that no slot is idle for want of a question: where a slot waits,
    somebody who has heard any news at all is asked; and where all are silent and nothing runs, one
    is asked once more in each round.

    Attributes:
        has_outcomes: Whether a trial other than the baseline has been judged.

    Args:
        surfaces: The surfaces of each specialist.
        blind: Whether outcomes must not show in the order of turns: every trial counts then.
    """

    def __init__(self, surfaces: Mapping[str, Collection[str]], *, blind: bool = False) -> None:
        self._surfaces = {name: frozenset(owned) for name, owned in surfaces.items()}
        self._known = frozenset({BEST, NOTHING}).union(*self._surfaces.values())
        self._blind = blind
        self._passes: dict[str, _Pass] = {}
        self._proposed: set[str] = set()
        self.has_outcomes = False
        self._refused: set[str] = set()
        self._turns: defaultdict[str, deque[_Turn]] = defaultdict(deque)
        self._asked_again = False
        self._notes: Collection[int] = ()

    def start_round(self) -> None:
        """Allow that one is asked once more, should all be silent."""
        self._asked_again = False
        self._turns.clear()

    def turn_began(self, name: str) -> None:
        """Hear that a turn begins: what happens from now on, its opening does not show."""
        if name in self._surfaces:
            self._turns[name].append(_Turn(self._passes.get(name)))

    def turn_ended(self, turn: TurnOutcome) -> None:
        """Hear how a turn ended."""
        name, before = turn.specialist, self._passes.get(turn.specialist)
        # Of several turns of one specialist, the one that began first is taken to have ended.
        began = self._turns[name].popleft() if self._turns[name] else _Turn(before)
        # One refusal is bad luck; whoever is refused again has nothing that could be a trial.
        again = turn.result is TurnResult.REFUSED and name in self._refused
        self._refused -= {name}
        if turn.result is TurnResult.REFUSED:
            self._refused.add(name)
        if turn.result is TurnResult.PASSED or again:
            self._asked_again |= before is not None and not before.news
            in_a_row = 1 + (before.in_a_row if before is not None else 0)
            if before is not None and before is not began.before:
                in_a_row = max(1, before.in_a_row)  # They had nothing to say at the same time.
            after = turn.ask_again
            # Of names that there are not it meant something else.
            unknown = after is not None and bool(after) and not after & self._known
            said = None if unknown or after is None or BEST in after else after
            self._passes[name] = _Pass(in_a_row, said - {NOTHING} if said is not None else None)
        elif turn.result is TurnResult.WAITED:
            self._passes[name] = _Pass(before.in_a_row if before is not None else 0)
        else:
            self._passes.pop(name, None)
        if turn.result is TurnResult.SUBMITTED:
            self._proposed.add(name)
        for status, touched in began.news:
            self._tell(name, status, touched)

    def trial_judged(
        self, status: Status, surface: str, changed: Collection[str] = frozenset()
    ) -> None:
        """Hear that a trial has ended.

        Args:
            status: Its status.
            surface: The surface that it was booked on.
            changed: Surfaces whose knobs a kept trial has changed beside that.
        """
        self.has_outcomes |= status is not Status.BASELINE
        touched = frozenset((surface, *changed))
        for name in self._surfaces:
            for turn in self._turns[name]:
                turn.news.append((status, touched))
            if not self._turns[name]:
                self._tell(name, status, touched)

    def _tell(self, name: str, status: Status, touched: frozenset[str]) -> None:
        passed = self._passes.get(name)
        if passed is None:
            return
        own = bool(touched & self._surfaces[name])
        # To whom nothing of others was ever worth a proposal, it will not be.
        any_gain = passed.after is None and (passed.in_a_row < DRY or name in self._proposed)
        named = passed.after is not None and bool(touched & passed.after)
        gained = status is Status.KEPT and (any_gain or named)
        passed.news += own or gained or self._blind or not passed.in_a_row

    def notes_are(self, numbers: Collection[int]) -> None:
        """Hear which notes of people hold."""
        if numbers != self._notes:
            self._passes.clear()
        self._notes = numbers

    def among(
        self, names: Iterable[str], *, nothing_goes_on: bool, slot_waits: bool = False
    ) -> list[str]:
        """Return those who may have something to say.

        Args:
            names: The specialists who could speak.
            nothing_goes_on: Whether nobody thinks and no trial is in flight, so that nothing will
                change if none of them speaks.
            slot_waits: Whether a slot is free that nobody thinks for.
        """
        names = list(names)
        found = [name for name in names if self.may_speak(name)]
        if found or not names:
            return found
        told = [name for name in names if self._passes[name].news]
        if slot_waits and told:
            return [min(told, key=lambda name: self._passes[name].in_a_row)]
        if not nothing_goes_on or self._asked_again:
            return []
        fewest = min(self._passes[name].in_a_row for name in names)
        return [name for name in names if self._passes[name].in_a_row == fewest]

    def may_speak(self, name: str) -> bool:
        """Return whether a specialist has not passed, or enough has happened since."""
        passed = self._passes.get(name)
        return passed is None or passed.is_over


def idle_report(turns: Iterable[TurnOutcome]) -> str:
    """Return what specialists did in turns without a trial, in a sentence or two."""
    turns = list(turns)
    silent = sum(not turn.called_tools for turn in turns)
    errors = Counter(error for turn in turns for error in turn.tool_errors)
    faults = Counter(shorten(turn.fault, _ERROR_LENGTH) for turn in turns if turn.fault)
    parts = [f"{len(turns)} turns, {silent} of them without a tool call"]
    for subject, counts in (("tools answered", errors), ("models failed", faults)):
        if counts:
            text, times = counts.most_common(1)[0]
            total = counts.total()
            parts.append(f"{subject} {total} times with an error, most often ({times}) {text!r}")
    return "; ".join(parts)
