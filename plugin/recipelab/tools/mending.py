"""Helps small models to call tools: harmless slips are mended, others explained with an example."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autogen_core.tools import ToolSchema
from pydantic import ValidationError

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
