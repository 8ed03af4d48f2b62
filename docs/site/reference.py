"""Collects what a user can type or write: commands, settings and keys, each with its text.

Everything is read from the code that uses it, so that the reference of the site is true by itself.
``tests/test_reference.py`` holds every entry to having a text.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from typer import Typer
from typer.models import ArgumentInfo, ParameterInfo

from recipelab.agents.charter import VALID, Charter
from recipelab.cli.app import app
from recipelab.core.attributes import key_texts, plain_paragraph
from recipelab.packs.load import pack_schema
from recipelab.sandbox.spec import ContainerProfile, ImageSpec, KernelSpec

ENVIRONMENT: Mapping[str, str] = {
    "RECIPELAB_HOME": "Folder of campaigns and lineage; ``.recipelab`` unless set.",
    "RECIPELAB_LINEAGE": "URL of a lineage in PostgreSQL, or a path; ``lineage.db`` of the home "
    "unless set.",
    "RECIPELAB_LOG_LEVEL": "The least serious logs that are shown; as ``--log-level``.",
    "RECIPELAB_LOG_FORMAT": "How logs are written; as ``--log-format``.",
    "XDG_CACHE_HOME": "Folder above that of fetched data, ``recipelab``; ``~/.cache`` unless set.",
    "COLUMNS": "Width of tables that go to a file or a pipe, in characters; 140 unless set.",
    "OPENAI_API_KEY": "Key of OpenAI, or of the server at ``--base-url``.",
    "OPENAI_BASE_URL": "Address of an OpenAI-compatible server, where ``--base-url`` is not given.",
    "OPENAI_API_VERSION": "Version of Azure's interface; ``2024-10-21`` unless set.",
    "AZURE_OPENAI_ENDPOINT": "Address of the deployment at Azure.",
    "AZURE_OPENAI_API_KEY": "Key of the deployment at Azure.",
    "ANTHROPIC_API_KEY": "Key of Anthropic.",
    "HF_ENDPOINT": "Address of the hub that compiled kernels of images come from.",
    "DOCKER_HOST": "Address of the Docker daemon. ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH`` "
    "go with it, as for Docker's own command.",
    "CUDA_VISIBLE_DEVICES": "GPUs of NVIDIA that slots may be made of; all unless set.",
    "ROCR_VISIBLE_DEVICES": "GPUs of AMD that slots may be made of; all unless set.",
    "HIP_VISIBLE_DEVICES": "The same, where ``ROCR_VISIBLE_DEVICES`` is not set.",
    "RECIPELAB_MCP_TOKEN": "What a client of ``recipelab mcp --http`` shows as a Bearer, 16 "
    "characters or more; a new one each start unless set.",
    "CODEX_HOME": "Folder of the configuration that ``mcp --install codex`` writes; ``~/.codex`` "
    "unless set.",
    "RAY_ADDRESS": "Address of the cluster of Ray, where no place option gives it; ``auto`` unless "
    "set.",
    "MLFLOW_EXPERIMENT_NAME": "Experiment of MLflow that trials are sent to; ``recipelab-PACK`` "
    "unless set.",
    "WANDB_MODE": "``offline`` writes runs of Weights & Biases to a folder.",
    "WANDB_API_KEY": "Key of Weights & Biases, where ``wandb login`` has not stored one.",
    "WANDB_PROJECT": "Project of Weights & Biases, where ``--track`` names none.",
}
"""The variables that the code reads from the environment of a user."""


@dataclass(frozen=True)
class Entry:
    """A thing that a user can type or write.

    Attributes:
        name: How it is written.
        text: What it means.
        values: What it may be, in words; empty for a switch.
        default: What it is unless given; empty for nothing.
        is_quantity: Whether it is a number, so that the text has to give its unit.
    """

    name: str
    text: str
    values: str = ""
    default: str = ""
    is_quantity: bool = False


@dataclass(frozen=True)
class Group:
    """A command, or a table of keys.

    Attributes:
        name: How it is written, as ``recipelab run`` or ``[metric]``.
        text: What it is for.
        entries: What goes with it.
        places: Where a table stands, if in several places.
    """

    name: str
    text: str
    entries: tuple[Entry, ...]
    places: tuple[str, ...] = ()


def commands() -> list[Group]:
    """Return every command with its arguments and options, in the order of the help."""
    callback = app.registered_callback
    assert callback is not None and callback.callback is not None
    head = Group("recipelab", _prose(callback.callback), tuple(_parameters(callback.callback)))
    return [head, *_commands_of(app, "recipelab")]


def _commands_of(typer: Typer, path: str) -> Iterator[Group]:
    for command in typer.registered_commands:
        function = command.callback
        assert function is not None
        name = command.name or function.__name__.replace("_", "-")
        yield Group(f"{path} {name}", _prose(function), tuple(_parameters(function)))
    for group in typer.registered_groups:
        assert group.typer_instance is not None
        yield from _commands_of(group.typer_instance, f"{path} {group.name}")


def _prose(function: Any) -> str:
    text = inspect.cleandoc(function.__doc__ or "")
    prose = re.split(r"(?m)^(?:Args|Raises|Returns):$", text)[0].replace("\f", "\n\n")
    return "\n\n".join(plain_paragraph(part) for part in prose.split("\n\n") if part.strip())


def _parameters(function: Any) -> Iterator[Entry]:
    hints = typing.get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *notes = typing.get_args(hints[name])
        info = next(note for note in notes if isinstance(note, ParameterInfo))
        is_argument = isinstance(info, ArgumentInfo)
        missing = parameter.default is inspect.Parameter.empty
        types = {kind, *typing.get_args(kind)}
        is_switch = bool in types
        values = info.metavar or ("" if is_switch else _choices(types) or _word(types))
        shown = "required" if missing else _default(parameter.default, is_switch=is_switch)
        default = info.show_default if isinstance(info.show_default, str) else shown
        text = info.help or ""
        if info.envvar:
            default += f"; or ${info.envvar}"
        yield Entry(
            _written(name, info, is_argument=is_argument, is_switch=is_switch),
            plain_paragraph(text),
            values,
            default,
            not is_switch and bool({int, float} & types),
        )


def _written(name: str, info: ParameterInfo, *, is_argument: bool, is_switch: bool) -> str:
    if is_argument:
        return name.rstrip("_").upper()
    # In an annotation the first name stands where a default would.
    names = [name for name in (info.default, *(info.param_decls or ())) if isinstance(name, str)]
    if names:
        return ", ".join(names).replace("/--", ", --")
    option = f"--{name.replace('_', '-')}"
    return f"{option}, --no-{option[2:]}" if is_switch else option


def _choices(types: set[Any]) -> str:
    enums = [kind for kind in types if isinstance(kind, type) and issubclass(kind, Enum)]
    return "|".join(str(member.value) for kind in enums for member in kind)


def _word(types: set[Any]) -> str:
    nested = {part for kind in types for part in (kind, *typing.get_args(kind))}
    words = ((int, "INTEGER"), (float, "NUMBER"), (Path, "PATH"), (datetime, "TIME"))
    for kind, word in words:
        if kind in nested:
            return word
    return "TEXT"


def _default(value: Any, *, is_switch: bool) -> str:
    if value is None:
        return ""
    if is_switch:
        return "on" if value else "off"
    return str(value.value if isinstance(value, Enum) else value)


def pack_keys() -> list[Group]:
    """Return every table of ``pack.toml`` with its keys, in the order of the schema."""
    schema = pack_schema()
    tables: dict[str, dict[str, Any]] = schema["$defs"]
    places: dict[str, list[str]] = {}

    def note(table: Mapping[str, Any], above: str, seen: tuple[str, ...]) -> None:
        for key, value in table.get("properties", {}).items():
            for name, is_list in _references(value):
                place = f"{above}{key}"
                if name in seen or "properties" not in tables[name]:
                    continue
                if place not in (found := places.setdefault(name, [])):
                    found.append(place)
                note(tables[name], f"{place}.", (*seen, name))
                lists.add(place) if is_list else None

    lists: set[str] = set()
    note(schema, "", ())
    groups = [Group("The top of the file", "", tuple(_keys(schema, tables)))]
    for name, found in places.items():
        heads = tuple(f"[[{one}]]" if one in lists else f"[{one}]" for one in found)
        title = heads[0] if len(heads) == 1 else f"{heads[0]} and the like"
        if name.endswith("Source"):
            title = f"{heads[0]} of kind {name.removesuffix('Source').lower()}"
        table = tables[name]
        groups.append(
            Group(title, table["description"], tuple(_keys(table, tables)), heads[1:] and heads)
        )
    return groups


def _references(value: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    forms = [value, *value.get("anyOf", ())]
    for form in forms:
        items = form.get("items", {})
        for holder, is_list in ((form, False), (items, True)):
            for one in (holder, *holder.get("oneOf", ())):
                if "$ref" in one:
                    yield one["$ref"].rpartition("/")[2], is_list


def _keys(table: Mapping[str, Any], tables: Mapping[str, Any]) -> Iterator[Entry]:
    for key, value in table.get("properties", {}).items():
        default = value.get("default", "required")
        is_table = isinstance(default, dict)
        yield Entry(
            key,
            value.get("description", ""),
            _type(value, tables),
            "" if default in (None, "", [], ()) or is_table else _toml(default),
            any(form.get("type") in ("integer", "number") for form in _forms(value)),
        )


def _forms(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [value, *value.get("anyOf", ()), value.get("items", {})]


def _type(value: Mapping[str, Any], tables: Mapping[str, Any]) -> str:
    if "enum" in value:
        return " | ".join(map(str, value["enum"]))
    if "const" in value:
        return str(value["const"])
    if "$ref" in value:
        target = tables[value["$ref"].rpartition("/")[2]]
        return "table" if "properties" in target else _type(target, tables)
    if "anyOf" in value:
        forms = [_type(form, tables) for form in value["anyOf"] if form.get("type") != "null"]
        return " or ".join(dict.fromkeys(form for form in forms if form))
    if value.get("type") == "array":
        items = value.get("items", {})
        word, _, bounds = _type(items, tables).partition(" from ")
        return f"list of {word}s" + (f" from {bounds}" if bounds else "")
    words = {
        "number": "number",
        "integer": "whole number",
        "string": "text",
        "object": "table",
        "boolean": "boolean",
    }
    word = words.get(value.get("type", ""), value.get("type", ""))
    return " ".join(filter(None, (word, _range(value))))


def _range(value: Mapping[str, Any]) -> str:
    bounds = (
        ("minimum", "from {:g}"),
        ("exclusiveMinimum", "above {:g}"),
        ("maximum", "to {:g}"),
        ("exclusiveMaximum", "below {:g}"),
    )
    # What is below 2**63 is so that a database can store it, and says nothing to a reader.
    known = ((words, value[key]) for key, words in bounds if value.get(key, 2**63) < 2**63)
    return " ".join(words.format(bound) for words, bound in known)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)


def sandbox_keys() -> list[Group]:
    """Return the tables of ``sandbox.toml`` with their keys."""
    tables = (
        ("The top of the file", "", ImageSpec),
        ("[container]", "What containers have beyond the limits of a phase.", ContainerProfile),
        ("[[kernels]]", "Compiled kernels of a hub that the image brings along.", KernelSpec),
    )
    return [Group(name, text, tuple(_fields(model, {}))) for name, text, model in tables]


def charter_keys() -> Group:
    """Return the keys of a charter's front matter."""
    entries = tuple(entry for entry in _fields(Charter, VALID) if entry.name != "body")
    return Group("Front matter of a charter", "", entries)


def _fields(model: type[BaseModel], valid: Mapping[str, str]) -> Iterator[Entry]:
    texts = key_texts(model)
    for name, field in model.model_fields.items():
        if field.default is PydanticUndefined:
            default = "" if field.default_factory else "required"
        else:
            default = "" if field.default in (None, ()) else _toml(field.default)
        values = valid.get(name) or field.description or ""
        yield Entry(name, texts.get(name, ""), values, default)


def environment() -> Group:
    """Return the variables of the environment that are read."""
    entries = tuple(Entry(name, text) for name, text in ENVIRONMENT.items())
    return Group("Environment variables", "", entries)


def groups() -> list[Group]:
    """Return everything."""
    return [*commands(), *pack_keys(), *sandbox_keys(), charter_keys(), environment()]
