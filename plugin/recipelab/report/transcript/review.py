"""Messages as JSON lines that AutoGen's ``MessageFactory`` reads back."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from recipelab.budget import DEVICE
from recipelab.core.errors import RecipelabError
from recipelab.core.text import shorten
from recipelab.core.trial import GateResult, Outcome, Status
from recipelab.exchange.metric import metric_of
from recipelab.lineage import CampaignRecord, LineageStore, MessageRecord, TrialRecord
from recipelab.report.transcript.formats import (
    Block,
    Code,
    Line,
    Quote,
    Span,
    Tone,
    code,
    heading,
    line,
    quiet,
    strong,
)
from recipelab.tools.base import SUBMITTING

ROUND, TRIAL, POSITION = "recipelab.round", "recipelab.trial", "recipelab.position"
"""Keys in a message's metadata that tie it to the campaign."""


def jsonl(messages: Iterable[MessageRecord]) -> Iterator[str]:
    """One line a message: AutoGen's own dump, with its ties in the metadata.

    AutoGen takes metadata of texts only, so numbers are written as such; of several trials they
    are parted by commas. Lines are plain ASCII: nothing in them can steer a terminal, and nothing
    that some reader takes for the end of a line stands within one.
    """
    for message in messages:
        yield json.dumps(tied(message)) + "\n"


def tied(message: MessageRecord) -> dict[str, Any]:
    """A message's dump with its round, trials and position in its metadata."""
    metadata = message.payload.get("metadata")
    kept = dict(metadata) if isinstance(metadata, Mapping) else {}
    ties = {
        ROUND: "" if message.round is None else str(message.round),
        TRIAL: ",".join(map(str, trials_of(message))),
        POSITION: str(message.position),
    }
    return message.payload | {"metadata": kept | {key: tie for key, tie in ties.items() if tie}}


Table = Mapping[str, Any]


def is_event(record: MessageRecord) -> bool:
    """Whether a message is an event on the way and not what an agent says in the chat."""
    return record.type.endswith("Event")


def items_of(record: MessageRecord) -> list[Table]:
    """The tables in a message's content: tool calls, or their answers."""
    content = record.payload.get("content")
    found = content if isinstance(content, list) else []
    return [item for item in found if isinstance(item, Mapping)]


def text_of(record: MessageRecord) -> str:
    """What a message says: pictures are left out, other content is told as JSON."""
    content = record.payload.get("content", "")
    if record.type == "MultiModalMessage" and isinstance(content, list):
        return "\n".join(item if isinstance(item, str) else "(a picture)" for item in content)
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def table_of(text: object) -> dict[str, Any]:
    """A JSON object out of text; empty if the text is none."""
    try:
        table = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    return dict(table) if isinstance(table, Mapping) else {}


def tokens_of(record: MessageRecord) -> tuple[int, int]:
    """Tokens of the prompt and of the completion; zeros where a message tells of none."""
    usage = record.payload.get("models_usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return number_of(usage.get("prompt_tokens")) or 0, number_of(
        usage.get("completion_tokens")
    ) or 0


def number_of(value: object) -> int | None:
    """A whole number from 0 up that a payload holds, as text or as a number; else ``None``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        return int(value)
    return None


def submitted(record: MessageRecord) -> tuple[int, ...]:
    """Numbers of the trials that a message's tool answers say were taken or rejected."""
    answers = [
        table_of(item.get("content"))
        for item in items_of(record)
        if item.get("name") in SUBMITTING and not item.get("is_error")
    ]
    return _numbers(answer.get("trial") for answer in answers)


def reported(record: MessageRecord) -> tuple[int, ...]:
    """Numbers of the trials whose end a message of the chat tells."""
    metadata = record.payload.get("metadata")
    told = metadata.get("trials") if isinstance(metadata, Mapping) and not is_event(record) else ""
    return _numbers(str(told or "").split(","))


