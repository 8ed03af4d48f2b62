"""A campaign whose phases run on nodes, and what a user may ask of a place."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab import Campaign
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.places.base import PLACES
from recipelab.places.placed import PlacedSandbox
from recipelab.sandbox import PhaseRequest, PhaseResult
from tests.campaign.conftest import TRAIN, toy_plan
from tests.cli.conftest import Cli, cli  # noqa: F401

from .pipes import PipesPlace

pytestmark = pytest.mark.campaign


def scores(campaign: Campaign) -> list[tuple[int, Status | None, float | None]]:
    """What each trial came to."""
    trials = list(campaign.each_trial())
    return [(one.number, one.status, one.outcome and one.outcome.score) for one in trials]


@pytest.mark.slow
async def test_a_worker_killed_in_mid_trial_costs_one_seed_run(
    project: Path, registered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = project / "task_packs/toy" / TRAIN
    slow = "    print('begun', flush=True)\n    import time; time.sleep(0.3)\n    parser ="
    script.write_text(script.read_text().replace("    parser =", slow, 1))
    plan = toy_plan(2, place=registered, place_options={"nodes": "1", "store": str(tmp_path / "s")})
    places: list[PipesPlace] = []
    trained: Counter[tuple[str, str]] = Counter()
    killed: list[tuple[str, str]] = []
    start, run = PipesPlace.start, PlacedSandbox.run

    async def noted(place: PipesPlace) -> None:
        places.append(place)
        await start(place)

    async def disturbed(sandbox: PlacedSandbox, request: PhaseRequest) -> PhaseResult:
        which = request.labels["trial"], request.labels["seed"]
        if request.phase == "train":
            trained[which] += 1
        others = {seed for trial, seed in trained if trial == which[0]} - {which[1]}
        if request.phase == "train" and which[0] == "1" and others and not killed:
            killed.append(which)
            process = places[0].links[request.slot].process
            assert process is not None
            # Its first words come from the middle of the training.
            request = replace(request, tell=lambda piece: process.kill())
        return await run(sandbox, request)

    monkeypatch.setattr(PipesPlace, "start", noted)
    monkeypatch.setattr(PlacedSandbox, "run", disturbed)
    with Campaign.create(plan) as campaign:
        assert (await campaign.run()).finished
        found = scores(campaign)
        assert campaign.plan.place == registered
        name = campaign.name
    assert len(places) == 1 and len(killed) == 1
    assert {status for _, status, _ in found} <= {Status.BASELINE, Status.KEPT, Status.DISCARDED}
    # The seed run that was killed is made again, and no other.
    (again,) = killed
    assert {which: count for which, count in trained.items() if count > 1} == {again: 2}
    # It is what a campaign here comes to that nobody disturbed.
    monkeypatch.undo()
    monkeypatch.chdir(project)
    with Campaign.create(toy_plan(2)) as local:
        assert (await local.run()).finished
        assert scores(local) == found
    # Whoever looks at it need not have the place.
    with Campaign.open(name) as opened:
        assert (opened.plan.place, opened.plan.place_options) == (plan.place, plan.place_options)


@pytest.mark.slow
def test_a_place_is_asked_for_by_the_command_line(
    cli: Cli,  # noqa: F811
    registered: str,
    tmp_path: Path,
) -> None:
    options = ("--place-option", "nodes=1", "--place-option", f"store={tmp_path / 's'}")
    common = ("run", "toy", "--trials", "1", "--sandbox", "local", "--place", registered)
    result = cli(*common, *options)
    assert result.exit_code == 0, result.output
    assert "on node-0: the local sandbox does not isolate" in result.output
    with Campaign.open() as campaign:
        assert [number for number, _, _ in scores(campaign)] == [0, 1]
        assert campaign.plan.place_options == {"nodes": "1", "store": str(tmp_path / "s")}
    # It goes on there, and elsewhere only if that is asked for.
    result = cli("resume", "--trials", 2, "--place", "local")
    assert result.exit_code == 0, result.output
    with Campaign.open() as campaign:
        assert (campaign.plan.place, campaign.plan.place_options) == ("local", {})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--place", "mars"), "unknown place 'mars'; valid: local, pipes, ray, slurm"),
        (
            ("--place", "pipes", "--place-option", "node=1"),
            "unknown option of the place pipes 'node'; valid: nodes, store, store_gb",
        ),
        (("--place-option", "nodes=1"), "unknown option of the place local 'nodes'; valid: (none)"),
        (("--place-option", "nodes"), "--place-option 'nodes' is not valid; valid: KEY=VALUE"),
        (
            ("--place", "pipes", "--place-option", "nodes=1", "--place-option", "nodes=2"),
            "--place-option nodes is given twice",
        ),
        (
            ("--place", "pipes", "--place-option", "store_gb=much"),
            "store_gb: 'much' is no size; valid: GiB, as 50",
        ),
        (("--place", "pipes", "--place-option", "nodes=x"), "nodes: not a number"),
    ],
)
def test_what_no_place_can_do_is_refused(
    cli: Cli,  # noqa: F811
    project: Path,
    registered: str,
    options: tuple[str, ...],
    words: str,
) -> None:
    result = cli("run", "toy", "--trials", 1, "--sandbox", "local", *options)
    assert (result.exit_code, words in result.output) == (2, True), result.output
    assert not (project / ".recipelab/campaigns").exists() or not list(
        (project / ".recipelab/campaigns").iterdir()
    )


def test_places_are_listed(registered: str) -> None:
    assert set(PLACES.names()) == {"local", "ray", "slurm", registered}
    with pytest.raises(RecipelabError, match="unknown place"):
        PLACES.get("moon")
