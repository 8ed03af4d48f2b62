"""What the rule-based client reads out of a conversation: the same messages any model is shown."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from autogen_core import CancellationToken, Component, FunctionCall
from autogen_core.models import (
    AssistantMessage,
    ChatCompletionClient,
    CreateResult,
    FunctionExecutionResultMessage,
    LLMMessage,
    ModelCapabilities,
    ModelFamily,
    ModelInfo,
    RequestUsage,
    SystemMessage,
    UserMessage,
)
from autogen_core.tools import Tool, ToolSchema
from pydantic import BaseModel

from recipelab.models.offline_moves import Move, ranked_moves, read_evidence

_SURFACES = re.compile(r"^# Your surfaces \(([^)\n]*)\)", re.MULTILINE)
_METRIC = re.compile(r"^Metric: (\S+) in (\S+), (minimize|maximize)", re.MULTILINE)


@dataclass(frozen=True)
class Call:
    """A tool call of this turn with its answer."""

    name: str
    arguments: dict[str, Any]
    answer: str
    is_error: bool
    id: str = ""

    def table(self) -> dict[str, Any]:
        """The answer as JSON; empty if it is an error or no table."""
        if self.is_error:
            return {}
        try:
            table = json.loads(self.answer)
        except ValueError:
            return {}
        return table if isinstance(table, dict) else {}


@dataclass(frozen=True)
class Conversation:
    """One turn as the client sees it.

    Attributes:
        surfaces: The surfaces named in the instructions.
        unit: Unit of the metric, or empty.
        minimize: Whether a smaller metric is better.
        told: The last word of somebody else, which began the turn.
        calls: The tool calls since the last word of somebody else.
    """

    surfaces: tuple[str, ...]
    unit: str
    minimize: bool
    told: str
    calls: tuple[Call, ...]

    def last(self, name: str) -> Call | None:
        """The last answered call of a tool in this turn."""
        return next((call for call in reversed(self.calls) if call.name == name), None)


def read_conversation(messages: Sequence[LLMMessage]) -> Conversation:
    """Reads the instructions and the calls of the turn."""
    told = "\n".join(m.content for m in messages if isinstance(m, SystemMessage))
    surfaces, metric = _SURFACES.search(told), _METRIC.search(told)
    return Conversation(
        surfaces=tuple(name.strip() for name in surfaces[1].split(",")) if surfaces else (),
        unit=metric[2] if metric else "",
        minimize=metric is None or metric[3] == "minimize",
        told=_told(messages),
        calls=_calls(messages),
    )


def _told(messages: Sequence[LLMMessage]) -> str:
    words = [str(m.content) for m in messages if isinstance(m, UserMessage)]
    return words[-1] if words else ""


def _calls(messages: Sequence[LLMMessage]) -> tuple[Call, ...]:
    asked: dict[str, FunctionCall] = {}
    calls: list[Call] = []
    for message in messages:
        if isinstance(message, UserMessage):
            # A new word from outside begins a new turn.
            asked, calls = {}, []
        elif isinstance(message, AssistantMessage) and isinstance(message.content, list):
            asked |= {call.id: call for call in message.content}
        elif isinstance(message, FunctionExecutionResultMessage):
            for result in message.content:
                call = asked.get(result.call_id)
                arguments = json.loads(call.arguments) if call else {}
                failed = bool(result.is_error)
                calls.append(Call(result.name, arguments, result.content, failed, result.call_id))
    return tuple(calls)


LINEAGE = "lineage_query"
"""The tool that it asks for past trials, if there is one."""

MAX_TRIES = 6
"""How many moves it checks in a turn before it gives up."""

GAIN = 0.05
"""Expected gain of turning a knob, as a share of the best score."""

_TURN = re.compile(r"-turn-(\d+)$")


class OfflineConfig(BaseModel):
    """Configuration of :class:`OfflineClient`.

    Attributes:
        seed: Seed of its choices: the same seed and outcomes give the same proposals.
    """

    seed: int = 0


class OfflineClient(ChatCompletionClient, Component[OfflineConfig]):
    """Rules in the place of a language model.

    Args:
        seed: Seed of its choices.
    """

    component_type = "model"
    component_config_schema = OfflineConfig
    component_provider_override = "recipelab.models.OfflineClient"

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed
        self._turns = 0

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> CreateResult:
        """Decides the next step of a turn from the messages so far."""
        names = {tool["name"] if isinstance(tool, dict) else tool.name for tool in tools}
        talk = read_conversation(messages)
        turn = None if LINEAGE in names else self._turn(talk)
        step = decide(talk, seed=self._seed, turn=turn)
        text = isinstance(step, str)
        if not text and (tool_choice == "none" or step[0] not in names):
            text, step = True, "I can only work with the tools of recipelab."
        content: str | list[FunctionCall] = (
            step if isinstance(step, str) else [_call(step[0], step[1], len(messages), turn)]
        )
        return CreateResult(
            finish_reason="stop" if text else "function_calls",
            content=content,
            usage=RequestUsage(prompt_tokens=0, completion_tokens=0),
            cached=False,
        )

    async def create_stream(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        tool_choice: Tool | Literal["auto", "required", "none"] = "auto",
        json_output: bool | type[BaseModel] | None = None,
        extra_create_args: Mapping[str, Any] = {},
        cancellation_token: CancellationToken | None = None,
    ) -> AsyncGenerator[str | CreateResult, None]:
        """The same as :meth:`create`, in one piece."""
        yield await self.create(messages, tools=tools, tool_choice=tool_choice)

    async def close(self) -> None:
        """Nothing to close."""

    def actual_usage(self) -> RequestUsage:
        """No tokens: there is no language model."""
        return RequestUsage(prompt_tokens=0, completion_tokens=0)

    def total_usage(self) -> RequestUsage:
        """No tokens: there is no language model."""
        return self.actual_usage()

    def count_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """No tokens: there is no language model."""
        return 0

    def remaining_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """Without bound, for all that anybody asks."""
        return 1_000_000

    @property
    def capabilities(self) -> ModelCapabilities:
        """See :attr:`model_info`."""
        return ModelCapabilities(vision=False, function_calling=True, json_output=False)

    @property
    def model_info(self) -> ModelInfo:
        """Tool calls, and nothing else."""
        return ModelInfo(
            vision=False,
            function_calling=True,
            json_output=False,
            family=ModelFamily.UNKNOWN,
            structured_output=False,
            multiple_system_messages=True,
        )

    def _turn(self, talk: Conversation) -> int:
        """The number of this turn; within a turn it is told by the ids of the calls."""
        # Several agents may share this client and think at once, so its own count is not enough.
        number = _TURN.search(talk.calls[-1].id) if talk.calls else None
        if number is not None:
            return int(number[1])
        self._turns += 1
        return self._turns

    def _to_config(self) -> OfflineConfig:
        return OfflineConfig(seed=self._seed)

    @classmethod
    def _from_config(cls, config: OfflineConfig) -> Self:
        return cls(seed=config.seed)


def decide(
    talk: Conversation, *, seed: int, turn: int | None = None
) -> str | tuple[str, dict[str, Any]]:
    """The next step of a turn: a tool call with its arguments, or the closing words.

    Args:
        talk: The turn so far.
        seed: Seed of its choices.
        turn: Number of the turn where there is no lineage to ask; else ``None``.
    """
    asked, read = talk.last(LINEAGE), talk.last("read_recipe")
    if asked is None and turn is None:
        return LINEAGE, {"surface": list(talk.surfaces), "limit": 100, "order": "newest"}
    if asked is not None and asked.is_error:
        return f"The lineage could not be asked: {asked.answer}"
    if read is None:
        return "read_recipe", {}
    submitted = talk.last("submit_trial")
    if submitted is not None and submitted.table().get("status") != "rejected":
        return _closing(submitted.table(), submitted.answer)
    lineage = asked.table() if asked is not None else {}
    # Only what is seen goes in, so that the same seed and outcomes give the same proposals.
    seen = lineage.get("total", 0) if turn is None else f"{talk.told}/{turn}"
    rng = random.Random(f"{seed}/{','.join(talk.surfaces)}/{seen}")
    return _propose(talk, lineage, read.table(), rng)


def _propose(
    talk: Conversation, lineage: dict[str, Any], recipe: dict[str, Any], rng: random.Random
) -> str | tuple[str, dict[str, Any]]:
    if not recipe:
        return "The recipe could not be read."
    checks = [call for call in talk.calls if call.name == "check_edit"]
    rejected = [call for call in talk.calls if call.name == "submit_trial"]
    moves = _moves(talk, lineage, recipe, rng)
    passed = checks and checks[-1].table().get("ok") and len(rejected) < len(_passed(checks))
    index = len(checks) - 1 if passed else len(checks)
    if index >= min(len(moves), MAX_TRIES):
        return "I have nothing new to propose on my surface now."
    move, parent = moves[index], recipe["trial"]
    if not passed:
        return "check_edit", {"parent": parent, "edits": list(move.edits)}
    return "submit_trial", {
        "parent": parent,
        "surface": move.surface,
        "hypothesis": move.hypothesis,
        "expected_delta": move.expected_delta,
        "edits": list(move.edits),
    }


def _passed(checks: Sequence[Any]) -> list[Any]:
    return [call for call in checks if call.table().get("ok")]


def _moves(
    talk: Conversation, lineage: dict[str, Any], recipe: dict[str, Any], rng: random.Random
) -> list[Move]:
    rows = lineage.get("trials", [])
    best = float(lineage.get("best", {}).get("score") or 1.0)
    return ranked_moves(
        recipe,
        read_evidence(rows, minimize=talk.minimize),
        surfaces=talk.surfaces,
        costs_time=talk.unit == "s" and talk.minimize,
        typical_gain=round((-GAIN if talk.minimize else GAIN) * abs(best), 4),
        rng=rng,
    )


def _closing(table: dict[str, Any], answer: str) -> str:
    if "trial" in table:
        return f"I submitted trial {table['trial']}; the evaluator will say what came of it."
    return f"My proposal was not taken: {answer}"


def _call(name: str, arguments: dict[str, Any], position: int, turn: int | None) -> FunctionCall:
    mark = "" if turn is None else f"-turn-{turn}"
    return FunctionCall(id=f"{name}-{position}{mark}", name=name, arguments=json.dumps(arguments))
