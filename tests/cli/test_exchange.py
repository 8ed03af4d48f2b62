"""Importing on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.exchange.runs import AIRBENCH, airbench, line, write_run

from .conftest import Cli


def broken_run(folder: Path) -> Path:
    """A run with one row that can be mended and one that cannot."""
    rows = airbench()
    lines = [line(cells, AIRBENCH) for cells in rows]
    lines[1] = lines[1].replace("idea number", "idea\tnumber")
    lines[2] = "002\t2026-01-02T03:02:00Z\topt\t000\t000\topt\tthe text \x1b[2J ends he"
    tree = [cells for cells in rows if cells["exp_id"] != "002"]
    return write_run(folder, rows, lines=lines, tree=tree)


def test_import_tells_every_damaged_row(cli: Cli, project: Path) -> None:
    result = cli("import", broken_run(project / "run"), "--as", "old")
    assert result.exit_code == 0, result.output
    for words in ("001", "19 cells in place of 18", "not repairable", "put back"):
        assert words in result.output
    assert "Damaged rows: 2, repaired 1, not repairable 1." in result.output
    assert "\x1b[2J" not in result.output


def test_import_as_json(cli: Cli, project: Path) -> None:
    result = cli("import", broken_run(project / "run"), "--as", "old", "--json")
    facts = json.loads(result.stdout)
    assert facts["from"] == "released run"
    assert facts["trials"] == 5
    assert facts["counts"]["aborted"] == 1
    assert (facts["damaged"], facts["repaired"], facts["not_repairable"]) == (2, 1, 1)
    assert [item["trial"] for item in facts["rows"]] == ["001", "002"]


def test_an_imported_campaign_can_be_looked_at_but_not_resumed(cli: Cli, project: Path) -> None:
    assert cli("import", broken_run(project / "run"), "--as", "old").exit_code == 0
    assert "Campaign old" in cli("trials").output
    assert "keep in the released run" in cli("show", "4").output
    found = json.loads(cli("lineage", "--order", "best", "--json").stdout)
    assert found["rows"][0]["trial"] == 4
    result = cli("resume", "old")
    assert result.exit_code == 2
    assert "was imported and cannot go on" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("import", "gone", "--as", "x"), "there is no gone"),
        (("import", "run", "--as", "old"), "already"),
        (("import", "run", "--as", "a/b"), "cannot name a campaign"),
        (("import", "run"), "--as"),
        (("import", ".", "--as", "x"), "has no results.tsv"),
        (("import", "run/tree.tsv", "--as", "x"), "line 1: not JSON"),
        (("import", "x" * 300, "--as", "x"), "cannot import"),
    ],
)
def test_bad_imports_are_answered_with_exit_code_2(
    cli: Cli, project: Path, words: tuple[str, ...], told: str
) -> None:
    folder = broken_run(project / "run")
    assert cli("import", folder, "--as", "old").exit_code == 0
    result = cli(*words)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert "Traceback" not in result.output
