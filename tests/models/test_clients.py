"""Models over real HTTP: how they are opened, what is waited out, booked and hidden."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from autogen_core import CancellationToken
from autogen_core.models import ChatCompletionClient, UserMessage

from recipelab import Plan, ResearchGroupChat
from recipelab.budget import BudgetLimits, Ledger
from recipelab.core.errors import BudgetSpent, ModelError
from recipelab.lineage import LineageStore
from recipelab.models import (
    MeteredClient,
    OfflineClient,
    Patience,
    Prices,
    RetryingClient,
    Sampling,
    loaded_model,
    open_model,
    parse_models,
    saved_model,
    wrappers,
)

from .server import Reply, serving

ASKED = [UserMessage(content="Hello?", source="user")]
KEY = "sk-this-is-a-secret-0123456789"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def local(url: str, model: str = "openai:small") -> ChatCompletionClient:
    return open_model(model, seed=0, base_url=url)


def patient(inner: ChatCompletionClient, said: list[str] | None = None) -> RetryingClient:
    say = said.append if said is not None else lambda text: None
    known = Patience("the model", say)
    return RetryingClient(inner, first_wait=0.01, longest_wait=0.02, patience=known)


async def test_any_openai_compatible_server_works_without_a_key() -> None:
    with serving(Reply("Hi.")) as server:
        client = local(server.url)
        answer = await client.create(ASKED)
        await client.close()
    assert answer.content == "Hi."
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 10)
    assert client.model_info["function_calling"]
    assert "name" not in server.requests[0]["messages"][0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gpt", "unknown model 'gpt'; valid: offline, openai:NAME, anthropic:NAME"),
        ("openai:", "unknown model 'openai:'"),
        ("openai:gpt-4o", "set OPENAI_API_KEY"),
        ("anthropic:claude", "set ANTHROPIC_API_KEY"),
        ("azure:mine", "set AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_API_KEY"),
        ("nowhere.json", "nowhere.json: cannot be read"),
    ],
)
def test_what_cannot_be_opened_says_what_to_do(spec: str, message: str) -> None:
    with pytest.raises(ModelError) as error:
        open_model(spec, seed=0)
    assert message in str(error.value)


def test_specialists_can_have_models_of_their_own() -> None:
    assert parse_models([]) == (None, {})
    assert parse_models(["openai:a", "opt=ollama:b=c", "arch=offline"]) == (
        "openai:a",
        {"opt": "ollama:b=c", "arch": "offline"},
    )
    for values, message in ((["a", "b"], "for everybody"), (["x=a", "x=b"], "two models for x")):
        with pytest.raises(ModelError, match=message):
            parse_models(values)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_outage_is_waited_out(status: int) -> None:
    down = Reply("busy", status=status)
    with serving(down, down, Reply("", hang_up=True), Reply("Here.")) as server:
        client = patient(local(server.url))
        answer = await client.create(ASKED)
        await client.close()
    assert answer.content == "Here."
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "words"), [(400, "no"), (401, "no"), (404, "no"), (429, "insufficient_quota")]
)
async def test_what_is_refused_for_good_is_not_asked_again(status: int, words: str) -> None:
    with serving(Reply(words, status=status)) as server:
        client = patient(local(server.url))
        with pytest.raises(Exception, match=words):
            await client.create(ASKED)
        await client.close()
    assert len(server.requests) == 1


async def test_a_provider_that_stays_away_is_given_up_at_last() -> None:
    with serving(Reply("busy", status=503)) as server:
        client = RetryingClient(local(server.url), first_wait=0.01, most_seconds=1.0)
        with pytest.raises(Exception, match="busy"):
            await asyncio.wait_for(client.create(ASKED), 20)
        await client.close()
    assert len(server.requests) > 1


async def test_the_pause_that_a_provider_asks_for_is_kept_and_can_be_cancelled() -> None:
    said: list[str] = []
    slow = Reply("busy", status=429, headers={"Retry-After": "3600"})
    with serving(slow) as server:
        client = patient(local(server.url), said)
        token = CancellationToken()
        asking = asyncio.create_task(client.create(ASKED, cancellation_token=token))
        while not said:
            assert not asking.done()
            await asyncio.sleep(0.01)
        token.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asking, 5)
        await client.close()
    assert said == ["the model does not answer (HTTP 429): waiting for it"]
    assert len(server.requests) == 1


class Down(OfflineClient):
    """A model that cannot be reached, or is silent, as often as it is told to be."""

    def __init__(self, refusals: int = 0, silences: tuple[float, ...] = ()) -> None:
        super().__init__()
        self.refusals, self.silences, self.asked = refusals, list(silences), 0

    async def create(self, *arguments: Any, **more: Any) -> Any:
        self.asked += 1
        if self.asked <= self.refusals:
            raise ConnectionRefusedError
        await asyncio.sleep(self.silences.pop(0) if self.silences else 0)
        return await super().create(*arguments, **more)


async def test_an_outage_is_told_by_the_third_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    # A tenth of the real times: pauses of 1, 2 and 4 s, each longer by up to one.
    monkeypatch.setattr(wrappers, "TOLD_OUTAGE", 0.5)
    told: list[tuple[int, str]] = []
    inner = Down(refusals=4)
    known = Patience("it", lambda text: told.append((inner.asked, text)))
    client = RetryingClient(inner, first_wait=0.1, patience=known)
    await client.create(ASKED)
    (first, down), (last, up) = told
    assert first <= 3
    assert down == "it does not answer (ConnectionRefusedError): waiting for it"
    assert last == 5
    assert up.startswith("it answers again, after ")


async def test_a_model_that_says_nothing_is_told_and_one_that_is_slow_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wrappers, "FIRST_SILENCE", 0.05)
    told: list[str] = []
    known = Patience("it", told.append)
    client = RetryingClient(Down(silences=(0.5, 0.5)), patience=known)
    await client.create(ASKED)
    assert told == ["it does not answer (nothing for 0 s): waiting for it", told[-1]]
    assert told[-1].startswith("it answers again")
    # It is known to take its time from now on.
    assert known.silence == wrappers.SILENCE
    await client.create(ASKED)
    assert len(told) == 2


async def test_calls_are_booked_with_their_price(store: LineageStore, tmp_path: Path) -> None:
    table = tmp_path / "prices.toml"
    table.write_text('[prices."openai:small"]\ninput = 1.0\noutput = 10.0\n')
    ledger = Ledger(store, "c", BudgetLimits(tokens=1_500))
    with serving(Reply("Hi.")) as server:
        inner = local(server.url)
        client = MeteredClient(
            inner,
            lambda: ledger,
            specialist="left",
            model="openai:small",
            prices=Prices.read(table),
        )
        await client.create(ASKED)
        assert ledger.spent.tokens == 110
        assert ledger.spent.money == pytest.approx(200e-6)
        # The estimate of an answer follows those that came.
        for _ in range(20):
            try:
                await client.create(ASKED)
            except BudgetSpent:
                break
        else:
            pytest.fail("the budget was not held")
        await inner.close()
    # The estimate may be short, but never by more than the last call.
    assert ledger.spent.tokens - 110 < 1_500
    assert len(server.requests) == ledger.spent.tokens // 110


def test_prices_come_from_the_catalogue_and_are_unknown_where_they_are() -> None:
    prices = Prices()
    assert (prices.cost("openai:gpt-4o", 1_000_000, 0) or 0) > 0
    assert prices.cost("openai:no-such-model", 1, 1) is None
    assert prices.cost("offline", 10, 10) == 0.0
    assert prices.cost("ollama:anything", 10, 10) == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prices = 3", "prices: Input should be a valid dictionary"),
        ('[prices."a"]\ninput = -1\noutput = 0', "prices.a.input"),
        ('[prices."a"]\ninput = 1', "prices.a.output: Field required"),
        ("[", "not valid TOML"),
    ],
)
def test_a_bad_price_table_is_told(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "prices.toml"
    table.write_text(text)
    with pytest.raises(ModelError) as error:
        Prices.read(table)
    assert str(table) in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("spec", ["openai:gpt-4o", "anthropic:claude-sonnet-4-0"])
async def test_no_key_gets_into_json(
    spec: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    client = open_model(spec, seed=0)
    saved = saved_model(client)
    assert KEY not in json.dumps(saved)
    assert "*****" not in json.dumps(saved)
    again = loaded_model(saved)
    team = ResearchGroupChat(Plan(pack="toy", limits=BudgetLimits(trials=1)), clients={"": client})
    text = team.dump_component().model_dump_json()
    assert KEY not in text
    assert KEY not in repr(team.plan)
    for one in (client, again):
        await one.close()


async def test_a_loaded_client_has_the_key_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(Reply("Hi.")) as server:
        first = local(server.url)
        again = loaded_model(saved_model(first))
        await again.create(ASKED)
        for one in (first, again):
            await one.close()
    assert server.keys == [f"Bearer {KEY}"]


def test_a_file_with_a_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.json"
    config = {"model": "gpt-4o", "api_key": KEY}
    provider = "autogen_ext.models.openai.OpenAIChatCompletionClient"
    file.write_text(json.dumps({"provider": provider, "config": config}))
    with pytest.raises(ModelError) as error:
        open_model(str(file), seed=0)
    assert "config.api_key: a key does not belong in a file" in str(error.value)
    assert KEY not in str(error.value)


def test_a_client_that_is_no_component_is_told() -> None:
    with pytest.raises(ModelError, match="RetryingClient cannot be saved"):
        saved_model(RetryingClient(open_model("offline", seed=0)))


async def test_the_effort_of_reasoning_is_sent_to_those_who_know_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key")
    thorough = Sampling(reasoning_effort="high")
    with serving(Reply("Hi.")) as server:
        client = open_model("openai:small", seed=0, base_url=server.url, sampling=thorough)
        await client.create(ASKED)
        await client.close()
    assert server.requests[0]["reasoning_effort"] == "high"
    with pytest.raises(ModelError, match="not known to anthropic; valid for: openai, azure"):
        open_model("anthropic:claude", seed=0, sampling=thorough)
