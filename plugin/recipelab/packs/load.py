"""Reads task packs from their folders."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipelab.core import content
from recipelab.core.errors import PackError, unknown_name
from recipelab.core.trial import Edit
from recipelab.packs.pack import NAME, Pack

PACK_FILE = "pack.toml"


def pack_names() -> tuple[str, ...]:
    """Names of the packs that can be found from here."""
    return content.names(content.TASK_PACKS, marker=PACK_FILE)


def load_pack(name: str, profile: str | None = None) -> Pack:
    """Reads a pack with one of its profiles applied.

    Args:
        name: Name of a pack, or the path of a pack's folder.
        profile: Name of a profile; ``None`` takes the pack's default.

    Returns:
        The typed pack.

    Raises:
        PackError: It cannot be read; the message names file, key and valid values.
        RecipelabError: There is no pack of that name.
    """
    folder = Path(name)
    if "/" in name or folder.suffix:
        file = folder / PACK_FILE
        if not file.is_file():
            raise PackError(f"no task pack at {name}: it has no {PACK_FILE}")
    else:
        file = content.find(content.TASK_PACKS, name, marker=PACK_FILE, what="task pack")
    return read_pack(file, profile)


def read_pack(file: Path, profile: str | None = None) -> Pack:
    """Reads one ``pack.toml``; see :func:`load_pack`."""
    table = _read_toml(file)
    profiles = table.pop("profiles", {})
    default = table.pop("default_profile", None)
    chosen = profile or default
    if not isinstance(profiles, dict) or not profiles:
        raise PackError(f"{file}: profiles: at least one table [profiles.<name>] is needed")
    if chosen not in profiles:
        key = "default_profile" if profile is None else "profile"
        raise PackError(f"{file}: {key}: {unknown_name('profile', str(chosen), profiles)}")
    merged = _merged(table, profiles[chosen])
    try:
        merged = with_series(merged)
    except ValueError as error:
        raise PackError(f"{file}: {error} [profile {chosen}]") from None
    try:
        pack = Pack.model_validate({**merged, "root": file.parent.resolve(), "profile": chosen})
    except ValidationError as error:
        raise PackError(_explained(file, str(chosen), error)) from None
    _check_folders(file, pack)
    return pack


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PackError(f"{file}: not valid TOML: {error}") from None


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables merge key by key; anything else, lists too, is replaced whole.

    So is what a phase sees: a profile with data of its own wants none of the others.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict) and key != "data"
        result[key] = _merged(old, value) if both and isinstance(old, dict) else value
    return result


def _explained(file: Path, profile: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(str(part) for part in item["loc"]) or "pack"
        text = str(item["msg"]).removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            text = f"no such key; valid: {', '.join(_siblings(item['loc']))}"
        elif not isinstance(item["input"], dict | list | Path):
            text += f" (it is {item['input']!r})"
        lines.append(f"{file}: {place}: {text} [profile {profile}]")
    return "\n".join(lines)


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the table in which a key was not known."""
    model: Any = Pack
    for part in location[:-1]:
        fields = getattr(model, "model_fields", {})
        if part in fields:
            model = _inner_model(fields[part].annotation, model)
        elif isinstance(part, str):
            model = _tagged(model, part)
    hidden = {"root", "profile"} if model is Pack else set[str]()
    extra = {"default_profile", "profiles"} if model is Pack else set[str]()
    return sorted((set(getattr(model, "model_fields", {})) | extra) - hidden)


def _inner_model(annotation: Any, default: Any) -> Any:
    """The model inside an annotation such as ``tuple[Gate, ...]``."""
    if hasattr(annotation, "model_fields"):
        return annotation
    inner = [arg for arg in getattr(annotation, "__args__", ()) if arg is not Ellipsis]
    return _inner_model(inner[0], default) if inner else default


def _tagged(model: Any, tag: str) -> Any:
    """The member of the union of data sources with this tag."""
    from recipelab.packs.sections import (
        CloneSource,
        DebianSource,
        PathSource,
        PypiSource,
        SdistSource,
        UrlSource,
    )

    members = (
        DebianSource,
        PypiSource,
        SdistSource,
        UrlSource,
        PathSource,
        CloneSource,
    )
    return next((m for m in members if tag in str(m.model_fields["kind"].annotation)), model)


