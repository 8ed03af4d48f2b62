"""A phase on a node keeps every promise of its sandbox: the sandboxes' own tests, over a link."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from recipelab.sandbox import Sandbox
from tests.sandbox.conftest import marker, output  # noqa: F401
from tests.sandbox.test_contract import (  # noqa: F401
    test_a_command_that_is_not_there,
    test_cancelling_before_it_runs,
    test_cancelling_kills_first,
    test_cpu_seconds_count_children,
    test_deadline_kills_everything,
    test_exit_code_is_kept,
    test_flood_keeps_head_and_tail,
    test_many_at_once,
    test_output_that_is_not_utf8,
    test_the_error_file_is_read_and_is_no_output,
    test_what_a_command_leaves_running_is_killed,
)

from .conftest import open_pipes

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    """A node over pipes, with a local sandbox."""
    folder: Path = tmp_path_factory.mktemp("place")
    async with open_pipes(folder, nodes="1") as opened:
        yield opened.place.sandbox
