"""Model clients as JSON that holds no key."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from autogen_core.models import ChatCompletionClient, ModelFamily, ModelInfo
from pydantic import ValidationError

from recipelab.core.errors import ModelError
from recipelab.models.wrappers import without_function_call

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


Open = Callable[[str, str | None, float | None], ChatCompletionClient]
"""Opens a model: its name, the address of its server, the temperature."""

NO_KEY = "no-key"
"""Stands for the key where a server of the user's own asks for none."""

PLAIN = ModelInfo(
    vision=False,
    function_calling=True,
    json_output=False,
    family=ModelFamily.UNKNOWN,
    structured_output=False,
    multiple_system_messages=True,
)
"""What is assumed of a model that AutoGen does not know: text and tool calls."""

_RETRIES_ELSEWHERE = 0
"""Providers' libraries must not retry on their own: we do, and say so."""


def _openai(name: str, base_url: str | None, temperature: float | None) -> ChatCompletionClient:
    base_url = base_url or os.environ.get("OPENAI_BASE_URL")
    key = os.environ.get("OPENAI_API_KEY") or (NO_KEY if base_url else None)
    if key is None:
        raise ModelError(f"openai:{name}: set OPENAI_API_KEY, or give the address of a server")
    try:
        from autogen_ext.models.openai import OpenAIChatCompletionClient
    except ImportError as error:
        raise _missing("openai", name, error) from None
    more = _given(base_url=base_url, temperature=temperature)
    if base_url or not _known_to_openai(name):
        more["model_info"] = PLAIN
    if base_url:
        from openai import DefaultAsyncHttpxClient

        hooks = {"response": [without_function_call]}
        more["http_client"] = DefaultAsyncHttpxClient(event_hooks=hooks)
    # The name of a speaker in a message is refused by many servers that are not OpenAI's.
    return OpenAIChatCompletionClient(
        model=name,
        api_key=key,
        max_retries=_RETRIES_ELSEWHERE,
        include_name_in_message=base_url is None,
        **more,
    )


def _known_to_openai(name: str) -> bool:
    from autogen_ext.models.openai import _model_info

    try:
        _model_info.get_info(name)
    except (KeyError, ValueError):
        return False
    return True


def _anthropic(name: str, base_url: str | None, temperature: float | None) -> ChatCompletionClient:
    key = os.environ.get("ANTHROPIC_API_KEY") or (NO_KEY if base_url else None)
    if key is None:
        raise ModelError(f"anthropic:{name}: set ANTHROPIC_API_KEY")
    try:
        from autogen_ext.models.anthropic import AnthropicChatCompletionClient
    except ImportError as error:
        raise _missing("anthropic", name, error) from None
    info = {**PLAIN, "vision": True, "family": ModelFamily.CLAUDE_4_SONNET}
    return AnthropicChatCompletionClient(
        model=name,
        api_key=key,
        model_info=ModelInfo(**info),  # type: ignore[typeddict-item]
        max_retries=_RETRIES_ELSEWHERE,
        **_given(base_url=base_url, temperature=temperature),
    )


def _ollama(name: str, base_url: str | None, temperature: float | None) -> ChatCompletionClient:
    try:
        from autogen_ext.models.ollama import OllamaChatCompletionClient
    except ImportError as error:
        raise _missing("ollama", name, error) from None
    options = _given(temperature=temperature)
    return OllamaChatCompletionClient(
        model=name, model_info=PLAIN, **_given(host=base_url, options=options or None)
    )


def _azure(name: str, base_url: str | None, temperature: float | None) -> ChatCompletionClient:
    wanted = {"azure_endpoint": "AZURE_OPENAI_ENDPOINT", "api_key": "AZURE_OPENAI_API_KEY"}
    found = {field: os.environ.get(variable) for field, variable in wanted.items()}
    found["azure_endpoint"] = base_url or found["azure_endpoint"]
    missing = [wanted[field] for field, value in found.items() if not value]
    if missing:
        raise ModelError(f"azure:{name}: set {' and '.join(missing)}")
    try:
        from autogen_ext.models.openai import AzureOpenAIChatCompletionClient
    except ImportError as error:
        raise _missing("openai", name, error) from None
    return AzureOpenAIChatCompletionClient(
        model=name,
        azure_deployment=name,
        api_version=os.environ.get("OPENAI_API_VERSION", "2024-10-21"),
        model_info=PLAIN,
        max_retries=_RETRIES_ELSEWHERE,
        **_given(temperature=temperature, **found),
    )


PROVIDERS: Mapping[str, Open] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _ollama,
    "azure": _azure,
}
"""How to open a model of each provider."""


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _missing(extra: str, name: str, error: ImportError) -> ModelError:
    return ModelError(f"install recipelab[{extra}] to use the model {name} ({error})")


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
