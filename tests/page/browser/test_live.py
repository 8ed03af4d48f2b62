"""The live page: the real server and a real browser, while the lineage grows under them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from recipelab.core.content import Home
from recipelab.core.trial import Status
from recipelab.evaluation.live import LiveBoard
from recipelab.lineage import LineageStore
from tests.lineage.helpers import outcome, with_campaign
from tests.lineage.helpers import propose as add_trial
from tests.page.browser.conftest import Open

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(find_spec("uvicorn") is None, reason="the extra ui is not installed"),
]

NAME = "night"


class Served:
    """``recipelab ui`` of a folder, in a process of its own.

    Args:
        folder: The working directory, with a lineage.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, the second time on the same port, and wait until it listens."""
        command = [sys.executable, "-m", "recipelab", "ui", "--no-open", "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if "http://" in line:
                self.port = int(line.strip().rstrip("/").rsplit(":", 1)[1])
                return
        raise AssertionError(f"it ended with {self._process.wait()}")

    def kill(self) -> None:
        """Kill it, as a machine that goes away does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def url(self, view: str) -> str:
        """The address of a view."""
        return f"http://127.0.0.1:{self.port}/#/{NAME}/{view}"


@pytest.fixture
def lineage(project: Path) -> Iterator[LineageStore]:
    """A campaign with a judged baseline, where the command looks for it."""
    home = project / ".recipelab"
    home.mkdir()
    with with_campaign(home / "lineage.db", NAME) as store:
        number = add_trial(store, campaign=NAME)
        store.record(NAME, number, outcome(Status.BASELINE, 2.0))
        yield store


@pytest.fixture
def served(project: Path, lineage: LineageStore) -> Iterator[Served]:
    """The started server."""
    server = Served(project)
    server.start()
    yield server
    server.kill()


async def test_what_is_judged_shows_in_two_browsers_at_once(
    open_page: Open, served: Served, lineage: LineageStore
) -> None:
    one = await open_page(served.url("lineage?as=table"))
    other = await open_page(served.url("overview"))
    await one.says(".count-of", "1 trial")
    number = add_trial(lineage, 0, campaign=NAME)
    await one.says(".count-of", "2 trials")
    await one.page.get_by_text("queued").wait_for()
    lineage.record(NAME, number, outcome(Status.KEPT, 1.5))
    await one.page.locator("tbody .status", has_text="kept").wait_for()
    await other.page.locator(".latest li", has_text="kept").wait_for()
    await (
        other.page.locator(".figure", has_text="Working line").get_by_text("1.500").first.wait_for()
    )
    await one.check()
    await other.check()


async def test_a_server_that_dies_and_comes_back_is_followed_again(
    open_page: Open, served: Served, lineage: LineageStore
) -> None:
    opened = await open_page(served.url("lineage?as=table"))
    await opened.says(".count-of", "1 trial")
    served.kill()
    await opened.page.get_by_text("Connection lost, trying again.").wait_for()
    # What was known is still there, and what happens meanwhile is not missed.
    await opened.says(".count-of", "1 trial")
    add_trial(lineage, 0, campaign=NAME)
    served.start()
    await opened.says(".count-of", "2 trials")
    assert await opened.page.locator(".banner").count() == 0
    # Requests that met no server are errors of the console, and no others are.
    assert all("ERR_" in fault for fault in opened.faults)
    assert await opened.violations() == []


async def test_notes_are_for_all_who_look(
    open_page: Open, served: Served, lineage: LineageStore
) -> None:
    one = await open_page(served.url("overview"))
    other = await open_page(served.url("overview"))
    await one.page.get_by_label("Tell the specialists").fill("try <b>less</b> decay")
    await one.page.get_by_role("button", name="Add note").click()
    for opened in (one, other):
        await opened.page.locator(".note").get_by_text("try <b>less</b> decay").wait_for()
    assert [note.text for note in lineage.notes(NAME)] == ["try <b>less</b> decay"]
    await other.page.get_by_role("button", name="Retire").click()
    await one.page.locator(".note.retired").wait_for()
    await one.check()
    await other.check()


async def test_a_campaign_that_runs_is_paused_resumed_and_stopped(
    open_page: Open, served: Served, lineage: LineageStore
) -> None:
    home = Home(served.folder / ".recipelab")
    board = LiveBoard(home.live(NAME))
    one = await open_page(served.url("overview"))
    other = await open_page(served.url("overview"))
    await one.page.get_by_text("No process runs this campaign").wait_for()
    assert await one.page.get_by_role("button", name="Pause").count() == 0
    with home.locked(NAME):
        await one.page.get_by_role("button", name="Pause").click()
        await other.page.get_by_role("button", name="Resume").click()
        await one.page.get_by_role("button", name="Pause").wait_for()
        assert lineage.campaign(NAME).state == "running"

        await one.page.get_by_role("button", name="Stop…").click()
        await one.page.get_by_role("button", name="Cancel").click()
        await one.until("document.querySelector('dialog') === null")
        assert not board.take_stop()
        await one.page.get_by_role("button", name="Stop…").click()
        await one.page.get_by_role("button", name="Stop it").click()
        await one.until("document.querySelector('dialog') === null")
        assert board.take_stop()
    await one.check()
    await other.check()
