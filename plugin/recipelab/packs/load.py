"""Reads task packs: finds ``pack.toml``, applies a profile, checks it; then the playbook.

From folder to typed pack a file goes four steps. Its profile is merged over its other tables; each
series of data files is written out; the result is validated as a :class:`~.pack.Pack`; and the
folders that it names are looked for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import Field, ValidationError

from recipelab.core import content
from recipelab.core.errors import PackError, RecipelabError, unknown_name, validation_problems
from recipelab.core.trial import Edit, Phase
from recipelab.packs.data_sections import SOURCE_KINDS, SeriesNumbers
from recipelab.packs.judging_sections import NAME, Section
from recipelab.packs.pack import FOLD, MOST_FOLDS, Pack

PACK_FILE = "pack.toml"
PLAYBOOK_FILE = "playbook.toml"
MAX_DATA_FILES = 10_000
"""Data files of a pack, with its series written out."""
NUMBER_MARK = "{n}"
"""Stands for the number of a file in the tables of a series."""

_SET_BY_LOADER = {"root", "profile", "requirements"}
"""Fields of a pack that are no keys of its file."""
_PROFILE_KEYS = {"default_profile", "profiles"}
"""Keys of a pack's file that are no fields of it, as they are gone when a profile is applied."""
_EXTENDS = "extends"
"""The key of a profile that names another one, over which it is laid."""


def pack_names() -> tuple[str, ...]:
    """Return the names of the packs that can be found from here."""
    return content.names(content.TASK_PACKS, marker=PACK_FILE)


def load_pack(name: str, profile: str | None = None) -> Pack:
    """Find a pack, and read it with one of its profiles applied.

    Args:
        name: Name of a pack, or the path of a pack's folder.
        profile: Name of a profile; ``None`` takes the pack's default.

    Raises:
        PackError: It cannot be read; the message names file, key and valid values.
        RecipelabError: There is no pack of that name.
    """
    folder = Path(name)
    if "/" in name or folder.suffix:
        file = folder / PACK_FILE
        if not os.path.isfile(file):
            raise PackError(f"no task pack at {name}: it has no {PACK_FILE}")
    else:
        file = content.find(content.TASK_PACKS, name, marker=PACK_FILE, what="task pack")
    return read_pack(file, profile)


def portable_name(name: str) -> str:
    """Return the name of a pack that is given by its folder, if the name finds it from here.

    Args:
        name: As for :func:`load_pack`; what is found by no name is given back as it is.
    """
    folder = Path(name)
    try:
        file = content.find(content.TASK_PACKS, folder.name, marker=PACK_FILE, what="task pack")
        return folder.name if file.parent.samefile(folder) else name
    except (RecipelabError, OSError):
        return name


def read_pack(file: Path, profile: str | None = None) -> Pack:
    """Read one ``pack.toml``; see :func:`load_pack`."""
    table = _read_toml(file)
    profiles = table.pop("profiles", {})
    default = table.pop("default_profile", None)
    chosen = str(profile or default)
    if not isinstance(profiles, dict) or not profiles:
        raise PackError(f"{file}: profiles: at least one table [profiles.<name>] is needed")
    if chosen not in profiles:
        key = "default_profile" if profile is None else "profile"
        raise PackError(f"{file}: {key}: {unknown_name('profile', chosen, profiles)}")
    try:
        for name in _line_of_profiles(chosen, profiles):
            own = {key: value for key, value in profiles[name].items() if key != _EXTENDS}
            table = _merge(table, own)
        merged = table
        merged = _place_data(_write_out_series(_write_out_folds(merged)))
        typed = merged.pop("trust", None)
        merged = _open_sandbox_table(merged)
        pack = Pack.model_validate({**merged, "root": file.parent.resolve(), "profile": chosen})
    except ValidationError as error:
        problems = validation_problems(error, root="pack", valid=_valid_keys)
        lines = [f"{file}: {problem} [profile {chosen}]" for problem in problems]
        raise PackError("\n".join(lines)) from None
    except ValueError as error:
        raise PackError(f"{file}: {error} [profile {chosen}]") from None
    if typed is not None:
        raise PackError(
            f"{file}: trust: it is derived and no longer a key, so delete the line; the profile "
            f"{chosen} is {pack.trust}: {pack.trust_reason}"
        )
    for key, folder in (("recipe", pack.recipe.folder), ("evaluator", pack.evaluator.folder)):
        path = pack.root / folder
        if not os.path.isdir(path) or not content.leads_inside(path, pack.root):
            raise PackError(f"{file}: {key}.folder: no folder {folder!r} in the pack")
    for phase in Phase:
        folder = pack.phases[phase].workdir
        inside = pack.recipe.folder if phase.runs_recipe else pack.evaluator.folder
        owned = folder.startswith(f"{inside}/") and pack.upstream is None
        if owned and not os.path.isdir(pack.root / folder):
            raise PackError(f"{file}: phases.{phase}.workdir: no folder {folder!r} in the pack")
    return pack


