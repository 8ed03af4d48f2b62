"""The outcome of a specialist's turn, read from the messages of the group chat."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from autogen_agentchat.messages import BaseAgentEvent, BaseChatMessage, ToolCallExecutionEvent

from recipelab.agents.evaluator_agent import TRIALS
from recipelab.agents.lineage_view import IN_TURN
from recipelab.agents.specialist import FAULT
from recipelab.core.text import shorten
from recipelab.core.trial import Status
from recipelab.tools.names import SUBMITTING

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
    """

    specialist: str
    result: TurnResult
    trials: tuple[int, ...] = ()
    rejected: tuple[int, ...] = ()
    called_tools: bool = False
    tool_errors: tuple[str, ...] = ()
    fault: str | None = None


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


class TurnReader:
    """Puts the messages of each specialist's turn together to the outcome of the turn.

    Specialists take turns at the same time, so the messages of several turns interleave. A turn
    ends with the specialist's chat message.

    Args:
        specialists: Names of the specialists; messages of others belong to no turn.
    """

    def __init__(self, specialists: Collection[str]) -> None:
        self._specialists = frozenset(specialists)
        self._open: defaultdict[str, _OpenTurn] = defaultdict(_OpenTurn)

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
        if isinstance(message, ToolCallExecutionEvent):
            turn = self._open[name]
            turn.called_tools = True
            turn.answers += submission_answers(message)
            turn.tool_errors += [
                f"{result.name}: {shorten(result.content, _ERROR_LENGTH)}"
                for result in message.content
                if result.is_error
            ]
        elif isinstance(message, BaseChatMessage):
            turn = self._open.pop(name, _OpenTurn())
            failed = FAULT in message.metadata
            return _outcome(name, turn, message.to_text() if failed else None)
        return None


def _outcome(specialist: str, turn: _OpenTurn, fault: str | None) -> TurnOutcome:
    trials = tuple(answer.trial for answer in turn.answers if not answer.rejected)
    rejected = tuple(answer.trial for answer in turn.answers if answer.rejected)
    if trials:
        result = TurnResult.SUBMITTED
    elif rejected:
        result = TurnResult.REJECTED
    else:
        result = TurnResult.PASSED if fault is None else TurnResult.FAILED
    return TurnOutcome(
        specialist, result, trials, rejected, turn.called_tools, tuple(turn.tool_errors), fault
    )


class Silence:
    """Specialists who had nothing to say, and are not asked again until something has changed.

    That is a kept trial, which everybody builds on, any trial on a specialist's own surfaces, or a
    note from a person. Where all are silent, one is asked once more in each round.

    Args:
        surfaces: The surfaces of each specialist.
        blind: Whether outcomes must not show in the order of turns: every trial counts then.
    """

    def __init__(self, surfaces: Mapping[str, Collection[str]], *, blind: bool = False) -> None:
        self._surfaces = {name: frozenset(owned) for name, owned in surfaces.items()}
        self._blind = blind
        self._silent: set[str] = set()
        self._asked_again = False
        self._notes: Collection[int] = ()

    def start_round(self) -> None:
        """Allow that one is asked once more, should all be silent."""
        self._asked_again = False

    def turn_ended(self, turn: TurnOutcome) -> None:
        """Hear how a turn ended."""
        if turn.result is TurnResult.PASSED:
            self._asked_again |= turn.specialist in self._silent
            self._silent.add(turn.specialist)
        else:
            self._silent.discard(turn.specialist)

    def trial_judged(self, status: Status, surface: str) -> None:
        """Hear that a trial has ended."""
        if status is Status.KEPT or self._blind:
            self._silent.clear()
        else:
            self._silent -= {name for name, owned in self._surfaces.items() if surface in owned}

    def notes_are(self, numbers: Collection[int]) -> None:
        """Hear which notes of people hold."""
        if numbers != self._notes:
            self._silent.clear()
        self._notes = numbers

    def among(self, names: Iterable[str], *, nothing_goes_on: bool) -> list[str]:
        """Return those who may have something to say.

        Args:
            names: The specialists who could speak.
            nothing_goes_on: Whether nobody thinks and no trial is in flight, so that nothing will
                change if none of them speaks.
        """
        names = list(names)
        found = [name for name in names if name not in self._silent]
        return names if not found and nothing_goes_on and not self._asked_again else found


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
