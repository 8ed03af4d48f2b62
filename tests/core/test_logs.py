"""What reaches the terminal: nothing of its own accord in an app, and as asked for from the CLI."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest

from recipelab.core.errors import LineageError, RecipelabError
from recipelab.core.logs import bound, configure_logs, hide_told_errors, logger

_log = logger("recipelab.test")


@pytest.fixture
def logs() -> Iterator[Callable[..., StringIO]]:
    """Shows logs in a text of ours, and puts all loggers back as they were."""
    loggers = [logging.getLogger(), logging.getLogger("recipelab")]
    before = [(one, one.level, one.handlers[:]) for one in loggers]

    def shown(**settings: Any) -> StringIO:
        stream = StringIO()
        configure_logs(stream=stream, **settings)
        return stream

    yield shown
    for one, level, handlers in before:
        one.setLevel(level)
        one.handlers[:] = handlers


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (asyncio.CancelledError(), False),
        (ValueError("broken"), True),
        (LineageError("the disk is full"), False),
        (ValueError("Unhandled message: <class 'GroupChatError'>"), False),
    ],
)
def test_an_agent_that_is_stopped_is_no_error(
    error: BaseException, shown: bool, caplog: pytest.LogCaptureFixture
) -> None:
    hide_told_errors()
    try:
        raise error
    except BaseException:
        logging.getLogger("autogen_core").error("Error processing message", exc_info=True)
    assert bool(caplog.records) is shown


@pytest.mark.parametrize(
    ("set_up", "shown"),
    [
        ("", "slots are held why='because'\n"),
        ("logging.basicConfig(format='app: %(message)s')", "app: slots are held why='because'\n"),
        ("logging.getLogger('recipelab').addHandler(logging.NullHandler())", ""),
    ],
)
def test_a_warning_is_seen_once_unless_an_app_says_otherwise(set_up: str, shown: str) -> None:
    words = (
        f"import logging; {set_up}\n"
        "from recipelab.core.logs import logger; log = logger('recipelab.x')\n"
        "log.warning('slots are held', why='because'); log.info('nothing of note')"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", shown)


def test_the_handlers_of_an_app_get_readable_text(caplog: pytest.LogCaptureFixture) -> None:
    with bound(campaign="c"):
        _log.warning("it ended", reason="no\nluck")
    assert caplog.messages == ["it ended reason='no\\nluck' campaign='c'"]


def test_json_lines_say_what_they_belong_to(logs: Callable[..., StringIO]) -> None:
    stream = logs(json=True, level="info")
    with bound(campaign="c", round=2), bound(trial=3):
        _log.info("ended", text="ü\x1b[2J\n")
        _log.debug("not shown")
        logging.getLogger("other").warning("theirs %s", 1)
    _log.info("later")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    common = {"campaign": "c", "round": 2, "trial": 3}
    told = {"level": "info", "logger": "recipelab.test", "event": "ended", "text": "ü\x1b[2J\n"}
    assert {key: value for key, value in lines[0].items() if key != "timestamp"} == told | common
    assert lines[0]["timestamp"].endswith("+00:00")
    assert lines[1].items() >= (common | {"event": "theirs 1", "level": "warning"}).items()
    assert lines[2].keys() == {"timestamp", "level", "logger", "event"}
    assert stream.getvalue().isascii()


def test_an_error_is_shown_with_its_traceback(logs: Callable[..., StringIO]) -> None:
    stream = logs(json=True)
    try:
        raise ValueError("broken")
    except ValueError:
        _log.exception("it failed")
    line = json.loads(stream.getvalue())
    assert line["event"] == "it failed"
    assert line["exception"].endswith("ValueError: broken")
    assert "exc_info" not in line


def test_lines_for_people_cannot_be_steered(logs: Callable[..., StringIO]) -> None:
    stream = logs(colors=False)
    _log.warning("it ended", reason="\x1b[2Jboo", trial=3)
    line = stream.getvalue()
    assert "\x1b" not in line
    assert "[warning  ] it ended" in line
    assert "trial=3" in line


def test_prompts_that_autogen_logs_are_never_shown(logs: Callable[..., StringIO]) -> None:
    stream = logs(level="debug")
    logging.getLogger("autogen_core.events").info("a whole prompt")
    _log.debug("ours")
    assert "ours" in stream.getvalue()
    assert "prompt" not in stream.getvalue()


@pytest.mark.parametrize(("level", "told"), [("warning", False), ("info", True)])
def test_warnings_of_libraries_are_shown_to_those_who_ask(
    logs: Callable[..., StringIO], level: str, told: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)  # another test may have begun it
        stream = logs(level=level)
        warnings.warn("use the new way", FutureWarning, stacklevel=1)
        logging.getLogger("other").warning("slow answer")
        logging.getLogger("other").error("no answer")
        _log.warning("ours")
        logging.captureWarnings(capture=False)
    shown = stream.getvalue()
    assert ("use the new way" in shown) is ("slow answer" in shown) is told
    assert "no answer" in shown and "ours" in shown


def test_only_the_last_settings_hold(logs: Callable[..., StringIO]) -> None:
    first, second = logs(level="debug"), logs(level="error")
    _log.warning("quiet")
    _log.error("loud")
    assert first.getvalue() == ""
    assert "loud" in second.getvalue()
    assert "quiet" not in second.getvalue()


def test_an_unknown_level_lists_the_valid_ones() -> None:
    with pytest.raises(RecipelabError, match="'loud'; valid: debug, error, info, warning"):
        configure_logs(level="loud")


def test_a_chat_that_was_stopped_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    from autogen_core._queue import QueueShutDown

    hide_told_errors()
    try:
        raise QueueShutDown
    except QueueShutDown:
        logging.getLogger("autogen_core").exception("an agent wanted to say something")
    assert not caplog.records