def _line_of_profiles(chosen: str, profiles: Mapping[str, Any]) -> list[str]:
    """Return a profile and those that it extends, the one that extends none first.

    Raises:
        ValueError: A profile is no table, or extends one that is not there, or in the end itself.
    """
    line = [chosen]
    while (base := _table_of(line[0], profiles).get(_EXTENDS)) is not None:
        place = f"profiles.{line[0]}.{_EXTENDS}"
        if not isinstance(base, str) or base not in profiles:
            raise ValueError(f"{place}: {unknown_name('profile', str(base), profiles)}")
        if base in line:
            raise ValueError(f"{place}: {base!r} extends {line[0]!r}, so neither has an end")
        line.insert(0, base)
    return line


def _table_of(name: str, profiles: Mapping[str, Any]) -> Mapping[str, Any]:
    table = profiles[name]
    if not isinstance(table, Mapping):
        raise ValueError(f"profiles.{name}: it must be a table (it is {table!r})")
    return table


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return content.read_toml(file)
    except OSError as error:
        raise PackError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise PackError(f"{file}: not valid TOML: {error}") from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with another laid over it.

    Tables merge key by key. Anything else, lists too, is replaced whole, and so is what a phase
    sees (``data``): a profile with data of its own wants none of the others.
    """
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and key != "data":
            value = _merge(old, value)
        result[key] = value
    return result


def _valid_keys(place: tuple[int | str, ...]) -> set[str]:
    """Return the keys that are valid in the table of an unknown key."""
    model: Any = Pack
    for part in place[:-1]:
        if part in SOURCE_KINDS:
            model = SOURCE_KINDS[str(part)]
        elif part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    fields = set(model.model_fields)
    return fields - _SET_BY_LOADER | _PROFILE_KEYS if model is Pack else fields


def _model_in(annotation: Any) -> type[Section] | None:
    """Return the first model in an annotation such as ``tuple[Gate, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)


