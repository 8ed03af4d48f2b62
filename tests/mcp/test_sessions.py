"""Sessions of coding agents as specialists: what they may, what is kept, and who runs trials."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from recipelab import BudgetLimits, Campaign
from recipelab.campaign.steering import CampaignSteering
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.mcp.driver import DriverOptions
from recipelab.mcp.sdk import NotThere
from recipelab.mcp.server import CampaignServer, ServerOptions
from recipelab.mcp.session import Allowance
from tests.campaign.conftest import TRAIN, Make, toy_plan
from tests.lineage.conftest import MakeDatabase

AGENT = "claude-code"
WHY = "The bottom is near four."


def near_bottom(x: float) -> list[dict[str, str]]:
    """Edits of the baseline that beat whatever single steps have found; the bottom is (4, 7)."""
    return [
        {"path": TRAIN, "search": "X = 1.0", "replace": f"X = {x}"},
        {"path": TRAIN, "search": "Y = 2.0", "replace": "Y = 6.9"},
    ]


class Client:
    """A client of a server, whose answers need no wire.

    Args:
        server: The server.
        name: What the client calls itself.
    """

    def __init__(self, server: CampaignServer, name: str = AGENT) -> None:
        self.server = server
        self.name = name

    async def tried(self, tool: str, **arguments: Any) -> tuple[str, bool]:
        """The text of an answer, and whether it is an error."""
        found = await self.server.call_tool(self.name, tool, arguments)
        (content,) = found["content"]
        return content["text"], found["isError"]

    async def text(self, tool: str, **arguments: Any) -> str:
        """An answer that is no error."""
        text, is_error = await self.tried(tool, **arguments)
        assert not is_error, text
        return text

    async def data(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """An answer that is JSON."""
        found: dict[str, Any] = json.loads(await self.text(tool, **arguments))
        return found

    async def refused(self, tool: str, **arguments: Any) -> str:
        """Why a call is refused."""
        text, is_error = await self.tried(tool, **arguments)
        assert is_error, text
        return text

    async def submit(self, x: float) -> dict[str, Any]:
        """Submits a trial with a point near the bottom."""
        checked = await self.data("check_edit", parent=0, edits=near_bottom(x))
        return await self.data(
            "submit_trial", check=checked["check"], hypothesis=WHY, expected_delta=-1.0
        )

    async def refused_submission(self) -> str:
        """Why a submission is refused."""
        edits = near_bottom(3.7)
        return await self.refused(
            "submit_trial", parent=0, edits=edits, hypothesis=WHY, expected_delta=-1.0
        )

    async def outcome(self, trial: int) -> dict[str, Any]:
        """How a trial ended, which takes seconds."""
        found = await self.data("wait_for", trial=trial, seconds=120)
        assert "note" not in found, found
        return found


def options(**more: Any) -> ServerOptions:
    """A server that takes trials, and runs them in the local sandbox."""
    driver = DriverOptions(limits=BudgetLimits(trials=20), sandbox="local")
    return ServerOptions(**{"may_submit": True, "driver": driver, **more})


@asynccontextmanager
async def serving(campaign: Campaign, given: ServerOptions) -> AsyncIterator[Client]:
    """A client of a server of a campaign."""
    server = CampaignServer(campaign, given)
    try:
        yield Client(server)
    finally:
        await server.close()


def written(campaign: Campaign) -> list[object]:
    """What a campaign's lineage holds of trials, turns, rounds, words and notes."""
    store, name = campaign.store, campaign.name
    messages = len(store.messages(name))
    return [
        store.trial_count(name),
        store.turns(name),
        store.rounds(name),
        messages,
        store.notes(name),
    ]


async def test_a_session_proposes_under_its_name_and_budget(ended: Campaign) -> None:
    tried = ended.store.trial_count(ended.name)
    async with serving(ended, options(budget=Allowance(trials=1))) as agent:
        assert f"You are {AGENT}" in await agent.text("how_to")
        assert "look first" in await agent.refused_submission()
        view = await agent.text("campaign_view")
        told = await agent.submit(3.9)
        assert (told["trial"], told["runs"], told["your_trials_left"]) == (tried, "here", 0)
        assert "turn" not in told
        row = await agent.outcome(tried)
        assert row["specialist"] == AGENT and row["status"] == "kept"
        assert "spent or in flight" in await agent.refused_submission()
    record = ended.trial(tried)
    assert (record.specialist, record.status) == (AGENT, Status.KEPT)
    assert ended.seen(tried) == view
    said = "".join(ended.transcript(trial=tried).review())
    assert f"### {AGENT}" in said and WHY in said and "check_edit" in said
    assert any(use.specialist == AGENT for use in ended.store.usage(ended.name))
    # A server that is started anew gives nobody a budget anew.
    async with serving(ended, options(budget=Allowance(trials=1))) as agent:
        await agent.text("campaign_view")
        assert "spent or in flight" in await agent.refused_submission()


