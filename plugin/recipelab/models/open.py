"""Opening model clients: by provider and name, or from a saved component that holds no key.

Keys are read from the environment and from nowhere else: by the function of a provider here, or by
the provider's library where a component is loaded.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autogen_core.models import ChatCompletionClient, ModelFamily, ModelInfo
from packaging.version import Version
from pydantic import ValidationError

from recipelab.core.content import read_limited
from recipelab.core.errors import ModelError

OFFLINE = "offline"


@dataclass(frozen=True)
class Sampling:
    """How a model writes its answers; ``None`` leaves a value to the provider.

    Attributes:
        temperature: The sampling temperature.
        max_tokens: Tokens of one answer at most.
        reasoning_effort: How much a reasoning model thinks: ``minimal``, ``low``, ``medium`` or
            ``high``; only the models of OpenAI and Azure, and servers that speak as they do, know
            it.
    """

    temperature: float | None = None
    max_tokens: int | None = None
    reasoning_effort: str | None = None


LEFT_TO_PROVIDER = Sampling()

OpenProvider = Callable[[str, str | None, Sampling], ChatCompletionClient]
"""Opens a model of one provider: its name, the address of its server, how it writes."""

NO_KEY = "no-key"
"""Stands for the key where a server of the user's own asks for none."""

ASSUMED_INFO = ModelInfo(
    vision=False,
    function_calling=True,
    json_output=False,
    family=ModelFamily.UNKNOWN,
    structured_output=False,
    multiple_system_messages=True,
)
"""The abilities of a model that AutoGen does not know: text and tool calls."""

ANTHROPIC_ANSWER = 16_000
"""Tokens of an answer at most, where nobody says: this provider asks for a limit, and AutoGen's of
4,096 cuts proposals."""

CONNECT_SECONDS = 5.0
"""A server that does not take a connection in so many seconds is not there."""

_NO_RETRIES = 0
"""The retries of providers' libraries: ours is the one place that retries, and announces it."""


def _openai(name: str, base_url: str | None, sampling: Sampling) -> ChatCompletionClient:
    base_url = base_url or os.environ.get("OPENAI_BASE_URL")
    key = os.environ.get("OPENAI_API_KEY") or (NO_KEY if base_url else None)
    if key is None:
        raise ModelError(f"openai:{name}: set OPENAI_API_KEY, or give the address of a server")
    try:
        from autogen_ext.models.openai import OpenAIChatCompletionClient, _model_info
    except ImportError as error:
        raise _not_installed("openai", name, error) from None
    # OpenAI's own models that reason refuse the older name, and other servers the newer one.
    limit = "max_tokens" if base_url else "max_completion_tokens"
    options = _without_none(
        base_url=base_url,
        temperature=sampling.temperature,
        reasoning_effort=sampling.reasoning_effort,
        **{limit: sampling.max_tokens},
    )
    try:
        _model_info.get_info(name)
        is_known = True
    except (KeyError, ValueError):
        is_known = False
    if base_url or not is_known:
        options["model_info"] = ASSUMED_INFO
    # Many servers that are not OpenAI's refuse the name of a speaker in a message.
    return OpenAIChatCompletionClient(
        model=name,
        api_key=key,
        max_retries=_NO_RETRIES,
        include_name_in_message=base_url is None,
        **options,
    )


MAX_ANSWER_BYTES = 64_000_000
"""A longer answer of a server is broken off: none of a model is, streamed token by token."""
MAX_ANSWER_SECONDS = 3_600.0
"""An answer that takes longer is broken off, though bytes of it come now and then."""


def guarded(client: ChatCompletionClient) -> ChatCompletionClient:
    """Return a client whose server is not believed: no other host, no endless answer or connecting.

    A provider's library follows redirects and takes its key along, and reads an answer whole,
    however long it is.
    """
    inside = getattr(client, "client", None)
    if isinstance(inside, ChatCompletionClient):  # A cache, for one.
        guarded(inside)
    library: Any = getattr(client, "_client", None)
    http: Any = getattr(library, "_client", None)
    if hasattr(http, "event_hooks"):
        _bound_connecting(library, http)
        hooks = http.event_hooks
        known = hooks.get("response", [])
        http.event_hooks = {
            **hooks,
            "response": [_stay_with_host, _bound, _drop_function_call, *known],
        }
    return client


