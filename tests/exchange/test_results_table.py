"""The table that an agent keeps of its own experiments, as a campaign."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.exchange.files import import_campaign
from recipelab.exchange.metric import metric_of, source_ids
from recipelab.exchange.results_table import read_results_table
from recipelab.lineage import LineageStore
from recipelab.packs.judging_sections import Goal

HEAD = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
ROWS = (
    "a1\t0.9979\t44.0\tkeep\tbaseline\n"
    "b2\t0.9932\t44.2\tkeep\tlarger rate\twith a tab\n"
    "c3\t1.0050\t44.0\tdiscard\tGeLU\n"
    "d4\t0.0000\t0.0\tcrash\tdouble width (OOM)\n"
)


def table(folder: Path, text: str) -> Path:
    file = folder / "results.tsv"
    file.write_text(text)
    return file


def test_it_becomes_a_campaign_that_can_be_asked(tmp_path: Path) -> None:
    file = table(tmp_path, HEAD + ROWS)
    with LineageStore.open(tmp_path / "lineage.db", create=True) as store:
        imported = import_campaign(store, tmp_path, "past")
        assert (imported.kind, imported.damage) == ("results table", ())
        trials = [store.trial("past", number) for number in range(4)]
        assert store.best("past").number == 1
        record = store.campaign("past")
    assert file.exists()
    assert [trial.outcome and trial.outcome.status for trial in trials] == [
        Status.BASELINE,
        Status.KEPT,
        Status.DISCARDED,
        Status.CRASHED,
    ]
    assert [trial.parents for trial in trials] == [(), (0,), (1,), (1,)]
    assert trials[1].hypothesis == "larger rate\twith a tab"
    assert trials[3].outcome is not None
    assert trials[3].outcome.score is None
    facts = metric_of(record)
    assert (facts.name, facts.goal) == ("val_bpb", Goal.MINIMIZE)
    assert source_ids(record) == ("a1", "b2", "c3", "d4")


def test_rows_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    text = HEAD + "a1\t1.0\t1\tkeep\tok\nb2\tnan\t1\tkeep\tx\nc3\t1\t1\tmaybe\tx\nd4\t1\n"
    copy, damage = read_results_table(table(tmp_path, text), "past")
    assert len(copy.trials) == 1
    assert [item.line for item in damage] == [3, 4, 5]
    assert "no finite number" in damage[0].problem
    assert "none of keep, discard, crash" in damage[1].problem


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("table") / "results.tsv"
    file.write_text(HEAD + text, "utf-8", errors="replace", newline="")
    try:
        copy, damage = read_results_table(file, "past")
    except RecipelabError as error:
        assert "no row" in str(error)
        return
    assert copy.trials
    assert all(item.problem for item in damage)
