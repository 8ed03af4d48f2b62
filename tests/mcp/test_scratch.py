"""Code of sessions that is no trial, and their turns: what they may spend, and who booked it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from recipelab import BudgetLimits, Campaign
from recipelab.campaign.steering import CampaignSteering
from recipelab.mcp.driver import DriverOptions, OwnDriver
from recipelab.mcp.session import Allowance
from tests.campaign.conftest import Make

from .test_sessions import AGENT, Client, near_bottom, options, serving

SCRATCH = {"run_python", "time_beside", "profile_trial"}
CODE = "import train; print('x is', train.X)"
BUSY = "import time\nwhile time.process_time() < 0.3: pass"


async def offered(agent: Client) -> set[str]:
    """The tools of the scratch bench that a client is offered."""
    return SCRATCH & {tool["name"] for tool in await agent.server.list_tools(agent.name)}


def booked(campaign: Campaign, what: str) -> float:
    """Seconds of slots that the ledger has booked for something."""
    return sum(one.seconds for one in campaign.store.usage(campaign.name) if one.specialist == what)


async def test_code_runs_as_that_of_a_specialist(ended: Campaign) -> None:
    trials = ended.store.trial_count(ended.name)
    async with serving(ended, options()) as agent:
        # The pack's score is no time, so there is nothing to be timed beside the best.
        assert await offered(agent) == {"run_python", "profile_trial"}
        assert "campaign_view" in await agent.refused("run_python", code=CODE)
        await agent.text("campaign_view")
        check = (await agent.data("check_edit", parent=0, edits=near_bottom(3.9)))["check"]
        told = await agent.data("run_python", code=CODE, check=check)
        assert told["output"] == "x is 3.9" and told["exit_code"] == 0
        more = await agent.data("run_python", code=f"{CODE}\n{BUSY}", trial=0)
        assert more["output"] == "x is 1.0" and more["seconds_left"] < told["seconds_left"]
        spent = booked(ended, "scratch")
        assert spent == pytest.approx(told["seconds"] + more["seconds"], abs=0.01)
        # The seconds are those of a turn, and a view begins one.
        await agent.text("campaign_view")
        again = await agent.data("run_python", code=CODE, trial=0)
        assert again["seconds_left"] > more["seconds_left"]
        profile = await agent.data("profile_trial", trial=0)
        assert "tottime" in profile["profile"] and booked(ended, "profile") > 0.0
        assert (await agent.data("profile_trial", trial=0))["kept"]
        assert "has no trial 99" in await agent.refused("profile_trial", trial=99)
    assert ended.store.trial_count(ended.name) == trials
    assert "x is 3.9" in "".join(ended.transcript().review())


async def test_code_runs_only_where_this_server_runs_the_campaign(ended: Campaign) -> None:
    # Without a trial to come there is nothing to be tried.
    async with serving(ended, options(driver=DriverOptions(sandbox="local"))) as agent:
        await agent.text("campaign_view")
        assert "takes no more trials" in await agent.refused("run_python", code=CODE)
    runner = Campaign.open(ended.name, home=ended.home)
    runner.extend(BudgetLimits(trials=20))
    with runner:
        async with runner.opened(), serving(ended, options()) as agent:
            await agent.text("campaign_view")
            for tool, arguments in (
                ("run_python", {"code": CODE}),
                ("profile_trial", {"trial": 0}),
            ):
                assert "another process runs campaign" in await agent.refused(tool, **arguments)
    driver = DriverOptions(limits=BudgetLimits(trials=20), slots=0)
    async with serving(ended, options(driver=driver)) as agent:
        assert await offered(agent) == set()
    assert booked(ended, "scratch") == booked(ended, "profile") == 0.0


async def test_the_pack_says_what_may_run(make: Make, project: Path) -> None:
    pack = project / "task_packs/toy/pack.toml"
    toml = pack.read_text().replace('measure = "score.loss"', 'measure = "train.cpu_seconds"')
    pack.write_text(toml)
    with make(3) as campaign:
        async with campaign.opened():
            pass
        async with serving(campaign, options()) as agent:
            assert await offered(agent) == SCRATCH
            await agent.text("campaign_view")
            told = await agent.data("time_beside", trial=0, pairs=1)
            assert (told["of"], told["beside"], len(told["train_cpu_seconds"])) == (0, 0, 1)
            assert booked(campaign, "scratch") > 0.0
    pack.write_text(f"{toml}\n[scratch]\nseconds = 0\n")
    with make(3) as campaign:
        async with campaign.opened():
            pass
        async with serving(campaign, options()) as agent:
            assert await offered(agent) == {"profile_trial"}


async def test_turns_are_spent_across_sessions_of_a_name(ended: Campaign) -> None:
    given = options(budget=Allowance(trials=5, turns=2))
    async with serving(ended, given) as agent:
        await agent.text("campaign_view")
        assert (await agent.data("watch"))["your_turns_left"] == 1
        assert (await agent.submit(3.9))["your_turns_left"] == 1
        # A turn that no view began counts from its trial on.
        assert (await agent.submit(3.8))["your_turns_left"] == 0
        assert "the 2 turns" in await agent.refused_submission()
    async with serving(ended, given) as agent:
        assert "0 of 2 turns" in await agent.text("how_to")
        await agent.text("campaign_view")
        await agent.text("lineage_query", limit=3)
        assert "--turns N" in await agent.refused_submission()
        for tool, arguments in (("run_python", {"code": CODE}), ("profile_trial", {"trial": 0})):
            assert "the 2 turns of claude-code" in await agent.refused(tool, **arguments)
        other = Client(agent.server, "cursor")
        assert "2 of 2 turns" in await other.text("how_to")
        await other.text("campaign_view")
        await other.text("campaign_view")
        assert (await other.data("run_python", code=CODE, trial=0))["output"] == "x is 1.0"
    assert ended.store.taken_turns(ended.name, AGENT) == 3


async def test_code_ends_with_the_campaign_that_a_person_stops(ended: Campaign) -> None:
    async with serving(ended, options()) as agent:
        await agent.text("campaign_view")
        await agent.data("run_python", code=CODE)
        endless = "import time; time.sleep(600)"
        call = asyncio.create_task(agent.refused("run_python", code=endless, seconds=20))
        CampaignSteering(ended.store, ended.name, home=ended.home).stop()
        assert "was closed meanwhile" in await call
        assert "a person has stopped" in await agent.refused("run_python", code=CODE)


async def test_what_a_client_gives_up_is_ended(ended: Campaign) -> None:
    driver = OwnDriver(ended, options().driver, lambda text: None)
    begun, has_ended = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        try:
            await asyncio.sleep(600)
        finally:
            has_ended.set()
        return "unreachable"

    call = asyncio.create_task(driver.lend(work, 60.0))
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert has_ended.is_set()
    await driver.close()
