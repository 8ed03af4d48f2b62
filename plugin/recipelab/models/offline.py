"""The offline client: rules in place of a language model.

The rules read what any model is shown: the instructions, the last message from outside, and the
answers of tools in the current turn. The texts that they rely on are the metric in the system
message, the surfaces in the charter's (see :mod:`recipelab.agents.prompt`), and the JSON that
``lineage_query``, ``read_recipe``, ``check_edit`` and ``submit_trial`` answer. Text that is missing
or reads otherwise is skipped, and the rules go on with what is left.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

from autogen_core import CancellationToken, Component, FunctionCall
from autogen_core.models import (
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

from recipelab.core.text import read_table
from recipelab.models.offline_moves import Move, ranked_moves, read_history

LINEAGE_QUERY = "lineage_query"
"""The tool that it asks for past trials, where there is one."""

MAX_CHECKS = 6
"""How many moves it checks in a turn before it gives up."""

GAIN = 0.05
"""Expected gain of turning a knob, as a share of the best score."""

_SURFACES = re.compile(r"# Your surfaces \(([^)\n]*)\)")
_METRIC = re.compile(r"^Metric: (\S+) in (\S+), (minimize|maximize)", re.MULTILINE)
_TURN = re.compile(r"-turn-(\d+)$")


class OfflineConfig(BaseModel):
    """Configuration of :class:`OfflineClient`.

    Attributes:
        seed: Seed of its choices: the same seed and outcomes give the same proposals.
    """

    seed: int = 0


class OfflineClient(ChatCompletionClient, Component[OfflineConfig]):
    """A model client made of rules: it asks the lineage, turns knobs and tries plays.

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
        """Return the next step of a turn, which follows from the messages so far."""
        names = {tool["name"] if isinstance(tool, dict) else tool.name for tool in tools}
        facts = read_prompt(messages)
        turn = None if LINEAGE_QUERY in names else self._turn_number(facts)
        step = decide(facts, seed=self._seed, turn=turn)
        if isinstance(step, ToolStep) and (tool_choice == "none" or step.tool not in names):
            step = "I can only work with the tools of recipelab."
        content: str | list[FunctionCall]
        if isinstance(step, ToolStep):
            mark = "" if turn is None else f"-turn-{turn}"
            call_id = f"{step.tool}-{len(messages)}{mark}"
            arguments = json.dumps(step.arguments)
            content = [FunctionCall(id=call_id, name=step.tool, arguments=arguments)]
        else:
            content = step
        return CreateResult(
            finish_reason="stop" if isinstance(content, str) else "function_calls",
            content=content,
            usage=RequestUsage(prompt_tokens=0, completion_tokens=0),
            cached=False,
        )

    async def create_stream(
        self, messages: Sequence[LLMMessage], **options: Any
    ) -> AsyncGenerator[str | CreateResult, None]:
        """Yield the answer of :meth:`create`, in one piece."""
        yield await self.create(messages, **options)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    def actual_usage(self) -> RequestUsage:
        """Return no tokens: there is no language model."""
        return RequestUsage(prompt_tokens=0, completion_tokens=0)

    def total_usage(self) -> RequestUsage:
        """Return no tokens: there is no language model."""
        return self.actual_usage()

    def count_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """Return no tokens: there is no language model."""
        return 0

    def remaining_tokens(
        self, messages: Sequence[LLMMessage], *, tools: Sequence[Tool | ToolSchema] = ()
    ) -> int:
        """Return a number that no conversation reaches."""
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

    def _turn_number(self, facts: PromptFacts) -> int:
        """Return the number of this turn; the ids of its calls hold it from its second step on."""
        # Several agents may share this client and think at once, so its own count is not enough.
        number = _TURN.search(facts.calls[-1].id) if facts.calls else None
        if number is not None:
            return int(number[1])
        self._turns += 1
        return self._turns

    def _to_config(self) -> OfflineConfig:
        return OfflineConfig(seed=self._seed)

    @classmethod
    def _from_config(cls, config: OfflineConfig) -> Self:
        return cls(seed=config.seed)


class ToolStep(NamedTuple):
    """A tool to call, as the next step of a turn."""

    tool: str
    arguments: dict[str, Any]


