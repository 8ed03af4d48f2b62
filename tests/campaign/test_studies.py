"""What is measured and written after a search: certificates, ablations, exports, notes."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab import BudgetLimits, Campaign, Edit, Plan
from recipelab.campaign.studies import compare_arms
from recipelab.core.errors import LineageError, RecipelabError
from recipelab.exchange.files import import_campaign

from .conftest import Make


async def test_the_best_is_certified_and_the_lineage_keeps_it(ended: Campaign) -> None:
    found = await ended.certify(seeds=3)
    assert (found.status, found.seeds, found.held_out) == ("certified", 3, True)
    start = await ended.certify(0, seeds=2)
    assert start.status == "not_certified"
    gain = "the gain against the baseline"
    assert found.reason.startswith(f"{gain} holds at 95% confidence")
    assert start.reason.startswith(f"{gain} does not hold at 95% confidence, corrected for 2 cert")
    kept = ended.store.certificates(ended.name)
    assert [item.trial for item in kept] == [ended.best.number, 0]


async def test_each_edit_has_its_share_and_is_measured_once(ended: Campaign) -> None:
    report = await ended.ablate(seeds=2, pairs=0)
    assert report.gain is not None and report.gain.value > 0
    assert tuple(step.trial for step in report.steps) == report.chain[1:]
    kept = (ended.folder / "ablation.json").read_bytes()
    assert await ended.ablate(seeds=2, pairs=0) == report
    assert (ended.folder / "ablation.json").read_bytes() == kept


async def test_without_a_kept_trial_there_is_no_gain_to_divide(make: Make) -> None:
    campaign = make(1)
    async with campaign.opened():
        pass
    with pytest.raises(RecipelabError, match="has kept no trial"):
        await campaign.ablate()


async def test_it_goes_out_whole_and_comes_back_to_be_looked_at(
    ended: Campaign, project: Path
) -> None:
    assert ended.export(project / "night.jsonl") == "jsonl"
    with pytest.raises(RecipelabError, match="--force"):
        ended.export("night.jsonl")
    import_campaign(ended.store, project / "night.jsonl", "copy")
    copy = Campaign(ended.store, "copy")
    assert copy.is_imported and not ended.is_imported
    assert copy.best.hypothesis == ended.best.hypothesis
    assert copy.metric == ended.metric
    proposal = ended.proposal("Near.", edits=[Edit("a", None, "b")], surface="left")
    for refused in (lambda: copy.submit(proposal), lambda: copy.extend(BudgetLimits(trials=9))):
        with pytest.raises(RecipelabError, match="campaign copy was imported and cannot go on"):
            refused()
    for work in (copy.run(), copy.resume()):
        with pytest.raises(RecipelabError, match="was imported"):
            await work
    for measuring in (copy.certify(), copy.ablate()):
        with pytest.raises(RecipelabError, match="its pack is not here"):
            await measuring


async def test_its_transcript_and_notes(make: Make) -> None:
    campaign = make(1)
    await campaign.run()
    note = campaign.note("Leave the padding alone.", specialist="right", trial=1)
    assert campaign.notes() == (note,)
    campaign.retire_note(note.number)
    assert campaign.notes() == ()
    with pytest.raises(LineageError, match="must say something"):
        campaign.note(" ")
    assert campaign.transcript(round_number=1).payloads()
    with pytest.raises(LineageError, match="no trial 9"):
        campaign.transcript(trial=9).payloads()


async def test_a_rejected_trial_has_no_recipe(make: Make) -> None:
    campaign = make(1)
    async with campaign.opened():
        bad = campaign.proposal(
            "Near.", edits=[Edit("evaluator/score.py", None, "1")], surface="left"
        )
        record = await campaign.evaluate(bad)
    with pytest.raises(LineageError, match="the lineage holds no recipe of trial 1"):
        campaign.patch(record.number)


async def test_all_can_be_looked_at_without_the_pack(ended: Campaign, project: Path) -> None:
    (project / "task_packs/toy/pack.toml").unlink()
    with Campaign.open() as campaign:
        assert campaign.metric == ended.metric
        assert campaign.stats()["metric"]["unit"] == "points"
        assert campaign.budget.spent.trials == 8
        assert len(campaign.trials().items) == 9
        with pytest.raises(RecipelabError, match="unknown task pack 'toy'"):
            _ = campaign.pack


async def test_arms_have_by_default_as_many_seeds_as_their_tests_need(project: Path) -> None:
    class EnoughError(Exception):
        """Ends the study before its first campaign."""

    def stop(text: str) -> None:
        raise EnoughError(text)

    with pytest.raises(EnoughError, match="4 arms, 9 seeds of each: 36 campaigns"):
        await compare_arms(Plan(pack="toy"), say=stop)
