"""A campaign stays true: what it was measured with is sealed, and an epoch is a campaign."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab import BudgetLimits, Campaign, Edit, Plan
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.evaluation.seal import Seal
from recipelab.lineage.campaigns import prior_note
from recipelab.sandbox.local.sandbox import LocalSandbox

from .conftest import Make, set_x, toy_plan

PACK = "task_packs/toy/pack.toml"
SCORE = "task_packs/toy/evaluator/score.py"
TRAIN = "task_packs/toy/recipe/train.py"


def _restore(files: dict[Path, bytes]) -> None:
    for path, content in files.items():
        path.write_bytes(content)


def put(file: str, old: str, new: str) -> Callable[[], object]:
    """Edits a file of the project; what is returned takes it back."""
    path = Path(file)
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    return lambda: _restore({path: before.encode()})


def other_answers() -> Callable[[], object]:
    """Gives the pack other answers, and their hash."""
    path = Path("task_packs/toy/data/answers.txt")
    before = path.read_bytes()
    path.write_bytes(b"4.5 3.5\n")
    known, now = (hashlib.sha256(text).hexdigest() for text in (before, b"4.5 3.5\n"))
    back = put(PACK, known, now)
    return lambda: (_restore({path: before}), back())


async def measured(make: Make, *edits: Edit, **more: object) -> Campaign:
    """A campaign whose baseline was measured, and a trial with edits, if there are any."""
    campaign = make(3, **more)
    async with campaign.opened():
        if edits:
            await campaign.evaluate(
                campaign.proposal("nearer", edits=edits, surface="left", parent=0)
            )
    campaign.close()
    return Campaign.open()


EDITS = (
    (lambda: put(SCORE, "import", "\nimport"), ["evaluator/score.py: sha256 "]),
    (
        lambda: put(PACK, "at_least = 0.2", "at_least = 0.9"),
        ["pack.toml: gates.fit.at_least: 0.2 -> 0.9"],
    ),
    (
        lambda: put(PACK, 'goal = "minimize"', 'goal = "maximize"'),
        ['pack.toml: metric.goal: "minimize" -> "maximize"'],
    ),
    (
        lambda: put(PACK, "seeds = [1, 2]", "seeds = [1, 3]"),
        ["pack.toml: seeds: [1, 2] -> [1, 3]"],
    ),
    (lambda: put(PACK, "train = 10", "train = 9"), ["pack.toml: budgets.train: 10"]),
    (lambda: put(PACK, "racing_error = 0.0", "racing_error = 0.1"), ["acceptance.racing_error"]),
    (lambda: put(PACK, "memory_mb = 512", "memory_mb = 500"), ["limits.memory_mb: 512 -> 500"]),
    (
        lambda: put(PACK, '"recipe/predict.py"]', '"recipe/predict.py", "1"]'),
        ["phases.predict.command"],
    ),
    (other_answers, ["data: answers.txt: sha256 78dd3181297f -> sha256 "]),
)


@pytest.mark.slow
async def test_whatever_judges_is_sealed_and_named(make: Make, project: Path) -> None:
    with await measured(make) as campaign:
        for edit, words in EDITS:
            back = edit()
            with pytest.raises(RecipelabError) as refused:
                await campaign.resume(BudgetLimits(trials=1))
            assert all(word in str(refused.value) for word in words), refused.value
            assert "recipelab resume toy-1 --new-epoch" in str(refused.value)
            back()
        assert len(list(campaign.each_trial())) == 1  # nothing ran


async def test_verify_checkpoint_and_ablation_are_held_to_the_seal(
    make: Make, project: Path
) -> None:
    with await measured(make, set_x(3.5)) as campaign:
        assert campaign.best.number == 1
        put(SCORE, "import", "\nimport")
        for work in (campaign.certify(1), campaign.checkpoint(), campaign.ablate()):
            with pytest.raises(RecipelabError, match=r"evaluator/score\.py: sha256 "):
                await work


async def test_another_image_is_another_epoch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with await measured(make) as campaign:
        monkeypatch.setattr(LocalSandbox, "image_identity", "local python 2.7 linux")
        with pytest.raises(RecipelabError, match=r"image: local python .* -> local python 2\.7"):
            await campaign.resume(BudgetLimits(trials=1))


async def test_a_change_of_what_judges_nothing_is_none(make: Make, project: Path) -> None:
    with await measured(make) as campaign:
        put(PACK, 'title = "A parabola', 'title = "The parabola')
        put(TRAIN, "X = 1.0", "X = 1.5")  # its baseline is in the lineage
        put("task_packs/toy/recipe/predict.py", "", "# More words.\n")
        async with campaign.opened():
            pass


async def test_a_new_epoch_measures_baseline_and_best_anew(make: Make, project: Path) -> None:
    said: list[str] = []
    with await measured(make, set_x(3.5)) as campaign:
        old = [campaign.trial(number) for number in (0, 1)]
        put(SCORE, '"loss": loss', '"loss": 0.1 * loss')
        campaign.say = said.append
        epoch = campaign.next_epoch(BudgetLimits(trials=1))
        async with epoch.opened():
            ended = [record async for record in epoch.judged()]
        assert (epoch.name, [record.number for record in ended]) == ("toy-1.2", [1])
        baseline, best = (epoch.trial(number) for number in (0, 1))
        assert epoch.files(1) == campaign.files(1)
        assert best.status is Status.KEPT
        for new, then in ((baseline, old[0]), (best, old[1])):
            assert new.outcome is not None and then.outcome is not None
            assert new.outcome.score == pytest.approx(0.1 * (then.outcome.score or 0.0))
        # What was measured before stays where it was.
        assert [campaign.trial(number).outcome for number in (0, 1)] == [r.outcome for r in old]
        assert "with other rules, another evaluator or other data" in prior_note(
            epoch.record, campaign.record
        )
        assert any("epoch of toy-1" in text for text in said)
        # It is not carried over again, and the epoch after it has the next number.
        async with epoch.opened():
            assert [record async for record in epoch.judged()] == []
        assert epoch.next_epoch(BudgetLimits(trials=1)).name == "toy-1.3"
        with pytest.raises(RecipelabError, match=r"has spent its limit of trials \(1\).*--trials"):
            epoch.next_epoch()


async def test_a_lineage_without_a_seal_is_taken_as_it_is(make: Make, project: Path) -> None:
    (await measured(make)).close()
    with sqlite3.connect(project / ".recipelab/lineage.db") as database:
        database.execute("UPDATE campaign SET settings = json_remove(settings, '$.seal')")
    database.close()
    put(SCORE, "import", "\nimport")
    said: list[str] = []
    with Campaign.open(say=said.append) as campaign:
        async with campaign.opened():
            pass
        assert any("kept no hashes" in text for text in said)
        seal = Seal.of_campaign(campaign.record)
    assert seal is not None and "evaluator/score.py" in seal.evaluator


async def test_a_baseline_that_failed_can_be_mended(make: Make, project: Path) -> None:
    back = put(PACK, "at_least = 0.2", "at_least = 0.999")
    campaign = make(1)
    with pytest.raises(RecipelabError, match="the baseline of toy fails"):
        async with campaign.opened():
            pass
    back()
    put(TRAIN, "import json", "import json, broken")
    with pytest.raises(RecipelabError, match="broken"):
        async with campaign.opened():
            pass
    put(TRAIN, "import json, broken", "import json, math")
    async with campaign.opened():
        assert campaign.trial(0).status is Status.BASELINE
    assert "import json, math" in campaign.files(0)["recipe/train.py"]
    # What is measured is not read anew.
    put(TRAIN, "import json, math", "import json, cmath")
    async with campaign.opened():
        pass
    assert "import json, math" in campaign.files(0)["recipe/train.py"]
    campaign.close()


async def test_a_namesake_elsewhere_is_not_taken_for_the_pack(
    make: Make, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (await measured(make)).close()
    home = project / ".recipelab"
    other = tmp_path / "other"
    for name in ("task_packs", "agents"):
        shutil.copytree(project / name, other / name)
    monkeypatch.chdir(other)
    with Campaign.open(home=home) as campaign:
        async with campaign.opened():  # the same, wherever it lies
            pass
    put(TRAIN, "X = 1.0", "X = 1.5")
    for use in (
        lambda campaign: campaign.next_epoch(BudgetLimits(trials=1)),
        lambda campaign: campaign.proposal("nearer", edits=[set_x(3.0)], surface="left"),
        lambda campaign: asyncio.run(campaign.certify(0)),
        lambda campaign: asyncio.run(campaign.resume(BudgetLimits(trials=1))),
    ):
        # In a thread, as the loop of this one runs already.
        with Campaign.open(home=home) as campaign, pytest.raises(RecipelabError) as refused:
            await asyncio.to_thread(use, campaign)
        assert str(project / "task_packs/toy") in str(refused.value)
        assert str(other / "task_packs/toy") in str(refused.value)
    nowhere = shutil.copytree(other / "agents", tmp_path / "nowhere")
    monkeypatch.chdir(nowhere)
    with Campaign.open(home=home) as campaign:
        assert campaign.pack.root.samefile(project / "task_packs/toy")


def test_a_campaign_goes_on_with_other_limits_and_models(make: Make) -> None:
    with Campaign.create(toy_plan(3)) as campaign:
        more = BudgetLimits(money=20.0, tokens=1000, device_hours=5.0, target=0.5, plateau=9)
        campaign.extend(more, model="openai:small", slots=2, prices="prices.toml", approve=True)
        plan = campaign.plan
    assert plan.limits == BudgetLimits(trials=3, **more.given())
    assert (plan.model, plan.slots, plan.prices, plan.approve) == (
        "openai:small",
        2,
        "prices.toml",
        True,
    )
    with pytest.raises(
        RecipelabError, match=r"unknown field of a plan.*'pack'; valid: accept_self_reported, ahead"
    ):
        campaign.extend(pack="other")
    with pytest.raises(RecipelabError, match=r"slots: .* \(it is 0\)"):
        campaign.extend(slots=0)


async def test_what_it_goes_on_with_is_kept(make: Make) -> None:
    with await measured(make) as campaign:
        campaign.extend(BudgetLimits(plateau=4, trials=2), ahead=1)
        async with campaign.opened():
            pass
    with Campaign.open() as campaign:
        plan: Plan = campaign.plan
    assert (plan.limits, plan.ahead) == (BudgetLimits(trials=2, plateau=4), 1)


keys = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]), max_size=4)


@given(keys, keys, keys, keys)
def test_a_seal_tells_every_change_and_no_other(
    pack: dict[str, str],
    evaluator: dict[str, str],
    pack2: dict[str, str],
    evaluator2: dict[str, str],
) -> None:
    then = Seal(folder="/a", pack=pack, evaluator=evaluator)
    now = Seal(folder="/a", pack=pack2, evaluator=evaluator2)
    changed = {f"pack.toml: {k}" for k in {*pack, *pack2} if pack.get(k) != pack2.get(k)}
    changed |= {k for k in {*evaluator, *evaluator2} if evaluator.get(k) != evaluator2.get(k)}
    assert {line.rpartition(": ")[0] for line in then.changes(now)} == changed
    assert not then.is_elsewhere(now)
