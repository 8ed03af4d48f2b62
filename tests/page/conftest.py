"""A lineage to be shown in each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recipelab.campaign.reader import CampaignReader
from recipelab.core.content import Home
from recipelab.lineage import LineageStore
from recipelab.page.data import CampaignData
from tests.lineage.conftest import make_database, postgres_server
from tests.page.lineages import CAMPAIGN, fill

__all__ = ["make_database", "postgres_server"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LineageStore]:
    """A lineage with a campaign of a few trials."""
    with LineageStore.open(tmp_path / "home/lineage.db", create=True) as opened:
        fill(opened)
        yield opened


@pytest.fixture
def data(store: LineageStore, tmp_path: Path) -> CampaignData:
    """That campaign."""
    return CampaignData(CampaignReader(store, CAMPAIGN, home=Home(tmp_path / "home")))
