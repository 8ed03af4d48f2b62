"""The lineage as tools and context of an agent of Microsoft Agent Framework."""

from __future__ import annotations

import json
from typing import Any

import pytest
from autogen_core.tools import FunctionTool, StaticWorkbench

from recipelab.core.errors import LineageError
from recipelab.lineage import LineageStore
from recipelab.tools.names import LINEAGE_TOOLS

from ..lineage.helpers import propose
from .framework import (
    Agent,
    InMemoryHistoryProvider,
    LineageProvider,
    ScriptedClient,
    call,
    function_tools,
    lineage_function_tools,
)

pytestmark = pytest.mark.maf


async def answer(client: ScriptedClient, tools: list[Any]) -> str:
    """What a tool answers a model that follows a script of one call."""
    await Agent(client, tools=tools).run("Look.")
    (told,) = client.results
    return told


async def test_a_model_asks_the_lineage(store: LineageStore) -> None:
    propose(store, campaign="c")
    tools = lineage_function_tools(store, "c")
    assert tuple(tool.name for tool in tools) == LINEAGE_TOOLS
    told = await answer(ScriptedClient(call("in_flight"), "Read."), tools)
    assert json.loads(told)["trials"][0]["trial"] == 0


async def test_slips_of_form_are_repaired_and_wrong_arguments_explained(
    store: LineageStore,
) -> None:
    tools = lineage_function_tools(store, "c")
    query = ScriptedClient(call("lineage_query", limit="2", status="null"), "Read.")
    assert json.loads(await answer(query, tools))["trials"] == []
    wrong = ScriptedClient(call("lineage_query", limit=2, colour="red"), "Read.")
    told = await answer(wrong, tools)
    assert "colour: Extra inputs are not permitted" in told
    assert "Call it like this: lineage_query({})" in told
    missing = ScriptedClient(call("trial_detail", trial=7), "Read.")
    assert "LineageError: " in await answer(missing, tools)


async def test_the_view_is_of_the_moment_and_stays_out_of_the_history(
    store: LineageStore,
) -> None:
    history = InMemoryHistoryProvider()
    client = ScriptedClient("Nothing is there.", call("in_flight"), "One runs.")
    agent = Agent(client, name="reader", context_providers=[history, LineageProvider(store, "c")])
    session = agent.create_session()
    propose(store, campaign="c")
    await agent.run("What is there?", session=session)
    assert "in flight 1." in client.seen[0][0].text
    propose(store, 0, campaign="c")
    await agent.run("And now?", session=session)
    texts = [message.text for message in client.seen[1]]
    views = [text for text in texts if text.startswith("## The campaign")]
    assert len(views) == 1
    assert "in flight 2." in views[0]
    assert json.loads(client.results[0])["total"] == 2
    json.dumps(session.to_dict())


async def test_any_workbench_of_autogen_can_be_taken_along(store: LineageStore) -> None:
    async def greet(person: str) -> str:
        return f"Hello, {person}."

    own = StaticWorkbench([FunctionTool(greet, "Greet somebody.")])
    client = ScriptedClient(call("greet", person="Ada"), "Done.")
    told = await answer(client, await function_tools(own))
    assert told == "Hello, Ada."


async def test_a_lineage_that_is_not_there_is_an_error(store: LineageStore) -> None:
    with pytest.raises(LineageError, match=r"nowhere\.db"):
        lineage_function_tools("nowhere.db", "c")
    with pytest.raises(LineageError, match="d"):
        await Agent(ScriptedClient("Read."), context_providers=[LineageProvider(store, "d")]).run(
            "Look."
        )