def trials_of(record: MessageRecord) -> tuple[int, ...]:
    """Numbers of all trials that a message is about."""
    found = submitted(record) or reported(record)
    return found or (() if record.trial is None else (record.trial,))


def _numbers(values: Any) -> tuple[int, ...]:
    found = (number_of(value) for value in values)
    return tuple(number for number in found if number is not None)


ARGUMENT_CHARACTERS = 120
ANSWER_CHARACTERS = 240
ERROR_CHARACTERS = 600

_LONG = ("edits", "hypothesis")
"""Arguments that are told elsewhere, or by the diff."""


def call_line(call: TranscriptCall) -> Line:
    """One call as an item of a list."""
    head = (code(call.name), quiet(_arguments(call.arguments)), ": ")
    if call.answer is None:
        return line(*head, Span("no answer", Tone.BAD), is_item=True)
    if call.is_error:
        told = shorten(call.answer, ERROR_CHARACTERS)
        return line(*head, Span("error", Tone.BAD), f": {told}", is_item=True)
    return line(*head, summary(call), is_item=True)


def summary(call: TranscriptCall) -> str:
    """In short what a tool answered: of rows their number, of a recipe its files."""
    table = table_of(call.answer)
    if call.name == "read_recipe" and "files" in table:
        return _recipe(table)
    if call.name == "check_edit" and "ok" in table:
        return _checked(table)
    if call.name == "trial_detail" and "trial" in table:
        return shorten(f"trial {table['trial']}, {table.get('status')}", ANSWER_CHARACTERS)
    rows = next((name for name, value in table.items() if isinstance(value, list)), None)
    if rows is not None and "total" in table:
        return _rows(rows, table)
    return shorten(str(call.answer), ANSWER_CHARACTERS)


def _arguments(arguments: Mapping[str, Any]) -> str:
    told = [
        f"{shorten(str(name), 40)}={shorten(_json(value), ARGUMENT_CHARACTERS)}"
        for name, value in arguments.items()
        if name not in _LONG and value not in (None, "", [], {})
    ]
    return f" ({', '.join(told)})" if told else ""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _recipe(table: Mapping[str, Any]) -> str:
    files, knobs = table.get("files"), table.get("knobs")
    names = ", ".join(map(str, files)) if isinstance(files, Mapping | list) else str(files)
    count = len(knobs) if isinstance(knobs, list) else 0
    told = f"recipe of trial {table.get('trial')}: {names}; {count} knobs"
    return shorten(told, ANSWER_CHARACTERS)


def _checked(table: Mapping[str, Any]) -> str:
    told = "it would be taken" if table["ok"] else f"it would be rejected: {table.get('reason')}"
    alike = table.get("alike")
    if isinstance(alike, list) and alike:
        told += f"; alike: {'; '.join(map(str, alike))}"
    return shorten(told, ANSWER_CHARACTERS)


def _rows(name: str, table: Mapping[str, Any]) -> str:
    rows = table[name]
    statuses = Counter(
        str(row["status"]) for row in rows if isinstance(row, Mapping) and row.get("status")
    )
    told = ", ".join(f"{count} {status}" for status, count in statuses.items())
    where = f" of {table['prior_campaign']}" if "prior_campaign" in table else ""
    found = f"{name.replace('_', ' ')} found{where}: {table['total']}"
    shown = f", {len(rows)} shown" if str(table["total"]) != str(len(rows)) else ""
    return shorten(f"{found}{shown}{f' ({told})' if told else ''}", ANSWER_CHARACTERS)


_GOOD = (Status.KEPT, Status.BASELINE)
_NEUTRAL = (Status.DISCARDED, Status.ABORTED)


def status_span(status: Status | None) -> Span:
    """The status in its tone."""
    if status is None:
        return strong("in flight")
    if status in _GOOD:
        return Span(status, Tone.GOOD)
    return Span(status, Tone.STRONG if status in _NEUTRAL else Tone.BAD)


