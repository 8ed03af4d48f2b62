"""Importing a released run: what is kept of it, and what becomes of damaged rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.exchange.files import Imported, import_campaign
from recipelab.exchange.metric import mark_of, metric_of, source_ids
from recipelab.lineage import LineageStore
from recipelab.packs.judging_sections import Goal

from .runs import AIRBENCH, GOLF, NANOCHAT, airbench, line, row, write_run


def imported(store: LineageStore, folder: Path) -> Imported:
    return import_campaign(store, folder, "old")


def test_every_column_has_a_place(store: LineageStore, tmp_path: Path) -> None:
    rows = airbench()
    rows[4] |= {"snapshot_path": "snapshots/004", "notes": "longer is safer"}
    imported(store, write_run(tmp_path / "run", rows))
    record = store.trial("old", 4)
    assert record.outcome is not None
    assert record.parents == (0,)
    assert record.expected_delta == -0.5
    assert (record.outcome.score, record.outcome.delta) == (19.0, -1.0)
    assert record.outcome.reason == "keep in the released run: longer is safer"
    assert record.proposed_at.isoformat().startswith("2026-01-02T03:04:00")
    measures = record.outcome.seed_runs[0].measures
    assert measures["acc_std"] == 0.001
    assert measures["device_seconds"] == 190.0
    (gate,) = record.outcome.gates
    assert (gate.name, gate.value, gate.margin) == ("accuracy", 0.96, 0.0)
    for told in ("exp_id: 004", "job_name: job-4", "snapshot_path: snapshots/004", "status: keep"):
        assert told in record.outcome.log_tail


def test_statuses_and_failures_are_ours(store: LineageStore, tmp_path: Path) -> None:
    imported(store, write_run(tmp_path / "run", airbench()))
    assert store.counts("old") == {
        Status.BASELINE: 1,
        Status.KEPT: 1,
        Status.DISCARDED: 1,
        Status.CRASHED: 1,
        Status.GATE_MISSED: 1,
    }
    assert store.best("old").number == 4
    crash = store.trial("old", 3).outcome
    assert crash is not None and crash.failure is not None
    assert (crash.failure.phase, crash.failure.kind) == (Phase.PREFLIGHT, FailureKind.TYPE)
    assert crash.failure.signature.startswith("TypeError: no such argument")
    missed = store.trial("old", 2).outcome
    assert missed is not None
    assert (missed.score, missed.delta) == (18.0, -2.0)


def test_a_campaign_says_that_it_was_imported(store: LineageStore, tmp_path: Path) -> None:
    imported(store, write_run(tmp_path / "run", airbench()))
    campaign = store.campaign("old")
    mark = mark_of(campaign)
    assert campaign.state == "finished"
    assert mark is not None and mark["source"] == "run"
    assert metric_of(campaign).goal is Goal.MINIMIZE


def test_trials_are_found_by_their_old_names_in_spite_of_gaps(
    store: LineageStore, tmp_path: Path
) -> None:
    rows = [row(0, "baseline", train_s="20"), row(70, "discard"), row(1024, "discard")]
    rows[2]["parent_exp"] = "exp_070"
    imported(store, write_run(tmp_path / "run", rows))
    assert source_ids(store.campaign("old")) == ("000", "070", "1024")
    assert store.trial("old", 2).parents == (1,)


@pytest.mark.parametrize(
    ("header", "cells", "status", "gate"),
    [
        (GOLF, {"val_bpb": "1.0", "artifact_bytes": "16001000"}, "size_blocked", -1000.0),
        (GOLF, {"val_bpb": "1.0", "eval_s": "601.5"}, "eval_budget_overrun", -1.5),
        (NANOCHAT, {}, "train_budget_overrun", None),
    ],
)
def test_the_limits_of_each_task_are_gates(
    store: LineageStore,
    tmp_path: Path,
    header: list[str],
    cells: dict[str, str],
    status: str,
    gate: float | None,
) -> None:
    start = {"val_bpb": "1.1", "core_metric": "0.1"}
    rows = [row(0, "baseline", **start), row(1, status, **cells)]
    imported(store, write_run(tmp_path / "run", rows, header))
    outcome = store.trial("old", 1).outcome
    assert outcome is not None and outcome.failure is not None
    assert [item.margin for item in outcome.gates] == ([] if gate is None else [gate])


BREAKS = {
    "a tab in the hypothesis": ("idea number 4", "idea\tnumber 4", "idea\tnumber 4"),
    "a line end in the hypothesis": ("idea number 4", "idea\nnumber 4", "idea\nnumber 4"),
    "both, and a status among the words": (
        "idea number 4",
        "idea\tkeep\tthe\nnumber 4",
        "idea\tkeep\tthe\nnumber 4",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_row_broken_by_its_text_is_put_together(
    store: LineageStore, tmp_path: Path, name: str
) -> None:
    whole, broken, told = BREAKS[name]
    rows = airbench()
    rows[4]["hypothesis"] = whole
    rows[4]["notes"] = "a note\twith a tab"
    lines = [line(cells, AIRBENCH).replace(whole, broken) for cells in rows]
    result = imported(store, write_run(tmp_path / "run", rows, lines=lines))
    record = store.trial("old", 4)
    assert record.hypothesis == told
    assert record.status is Status.KEPT
    assert record.outcome is not None
    assert record.outcome.score == 19.0
    assert record.outcome.reason.endswith("a note\twith a tab")
    (damage,) = result.damage
    assert (damage.trial, damage.line) == ("004", 6)
    assert damage.repair == "cells put back under their columns"


def test_quoted_text_is_no_damage(store: LineageStore, tmp_path: Path) -> None:
    rows = airbench()
    rows[1]["notes"] = '"he said ""no"",\ttwice\nand left"'
    result = imported(store, write_run(tmp_path / "run", rows))
    outcome = store.trial("old", 1).outcome
    assert result.damage == ()
    assert outcome is not None
    assert outcome.reason.endswith('he said "no",\ttwice\nand left')


def test_a_lost_outcome_comes_from_the_tree(store: LineageStore, tmp_path: Path) -> None:
    rows = airbench()
    lines = [line(cells, AIRBENCH) for cells in rows]
    lines[4] = lines[4].split("exp_002")[0] + "torn"
    result = imported(store, write_run(tmp_path / "run", rows, lines=lines))
    record = store.trial("old", 4)
    assert (record.status, record.hypothesis) == (Status.KEPT, rows[4]["hypothesis"])
    assert record.outcome is not None and record.outcome.score == 19.0
    (damage,) = result.damage
    assert damage.repair is not None and "tree.tsv" in damage.repair


def test_a_row_that_only_the_tree_has_is_taken_from_it(store: LineageStore, tmp_path: Path) -> None:
    rows = airbench()
    lines = [line(cells, AIRBENCH) for cells in rows if cells["exp_id"] != "002"]
    result = imported(store, write_run(tmp_path / "run", rows, lines=lines))
    assert store.trial("old", 2).status is Status.GATE_MISSED
    assert [(item.trial, item.problem) for item in result.damage] == [("002", "no row")]


def test_a_row_that_nothing_can_mend_is_kept_and_told(store: LineageStore, tmp_path: Path) -> None:
    rows = airbench()
    lines = [line(cells, AIRBENCH) for cells in rows]
    lines[2] = "002\t2026-01-02T03:02:00Z\topt\t000\t000\topt\tthe text ends he"
    tree = [cells for cells in rows if cells["exp_id"] != "002"]
    result = imported(store, write_run(tmp_path / "run", rows, lines=lines, tree=tree))
    record = store.trial("old", 2)
    assert record.status is Status.ABORTED
    assert record.hypothesis == "the text ends he"
    (damage,) = result.damage
    assert damage.repair is None
    assert damage.text == lines[2]
    mark = mark_of(store.campaign("old"))
    assert mark is not None and mark["damage"][0]["text"] == lines[2]


def test_rows_that_come_twice_and_text_before_the_first_are_told(
    store: LineageStore, tmp_path: Path
) -> None:
    rows = airbench()
    lines = ["who wrote this", *(line(cells, AIRBENCH) for cells in rows)]
    lines.append(line(rows[1], AIRBENCH))
    result = imported(store, write_run(tmp_path / "run", rows, lines=lines))
    assert [item.repair for item in result.damage] == [None, None]
    assert store.trial_count("old") == 5


def test_files_that_disagree_are_told(store: LineageStore, tmp_path: Path) -> None:
    rows = airbench()
    tree = [dict(cells) for cells in rows]
    tree[1]["status"] = "keep"
    folder = write_run(tmp_path / "run", rows, tree=tree)
    (folder / "best.json").write_text('{"exp_id": "001"}')
    result = imported(store, folder)
    assert [item.file for item in result.damage] == ["results.tsv", "best.json"]
    assert store.trial("old", 1).status is Status.DISCARDED


def test_the_results_alone_are_enough(store: LineageStore, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", airbench())
    (folder / "tree.tsv").unlink()
    import_campaign(store, folder / "results.tsv", "old")
    assert store.trial_count("old") == 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no header"),
        ("a\tb\n", "no column exp_id"),
        ("\t".join(name for name in NANOCHAT if name != "core_metric") + "\n", "no known task"),
        ("\t".join(AIRBENCH) + "\n", "has no rows"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    store: LineageStore, tmp_path: Path, text: str, told: str
) -> None:
    (tmp_path / "results.tsv").write_text(text)
    with pytest.raises(RecipelabError, match=told):
        imported(store, tmp_path)
    assert store.campaigns() == ()


def test_a_name_is_given_once(store: LineageStore, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", airbench())
    imported(store, folder)
    with pytest.raises(RecipelabError, match="already"):
        imported(store, folder)
    with pytest.raises(RecipelabError, match="cannot name"):
        import_campaign(store, folder, "a/b")
