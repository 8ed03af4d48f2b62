"""What of AutoGen's own log reaches the terminal."""

from __future__ import annotations

import asyncio
import logging

import pytest

from recipelab.log import hide_cancellations


@pytest.mark.parametrize(
    ("error", "shown"), [(asyncio.CancelledError(), False), (ValueError("broken"), True)]
)
def test_an_agent_that_is_stopped_is_no_error(
    error: BaseException, shown: bool, caplog: pytest.LogCaptureFixture
) -> None:
    hide_cancellations()
    try:
        raise error
    except BaseException:
        logging.getLogger("autogen_core").error("Error processing message", exc_info=True)
    assert bool(caplog.records) is shown
