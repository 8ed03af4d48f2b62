"""Turns what a user writes after ``--model`` into a model client."""

from __future__ import annotations

import json
import os
from pathlib import Path

from autogen_core.models import ChatCompletionClient
from pydantic import ValidationError

from recipelab.errors import ModelError

OFFLINE = "offline"
CHOICES = ("offline", "openai:NAME", "FILE.json (any AutoGen model client component)")


def open_model(spec: str, *, seed: int) -> ChatCompletionClient:
    """Opens a model client.

    Args:
        spec: ``offline``, ``openai:NAME``, or the path of a component's JSON.
        seed: Seed of the offline client's choices.

    Returns:
        The client.

    Raises:
        ModelError: The specification is none of these, a file cannot be read, or a key is missing.
    """
    if spec == OFFLINE:
        from recipelab.models.offline import OfflineClient

        return OfflineClient(seed=seed)
    if spec.startswith("openai:") and spec != "openai:":
        return _openai(spec.removeprefix("openai:"))
    if spec.endswith(".json"):
        return _from_file(Path(spec))
    raise ModelError(f"unknown model {spec!r}; valid: {', '.join(CHOICES)}")


def _openai(name: str) -> ChatCompletionClient:
    if not os.environ.get("OPENAI_API_KEY"):
        raise ModelError(f"model openai:{name} needs the key in the environment: OPENAI_API_KEY")
    try:
        # It takes two seconds to import, so only those who use it pay.
        from autogen_ext.models.openai import OpenAIChatCompletionClient
    except ImportError as error:
        raise ModelError(f"install recipelab[openai] to use openai:{name} ({error})") from None
    try:
        return OpenAIChatCompletionClient(model=name)
    except ValueError as error:
        raise ModelError(
            f"openai:{name}: {error}; describe an unknown model in a component's JSON file instead"
        ) from None


def _from_file(path: Path) -> ChatCompletionClient:
    try:
        table = json.loads(path.read_text("utf-8"))
        return ChatCompletionClient.load_component(table)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, ValidationError, TypeError, ImportError, AttributeError) as error:
        raise ModelError(f"{path}: not a model client component: {error}") from None


def parse_models(values):  # type: ignore[no-untyped-def]
    return (values[-1] if values else "offline"), {}
