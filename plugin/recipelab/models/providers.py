"""Model clients by provider. Each library is loaded when it is used, as they take seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from autogen_core.models import ChatCompletionClient, ModelFamily, ModelInfo

from recipelab.errors import ModelError
from recipelab.models.tolerance import without_function_call

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
