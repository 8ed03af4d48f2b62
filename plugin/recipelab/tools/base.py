"""A tool that answers with text: what the recipelab tools have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, TypeVar

from autogen_core import CancellationToken
from autogen_core.tools import BaseTool, ToolSchema
from pydantic import BaseModel

ArgumentsT = TypeVar("ArgumentsT", bound=BaseModel)

_SCHEMAS: dict[tuple[type[BaseModel], str, str], ToolSchema] = {}


class Answer(BaseModel):
    """What a tool answers.

    Attributes:
        text: JSON, ready for a model to read.
    """

    text: str


class TextTool(BaseTool[ArgumentsT, Answer], Generic[ArgumentsT]):
    """A tool whose answer reaches the model as it is.

    Args:
        arguments: The type of its arguments.
        name: Its name.
        description: What it does, for the model.
    """

    def __init__(self, arguments: type[ArgumentsT], name: str, description: str) -> None:
        super().__init__(arguments, Answer, name, description)

    @property
    def schema(self) -> ToolSchema:
        """What a model is told of the tool; made once, as making it takes milliseconds."""
        key = (self.args_type(), self.name, self.description)
        if key not in _SCHEMAS:
            _SCHEMAS[key] = super().schema
        return _SCHEMAS[key]

    @abstractmethod
    async def answer(self, args: ArgumentsT) -> str:
        """Answers a call with JSON."""

    async def run(self, args: ArgumentsT, cancellation_token: CancellationToken) -> Answer:
        """Answers a call; every tool takes milliseconds, so there is nothing to cancel."""
        return Answer(text=await self.answer(args))

    def return_value_as_string(self, value: Any) -> str:
        """The text alone: AutoGen would wrap it in JSON once more."""
        return value.text if isinstance(value, Answer) else super().return_value_as_string(value)
