"""An evaluator whose verdicts are set beforehand, and a model that notes all that it is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autogen_core import FunctionCall
from autogen_core.models import AssistantMessage, CreateResult, LLMMessage, SystemMessage
from autogen_core.tools import Tool, ToolSchema

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Failure, FailureKind, Outcome, Phase, SeedRun, Status
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.scratch import ScratchBench
from recipelab.models import OfflineClient
from recipelab.packs.pack import Pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

Fate = Callable[[Recipe], Outcome]


class Fated:
    """Stands for an evaluator: the baseline scores 1, and a function judges the rest.

    Args:
        pack: The pack.
        fate: Gives each recipe its outcome.
    """

    slots = 1
    sandbox_name = "none"
    image = ""
    data: Mapping[str, Path] = {}

    def __init__(self, pack: Pack, fate: Fate) -> None:
        self.pack = pack
        self._fate = fate

    def bench(self, secret: int) -> ScratchBench:
        return ScratchBench(self.pack, LocalSandbox(), self.data, SlotPool([ANYWHERE]))

    async def evaluate(
        self,
        recipe: Recipe,
        incumbent: object | None,
        *,
        labels: Mapping[str, str] | None = None,
        observer: TrialObserver | None = None,
        **further: Any,
    ) -> Outcome:
        """Judges at once."""
        observer = observer or TrialObserver()
        observer.queued()
        observer.began(Phase.TRAIN, 1)
        return scored(Status.BASELINE, 1.0) if incumbent is None else self._fate(recipe)

    async def checkpoint(self, *arguments: Any, **further: Any) -> None:
        """Tests no line."""

    def spread_group(self, outcome: Outcome) -> tuple[float, ...]:
        """Tells nothing about noise."""
        return ()


def scored(status: Status, score: float) -> Outcome:
    """An outcome with a score."""
    runs = (SeedRun(1, (), {"metric": score}),)
    return Outcome(status, f"it is {status} with {score}", runs, score=score, delta=score - 1.0)


def crashed(recipe: Recipe) -> Outcome:
    """An outcome without one."""
    failure = Failure(Phase.TRAIN, FailureKind.VALUE, "ValueError: boom", "ValueError: boom")
    return Outcome(Status.CRASHED, "train: ValueError: boom", failure=failure)


class Recorder(OfflineClient):
    """The offline model, which notes messages and tools, and marks each proposal as its own.

    Attributes:
        calls: Of each call the messages and the tools, as JSON can hold them.
        marks: Words that were written into hypotheses, one for each proposal.
    """

    def __init__(self, *, seed: int = 1) -> None:
        super().__init__(seed=seed)
        self.calls: list[tuple[list[LLMMessage], str]] = []
        self.marks: list[str] = []

    async def create(
        self,
        messages: Sequence[LLMMessage],
        *,
        tools: Sequence[Tool | ToolSchema] = (),
        **more: Any,
    ) -> CreateResult:
        schemas = json.dumps([t if isinstance(t, dict) else t.schema for t in tools])
        self.calls.append((list(messages), schemas))
        result = await super().create(messages, tools=tools)
        if isinstance(result.content, list) and result.content[0].name == "submit_trial":
            return result.model_copy(update={"content": [self._marked(result.content[0])]})
        return result

    def _marked(self, call: FunctionCall) -> FunctionCall:
        mark = f"mark{len(self.marks)}x"
        self.marks.append(mark)
        arguments = json.loads(call.arguments)
        arguments["hypothesis"] = f"{mark} {arguments['hypothesis']}"
        return FunctionCall(call.id, json.dumps(arguments), call.name)


def fixed_part(call: tuple[list[LLMMessage], str]) -> tuple[str, str]:
    """Return what should be the same in every turn: instructions and tools."""
    texts = [str(m.content) for m in call[0] if isinstance(m, SystemMessage)]
    return "\n".join(texts), call[1]


def turn_part(call: tuple[list[LLMMessage], str]) -> str:
    """Return the rest, without what the model itself has said in its turn."""
    own = (SystemMessage, AssistantMessage)
    return "\n".join(str(m.content) for m in call[0] if not isinstance(m, own))


def own_words(call: tuple[list[LLMMessage], str]) -> str:
    """Return what the model itself has said in its turn so far."""
    return "\n".join(str(m.content) for m in call[0] if isinstance(m, AssistantMessage))