def _bound_connecting(library: Any, http: Any) -> None:
    """Have a server that does not take a connection be found out soon, however long answers take.

    Args:
        library: The client of the provider's library.
        http: Its HTTP client.
    """
    given, kind = getattr(library, "timeout", None), type(http.timeout)
    if isinstance(given, int | float):
        library.timeout = kind(given, connect=min(given, CONNECT_SECONDS))
    if http.timeout.connect is None or http.timeout.connect > CONNECT_SECONDS:
        http.timeout = kind(http.timeout.read, connect=CONNECT_SECONDS)


async def _stay_with_host(response: Any) -> None:
    """Refuse a redirect to another host, or from an encrypted connection to an open one.

    Raises:
        ModelError: The answer is one.
    """
    asked = response.request.url
    if not response.has_redirect_location:
        return
    told = asked.join(response.headers["location"])
    upgrade = (asked.scheme, told.scheme) == ("http", "https")
    same = (asked.scheme, asked.port) == (told.scheme, told.port) or upgrade
    if asked.host != told.host or not same:
        raise ModelError(
            f"the server at {asked.host} sends on to {told.scheme}://{told.host}, which would get "
            "the key; if that is the right server, give its address"
        )


async def _bound(response: Any) -> None:
    """Break off an answer that is too long or has no end."""
    parts, began = response.aiter_bytes, time.monotonic()

    async def bounded(chunk_size: int | None = None) -> AsyncIterator[bytes]:
        size = 0
        async for part in parts(chunk_size):
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise ModelError(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes")
            if time.monotonic() - began > MAX_ANSWER_SECONDS:
                raise ModelError(f"the answer has no end after {MAX_ANSWER_SECONDS:.0f} s")
            yield part

    response.aiter_bytes = bounded


async def _drop_function_call(response: Any) -> None:
    """Remove the outdated ``function_call`` from an answer that has ``tool_calls`` too.

    The server of llama-cpp-python sends both, and AutoGen's client refuses the outdated one. This
    is a hook of an HTTP client.
    """
    if "application/json" not in response.headers.get("content-type", ""):
        return
    body = await response.aread()
    if b'"function_call"' not in body:
        return
    try:
        table = json.loads(body)
        for choice in table.get("choices", ()):
            message = choice.get("message") or {}
            if message.get("tool_calls"):
                message["function_call"] = None
                choice["finish_reason"] = "tool_calls"
        response._content = json.dumps(table).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        # The provider's library says what is wrong with it.
        return


def _anthropic(name: str, base_url: str | None, sampling: Sampling) -> ChatCompletionClient:
    key = os.environ.get("ANTHROPIC_API_KEY") or (NO_KEY if base_url else None)
    if key is None:
        raise ModelError(f"anthropic:{name}: set ANTHROPIC_API_KEY")
    try:
        from autogen_ext.models.anthropic import AnthropicChatCompletionClient
    except ImportError as error:
        raise _not_installed("anthropic", name, error) from None
    _check_anthropic(name)
    info = {**ASSUMED_INFO, "vision": True, "family": ModelFamily.CLAUDE_4_SONNET}
    return AnthropicChatCompletionClient(
        model=name,
        api_key=key,
        model_info=ModelInfo(**info),  # type: ignore[typeddict-item]
        max_retries=_NO_RETRIES,
        # Without one of its own the library refuses answers that may take more than 10 minutes.
        timeout=MAX_ANSWER_SECONDS,
        max_tokens=sampling.max_tokens or ANTHROPIC_ANSWER,
        **_without_none(base_url=base_url, temperature=sampling.temperature),
    )


def _check_anthropic(name: str) -> None:
    """Refuse a version of the library whose calls fail: 1.0 dropped what AutoGen always sends.

    Raises:
        ModelError: It is one.
    """
    found = version("anthropic")
    if Version(found) >= Version("1"):
        raise ModelError(
            f"anthropic:{name}: AutoGen's client cannot make a call with anthropic {found}, which "
            'has no temperature: pip install "anthropic>=0.48,<1"'
        )


def _ollama(name: str, base_url: str | None, sampling: Sampling) -> ChatCompletionClient:
    try:
        from autogen_ext.models.ollama import OllamaChatCompletionClient
    except ImportError as error:
        raise _not_installed("ollama", name, error) from None
    options = _without_none(temperature=sampling.temperature, num_predict=sampling.max_tokens)
    return OllamaChatCompletionClient(
        model=name,
        model_info=ASSUMED_INFO,
        **_without_none(host=base_url, options=options or None),
    )


def _azure(name: str, base_url: str | None, sampling: Sampling) -> ChatCompletionClient:
    variables = {"azure_endpoint": "AZURE_OPENAI_ENDPOINT", "api_key": "AZURE_OPENAI_API_KEY"}
    options = {option: os.environ.get(variable) for option, variable in variables.items()}
    options["azure_endpoint"] = base_url or options["azure_endpoint"]
    missing = [variables[option] for option, value in options.items() if not value]
    if missing:
        raise ModelError(f"azure:{name}: set {' and '.join(missing)}")
    try:
        from autogen_ext.models.openai import AzureOpenAIChatCompletionClient
    except ImportError as error:
        raise _not_installed("openai", name, error) from None
    return AzureOpenAIChatCompletionClient(
        model=name,
        azure_deployment=name,
        api_version=os.environ.get("OPENAI_API_VERSION", "2024-10-21"),
        model_info=ASSUMED_INFO,
        max_retries=_NO_RETRIES,
        **_without_none(
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            reasoning_effort=sampling.reasoning_effort,
            **options,
        ),
    )


def _without_none(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _not_installed(extra: str, name: str, error: ImportError) -> ModelError:
    return ModelError(f"install recipelab[{extra}] to use the model {name} ({error})")


PROVIDERS: Mapping[str, OpenProvider] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "ollama": _ollama,
    "azure": _azure,
}
"""The function that opens the models of each provider."""

_THINKERS = ("openai", "azure")
"""Providers whose models take an effort of reasoning."""

CHOICES = (
    OFFLINE,
    *(f"{name}:NAME" for name in PROVIDERS),
    "FILE.json (any AutoGen model client component)",
)
"""The forms of a model's specification, for errors that list the valid ones."""


def open_model(
    spec: str, *, seed: int, base_url: str | None = None, sampling: Sampling = LEFT_TO_PROVIDER
) -> ChatCompletionClient:
    """Open a model client.

    Args:
        spec: ``offline``, ``PROVIDER:NAME``, or the path of a component's JSON.
        seed: Seed of the offline client's choices.
        base_url: Address of the server, for a model given by provider and name.
        sampling: How it writes; a component says that by itself.

    Returns:
        The client.

    Raises:
        ModelError: The specification has none of these forms, a file cannot be read, or a package
            or a key is missing.
    """
    if spec == OFFLINE:
        from recipelab.models.offline import OfflineClient

        return OfflineClient(seed=seed)
    if spec.endswith(".json"):
        return model_from_file(Path(spec))
    provider, _, name = spec.partition(":")
    if provider not in PROVIDERS or not name:
        raise ModelError(f"unknown model {spec!r}; valid: {', '.join(CHOICES)}")
    if sampling.reasoning_effort and provider not in _THINKERS:
        raise ModelError(
            f"{spec}: reasoning_effort is not known to {provider}; valid for: "
            + ", ".join(_THINKERS)
        )
    return guarded(PROVIDERS[provider](name, base_url, sampling))


_FOR_SPECIALIST = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def parse_models(values: Sequence[str]) -> tuple[str | None, dict[str, str]]:
    """Parse the values of a repeated ``--model``.

    Args:
        values: Each ``SPEC``, or ``SPECIALIST=SPEC`` for one specialist alone.

    Returns:
        The model of everybody (``None`` without one), and those of single specialists by name.

    Raises:
        ModelError: There are two for everybody, or two for one specialist, or a name is empty.
    """
    default: str | None = None
    own: dict[str, str] = {}
    for value in values:
        match = _FOR_SPECIALIST.fullmatch(value)
        if not (value if match is None else match[2]).strip():
            raise ModelError(f"--model: {value!r} names no model; valid: offline, or PROVIDER:NAME")
        if match is None:
            if default is not None:
                raise ModelError(f"--model: {default!r} and {value!r} are both for everybody")
            default = value
        elif match[1] in own:
            raise ModelError(f"--model: there are two models for {match[1]}")
        else:
            own[match[1]] = match[2]
    return default, own


HIDDEN = "**********"
"""AutoGen writes this in place of a key, and would take it for the key when it is loaded."""

_SECRET = re.compile(
    r"(api|auth|access|secret)[_-]?(key|token)|password|secret|authorization|^key$"
)


def saved_model(client: ChatCompletionClient) -> dict[str, Any]:
    """Return a client as plain data without its key, as :func:`loaded_model` takes it.

    Raises:
        ModelError: The client is not a component, so JSON cannot hold it.
    """
    try:
        component = client.dump_component().model_dump(mode="json")
    except (TypeError, AttributeError, NotImplementedError, ValueError) as error:
        raise ModelError(
            f"the model client {type(client).__name__} cannot be saved as JSON: {error}"
        ) from None
    return _without_secrets(component)


def described_model(client: ChatCompletionClient) -> dict[str, Any]:
    """Return what a plan records of a client: :func:`saved_model`, or its class if that cannot be.

    The latter can be opened by nobody, which an error says to whoever tries.
    """
    try:
        return saved_model(client)
    except ModelError:
        kind = type(client)
        return {"provider": f"{kind.__module__}.{kind.__qualname__}", "config": {}}


def loaded_model(
    saved: Mapping[str, Any], *, where: str = "the saved model"
) -> ChatCompletionClient:
    """Open the client of a saved component.

    Args:
        saved: The result of :func:`saved_model`, or a component written by hand.
        where: The name of its place in errors.

    Raises:
        ModelError: It is not a component of a model client, or it holds a key.
    """
    secrets = places_of_secrets(saved)
    if secrets:
        raise ModelError(
            f"{where}: {', '.join(secrets)}: a key does not belong in a file; leave it out and set "
            "it in the environment, where the provider's library looks for it"
        )
    try:
        return guarded(ChatCompletionClient.load_component(_without_secrets(saved)))
    except (ValueError, ValidationError, TypeError, ImportError, AttributeError) as error:
        raise ModelError(f"{where}: not a model client component: {error}") from None
    except Exception as error:  # a provider's own complaint that its key is missing
        raise ModelError(f"{where}: cannot be opened: {error}") from None


def model_from_file(path: Path) -> ChatCompletionClient:
    """Open the client of a component's JSON file.

    Raises:
        ModelError: The file cannot be read, holds a key, or is not a model client component.
    """
    try:
        component = json.loads(read_limited(path).decode("utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not a model client component: {error}") from None
    if not isinstance(component, dict):
        raise ModelError(f"{path}: not a model client component: it is not a JSON object")
    return loaded_model(component, where=str(path))


def _without_secrets(table: Mapping[str, Any]) -> dict[str, Any]:
    def clean(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _without_secrets(value)
        return [clean(item) for item in value] if isinstance(value, list) else value

    return {key: clean(value) for key, value in table.items() if not _is_secret(key, value)}


def places_of_secrets(value: Any, place: str = "") -> list[str]:
    """Return the places of the keys that are written out."""
    if isinstance(value, list):
        return [
            found
            for number, item in enumerate(value)
            for found in places_of_secrets(item, f"{place}[{number}]")
        ]
    places: list[str] = []
    for key, item in value.items() if isinstance(value, Mapping) else ():
        here = f"{place}.{key}" if place else str(key)
        written_out = _is_secret(key, item) and item not in (HIDDEN, "")
        places += [here] if written_out else places_of_secrets(item, here)
    return places


def _is_secret(key: str, value: Any) -> bool:
    return isinstance(value, str) and (value == HIDDEN or bool(_SECRET.search(key.lower())))
