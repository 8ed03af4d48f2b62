"""What the tools of agents share: the base class, JSON answers, and repair of arguments."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from autogen_core import CancellationToken
from autogen_core.tools import BaseTool, ParametersSchema, ToolSchema
from pydantic import BaseModel, ConfigDict, ValidationError

from recipelab.core.text import shorten


class ToolArguments(BaseModel):
    """Arguments of a tool; unknown keys are refused so that a typo does not pass in silence."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """The answer of a tool.

    Attributes:
        text: JSON, ready for a model to read.
    """

    text: str


ArgumentsT = TypeVar("ArgumentsT", bound=BaseModel)

_SCHEMAS: dict[tuple[type[BaseModel], str, str, frozenset[str]], ToolSchema] = {}

_KEPT = ("type", "enum", "description", "items", "properties", "required")
"""Keys of a JSON schema that a model needs to make a call."""


def brief_schema(
    schema: ToolSchema, hidden: frozenset[str] = frozenset(), *, is_brief: bool = False
) -> ToolSchema:
    """Return a schema with the keys alone that a model needs to make a call.

    Args:
        schema: The schema as pydantic makes it.
        hidden: Arguments to leave out.
        is_brief: Whether to leave out what describes the parts of an argument.
    """
    found: dict[str, Any] = dict(schema["parameters"])
    properties = {
        name: _brief(argument, is_brief=is_brief)
        for name, argument in found["properties"].items()
        if name not in hidden
    }
    parameters: ParametersSchema = {"type": "object", "properties": properties}
    if found.get("required"):
        parameters["required"] = list(found["required"])
    return ToolSchema(
        name=schema["name"], description=schema.get("description", ""), parameters=parameters
    )


def _brief(argument: Mapping[str, Any], *, is_brief: bool = False) -> dict[str, Any]:
    """Return the schema of an argument without what only a validator needs."""
    chosen = [one for one in argument.get("anyOf", ()) if one.get("type") != "null"]
    whole = {**chosen[0], **argument} if chosen else argument
    brief: dict[str, Any] = {key: whole[key] for key in _KEPT if key in whole}
    if "items" in brief:
        brief["items"] = _brief(brief["items"], is_brief=is_brief)
        brief["items"].pop("description", None)
    if "properties" in brief:
        brief["properties"] = {
            name: _brief(one, is_brief=is_brief) for name, one in brief["properties"].items()
        }
        for one in brief["properties"].values() if is_brief else ():
            one.pop("description", None)
    return brief


class TextTool(BaseTool[ArgumentsT, Answer], Generic[ArgumentsT]):
    """A tool whose answer reaches the model word for word.

    Args:
        arguments: The type of its arguments.
        name: Its name.
        description: Its description, for the model.
    """

    def __init__(self, arguments: type[ArgumentsT], name: str, description: str) -> None:
        super().__init__(arguments, Answer, name, description)

    example_keys: tuple[str, ...] = ()
    """Arguments that an example of a call has, besides the required ones."""

    is_brief = False
    """Whether the parts of its arguments go undescribed, as another tool describes the same."""

    call_seconds: float | None = None
    """A call that takes longer is given up; ``None`` for the workbench's own limit."""

    @property
    def schema(self) -> ToolSchema:
        """The schema that a model is given; made once, as making it takes milliseconds.

        It goes out with every call of a model, so it holds no more than the model needs: titles,
        defaults and bounds are left out, and what breaks a bound is told when it happens.
        """
        key = (self.args_type(), self.name, self.description, self.hidden)
        if key not in _SCHEMAS:
            _SCHEMAS[key] = brief_schema(super().schema, self.hidden, is_brief=self.is_brief)
        return _SCHEMAS[key]

    @property
    def hidden(self) -> frozenset[str]:
        """Arguments that are read where they are given, and left out of the schema."""
        return frozenset()

    @abstractmethod
    async def answer(self, args: ArgumentsT) -> str:
        """Return the answer to a call, as JSON."""

    async def run(self, args: ArgumentsT, cancellation_token: CancellationToken) -> Answer:
        """Answer a call; every tool takes milliseconds, so there is nothing to cancel."""
        return Answer(text=await self.answer(args))

    def return_value_as_string(self, value: Any) -> str:
        """Return the text alone: AutoGen would wrap it in JSON once more."""
        return value.text if isinstance(value, Answer) else super().return_value_as_string(value)


AnyTool = BaseTool[Any, Answer]

ANSWER_CHARACTERS = 24_000
"""A longer answer is cut by whole rows, and says so."""

Row = dict[str, Any]


def to_json(table: Mapping[str, Any]) -> str:
    """Return compact JSON; text from agents stays data inside it."""
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"), default=str)


def without_empty(row: Mapping[str, Any]) -> Row:
    """Return a row without its empty values; zero and false stay."""
    return {key: value for key, value in row.items() if value not in ({}, [], "", None)}


