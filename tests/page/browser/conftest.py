"""A browser for the tests of the page: one for all of them, a context of its own for each."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.page.browser.made_up import HARM, NAME, MadeUp, write_document

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}

WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium; a test is skipped where there is none, but for in CI."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    try:
        from playwright.async_api import async_playwright
    except ImportError:
        async_playwright = None  # type: ignore[assignment]
    if program is None or async_playwright is None:
        missing = "Playwright is not installed" if program else "there is no Chromium"
        if os.environ.get("RECIPELAB_REQUIRE_BROWSER") == "1":
            pytest.fail(f"RECIPELAB_REQUIRE_BROWSER=1, and {missing}")
        pytest.skip(missing)
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        await started.close()


@dataclass
class Opened:
    """A page that a test looks at, and what it complained of.

    Attributes:
        page: The page.
        faults: Errors of the console and of scripts so far.
    """

    page: Page
    faults: list[str] = field(default_factory=list)

    async def go(self, route: str) -> None:
        """Follow a route, as a link does, and wait until its view is there."""
        await self.page.evaluate("(hash) => { location.hash = hash }", route)
        view = route.removeprefix("#/").split("?")[0].split("/")
        name = view[1] if len(view) > 1 else "overview"
        await self.page.wait_for_selector(f'main[data-view="{name}"] h1', state="attached")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true. (Playwright's own way needs ``eval`` in the page.)"""
        deadline = time.monotonic() + 15.0
        while not await self.page.evaluate(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            await asyncio.sleep(0.02)

    async def says(self, selector: str, text: str) -> None:
        """Wait until the text of the first such element is exactly this."""
        await self.until(
            f"document.querySelector({json.dumps(selector)})?.textContent === {json.dumps(text)}"
        )

    async def violations(self) -> list[str]:
        """What the content security policy refused so far."""
        return await self.page.evaluate("window.violations")

    async def check(self) -> None:
        """Fail if anything went wrong, or if a text was taken for more than a text."""
        assert self.faults == []
        assert await self.violations() == []
        assert await self.page.evaluate("window.harmed") is None


Open = Callable[..., Awaitable[Opened]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(browser: Browser) -> AsyncIterator[Open]:
    """Open an address in a context of its own: ``await open_page(url, dark=..., phone=...)``."""
    async with AsyncExitStack() as stack:

        async def opened(url: str, *, dark: bool = False, phone: bool = False) -> Opened:
            settings: dict[str, Any] = {
                "viewport": PHONE if phone else DESKTOP,
                "color_scheme": "dark" if dark else "light",
                "reduced_motion": "reduce",
                "has_touch": phone,
            }
            context = await browser.new_context(**settings)
            stack.push_async_callback(context.close)
            context.set_default_timeout(15_000)
            await context.add_init_script(WATCH)
            page = await context.new_page()
            found = Opened(page)
            page.on(
                "console",
                lambda said: found.faults.append(said.text) if said.type == "error" else None,
            )
            page.on("pageerror", lambda error: found.faults.append(str(error)))
            await page.goto(url)
            await page.wait_for_selector("main h1", state="attached")
            return found

        yield opened


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Addresses of made-up files: ``files(10)``, ``files(10_000)``, ``files(10, "replay")``."""
    folder = tmp_path_factory.mktemp("page")
    made: dict[tuple[int, str], Path] = {}

    def file(trials: int, mode: str = "report") -> str:
        key = (trials, mode)
        if key not in made:
            # The docs show no harm.
            is_docs = mode == "docs"
            campaigns = [MadeUp(trials, harm="" if is_docs else HARM), MadeUp(4, name="other")]
            path = folder / f"{mode}-{trials}.html"
            made[key] = write_document(path, "report" if is_docs else mode, campaigns)
        return f"{made[key].as_uri()}#/{NAME}/overview"

    return file
