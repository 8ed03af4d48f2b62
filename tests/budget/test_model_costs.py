"""What models cost: booked by model however a client was given, and held to the limits."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from autogen_core import InMemoryStore
from autogen_core.models import ChatCompletionClient, UserMessage
from autogen_ext.models.cache import ChatCompletionCache
from autogen_ext.models.openai import OpenAIChatCompletionClient
from autogen_ext.models.replay import ReplayChatCompletionClient

from recipelab import LineageStore, Plan, ResearchGroupChat
from recipelab.budget import BudgetLimits, Ledger
from recipelab.core.errors import BudgetSpent, ModelError
from recipelab.models import MeteredClient, OfflineClient, Prices, open_model, saved_model
from recipelab.models.open import ASSUMED_INFO
from recipelab.plan import OFFLINE, model_name

from ..models.server import ModelServer, Reply, serving

MODEL = "openai:gpt-4o-2024-08-06"
"""Its full name, or AutoGen warns."""

SECONDS = 120
"""Longer than any of these campaigns takes: what hangs fails."""

ASK = Reply(calls=[("lineage_query", "{}")])
"""A model that does nothing but ask, so that its turns are long."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "no-key")


def asking(tokens: int) -> Reply:
    return Reply(calls=ASK.calls, usage=(tokens, 100))


def own_client(server: ModelServer, model: str = "gpt-4o-2024-08-06") -> OpenAIChatCompletionClient:
    return OpenAIChatCompletionClient(model=model, base_url=server.url, model_info=ASSUMED_INFO)


def written(component: dict[str, Any]) -> str:
    Path("m.json").write_text(json.dumps(component))
    return "m.json"


async def ran(team: ResearchGroupChat) -> ResearchGroupChat:
    await asyncio.wait_for(team.run(), SECONDS)
    await team.close()
    return team


def models_of(project: Path, name: str = "toy-1") -> tuple[str, set[str]]:
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        used = {item.model for item in store.usage(name)}
        return store.campaign(name).model, used - {"device"}


@pytest.mark.campaign
@pytest.mark.parametrize("given", ["name", "object", "component", "file", "cache"])
async def test_a_limit_of_money_holds_however_the_model_is_given(project: Path, given: str) -> None:
    limits = BudgetLimits(money=1.0)
    with serving(asking(1_000_000)) as server:
        client = own_client(server)
        plan: dict[str, Any] = {"pack": "toy", "limits": limits, "sandbox": "local", "slots": 1}
        clients: dict[str, ChatCompletionClient] = {}
        if given == "name":
            plan |= {"model": MODEL, "base_url": server.url}
        elif given == "component":
            plan["model"] = saved_model(client)
        elif given == "file":
            plan["model"] = written(saved_model(client))
        elif given == "cache":
            clients[""] = ChatCompletionCache(client, InMemoryStore())
        else:
            clients[""] = client
        team = await ran(ResearchGroupChat(Plan(**plan), clients=clients))
        await client.close()
    assert team.ended is not None
    assert (team.ended.finished, team.ended.reason) == (True, "the budget of money is spent")
    # A call takes 2.5 dollars, and another one may have been on its way.
    assert len(server.requests) <= 2
    assert models_of(project) == (MODEL, {MODEL})


def test_a_limit_of_money_needs_a_price(project: Path) -> None:
    def team(**more: Any) -> ResearchGroupChat:
        plan = Plan(pack="toy", limits=BudgetLimits(money=1.0, trials=1), **more)
        return ResearchGroupChat(plan, clients={"": ReplayChatCompletionClient(["Hi."])})

    with pytest.raises(ModelError) as error:
        team()
    words = "the price of ReplayChatCompletionClient is unknown"
    assert words in str(error.value)
    assert '[prices."ReplayChatCompletionClient"]' in str(error.value)
    assert "--prices" in str(error.value)
    table = '[prices."ReplayChatCompletionClient"]\ninput = 1.0\noutput = 2.0\n'
    Path("prices.toml").write_text(table)
    team(prices="prices.toml")


def test_a_selector_that_nobody_asks_needs_no_price(project: Path) -> None:
    limits = BudgetLimits(money=1.0, trials=1)
    selector = {"selector": ReplayChatCompletionClient(["left"])}
    ResearchGroupChat(Plan(pack="toy", limits=limits), clients=selector)
    with pytest.raises(ModelError, match="ReplayChatCompletionClient"):
        ResearchGroupChat(Plan(pack="toy", limits=limits, speakers="model"), clients=selector)


