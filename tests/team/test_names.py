"""Campaigns without a name that begin at the same moment, in one process and in several."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from recipelab import LineageStore, research_team
from recipelab.campaign.campaign import Campaign
from recipelab.core.content import Home
from recipelab.core.trial import Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.session import Overrides, claimed_name
from recipelab.packs.load import load_pack
from recipelab.plan import Plan

from .fated import Fated, scored
from .helpers import team_of

SECONDS = 120
"""Longer than any of these campaigns takes: what hangs fails."""

CLAIM = """
import sys
from contextlib import ExitStack
from recipelab.core.content import Home
from recipelab.evaluation.session import claimed_name
from recipelab.lineage import LineageStore

home = Home.find()
with LineageStore.open(home.lineage, create=True) as store, ExitStack() as stack:
    print("ready", flush=True)
    sys.stdin.readline()
    print(claimed_name(store, home, "toy", stack), flush=True)
    sys.stdin.readline()
"""


async def test_teams_of_one_process_get_names_of_their_own(project: Path) -> None:
    fated = Fated(load_pack("toy"), lambda recipe: scored(Status.DISCARDED, 1.1))
    overrides = Overrides(evaluator=cast(Evaluator, fated))
    teams = [team_of(1, overrides=overrides) for _ in range(3)]
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(team.run() for team in teams))
    assert sorted(str(team.plan.name) for team in teams) == ["toy-1", "toy-2", "toy-3"]
    with LineageStore.open(project / ".recipelab/lineage.db") as store:
        assert {store.campaign(f"toy-{number}").state for number in (1, 2, 3)} == {"finished"}
    assert research_team("toy").plan.name is None


def test_processes_get_names_of_their_own(project: Path) -> None:
    with ExitStack() as stack:
        ones = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", CLAIM],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=project,
                    env={"PYTHONPATH": ":".join(sys.path)},
                )
            )
            for _ in range(3)
        ]
        for one in ones:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        for one in ones:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        names = [one.stdout.readline().strip() for one in ones if one.stdout]
        assert sorted(names) == ["toy-1", "toy-2", "toy-3"]
        for one in ones:
            one.communicate("end\n")
    # None of them has begun, so nothing is left of them.
    assert not list(Home.find().root.glob("campaigns/*"))


def test_a_name_is_kept_for_a_campaign_that_has_yet_to_run(project: Path) -> None:
    plan = Plan(pack="toy")
    with Campaign.create(plan) as first, Campaign.create(plan) as second:
        assert [first.name, second.name] == ["toy-1", "toy-2"]
    with Campaign.create(plan) as third:
        assert third.name == "toy-1"


def test_a_campaign_that_was_named_by_hand_keeps_its_name(project: Path) -> None:
    home = Home.find()
    with (
        LineageStore.open(home.lineage, create=True) as store,
        ExitStack() as stack,
        home.locked("toy-1"),  # It runs, and is not in the lineage yet.
    ):
        assert claimed_name(store, home, "toy", stack) == "toy-2"
