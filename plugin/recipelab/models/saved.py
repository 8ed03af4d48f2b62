"""Model clients as JSON that holds no key."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autogen_core.models import ChatCompletionClient
from pydantic import ValidationError

from recipelab.errors import ModelError

HIDDEN = "**********"
"""What AutoGen writes in the place of a key; loaded back it would be taken for the key."""

_SECRET = re.compile(
    r"(api|auth|access|secret)[_-]?(key|token)|password|secret|authorization|^key$"
)


def saved_model(client: ChatCompletionClient) -> dict[str, Any]:
    """A client as plain data; whoever loads it reads the key from the environment.

    Raises:
        ModelError: The client is no component, so that JSON cannot hold it.
    """
    try:
        dumped: dict[str, Any] = client.dump_component().model_dump(mode="json")
    except (TypeError, AttributeError, NotImplementedError, ValueError) as error:
        raise ModelError(
            f"the model client {type(client).__name__} cannot be saved as JSON: {error}"
        ) from None
    clean: dict[str, Any] = _without_secrets(dumped)
    return clean


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _without_secrets(item)
            for key, item in value.items()
            if not _is_secret(str(key), item)
        }
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


def _is_secret(key: str, value: Any) -> bool:
    return isinstance(value, str) and (value == HIDDEN or bool(_SECRET.search(key.lower())))


def loaded_model(
    saved: Mapping[str, Any], *, where: str = "the saved model"
) -> ChatCompletionClient:
    """The client of a saved component.

    Args:
        saved: What :func:`saved_model` gave, or a component written by hand.
        where: What to call it in errors.

    Raises:
        ModelError: It is no component of a model client, or it holds a key.
    """
    clean = _without_secrets({key: value for key, value in saved.items() if value != HIDDEN})
    keys = _secrets(saved)
    if keys:
        raise ModelError(
            f"{where}: {', '.join(keys)}: a key does not belong into a file; leave it out and set "
            "it in the environment, where the provider's library looks for it"
        )
    try:
        return ChatCompletionClient.load_component(clean)
    except (ValueError, ValidationError, TypeError, ImportError, AttributeError) as error:
        raise ModelError(f"{where}: not a model client component: {error}") from None
    except Exception as error:  # a provider's own complaint that its key is missing
        raise ModelError(f"{where}: cannot be opened: {error}") from None


def _secrets(value: Any, place: str = "") -> list[str]:
    """Places of keys that are written out."""
    found: list[str] = []
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = f"{place}.{key}" if place else str(key)
            written = _is_secret(str(key), item) and item not in (HIDDEN, "")
            found += [here] if written else _secrets(item, here)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += _secrets(item, f"{place}[{number}]")
    return found


def model_from_file(path: Path) -> ChatCompletionClient:
    """The client of a component's JSON file.

    Raises:
        ModelError: The file cannot be read, holds a key, or is no model client component.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ModelError(f"{path}: not a model client component: {error}") from None
    if not isinstance(table, dict):
        raise ModelError(f"{path}: not a model client component: it is no table")
    return loaded_model(table, where=str(path))
