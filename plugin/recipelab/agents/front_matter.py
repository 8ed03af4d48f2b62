"""Reads the table at the top of a Markdown file, and says in words what is wrong with it."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from recipelab.agents.charter_rules import VALID
from recipelab.shown import plain

_PARTS = re.compile(r"\s*^---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)(.*)", re.DOTALL | re.MULTILINE)


def read_file(file: Path) -> str:
    """The text of a file.

    Raises:
        ValueError: It cannot be read, or is not text in UTF-8.
    """
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not text in UTF-8: byte {error.start} is not") from None


def split(text: str) -> tuple[dict[str, Any], str]:
    """Parts a file into front matter and body.

    Every scalar is taken as the text that it is, so that a surface can be called ``on`` or ``no``.

    Raises:
        ValueError: There is no front matter, or it is no table of distinct keys.
    """
    parts = _PARTS.match(text)
    if parts is None:
        raise ValueError("it must begin with front matter between two lines of ---")
    try:
        node = yaml.compose(parts[1], yaml.BaseLoader)
        if not isinstance(node, yaml.MappingNode):
            raise ValueError("front matter must be a table of name, title, surfaces")
        _check_keys(node)
        table: dict[str, Any] = yaml.load(parts[1], yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"front matter is not valid YAML: {plain(str(error))}") from None
    except RecursionError:
        raise ValueError("front matter is not valid: it is nested too deep") from None
    return table, parts[2].strip()


def _check_keys(node: yaml.MappingNode) -> None:
    """YAML would take the last of two keys of one name and say nothing."""
    seen: set[str] = set()
    for key, _ in node.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else None
        if name is None:
            raise ValueError("front matter: a key must be a word")
        if name in seen:
            raise ValueError(f"{plain(name)}: the key is there twice")
        seen.add(name)


def explained(error: ValidationError, keys: Sequence[str]) -> list[str]:
    """What is wrong, a line for each mistake.

    Args:
        error: What the model of the table has raised.
        keys: The valid keys.
    """
    return [_line(item, keys) for item in error.errors(include_url=False)]


def _line(item: ErrorDetails, keys: Sequence[str]) -> str:
    place = plain(".".join(str(part) for part in item["loc"]))
    message = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return message
    if item["type"] == "extra_forbidden":
        return f"{place}: no such key; valid keys: {', '.join(keys)}"
    valid = VALID[str(item["loc"][0])]
    if item["type"] == "missing":
        return f"{place}: the key is missing; valid: {valid}"
    return f"{place}: {message} (it is {reprlib.repr(item['input'])}); valid: {valid}"
