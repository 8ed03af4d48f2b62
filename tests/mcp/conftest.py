"""A campaign that a group chat has run, to be asked and proposed to by coding agents."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

from tests.campaign.conftest import ended, ended_homes, make
from tests.lineage.conftest import make_database, postgres_server

__all__ = ["ended", "ended_homes", "make", "make_database", "postgres_server"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what speaks the protocol where its SDK is missing, unless that is required."""
    if item.get_closest_marker("mcp") is None or find_spec("mcp") is not None:
        return
    if os.environ.get("RECIPELAB_REQUIRE_MCP") == "1":
        pytest.fail("the SDK of the protocol is required: pip install 'recipelab[mcp]'")
    pytest.skip("the SDK of the protocol is not installed")