def _check_folders(file: Path, pack: Pack) -> None:
    for key, folder in (("recipe", pack.recipe.folder), ("evaluator", pack.evaluator.folder)):
        path = (pack.root / folder).resolve()
        if not path.is_dir() or not path.is_relative_to(pack.root):
            raise PackError(f"{file}: {key}.folder: no folder {folder!r} in the pack")


MARK = "{n}"
KEYS = {"first", "last", "digits"}


def with_series(table: Mapping[str, Any]) -> dict[str, Any]:
    """A pack's table with its series written out.

    Raises:
        ValueError: The numbers of a series are not as they have to be.
    """
    series: dict[str, list[str]] = {}
    data = [one for item in table.get("data", ()) for one in _files(item, series)]
    filled = dict(table)
    if series:
        filled["data"] = data
        for key in ("phases", "certify"):
            if key in table:
                filled[key] = _filled_phases(table[key], series)
    return filled


def _files(item: Any, series: dict[str, list[str]]) -> Iterator[Any]:
    if not isinstance(item, Mapping) or "numbers" not in item:
        yield item
        return
    spec, name = item["numbers"], str(item.get("file", ""))
    good = isinstance(spec, Mapping) and set(spec) == KEYS
    if not good or not all(isinstance(spec[key], int) for key in KEYS) or MARK not in name:
        told = "is a table of first, last and digits, and the file's name holds"
        raise ValueError(f"data: numbers of {name!r} {told} {MARK}")
    numbers = [f"{n:0{spec['digits']}d}" for n in range(spec["first"], spec["last"] + 1)]
    series[name] = numbers
    rest = {key: value for key, value in item.items() if key != "numbers"}
    for number in numbers:
        yield _with_number(rest, number)


def _with_number(value: Any, number: str) -> Any:
    if isinstance(value, str):
        return value.replace(MARK, number)
    if isinstance(value, Mapping):
        return {key: _with_number(inner, number) for key, inner in value.items()}
    return [_with_number(inner, number) for inner in value] if isinstance(value, list) else value


def _filled_phases(phases: Any, series: Mapping[str, list[str]]) -> Any:
    if not isinstance(phases, Mapping):
        return phases
    return {name: _filled_phase(phase, series) for name, phase in phases.items()}


def _filled_phase(phase: Any, series: Mapping[str, list[str]]) -> Any:
    if not isinstance(phase, Mapping) or not isinstance(phase.get("data"), Mapping):
        return phase
    data: dict[str, Any] = {}
    for target, file in phase["data"].items():
        for number in series.get(str(file), [""]):
            data[target.replace(MARK, number)] = str(file).replace(MARK, number)
    return {**phase, "data": data}


PLAYBOOK_FILE = "playbook.toml"


class PlayEdit(BaseModel):
    """One search/replace block of a play."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    search: str = Field(min_length=1)
    replace: str

    def to_edit(self) -> Edit:
        """The edit as the core knows it."""
        return Edit(self.path, self.search, self.replace)


class Play(BaseModel):
    """An idea as a code edit.

    Attributes:
        id: Short name, unique in the playbook.
        surface: The surface it belongs to.
        title: What it does, in a few words.
        hypothesis: Why it should help.
        expected_delta: Expected change of the metric, signed, in the metric's unit.
        edits: The blocks, applied in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    surface: str = Field(pattern=NAME)
    title: str
    hypothesis: str
    expected_delta: float
    edits: tuple[PlayEdit, ...] = Field(min_length=1)


class Playbook(BaseModel):
    """All plays of a pack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plays: tuple[Play, ...] = ()


def load_playbook(pack: Pack) -> tuple[Play, ...]:
    """Reads the plays of a pack; a pack without a playbook has none.

    Raises:
        PackError: The file cannot be read, or a play names a surface that the pack lacks.
    """
    # Beside the recipe that it is about: a pack may have several, one for each profile.
    file = (pack.root / pack.recipe.folder).parent / PLAYBOOK_FILE
    if not file.is_file():
        return ()
    try:
        book = Playbook.model_validate(tomllib.loads(file.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PackError(f"{file}: not valid TOML: {error}") from None
    except ValidationError as error:
        lines = [
            f"{file}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        ]
        raise PackError("\n".join(lines)) from None
    for play in book.plays:
        if play.surface not in pack.surface_names:
            raise PackError(
                f"{file}: play {play.id}: unknown surface {play.surface!r}; "
                f"valid: {', '.join(pack.surface_names)}"
            )
    return book.plays


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