def outcome_blocks(record: TrialRecord, *, metric: str, unit: str) -> Iterator[Block]:
    """Status, score, gates, reason and failure of a trial.

    Args:
        record: The trial.
        metric: Name of what is measured.
        unit: Its unit.
    """
    outcome = record.outcome
    who = quiet(f" ({record.surface} by {record.specialist})")
    yield line(strong(f"Trial {record.number}"), who, ": ", status_span(record.status))
    if outcome is None:
        return
    if outcome.score is not None:
        yield line(_score(outcome, metric, unit), is_item=True)
    for gate in outcome.gates:
        yield _gate(gate)
    if outcome.reason:
        yield line(f"reason: {outcome.reason}", is_item=True)
    failure = outcome.failure
    if failure is not None:
        where = f" in {failure.phase}" if failure.phase else ""
        yield line(f"failure: {failure.kind}{where}", is_item=True)
        if failure.excerpt and failure.excerpt != outcome.reason:
            yield Code(failure.excerpt)


def _score(outcome: Outcome, metric: str, unit: str) -> str:
    told = f"{metric} {outcome.score:.4g}{_error(outcome.score_se)} {unit}".rstrip()
    if outcome.delta is None:
        return told
    return f"{told}; against the best {outcome.delta:+.4g}{_error(outcome.delta_se)}"


def _error(value: float | None) -> str:
    return "" if value is None else f" ± {value:.2g}"


def _gate(gate: GateResult) -> Line:
    verdict = Span("passed", Tone.GOOD) if gate.passed else Span("missed", Tone.BAD)
    figures = f": {gate.value:.4g}, limit {gate.limit:g}, margin {gate.margin:+.3g}"
    return line(f"gate {gate.name} ", verdict, figures, is_item=True)


_UNTOLD = ("ModelClientStreamingChunkEvent", "ToolCallSummaryMessage")
"""What only repeats: pieces of a text that follows whole, and answers of tools."""


@dataclass(frozen=True)
class TranscriptCall:
    """A call of a tool with its answer.

    Attributes:
        name: Name of the tool.
        arguments: What it was called with.
        answer: What it answered; ``None`` if the answer is not there.
        is_error: Whether the answer is an error.
    """

    name: str
    arguments: Mapping[str, Any]
    answer: str | None = None
    is_error: bool = False

    @property
    def trial(self) -> int | None:
        """The trial that this call submitted, if it did."""
        if self.name not in SUBMITTING or self.is_error:
            return None
        return number_of(table_of(self.answer).get("trial"))


@dataclass(frozen=True)
class Said:
    """Something that an agent said.

    Attributes:
        text: The words.
        type: The class of the message in the agent framework.
        in_chat: Whether the others heard it.
    """

    text: str
    type: str
    in_chat: bool


@dataclass
class TranscriptTurn:
    """What one agent did from getting the floor to what it said in the chat.

    Attributes:
        source: Who.
        round: Number of the round; ``None`` outside of rounds.
        began: When it got the floor, which is when the chat message before was stored.
        ended: When its last message was stored.
        steps: Calls and words, in order.
        reported: Numbers of the trials whose end it tells.
        positions: Places of its messages among those of the campaign.
        prompt_tokens: Tokens that models read for it.
        completion_tokens: Tokens that models wrote for it.
    """

    source: str
    round: int | None
    began: datetime
    ended: datetime
    steps: list[TranscriptCall | Said] = field(default_factory=list[TranscriptCall | Said])
    reported: tuple[int, ...] = ()
    positions: list[int] = field(default_factory=list[int])
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def calls(self) -> list[TranscriptCall]:
        """The calls alone."""
        return [step for step in self.steps if isinstance(step, TranscriptCall)]

    @property
    def submitted(self) -> tuple[int, ...]:
        """Numbers of the trials that it submitted, rejected ones too."""
        return tuple(call.trial for call in self.calls if call.trial is not None)

    @property
    def seconds(self) -> float:
        """From getting the floor to the last message, in seconds."""
        return (self.ended - self.began).total_seconds()


