"""Starting a campaign that may ask others."""

from __future__ import annotations

import json
from pathlib import Path

from recipelab.lineage import LineageStore, prior_campaigns
from tests.exchange.runs import airbench, write_run

from .conftest import Cli

RUN = ("run", "toy", "--name", "new", "--sandbox", "local", "--trials", "1")


def test_priors_are_kept_from_start_to_resume(cli: Cli, project: Path) -> None:
    write_run(project / "run", airbench())
    for name in ("old-1", "old-2"):
        assert cli("import", "run", "--as", name).exit_code == 0
    started = cli(*RUN, "--prior", "old-1", "--prior", "old-2")
    assert started.exit_code == 0, started.output
    assert "prior campaign old-1: it measured released/airbench96" in started.output
    resumed = cli("resume", "new", "--trials", "2", "--json")
    assert json.loads(resumed.stdout)["priors"] == ["old-1", "old-2"]
    with LineageStore.open(project / ".recipelab/lineage.db", create=True) as store:
        assert prior_campaigns(store.campaign("new")) == ("old-1", "old-2")


def test_an_unknown_prior_starts_nothing(cli: Cli, project: Path) -> None:
    write_run(project / "run", airbench())
    assert cli("import", "run", "--as", "old").exit_code == 0
    result = cli(*RUN, "--prior", "odl")
    assert result.exit_code == 2
    assert "unknown prior campaign 'odl'; valid: old" in result.stderr
    assert [c["campaign"] for c in json.loads(cli("campaigns", "--json").stdout)] == ["old"]