def decide(facts: PromptFacts, *, seed: int, turn: int | None = None) -> str | ToolStep:
    """Return the next step of a turn: a tool to call, or the words that end it.

    Args:
        facts: The turn so far.
        seed: Seed of its choices.
        turn: Number of the turn where there is no lineage to ask; else ``None``.
    """
    asked, read = facts.last_call(LINEAGE_QUERY), facts.last_call("read_recipe")
    if asked is None and turn is None:
        arguments = {"surface": list(facts.surfaces), "limit": 100, "order": "newest"}
        return ToolStep(LINEAGE_QUERY, arguments)
    if asked is not None and asked.is_error:
        return f"The lineage could not be asked: {asked.answer}"
    if read is None:
        return ToolStep("read_recipe", {"again": True})
    submitted = facts.last_call("submit_trial")
    if submitted is not None and submitted.table().get("status") != "rejected":
        if "trial" not in submitted.table():
            return f"My proposal was not accepted: {submitted.answer}"
        number = submitted.table()["trial"]
        return f"I submitted trial {number}; the evaluator will report its outcome."
    if not read.table():
        return "The recipe could not be read."
    # The choice depends on nothing but what is visible, so that the same seed and outcomes give
    # the same proposals.
    trials = asked.table() if asked is not None else {}
    visible = trials.get("total", 0) if turn is None else f"{facts.task}/{turn}"
    rng = random.Random(f"{seed}/{','.join(facts.surfaces)}/{visible}")
    moves = _moves(facts, trials, read.table(), rng)
    return _propose(facts, moves, parent=read.table()["trial"])


def _moves(
    facts: PromptFacts, trials: dict[str, Any], recipe: dict[str, Any], rng: random.Random
) -> list[Move]:
    best = float((trials.get("best") or {}).get("score") or 1.0)
    return ranked_moves(
        recipe,
        read_history(trials.get("trials", []), minimize=facts.minimize),
        surfaces=facts.surfaces,
        costs_time=facts.unit == "s" and facts.minimize,
        typical_gain=round((-GAIN if facts.minimize else GAIN) * abs(best), 4),
        rng=rng,
    )


def _propose(facts: PromptFacts, moves: Sequence[Move], *, parent: int) -> str | ToolStep:
    """Check the moves one after the other, and submit the first that passes."""
    checks = [call for call in facts.calls if call.name == "check_edit"]
    passed = [call for call in checks if call.table().get("ok")]
    rejected = [call for call in facts.calls if call.name == "submit_trial"]
    submit = bool(checks and checks[-1].table().get("ok") and len(rejected) < len(passed))
    index = len(checks) - 1 if submit else len(checks)
    if index >= min(len(moves), MAX_CHECKS):
        return "I have nothing new to propose on my surface now."
    move = moves[index]
    if not submit:
        return ToolStep("check_edit", {"parent": parent, "edits": list(move.edits)})
    return ToolStep(
        "submit_trial",
        {
            "parent": parent,
            "surface": move.surface,
            "hypothesis": move.hypothesis,
            "expected_delta": move.expected_delta,
            "edits": list(move.edits),
        },
    )


@dataclass(frozen=True)
class AnsweredCall:
    """A tool call of this turn with its answer.

    Attributes:
        name: Name of the tool.
        answer: Its answer, as text.
        is_error: Whether the answer is an error.
        id: Id of the call.
    """

    name: str
    answer: str
    is_error: bool
    id: str = ""

    def table(self) -> dict[str, Any]:
        """Return the answer as a JSON object; an empty one if it is an error or something else."""
        if self.is_error:
            return {}
        try:
            return read_table(self.answer)
        except ValueError:
            return {}


@dataclass(frozen=True)
class PromptFacts:
    """What the rules read from the messages of one turn.

    Attributes:
        surfaces: The surfaces named in the instructions.
        unit: Unit of the metric, or empty.
        minimize: Whether a smaller metric is better.
        task: The last message from outside, which began the turn.
        calls: The answered tool calls since that message.
    """

    surfaces: tuple[str, ...]
    unit: str
    minimize: bool
    task: str
    calls: tuple[AnsweredCall, ...]

    def last_call(self, name: str) -> AnsweredCall | None:
        """Return the last answered call of a tool in this turn."""
        return next((call for call in reversed(self.calls) if call.name == name), None)


def read_prompt(messages: Sequence[LLMMessage]) -> PromptFacts:
    """Read the instructions and the calls of the turn."""
    instructions = "\n".join(m.content for m in messages if isinstance(m, SystemMessage))
    metric = _METRIC.search(instructions)
    # A message of its own, so that no text of a recipe can pass for it.
    charters = (_SURFACES.match(str(m.content)) for m in messages if isinstance(m, UserMessage))
    surfaces = next(filter(None, charters), None)
    task = ""
    calls: list[AnsweredCall] = []
    for message in messages:
        if isinstance(message, UserMessage):
            # A message from outside begins a new turn.
            task, calls = str(message.content), []
        elif isinstance(message, FunctionExecutionResultMessage):
            calls += [
                AnsweredCall(item.name, item.content, bool(item.is_error), item.call_id)
                for item in message.content
            ]
    return PromptFacts(
        surfaces=tuple(name.strip() for name in surfaces[1].split(",")) if surfaces else (),
        unit=metric[2] if metric else "",
        minimize=metric is None or metric[3] == "minimize",
        task=task,
        calls=tuple(calls),
    )