def turns_of(messages: Iterable[MessageRecord]) -> list[TranscriptTurn]:
    """The turns in the messages of one round, in the order in which they began."""
    turns: list[TranscriptTurn] = []
    open_turns: dict[str, _Open] = {}
    floor: datetime | None = None
    for record in messages:
        current = open_turns.get(record.source)
        if current is None:
            began = floor or record.created_at
            turn = TranscriptTurn(record.source, record.round, began, record.created_at)
            turns.append(turn)
            current = open_turns[record.source] = _Open(turn)
        current.add(record)
        if not is_event(record):
            floor = record.created_at
            del open_turns[record.source]
    return turns


def rounds_of(
    store: LineageStore, campaign: str
) -> Iterator[tuple[int | None, list[TranscriptTurn]]]:
    """The rounds of a campaign with their turns, one after the other: one is in memory at once."""
    for number, messages in groupby(store.each_message(campaign), lambda record: record.round):
        yield number, turns_of(messages)


class _Open:
    """A turn that goes on, with the calls that have no answer yet."""

    def __init__(self, turn: TranscriptTurn) -> None:
        self._turn = turn
        self._waiting: dict[str, list[int]] = {}

    def add(self, record: MessageRecord) -> None:
        turn = self._turn
        turn.ended = record.created_at
        turn.positions.append(record.position)
        prompt, completion = tokens_of(record)
        turn.prompt_tokens += prompt
        turn.completion_tokens += completion
        if record.type == "ToolCallRequestEvent":
            self._called(record)
        elif record.type == "ToolCallExecutionEvent":
            self._answered(record)
        elif record.type not in _UNTOLD:
            turn.steps.append(Said(text_of(record), record.type, not is_event(record)))
        turn.reported = turn.reported or reported(record)

    def _called(self, record: MessageRecord) -> None:
        for item in items_of(record):
            place = self._waiting.setdefault(str(item.get("id")), [])
            place.append(len(self._turn.steps))
            arguments = item.get("arguments")
            table = table_of(arguments) or _untidy(arguments)
            self._turn.steps.append(TranscriptCall(str(item.get("name")), table))

    def _answered(self, record: MessageRecord) -> None:
        for item in items_of(record):
            waiting = self._waiting.get(str(item.get("call_id"))) or []
            if not waiting:
                waiting = [len(self._turn.steps)]
                self._turn.steps.append(TranscriptCall(str(item.get("name")), {}))
            place = waiting.pop(0)
            call = self._turn.steps[place]
            if isinstance(call, TranscriptCall):
                text, is_error = str(item.get("content", "")), bool(item.get("is_error"))
                self._turn.steps[place] = replace(call, answer=text, is_error=is_error)


def _untidy(arguments: object) -> dict[str, Any]:
    """Arguments that are no JSON object, as a model may write them."""
    return {} if arguments in (None, "", "{}") else {"(not an object)": arguments}


