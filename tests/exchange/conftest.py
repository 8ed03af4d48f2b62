"""An open, empty lineage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recipelab.lineage import LineageStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LineageStore]:
    with LineageStore.open(tmp_path / "lineage.db", create=True) as opened:
        yield opened
