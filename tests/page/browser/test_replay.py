"""A replay in a real browser: the page shows the campaign as it was at the time of its clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.page.browser.conftest import Open, Opened
from tests.page.browser.made_up import BEGAN, NAME, TRIAL_SECONDS

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


async def seek(opened: Opened, time: float) -> None:
    """Move the slider to a time, as a hand does."""
    await opened.page.get_by_label("Time of the campaign").evaluate(
        """(slider, time) => {
            slider.step = "any";
            slider.value = time;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        time,
    )


async def test_nothing_is_shown_before_its_time(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10, "replay"))
    page = opened.page
    await seek(opened, BEGAN + 2 * TRIAL_SECONDS + 10)
    await opened.go(f"#/{NAME}/lineage?as=table")
    rows = page.locator("tbody tr:not(.room)")
    await opened.says(".count-of", "3 trials")
    texts = await rows.all_inner_texts()
    assert "kept" in texts[1] and "running" in texts[2]
    await opened.go(f"#/{NAME}/trial/2")
    await page.get_by_text("Not judged yet.").wait_for()
    assert await page.get_by_role("heading", name="Failure").count() == 0
    await opened.go(f"#/{NAME}/failures")
    await page.get_by_text("Nothing has failed.").wait_for()
    await opened.go(f"#/{NAME}/evidence")
    await page.get_by_text("The working line was not tested yet.").wait_for()
    await opened.go(f"#/{NAME}/chat")
    await opened.says(".count-of", "4 messages")
    await seek(opened, BEGAN + 100 * TRIAL_SECONDS)
    await opened.says(".count-of", "21 messages")
    await opened.go(f"#/{NAME}/evidence")
    await page.get_by_text("holds").first.wait_for()
    await opened.check()


async def test_a_certificate_does_not_show_before_its_checkpoint(
    open_page: Open, files: Callable[..., str]
) -> None:
    opened = await open_page(files(10, "replay"))
    page = opened.page
    certified = page.locator(".figure", has_text="Certified best")
    # Trial 5 is judged here, and the checkpoint that certifies it and trial 1 is made later.
    await seek(opened, BEGAN + 5 * TRIAL_SECONDS + 31)
    await page.locator(".figure", has_text="Working line").get_by_text("trial 5").first.wait_for()
    assert "no gain is certified" in await certified.inner_text()
    await seek(opened, BEGAN + 5 * TRIAL_SECONDS + 36)
    await certified.get_by_text("trial 5").first.wait_for()
    await opened.check()


async def test_it_plays_pauses_and_ends(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10, "replay"))
    page = opened.page
    shown = page.locator(".figure .value").last
    assert await shown.inner_text() == "0"
    await page.get_by_label("Speed").select_option("1000")
    await page.keyboard.press(" ")
    await page.get_by_role("button", name="Play again").wait_for()
    assert await shown.inner_text() == "10"
    await page.get_by_text("finished", exact=True).wait_for()
    await page.keyboard.press("ArrowLeft")
    await page.get_by_role("button", name="Play", exact=True).wait_for()
    await opened.check()


@pytest.mark.slow
async def test_a_long_one_is_followed(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10_000, "replay"))
    page = opened.page
    await opened.go(f"#/{NAME}/lineage")
    await seek(opened, BEGAN + 5000 * TRIAL_SECONDS + 35)
    await opened.until("document.querySelector('.count-of').textContent.startsWith('5001 trials')")
    await page.get_by_role("button", name="Play").click()
    await opened.until(
        "parseInt(document.querySelector('.count-of').textContent.replace('\\u202f', '')) > 5100"
    )
    await page.get_by_role("button", name="Pause").click()
    await opened.check()


async def test_what_a_file_does_not_have_is_said(
    open_page: Open, files: Callable[..., str]
) -> None:
    opened = await open_page(files(10, "replay"))
    await opened.go(f"#/{NAME}/trial/999")
    await opened.page.get_by_text(f"There is no trial 999 in {NAME}.").wait_for()
    await opened.page.evaluate("location.hash = '#/gone/overview'")
    told = f"There is no campaign gone in this file; it has {NAME}, other."
    await opened.page.get_by_text(told).wait_for()
    await opened.check()