async def test_a_server_that_only_reads_writes_nothing(ended: Campaign) -> None:
    before = written(ended)
    async with serving(ended, ServerOptions()) as agent:
        tools = await agent.server.list_tools(AGENT)
        assert all(tool["annotations"]["readOnlyHint"] for tool in tools)
        assert "without --allow-submit" in await agent.text("how_to")
        await agent.text("campaign_view")
        await agent.text("lineage_query", limit=3)
        assert (await agent.data("check_edit", parent=0, edits=near_bottom(3.7)))["ok"]
        for tool in ("submit_trial", "more_seeds", "run_python", "note", "pause", "resume"):
            assert "--allow-submit" in await agent.refused(tool)
    assert written(ended) == before


async def test_what_a_running_campaign_is_given_runs_there(ended: Campaign) -> None:
    runner = Campaign.open(ended.name, home=ended.home)
    runner.extend(BudgetLimits(trials=20))
    with runner:
        async with runner.opened(), serving(ended, options()) as agent:
            await agent.text("campaign_view")
            told = await agent.submit(3.9)
            assert told["runs"] == "by the process that runs the campaign"
            assert (await agent.outcome(told["trial"]))["status"] == "kept"
            assert (await agent.data("pause"))["paused"]
            assert "paused" in (await agent.data("watch"))["runs"]
            assert (await agent.data("resume"))["resumed"]


