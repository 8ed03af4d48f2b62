"""CSV and Parquet: a row a trial."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.exchange.files import export_campaign, import_campaign
from recipelab.exchange.tables import COLUMNS, trial_rows
from recipelab.lineage import LineageStore
from tests.lineage.helpers import CAMPAIGN, add_campaign, judged, propose

from .runs import airbench, write_run


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_row_for_each_trial(store: LineageStore, tmp_path: Path) -> None:
    add_campaign(store)
    judged(store, Status.BASELINE, score=2.0)
    judged(store, Status.KEPT, 0, score=0.1 + 0.2)
    propose(store, 1, 0)
    export_campaign(store, CAMPAIGN, tmp_path / "x.csv")
    rows = read(tmp_path / "x.csv")
    assert [list(row) for row in rows] == [list(COLUMNS)] * 3
    assert [row["status"] for row in rows] == ["baseline", "kept", "in_flight"]
    assert float(rows[1]["score"]) == 0.1 + 0.2
    assert json.loads(rows[1]["measures"]) == {"train.cpu_seconds": 2.5}
    assert json.loads(rows[1]["gates"]) == {"accuracy": 0.9}
    assert (rows[2]["parents"], rows[2]["score"], rows[2]["judged_at"]) == ("1 0", "", "")
    assert rows[0]["proposed_at"].endswith("+00:00")


def test_a_campaign_without_trials_has_a_header(store: LineageStore, tmp_path: Path) -> None:
    add_campaign(store)
    export_campaign(store, CAMPAIGN, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text().rstrip() == ",".join(COLUMNS)


def test_a_released_run_has_the_names_it_had(store: LineageStore, tmp_path: Path) -> None:
    import_campaign(store, write_run(tmp_path / "run", airbench()), "old")
    rows = list(trial_rows(store, "old"))
    assert [row["source_id"] for row in rows] == ["000", "001", "002", "003", "004"]
    assert (rows[3]["failure_kind"], rows[3]["failure_phase"]) == ("type", "preflight")
    assert rows[2]["worst_margin"] == pytest.approx(-0.001)


def test_cells_command_neither_sheets_nor_terminals(store: LineageStore, tmp_path: Path) -> None:
    rows = airbench()
    rows[1]["hypothesis"] = "=HYPERLINK(1)"
    rows[2]["hypothesis"] = " @x \x1b[2J"
    import_campaign(store, write_run(tmp_path / "run", rows), "old")
    export_campaign(store, "old", tmp_path / "x.csv")
    found = [row["hypothesis"] for row in read(tmp_path / "x.csv")]
    assert found[1] == "'=HYPERLINK(1)"
    assert found[2].startswith("'") and "\x1b" not in found[2]


def test_parquet_says_what_it_needs(
    store: LineageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipelab.exchange.tables.find_spec", lambda name: None)
    add_campaign(store)
    with pytest.raises(RecipelabError, match=r"pip install 'recipelab\[parquet\]'"):
        export_campaign(store, CAMPAIGN, tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs pyarrow")
def test_parquet_holds_the_same_rows_with_types(store: LineageStore, tmp_path: Path) -> None:
    from importlib import import_module

    add_campaign(store)
    export_campaign(store, CAMPAIGN, tmp_path / "empty.parquet")
    judged(store, Status.BASELINE, score=2.0)
    propose(store, 0)
    export_campaign(store, CAMPAIGN, tmp_path / "x.parquet")
    parquet = import_module("pyarrow.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.to_pylist() == list(trial_rows(store, CAMPAIGN))
    assert table.schema == parquet.read_schema(tmp_path / "empty.parquet")
    assert str(table.schema.field("judged_at").type) == "timestamp[us, tz=UTC]"