@dataclass(frozen=True)
class Reviewer:
    """Tells of a campaign's turns and trials.

    Attributes:
        store: The lineage.
        campaign: Name of the campaign.
        metric: Name of what is measured.
        unit: Its unit; empty if the campaign's pack is gone.
        models: The models of each specialist.
    """

    store: LineageStore
    campaign: str
    metric: str
    unit: str
    models: dict[str, str]
    _known: dict[int, TrialRecord | None] = field(default_factory=dict[int, TrialRecord | None])

    @classmethod
    def of(cls, store: LineageStore, campaign: CampaignRecord) -> Reviewer:
        """A reviewer of one campaign."""
        try:
            facts = metric_of(campaign)
            metric, unit = facts.name, facts.unit
        except RecipelabError:
            # What was said can be read when the pack is gone, too.
            metric, unit = "score", ""
        models: dict[str, list[str]] = defaultdict(list)
        for total in (one for one in store.usage(campaign.name) if one.model != DEVICE):
            models[total.specialist].append(total.model)
        told = {name: ", ".join(used) for name, used in models.items()}
        return cls(store, campaign.name, metric, unit, told)

    def round(self, number: int | None, turns: Sequence[TranscriptTurn]) -> Iterator[Block]:
        """The heading and the turns of a round."""
        yield heading(2, "Outside of rounds" if number is None else f"Round {number}")
        yield from self.turns(turns)

    def turns(self, turns: Sequence[TranscriptTurn]) -> Iterator[Block]:
        """Some turns; a trial whose end none of them reports is told where it is submitted."""
        self._known.clear()
        reported = {number for turn in turns for number in turn.reported}
        for turn in turns:
            yield from self._turn(turn, reported)

    def outcomes(self, numbers: Iterable[int]) -> Iterator[Block]:
        """What came of some trials."""
        for number in numbers:
            record = self._trial(number)
            if record is not None:
                yield from outcome_blocks(record, metric=self.metric, unit=self.unit)

    def _turn(self, turn: TranscriptTurn, reported: set[int]) -> Iterator[Block]:
        model = self.models.get(turn.source, "")
        yield heading(3, turn.source, quiet(_of_turn(turn, model)))
        told_by_facts = any(self._trial(number) is not None for number in turn.reported)
        for step in turn.steps:
            if isinstance(step, TranscriptCall):
                yield from self._call(step, reported)
            elif not (told_by_facts and step.in_chat):
                yield from _said(step)
        yield from self.outcomes(turn.reported)

    def _call(self, call: TranscriptCall, reported: set[int]) -> Iterator[Block]:
        record = None if call.trial is None else self._trial(call.trial)
        if record is not None:
            yield from self._proposal(record, reported)
            return
        yield call_line(call)
        if call.name in SUBMITTING and call.arguments.get("hypothesis"):
            yield Quote(str(call.arguments["hypothesis"]))

    def _proposal(self, record: TrialRecord, reported: set[int]) -> Iterator[Block]:
        parents = ", ".join(map(str, record.parents)) or "nothing"
        yield line(
            "Proposes ",
            strong(f"trial {record.number}"),
            f" on {record.surface}, made from trial {parents}. Expected change: ",
            strong(f"{record.expected_delta:+.4g} {self.unit}".rstrip()),
            ". ",
            *_verdict(record),
            anchor=f"trial-{record.number}",
        )
        yield Quote(record.hypothesis)
        if record.diff:
            yield Code(record.diff, is_diff=True)
        if record.number not in reported:
            yield from outcome_blocks(record, metric=self.metric, unit=self.unit)

    def _trial(self, number: int) -> TrialRecord | None:
        """A trial that a message names; an imported campaign may name some that are not there."""
        if number not in self._known:
            is_there = 0 <= number < self.store.trial_count(self.campaign)
            self._known[number] = self.store.trial(self.campaign, number) if is_there else None
        return self._known[number]


def _verdict(record: TrialRecord) -> tuple[Span, ...]:
    if record.status is Status.REJECTED:
        return (
            Span("Not taken", Tone.BAD),
            Span(": it is "),
            status_span(record.status),
            Span("."),
        )
    verb = "it is" if record.status is None else "it ended as"
    return (Span(f"Taken; {verb} "), status_span(record.status), Span("."))


def _of_turn(turn: TranscriptTurn, model: str) -> str:
    """Model, tokens and time of a turn."""
    tokens = ""
    if turn.prompt_tokens or turn.completion_tokens:
        tokens = f"{turn.prompt_tokens:,} + {turn.completion_tokens:,} tokens"
    parts = (model, tokens, f"{turn.seconds:.1f} s" if turn.seconds >= 0.05 else "")
    told = ", ".join(part for part in parts if part)
    return f" ({told})" if told else ""


def _said(said: Said) -> Iterator[Block]:
    if not said.text.strip():
        return
    if said.type == "ThoughtEvent":
        yield line(quiet("thinks:"))
    elif not said.in_chat:
        yield line(quiet(f"{said.type}:"))
    yield Quote(said.text)