def capped_rows(
    name: str, rows: Iterable[Row], total: int, offset: int, *, capped: bool = False
) -> Row:
    """Return rows up to the size cap, with their total and how to ask for the rest.

    Args:
        name: Key of the rows in the answer, as ``trials``.
        rows: One page of rows.
        total: How many there are in all; at least so many if ``capped``.
        offset: How many come before this page.
        capped: Whether counting stopped at ``total``.
    """
    kept: list[Row] = []
    size = 0
    for row in rows:
        size += len(to_json(row))
        if size > ANSWER_CHARACTERS and kept:
            break
        kept.append(row)
    answer: Row = {"total": f"{total} or more" if capped else total, name: kept}
    seen = offset + len(kept)
    if seen < total:
        more = f"{total - seen} or more" if capped else f"{total - seen}"
        answer["more"] = f"{more} more; ask with offset={seen}"
    return answer


def paged_text(name: str, text: str, offset: int, characters: int) -> Row:
    """Return a part of a long text, with how much more there is and how to ask for it."""
    end = offset + characters
    answer: Row = {name: text[offset:end]}
    if end < len(text):
        answer[f"{name}_more"] = f"{len(text) - end:,} more characters; ask with offset={end}"
    return answer


QUOTED_CHARACTERS = 80
"""Characters of a wrong value that an explanation repeats."""

_EXAMPLES: Mapping[str, Any] = {
    "string": "...",
    "integer": 0,
    "number": 0.0,
    "boolean": True,
    "object": {},
    "array": [],
    "null": None,
}

_JSON_TYPES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}


def repaired(arguments: Mapping[str, Any], schema: ToolSchema) -> dict[str, Any]:
    """Return the arguments of a call with slips of form put right; their meaning is not guessed.

    A text that holds the JSON of a list, a table, a number or a truth value where one of these is
    wanted is read as such, and an optional argument that is ``"null"`` or empty is left out. An
    argument that the schema does not name stays as it is.

    Args:
        arguments: The arguments as a model gave them.
        schema: The schema of the tool.
    """
    wanted = _properties(schema)
    required = schema.get("parameters", {}).get("required", ())
    found = {
        name: _repaired(value, wanted.get(name, {}), may_miss=name not in required)
        for name, value in arguments.items()
    }
    return {name: value for name, value in found.items() if value is not None or name not in wanted}


def _repaired(value: Any, wanted: Mapping[str, Any], *, may_miss: bool) -> Any:
    types = _types(wanted)
    if not isinstance(value, str) or not types:
        return value
    nothing = ("null", "") if "string" in types else ("null", "None", "")
    if value in nothing and may_miss:
        return None
    if "string" in types:
        return value
    try:
        read = json.loads(value)
    except ValueError:
        return value
    kind = _JSON_TYPES[type(read)]
    return read if kind in types or (kind == "integer" and "number" in types) else value


def explained(schema: ToolSchema, error: ValidationError, keys: Sequence[str] = ()) -> str:
    """Return the words for arguments that do not fit, with an example of right ones.

    Args:
        schema: The schema of the tool.
        error: The mistakes that pydantic found.
        keys: Arguments that the example has besides the required ones.
    """
    name, properties = schema["name"], _properties(schema)
    lines = [f"{name}: the arguments do not fit:"]
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or "arguments"
        value = json.dumps(item["input"], ensure_ascii=False, default=str)
        is_given = item["type"] != "missing"
        given = f" (given: {shorten(value, QUOTED_CHARACTERS)})" if is_given else ""
        lines.append(f"- {place}: {item['msg']}{given}")
    required = [*keys, *schema.get("parameters", {}).get("required", ())]
    example = {key: _example(properties.get(key, {})) for key in required}
    lines.append(f"Call it like this: {name}({json.dumps(example)})")
    optional = [key for key in properties if key not in required]
    if optional:
        lines.append(f"May be left out: {', '.join(optional)}.")
    return "\n".join(lines)


def _properties(schema: ToolSchema) -> Mapping[str, Any]:
    found: Mapping[str, Any] = schema.get("parameters", {}).get("properties", {})
    return found


def _types(wanted: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a property may have."""
    named = wanted.get("type")
    types = {named} if isinstance(named, str) else set(named or ())
    for alternative in (*wanted.get("anyOf", ()), *wanted.get("oneOf", ())):
        types |= _types(alternative)
    return types


def _example(wanted: Mapping[str, Any]) -> Any:
    if "enum" in wanted:
        return wanted["enum"][0]
    if "properties" in wanted:
        required = wanted.get("required", ())
        return {key: _example(one) for key, one in wanted["properties"].items() if key in required}
    types = _types(wanted)
    if "array" in types and "items" in wanted:
        return [_example(wanted["items"])]
    return next((example for kind, example in _EXAMPLES.items() if kind in types), "...")
