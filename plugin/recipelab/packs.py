"""Reads task packs from their folders."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recipelab import content
from recipelab.errors import PackError, unknown_name
from recipelab.pack import Pack
from recipelab.pack_series import with_series

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
    from recipelab import pack_parts as parts

    members = (
        parts.DebianSource,
        parts.PypiSource,
        parts.SdistSource,
        parts.UrlSource,
        parts.PathSource,
        parts.CloneSource,
    )
    return next((m for m in members if tag in str(m.model_fields["kind"].annotation)), model)


def _check_folders(file: Path, pack: Pack) -> None:
    for key, folder in (("recipe", pack.recipe.folder), ("evaluator", pack.evaluator.folder)):
        path = (pack.root / folder).resolve()
        if not path.is_dir() or not path.is_relative_to(pack.root):
            raise PackError(f"{file}: {key}.folder: no folder {folder!r} in the pack")