def _write_out_folds(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pack's table with the files of its draw, each fold's own among them, written out."""
    phases, folds = table.get("phases"), table.get("folds")
    draw = phases.get("draw") if isinstance(phases, Mapping) else None
    if not isinstance(phases, Mapping) or not isinstance(draw, Mapping):
        return dict(table)
    files = draw.get("files")
    if not isinstance(files, list) or type(folds) is not int or not 0 < folds <= MOST_FOLDS:
        return dict(table)
    names = [
        name
        for file in files
        for name in (
            [file.replace(FOLD, str(fold)) for fold in range(folds)]
            if isinstance(file, str) and FOLD in file
            else [file]
        )
    ]
    return {**table, "phases": {**phases, "draw": {**draw, "files": names}}}


def _write_out_series(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pack's table with each series of data files, and what phases see of it, written out.

    Raises:
        ValueError: The numbers of a series are not as they have to be.
    """
    series: dict[str, list[str]] = {}
    data: list[Any] = []
    given = table.get("data", ())
    for item in given if isinstance(given, list | tuple) else ():
        if not isinstance(item, Mapping) or "numbers" not in item:
            data.append(item)
            continue
        file = str(item.get("file", ""))
        series[file] = numbers = _series_numbers(item["numbers"], file)
        rest = {key: value for key, value in item.items() if key != "numbers"}
        data += (_put_number(rest, number) for number in numbers)
        if len(data) > MAX_DATA_FILES:
            raise ValueError(f"data: {len(data):,} files; at most {MAX_DATA_FILES:,} are read")
    if not series:
        return dict(table)
    phases = {
        key: {name: _show_series(phase, series) for name, phase in table[key].items()}
        for key in ("phases", "certify")
        if isinstance(table.get(key), Mapping)
    }
    return {**table, "data": data, **phases}


_SANDBOX_KEYS = ("name", "requirements")


def _open_sandbox_table(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pack's table with the two keys of a table ``[sandbox]``, or the name alone.

    Raises:
        ValueError: The table has other keys.
    """
    given = table.get("sandbox")
    if "requirements" in table:
        raise ValueError("requirements: it is a key of the table [sandbox]")
    if not isinstance(given, Mapping):
        return dict(table)
    for key in given:
        if key not in _SANDBOX_KEYS:
            raise ValueError(f"sandbox.{key}: unknown key; valid: {', '.join(_SANDBOX_KEYS)}")
    rest = {key: value for key, value in table.items() if key != "sandbox"}
    named = {"sandbox": given["name"]} if "name" in given else {}
    return {**rest, **named, "requirements": given.get("requirements", ())}


def _place_data(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a pack's table in which each phase says where it sees data.

    A phase may list names alone: it then sees each of them ``at`` the place that its table names.
    """
    given = table.get("data", ())
    items = [item for item in (given if isinstance(given, list) else ()) if _is_named(item)]
    places = {
        item.get("file", item.get("folder")): item.get("at")
        or f"data/{item.get('file', item.get('folder'))}"
        for item in items
    }

    def placed(phase: Any) -> Any:
        if not isinstance(phase, Mapping) or not isinstance(phase.get("data"), list):
            return phase
        names = [str(name) for name in phase["data"]]
        return {**phase, "data": {places.get(name, f"data/{name}"): name for name in names}}

    changed = {
        key: {name: placed(phase) for name, phase in table[key].items()}
        for key in ("phases", "certify")
        if isinstance(table.get(key), Mapping)
    }
    return {**table, **changed}


def _is_named(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("file", item.get("folder")), str)


def _series_numbers(numbers: Any, file: str) -> list[str]:
    if NUMBER_MARK not in file:
        raise ValueError(f"data: {file!r} has numbers, so its name must hold {NUMBER_MARK}")
    try:
        return SeriesNumbers.model_validate(numbers).texts()
    except ValidationError as error:
        problems = validation_problems(
            error, root="numbers", valid=lambda place: SeriesNumbers.model_fields
        )
        raise ValueError(f"data: numbers of {file!r}: {'; '.join(problems)}") from None


def _put_number(value: Any, number: str) -> Any:
    """Return a value with a number in place of each mark in its texts."""
    if isinstance(value, str):
        return value.replace(NUMBER_MARK, number)
    if isinstance(value, Mapping):
        return {key: _put_number(inner, number) for key, inner in value.items()}
    return [_put_number(inner, number) for inner in value] if isinstance(value, list) else value


def _show_series(phase: Any, series: Mapping[str, list[str]]) -> Any:
    """Return the table of a phase that sees every file of a series where it named the series."""
    if not isinstance(phase, Mapping) or not isinstance(phase.get("data"), Mapping):
        return phase
    data = {
        _put_number(target, number): _put_number(file, number)
        for target, file in phase["data"].items()
        for number in series.get(str(file), [""])
    }
    return {**phase, "data": data}


class PlayEdit(Section):
    """One search/replace block of a play.

    Attributes:
        path: The file, as the recipe names it.
        search: The text that is replaced; it stands in the file once.
        replace: The text in its place.
    """

    path: str
    search: str = Field(min_length=1)
    replace: str

    def to_edit(self) -> Edit:
        """Return the edit of a recipe."""
        return Edit(self.path, self.search, self.replace)


class Play(Section):
    """An idea as a code edit.

    Attributes:
        id: Short name, unique in the playbook.
        surface: The surface it belongs to.
        title: What it does, in a few words.
        hypothesis: Why it should help.
        expected_delta: Expected change of the metric, signed, in the metric's unit.
        edits: The blocks, applied in order.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    surface: str = Field(pattern=NAME)
    title: str
    hypothesis: str
    expected_delta: float
    edits: tuple[PlayEdit, ...] = Field(min_length=1)


class Playbook(Section):
    """All plays of a pack."""

    plays: tuple[Play, ...] = ()


def load_playbook(pack: Pack) -> tuple[Play, ...]:
    """Read the plays of a pack; a pack without a playbook has none.

    Raises:
        PackError: The file cannot be read, or a play names a surface that the pack lacks.
    """
    # Beside the recipe that it is about: a pack may have several, one for each profile.
    file = (pack.root / pack.recipe.folder).parent / PLAYBOOK_FILE
    if not file.is_file():
        return ()
    try:
        book = Playbook.model_validate(_read_toml(file))
    except ValidationError as error:
        problems = validation_problems(error, root="playbook")
        raise PackError("\n".join(f"{file}: {problem}" for problem in problems)) from None
    for play in book.plays:
        if play.surface not in pack.surface_names:
            unknown = unknown_name("surface", play.surface, pack.surface_names)
            raise PackError(f"{file}: play {play.id}: {unknown}")
    return book.plays


def pack_schema() -> dict[str, Any]:
    """Return the JSON schema of ``pack.toml``.

    A profile may override any key, so no table requires one: a pack is checked whole, with a
    profile applied, when it is read.
    """
    schema = Pack.model_json_schema()
    keys: dict[str, Any] = {
        key: value for key, value in schema["properties"].items() if key not in _SET_BY_LOADER
    }
    extends = {
        "type": "string",
        "default": None,
        "description": "Name of another profile that it is laid over.",
    }
    overridden = {_EXTENDS: extends, **keys}
    overrides = {
        "type": "object",
        "properties": overridden,
        "additionalProperties": False,
    }
    keys["default_profile"] = {
        "type": "string",
        "default": None,
        "description": "The profile that is taken if none is named.",
    }
    keys["profiles"] = {
        "type": "object",
        "description": "Tables by name, each with what is another value in that profile.",
        "additionalProperties": overrides,
    }
    tables = schema["$defs"]
    tables["SeriesNumbers"] = SeriesNumbers.model_json_schema()
    tables["DataFile"]["properties"]["numbers"] = {
        "$ref": "#/$defs/SeriesNumbers",
        "default": None,
        "description": "The numbers of a series, whose file names hold ``{n}``.",
    }
    texts = {"type": "array", "items": {"type": "string"}}
    name = {"type": "string", "description": "Name of the sandbox."}
    packages = {**texts, "description": "Packages beyond those of the sandbox."}
    sandbox = {
        "type": "object",
        "properties": {"name": name, "requirements": packages},
        "additionalProperties": False,
    }
    forms = {"anyOf": [{"type": "string"}, sandbox]}
    keys["sandbox"] = {**keys["sandbox"], **forms, "default": "cpu"}
    keys["sandbox"].pop("type")
    overridden["sandbox"] = keys["sandbox"]
    folder = tables["DataFile"]["properties"]["folder"]
    tables["DataFile"]["properties"]["folder"] = {
        "type": "string",
        "default": None,
        "description": folder["description"],
    }
    for table in tables.values():
        table.pop("required", None)
        data = table.get("properties", {}).get("data", {})
        if data.get("additionalProperties") == {"type": "string"}:
            names = {"type": "array", "items": {"type": "string"}}
            table["properties"]["data"] = {
                "anyOf": [{key: data[key] for key in ("type", "additionalProperties")}, names],
                "title": "Data",
                "description": f"{data['description']} A list of names takes each file's own path.",
            }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "recipelab task pack, format 1",
        "type": "object",
        "properties": keys,
        "required": ["format", "name", "title", "description", "profiles"],
        "additionalProperties": False,
        "$defs": tables,
    }