@pytest.mark.campaign
@pytest.mark.parametrize("speakers", ["credit", "model"])
async def test_a_limit_of_tokens_ends_a_campaign_as_planned(project: Path, speakers: str) -> None:
    with serving(asking(5_000)) as server:
        plan = Plan(
            pack="toy",
            model="openai:small",
            base_url=server.url,
            limits=BudgetLimits(tokens=20_000),
            sandbox="local",
            speakers=speakers,
        )
        team = await ran(ResearchGroupChat(plan))
    assert team.ended is not None
    assert (team.ended.finished, team.ended.reason) == (True, "the budget of tokens is spent")
    assert len(server.requests) <= 4


@pytest.mark.campaign
async def test_why_models_say_nothing_is_in_the_reason_of_the_end(project: Path) -> None:
    cut = Reply("Let me think about it at length", ended="length")
    with serving(cut) as server:
        plan = Plan(
            pack="toy",
            model="openai:small",
            base_url=server.url,
            max_tokens=777,
            limits=BudgetLimits(trials=2),
            sandbox="local",
        )
        team = await ran(ResearchGroupChat(plan))
    assert {request["max_tokens"] for request in server.requests} == {777}
    assert team.ended is not None
    assert not team.ended.finished
    assert "cut off at its limit of tokens" in team.ended.reason


def metered(inner: ChatCompletionClient, ledger: Ledger, model: str) -> MeteredClient:
    return MeteredClient(inner, lambda: ledger, specialist="left", model=model, prices=Prices())


QUESTION = [UserMessage(content="How fast? " * 400, source="user")]


async def test_a_server_that_counts_nothing_is_booked_by_estimate(store: LineageStore) -> None:
    ledger = Ledger(store, "c", BudgetLimits(tokens=10_000))
    with serving(Reply("Fast. " * 200, usage=None)) as server:
        inner = open_model(MODEL, seed=0, base_url=server.url)
        client = metered(inner, ledger, MODEL)
        await client.create(QUESTION)
        assert ledger.spent.tokens == len("How fast? " * 400) // 4 + len("Fast. " * 200) // 4
        assert ledger.spent.money > 0
        with pytest.raises(BudgetSpent):
            for _ in range(20):
                await client.create(QUESTION)
        await inner.close()
    assert ledger.over == "the budget of tokens is spent"


async def test_the_rules_of_the_offline_model_count_no_tokens(store: LineageStore) -> None:
    ledger = Ledger(store, "c", BudgetLimits())
    await metered(OfflineClient(), ledger, OFFLINE).create(QUESTION)
    assert ledger.spent.tokens == 0


async def test_an_answer_out_of_a_cache_costs_nothing(store: LineageStore) -> None:
    ledger = Ledger(store, "c", BudgetLimits())
    with serving(Reply("Fast.", usage=(1_000, 500))) as server:
        inner = own_client(server)
        client = metered(ChatCompletionCache(inner, InMemoryStore()), ledger, MODEL)
        await client.create(QUESTION)
        once = ledger.spent
        assert (await client.create(QUESTION)).cached
        await inner.close()
    assert len(server.requests) == 1
    assert (once.tokens, ledger.spent.tokens) == (1_500, 1_500)
    assert ledger.spent.money == once.money > 0


def test_a_call_that_others_leave_no_room_for_does_not_spend_a_budget(store: LineageStore) -> None:
    ledger = Ledger(store, "c", BudgetLimits(tokens=1_000))
    ledger.used("left", "m", prompt_tokens=100, completion_tokens=0, seconds=1.0, cost=None)
    ledger.reserve(600, None)
    with pytest.raises(BudgetSpent):
        ledger.reserve(500, None)
    assert ledger.over is None  # What is on its way may take less.
    ledger.release(600, None)
    ledger.reserve(500, None)
    ledger.release(500, None)
    with pytest.raises(BudgetSpent):
        ledger.reserve(901, None)
    assert ledger.over == "the budget of tokens is spent"


@pytest.mark.parametrize(
    ("component", "name"),
    [
        (
            {"provider": "OpenAIChatCompletionClient", "config": {"model": "a"}},
            "openai:a",
        ),
        (
            {"provider": "azure_openai_chat_completion_client", "config": {"model": "mine"}},
            "azure:mine",
        ),
        (
            {
                "provider": "autogen_ext.models.anthropic.AnthropicChatCompletionClient",
                "label": "Our model",
                "config": {"model": "claude-sonnet-4-0"},
            },
            "anthropic:claude-sonnet-4-0",
        ),
        ({"provider": "recipelab.models.OfflineClient", "config": {"seed": 1}}, "offline"),
        ({"provider": "mine.Client", "config": {"model": "big"}}, "Client:big"),
        ({"provider": "mine.Client", "config": {}}, "Client"),
    ],
)
def test_a_component_has_the_name_of_its_model(component: dict[str, Any], name: str) -> None:
    assert model_name(component) == name
    around = {"provider": "autogen_ext.models.cache.ChatCompletionCache"}
    assert model_name(around | {"config": {"client": component}}) == name
