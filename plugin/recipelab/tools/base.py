"""Names of the tools, for those who must know them without loading an agent framework."""

from __future__ import annotations

import asyncio
import json
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from autogen_core import CancellationToken
from autogen_core.tools import BaseTool, TextResultContent, ToolResult, ToolSchema, Workbench
from pydantic import BaseModel, ValidationError

from recipelab.core.errors import unknown_name
from recipelab.core.logs import logger
from recipelab.core.recipe import Knob, find_knobs
from recipelab.core.trial import Edit

LINEAGE_TOOLS = (
    "lineage_query",
    "lineage_failures",
    "near_misses",
    "trial_detail",
    "diff_trials",
    "best_chain",
    "children",
    "in_flight",
    "similar_trials",
    "surface_summary",
)
"""Tools that read the lineage; a look at one of them comes before a submission."""

SUBMITTING = ("submit_trial", "turn_knob")
"""Tools whose answers tell of a trial."""

TOOLS = (*LINEAGE_TOOLS, "read_recipe", "check_edit", *SUBMITTING)
"""All tools of specialists; ``turn_knob`` is for those alone whose charter names it."""


ANSWER_CHARACTERS = 24_000
"""An answer longer than this is cut by whole rows, and says so."""

Row = dict[str, Any]


def to_json(table: Mapping[str, Any]) -> str:
    """Compact JSON; text from agents stays data inside it."""
    return json.dumps(table, ensure_ascii=False, separators=(",", ":"), default=str)


def shortened(text: str, characters: int) -> str:
    """A text on one line, cut where it is too long."""
    text = " ".join(text.split())
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def without_empty(row: Mapping[str, Any]) -> Row:
    """A row without what is not there; zero and false stay."""
    return {key: value for key, value in row.items() if value not in ({}, [], "", None)}


def rounded(value: float | None) -> float | None:
    """A figure with the digits that a reader needs."""
    return None if value is None else float(f"{value:.7g}")


