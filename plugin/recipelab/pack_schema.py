"""A JSON schema of ``pack.toml``, for editors."""

from __future__ import annotations

from typing import Any

from recipelab.pack import Pack

FILE = "pack.schema.json"

_HIDDEN = ("root", "profile")


def pack_schema() -> dict[str, Any]:
    """The JSON schema of ``pack.toml``.

    A profile may override any key, so what a table needs is demanded of none: the pack is checked
    whole, with a profile applied, when it is read.
    """
    schema = Pack.model_json_schema()
    keys: dict[str, Any] = {k: v for k, v in schema["properties"].items() if k not in _HIDDEN}
    overrides = {"type": "object", "properties": dict(keys), "additionalProperties": False}
    keys["default_profile"] = {"type": "string", "description": "Taken if no profile is named."}
    keys["profiles"] = {"type": "object", "additionalProperties": overrides}
    for part in schema["$defs"].values():
        part.pop("required", None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "recipelab task pack, format 1",
        "type": "object",
        "properties": keys,
        "required": ["format", "name", "title", "description", "profiles"],
        "additionalProperties": False,
        "$defs": schema["$defs"],
    }
