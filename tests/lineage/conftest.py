"""An open lineage with one campaign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recipelab.lineage import LineageStore
from tests.lineage.helpers import with_campaign


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LineageStore]:
    with with_campaign(tmp_path / "lineage.db") as opened:
        yield opened