async def test_a_campaign_that_fell_back_to_less_isolation_runs_no_code_of_a_model(
    ended: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    runner = Campaign.open(ended.name, home=ended.home)
    runner.extend(BudgetLimits(trials=20), sandbox="auto")
    tried = ended.store.trial_count(ended.name)
    with runner:
        async with runner.opened(), serving(ended, options(driver=DriverOptions())) as agent:
            await agent.text("campaign_view")
            assert "which nobody asked for" in await agent.refused_submission()
    assert ended.store.trial_count(ended.name) == tried


async def test_a_pack_that_believes_what_is_printed_takes_nothing(
    make: Make, project: Path
) -> None:
    pack = project / "task_packs/toy"
    answers = 'data = { "answers/answers.txt" = "answers.txt" }'
    toml = (pack / "pack.toml").read_text()
    (pack / "pack.toml").write_text(toml.replace(answers, "", 1))
    score = (pack / "evaluator/score.py").read_text()
    opened = 'with open("answers/answers.txt") as file:\n    answer'
    read = 'file.read().split()]\nwith open("pred'
    given = score.replace(opened, "answer").replace(read, '"4.0 7.0".split()]\nwith open("pred')
    (pack / "evaluator/score.py").write_text(given)
    with make(2) as campaign:
        async with campaign.opened():
            pass
        assert campaign.pack.trust == "self-reported"
        with pytest.raises(RecipelabError, match="is self-reported"):
            CampaignServer(campaign, options())


async def test_whoever_stops_a_campaign_stops_it_for_sessions_too(ended: Campaign) -> None:
    async with serving(ended, options()) as agent:
        await agent.text("campaign_view")
        await agent.outcome((await agent.submit(3.9))["trial"])
        CampaignSteering(ended.store, ended.name, home=ended.home).stop()
        for _ in range(600):
            if not ended.is_running:
                break
            await asyncio.sleep(0.05)
        tried = ended.store.trial_count(ended.name)
        why = await agent.refused_submission()
        assert "a person has stopped" in why
        assert ended.store.trial_count(ended.name) == tried


async def test_nothing_is_recorded_that_nobody_can_run(
    ended: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    tried = ended.store.trial_count(ended.name)
    # A coding agent is a language model: without Docker nothing falls back to less isolation.
    for driver, word in (
        (DriverOptions(limits=BudgetLimits(trials=20), sandbox="auto"), "no trial can be run"),
        (DriverOptions(limits=BudgetLimits(trials=20), slots=0), "--slots 0"),
        (DriverOptions(sandbox="local"), "budget"),
    ):
        async with serving(ended, options(driver=driver)) as agent:
            await agent.text("campaign_view")
            why = await agent.refused_submission()
            assert word in why
    assert ended.store.trial_count(ended.name) == tried


async def test_a_call_that_waits_holds_up_no_other(ended: Campaign) -> None:
    async with serving(ended, options()) as agent:
        await agent.text("campaign_view")
        told = await agent.submit(3.9)
        waiting = asyncio.create_task(agent.outcome(told["trial"]))
        await agent.text("best_chain")
        assert not waiting.done()
        assert (await waiting)["trial"] == told["trial"]


async def test_no_answer_tells_of_this_machine_or_of_what_the_evaluator_has(
    ended: Campaign, project: Path
) -> None:
    told = []
    async with serving(ended, options()) as agent:
        for path in (
            "../evaluator/score.py",
            "/etc/passwd",
            "data/answers.txt",
            "recipe/../pack.toml",
        ):
            told.append(await agent.refused("read_recipe", path=path))
            edits = [{"path": path, "replace": "x"}]
            checked = await agent.data("check_edit", parent=0, edits=edits)
            assert not checked["ok"]
            told.append(checked["reason"])
        for tool, arguments in {
            "campaign_view": {},
            "how_to": {},
            "watch": {},
            "lineage_query": {},
            "read_recipe": {},
            "trial_detail": {"trial": 0, "diff": True},
            "run_log": {"trial": 1, "phase": "train"},
            "lineage_failures": {},
            "near_misses": {},
            "search_recipe": {"regex": "."},
        }.items():
            told.append(await agent.text(tool, **arguments))
        for one in await agent.server.list_resources(AGENT):
            (content,) = (await agent.server.read_resource(AGENT, one["uri"]))["contents"]
            told.append(content["text"])
        for prompt in await agent.server.list_prompts(AGENT):
            told.append(str(await agent.server.get_prompt(AGENT, prompt["name"])))
    everything = "\n".join(told)
    assert str(project) not in everything and str(Path.home()) + "/" not in everything
    assert "4.0 7.0" not in everything and "answers/answers.txt" not in everything


@pytest.mark.parametrize(
    "rest",
    [
        "trial/1/../../../etc/passwd",
        "trial/1/%2e%2e/diff",
        "trial/-1",
        "trial/99999999999",
        "trial/1/diff/",
        "../other/trial/1",
        "transcript/round/1/..",
        "view?x=1",
        "",
    ],
)
async def test_an_address_leads_nowhere_else(ended: Campaign, rest: str) -> None:
    async with serving(ended, ServerOptions()) as agent:
        with pytest.raises(NotThere, match="no such resource; valid"):
            await agent.server.read_resource(AGENT, f"recipelab://{ended.name}/{rest}")
        with pytest.raises(NotThere, match="no such resource"):
            await agent.server.read_resource(AGENT, "file:///etc/passwd")
        with pytest.raises(NotThere, match="4242"):
            await agent.server.read_resource(AGENT, f"recipelab://{ended.name}/trial/4242")


async def test_who_proposes_has_a_name_that_no_agent_has(ended: Campaign) -> None:
    with pytest.raises(RecipelabError, match="name of an agent"):
        CampaignServer(ended, options(name="left"))
    async with serving(ended, options()) as agent:
        for client, name in (
            ("left", "left-mcp"),
            ("Cursor 1.7 (beta)", "Cursor-1.7-beta"),
            ("", "mcp"),
        ):
            assert f"You are {name}," in await Client(agent.server, client).text("how_to")
    async with serving(ended, options(name="night-shift")) as agent:
        assert "You are night-shift," in await agent.text("how_to")


async def test_a_note_says_who_left_it(ended: Campaign) -> None:
    async with serving(ended, options()) as agent:
        await agent.data("note", text="leave the padding alone")
    (note,) = ended.notes()
    assert note.text == f"({AGENT}, by MCP) leave the padding alone"


async def test_controls_and_imports_take_nothing(make: Make, tmp_path: Path) -> None:
    with make(2, arm="no-lineage") as control:
        async with control.opened():
            pass
        with pytest.raises(RecipelabError, match="a control"):
            CampaignServer(control, options())
        file = tmp_path / "night.jsonl"
        control.export(file)
        from recipelab.exchange.files import import_campaign

        import_campaign(control.store, file, name="old")
        imported = Campaign(control.store, "old", home=control.home)
        with pytest.raises(RecipelabError, match="was imported"):
            CampaignServer(imported, options())
        async with serving(imported, ServerOptions()) as agent:
            assert "pack is not here" in await agent.text("how_to")
            assert (await agent.data("lineage_query"))["total"] == 1
            assert not {"check_edit", "submit_trial"} & {
                tool["name"] for tool in await agent.server.list_tools(AGENT)
            }


@pytest.mark.postgres
@pytest.mark.slow
async def test_a_server_joins_a_campaign_that_drivers_run(
    project: Path, make_database: MakeDatabase
) -> None:
    url = make_database("postgres")
    plan = toy_plan(6)
    with Campaign.create(plan.model_copy(update={"name": "shared"}), lineage=url) as first:
        async with first.opened():
            mine = Campaign.open("shared", home=project / "mine", lineage=url)
            driver = DriverOptions(lineage=url, slots=1, sandbox="local", idle_seconds=0.0)
            async with serving(mine, options(driver=driver)) as agent:
                await agent.text("campaign_view")
                told = await agent.submit(3.9)
                assert told["runs"] == "here"
                assert len(mine.drivers) == 2
                assert (await agent.outcome(told["trial"]))["specialist"] == AGENT
            assert mine.record.state == "running"
            mine.close()
