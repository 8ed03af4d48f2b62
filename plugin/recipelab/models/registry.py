"""Turns what a user writes after ``--model`` into a model client."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from autogen_core.models import ChatCompletionClient

from recipelab.errors import ModelError
from recipelab.models.providers import PROVIDERS
from recipelab.models.saved import model_from_file

OFFLINE = "offline"
CHOICES = (
    OFFLINE,
    *(f"{name}:NAME" for name in PROVIDERS),
    "FILE.json (any AutoGen model client component)",
)

_FOR_ONE = re.compile(r"([A-Za-z_]\w*)=(.+)", re.DOTALL)


def open_model(
    spec: str, *, seed: int, base_url: str | None = None, temperature: float | None = None
) -> ChatCompletionClient:
    """Opens a model client. Keys are read from the environment and from nowhere else.

    Args:
        spec: ``offline``, ``PROVIDER:NAME``, or the path of a component's JSON.
        seed: Seed of the offline client's choices.
        base_url: Address of the server, for a model given by provider and name.
        temperature: Sampling temperature; ``None`` leaves it to the provider.

    Returns:
        The client.

    Raises:
        ModelError: The specification is none of these, a file cannot be read, a package or a key
            is missing.
    """
    if spec == OFFLINE:
        from recipelab.models.offline import OfflineClient

        return OfflineClient(seed=seed)
    if spec.endswith(".json"):
        return model_from_file(Path(spec))
    provider, _, name = spec.partition(":")
    if provider not in PROVIDERS or not name:
        raise ModelError(f"unknown model {spec!r}; valid: {', '.join(CHOICES)}")
    return PROVIDERS[provider](name, base_url, temperature)


def parse_models(values: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Reads a repeated ``--model``.

    Args:
        values: Each ``SPEC``, or ``SPECIALIST=SPEC`` for one specialist alone.

    Returns:
        The model of all, and those of single specialists by name.

    Raises:
        ModelError: There are two for all, or two for one specialist.
    """
    default: str | None = None
    own: dict[str, str] = {}
    for value in values:
        match = _FOR_ONE.fullmatch(value)
        if match is None:
            if default is not None:
                raise ModelError(f"--model: {default!r} and {value!r} are both for everybody")
            default = value
        elif match[1] in own:
            raise ModelError(f"--model: there are two models for {match[1]}")
        else:
            own[match[1]] = match[2]
    return default or OFFLINE, own