def capped_rows(
    name: str, rows: Iterable[Row], total: int, offset: int, *, capped: bool = False
) -> Row:
    """Rows up to the size cap, with how many there are and how to get the rest.

    Args:
        name: What the rows are, as ``trials``.
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
    """A part of a long text, with how much more there is and how to get it."""
    end = offset + characters
    answer: Row = {name: text[offset:end]}
    if end < len(text):
        answer[f"{name}_more"] = f"{len(text) - end:,} more characters; ask with offset={end}"
    return answer


def knob_changes(edits: Sequence[Edit]) -> list[str]:
    """The knobs that edits turn, as ``EPOCHS: 3 -> 2``, read from the edits themselves."""
    changes: list[str] = []
    for edit in edits:
        if edit.search is None:
            continue
        before, after = (_knobs_by_name(edit.path, text) for text in (edit.search, edit.replace))
        changes += [
            f"{name}: {before[name].value!r} -> {knob.value!r}"
            for name, knob in after.items()
            if name in before and before[name].value != knob.value
        ]
    return changes


def _knobs_by_name(path: str, text: str) -> dict[str, Knob]:
    return {knob.name: knob for knob in find_knobs({path: text})}


def knob_rows(files: Mapping[str, str]) -> list[dict[str, Any]]:
    """The knobs of a recipe as rows of an answer."""
    return [
        {
            "path": knob.path,
            "line": knob.text,
            "name": knob.name,
            "surface": knob.surface,
            "value": knob.value,
            "domain": list(knob.choices)
            if knob.choices
            else f"{knob.low:g} .. {knob.high:g}{' log' if knob.log else ''}",
        }
        for knob in find_knobs(files)
    ]


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


GIVEN_CHARACTERS = 80

_EXAMPLES: Mapping[str, Any] = {
    "string": "...",
    "integer": 0,
    "number": 0.0,
    "boolean": True,
    "object": {},
    "array": [],
    "null": None,
}


def mended(arguments: Mapping[str, Any], schema: ToolSchema) -> dict[str, Any]:
    """Arguments with slips of form put right; what is said is never guessed at.

    A text that holds the JSON of a list, a table, a number or a truth value where one of these is
    wanted becomes it, and ``"null"`` or an empty text for what may be left out is left out.

    Args:
        arguments: The arguments as a model gave them.
        schema: What the tool takes.
    """
    wanted = _properties(schema)
    found = {}
    for name, value in arguments.items():
        value = _mended(value, wanted.get(name, {}))
        if value is not None or name not in wanted:
            found[name] = value
    return found


def _mended(value: Any, wanted: Mapping[str, Any]) -> Any:
    types = _types(wanted)
    if not isinstance(value, str) or ("string" in types and value not in ("null", "")):
        return value
    if value in ("null", "None", "") and "null" in types:
        return None
    if "string" in types or not types:
        return value
    try:
        read = json.loads(value)
    except ValueError:
        return value
    return (
        read if _type(read) in types or (_type(read) == "integer" and "number" in types) else value
    )


def explained(schema: ToolSchema, error: ValidationError) -> str:
    """What is wrong with the arguments of a call, with an example of right ones.

    Args:
        schema: What the tool takes.
        error: What does not fit.
    """
    name = schema["name"]
    lines = [f"{name}: the arguments do not fit:"]
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or "arguments"
        given = "" if item["type"] == "missing" else f" (given: {_short(item['input'])})"
        lines.append(f"- {place}: {item['msg']}{given}")
    required = _parameters(schema).get("required", ())
    example = {key: _example(_properties(schema).get(key, {})) for key in required}
    lines.append(f"Call it like this: {name}({json.dumps(example)})")
    optional = [key for key in _properties(schema) if key not in required]
    if optional:
        lines.append(f"May be left out: {', '.join(optional)}.")
    return "\n".join(lines)


def _parameters(schema: ToolSchema) -> Mapping[str, Any]:
    return schema.get("parameters", {})


def _properties(schema: ToolSchema) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _parameters(schema).get("properties", {})
    return found


def _types(wanted: Mapping[str, Any]) -> set[str]:
    """The types that a property may have."""
    told = wanted.get("type")
    types = {told} if isinstance(told, str) else set(told or ())
    for one in (*wanted.get("anyOf", ()), *wanted.get("oneOf", ())):
        types |= _types(one)
    return types


def _type(value: Any) -> str:
    for name, kind in (("boolean", bool), ("integer", int), ("number", float), ("array", list)):
        if isinstance(value, kind):
            return name
    return "object" if isinstance(value, dict) else "null" if value is None else "string"


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


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= GIVEN_CHARACTERS else f"{text[: GIVEN_CHARACTERS - 3]}..."


CALL_SECONDS = 30.0
"""A call that takes longer is given up: a database may be locked, or its server gone."""

_log = logger(__name__)

AnyTool = BaseTool[Any, Answer]


class ToolWorkbench(Workbench):
    """Tools by name.

    AutoGen's agents hang for ever when a workbench raises, and when a call that was cancelled does
    not come back; so every error becomes a result that the model can read and mend.

    Args:
        tools: The tools.
    """

    def __init__(self, tools: Sequence[AnyTool]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    async def list_tools(self) -> list[ToolSchema]:
        """The schemas of the tools."""
        # Never kept here: the menu of a tool may change from call to call.
        return [tool.schema for tool in self._tools.values()]

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        cancellation_token: CancellationToken | None = None,
        call_id: str | None = None,
    ) -> ToolResult:
        """Calls a tool; whatever goes wrong is an error result, cancellation by the token too."""
        token = cancellation_token or CancellationToken()
        started = time.monotonic()
        try:
            text, is_error = await self._call(name, arguments or {}, token, call_id), False
        except asyncio.CancelledError:
            if not token.is_cancelled():
                raise
            text, is_error = "cancelled", True
        except TimeoutError:
            text, is_error = f"{name}: no answer within {CALL_SECONDS:g} seconds", True
        except ValidationError as error:
            text, is_error = explained(self._tools[name].schema, error), True
        except Exception as error:  # the agent would hang on anything raised from here
            text, is_error = f"{type(error).__name__}: {error}", True
        _log.debug("tool", tool=name, error=is_error, seconds=time.monotonic() - started)
        return ToolResult(name=name, result=[TextResultContent(content=text)], is_error=is_error)

    async def _call(
        self, name: str, arguments: Mapping[str, Any], token: CancellationToken, call_id: str | None
    ) -> str:
        if name not in self._tools:
            raise LookupError(unknown_name("tool", name, self._tools))
        tool = self._tools[name]
        fitting = mended(arguments, tool.schema)
        call = asyncio.ensure_future(tool.run_json(fitting, token, call_id))
        token.link_future(call)
        answer = tool.return_value_as_string(await asyncio.wait_for(call, CALL_SECONDS))
        self.answered(name)
        return answer

    def answered(self, name: str) -> None:
        """A tool has answered without an error."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    async def reset(self) -> None:
        """Nothing to reset."""

    async def save_state(self) -> Mapping[str, Any]:
        """There is no state."""
        return {}

    async def load_state(self, state: Mapping[str, Any]) -> None:
        """There is no state."""
