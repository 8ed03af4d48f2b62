"""The page in a real browser: every view, short and long campaigns, filters, links, keyboard."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files as resources
from typing import Any

import pytest

from tests.page.browser.conftest import Open
from tests.page.browser.made_up import NAME, SURFACES

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

VIEWS = {
    "overview": "overview",
    "lineage": "lineage",
    "table": "lineage?as=table",
    "trial": "trial/2",
    "kept trial": "trial/1",
    "failures": "failures",
    "surfaces": "surfaces",
    "chat": "chat",
    "compare": "compare?a=0&b=1&with=other",
    "evidence": "evidence",
}
"""What each view is opened at."""


@pytest.mark.parametrize("trials", [10, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_every_view_opens(open_page: Open, files: Callable[..., str], trials: int) -> None:
    opened = await open_page(files(trials))
    expected = {
        "overview": "Certified best",
        "lineage": "failed: code",
        "table": "idea 1:",
        "trial": "idea 2",
        "kept trial": "STEPS",
        "failures": "predict passed its limit",
        "surfaces": "24\u202f000",
        "chat": "improve the loss",
        "compare": "seed runs",
        "evidence": "holds",
    }
    for view, route in VIEWS.items():
        await opened.go(f"#/{NAME}/{route}")
        await opened.page.locator("main").get_by_text(expected[view]).first.wait_for()
        await opened.check()


async def test_text_that_means_harm_stays_text(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10))
    places = {
        "trial/2": [".hypothesis", ".plain", ".diff-file:nth-child(2) .path", ".diff .add .code"],
        "overview": [".notes", "footer"],
        "failures": ["ul.failures"],
        "chat": [".long-list"],
        "evidence": ["main"],
    }
    for route, selectors in places.items():
        await opened.go(f"#/{NAME}/{route}")
        for selector in selectors:
            await opened.until(
                f"document.querySelector('{selector}')?.textContent.includes('<script>window.h')"
            )
        assert await opened.page.locator("main img, main script").count() == 0
    await opened.check()


@pytest.mark.slow
async def test_trials_are_filtered_and_the_address_says_how(
    open_page: Open, files: Callable[..., str]
) -> None:
    opened = await open_page(files(10_000))
    page = opened.page
    await opened.go(f"#/{NAME}/lineage?as=table")
    count = page.locator(".count-of")
    assert "10\u202f001 trials" in await count.inner_text()
    await page.get_by_label("Status").select_option("gate_missed")
    await opened.until("document.querySelector('.count-of').textContent.includes(' of ')")
    assert "status=gate_missed" in page.url
    rows = page.locator("tbody tr:not(.room)")
    assert all("gate missed" in text for text in await rows.all_inner_texts())
    await page.get_by_label("Surface", exact=True).select_option(SURFACES[2])
    await page.get_by_label("Text").fill("idea 99")
    await opened.until("location.hash.includes('text=idea')")
    texts = await rows.all_inner_texts()
    assert texts and all("idea 99" in text and "data" in text for text in texts)
    # Whoever gets the address sees the same.
    other = await open_page(page.url)
    await other.page.wait_for_selector("tbody tr:not(.room)")
    assert await other.page.locator("tbody tr:not(.room)").all_inner_texts() == texts
    await opened.check()


@pytest.mark.slow
async def test_a_long_table_is_sorted_whole_and_drawn_in_part(
    open_page: Open, files: Callable[..., str]
) -> None:
    opened = await open_page(files(10_000))
    page = opened.page
    await opened.go(f"#/{NAME}/lineage?as=table")
    await page.get_by_role("button", name="Trial", exact=True).click()
    first = page.locator("tbody tr:not(.room)").first
    assert (await first.inner_text()).startswith("#10000")
    assert await page.locator("tbody tr").count() < 120
    assert await page.locator("table[aria-rowcount='10002']").count() == 1
    box = page.locator(".table-box.long")
    await box.evaluate("(element) => { element.scrollTop = element.scrollHeight }")
    await page.get_by_role("link", name="#0", exact=True).first.wait_for()
    assert await page.locator("tbody tr").count() < 120
    await opened.check()


async def test_links_lead_from_trial_to_trial(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10))
    page = opened.page
    await opened.go(f"#/{NAME}/trial/1")
    await page.get_by_role("link", name="2 →").click()
    await page.get_by_role("heading", name="Trial 2", exact=True).wait_for()
    made_from = page.locator("dt:has-text('Made from') + dd a")
    assert await made_from.inner_text() == "#1"
    await made_from.click()
    await page.get_by_role("heading", name="Trial 1", exact=True).wait_for()
    made_of_it = page.locator("dt:has-text('Made of it') + dd a")
    await made_of_it.first.wait_for()
    assert "#2" in await made_of_it.all_inner_texts()
    await page.get_by_role("button", name="the start").click()
    assert "diff=start" in page.url
    await page.go_back()
    await page.get_by_role("heading", name="Trial 2", exact=True).wait_for()
    await opened.check()


@pytest.mark.slow
async def test_a_trial_shows_what_its_agent_saw_and_said(
    open_page: Open, files: Callable[..., str]
) -> None:
    opened = await open_page(files(10_000))
    await opened.go(f"#/{NAME}/trial/9000")
    talk = opened.page.locator(".talk .said")
    await talk.nth(1).wait_for()
    assert await talk.count() == 2
    assert "submit_trial" in await talk.first.inner_text()
    saw = opened.page.get_by_role("region", name="The view of the lineage that opened the turn")
    assert "best: trial 0" in await saw.inner_text()
    await opened.check()


@pytest.mark.slow
async def test_the_chat_is_found_through(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10_000))
    page = opened.page
    await opened.go(f"#/{NAME}/chat?at=15000")
    await page.get_by_label("message 15000").wait_for()
    assert await page.locator(".long-list li").count() < 80
    await page.get_by_label("Speaker").select_option("evaluator")
    await page.get_by_label("Trial").fill("7000")
    await opened.says(".count-of", "1 message")
    await page.get_by_label("evaluator, message 14000").wait_for()
    await opened.check()


@pytest.mark.slow
async def test_the_tree_is_walked_by_keyboard(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10_000))
    page = opened.page
    await opened.go(f"#/{NAME}/lineage")
    tree = page.get_by_role("application")
    await tree.focus()
    chosen = page.locator(".chosen")
    await page.keyboard.press("ArrowRight")
    assert (await chosen.inner_text()).startswith("Trial 0")
    await page.keyboard.press("ArrowRight")
    assert (await chosen.inner_text()).startswith("Trial 1")
    await page.keyboard.press("ArrowLeft")
    assert (await chosen.inner_text()).startswith("Trial 0")
    for key in ("+", "-", "0"):
        await page.keyboard.press(key)
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Trial 1", exact=True).wait_for()
    await opened.check()


async def test_a_click_in_the_tree_chooses_a_trial_and_a_second_opens_it(
    open_page: Open, files: Callable[..., str]
) -> None:
    opened = await open_page(files(10))
    page = opened.page
    await opened.go(f"#/{NAME}/lineage")
    tree = page.get_by_role("application")
    # The root lies where the picture begins.
    box = await tree.bounding_box()
    assert box is not None
    await page.wait_for_timeout(50)
    for x, y in ((24, 32 + step) for step in range(0, 60, 6)):
        await tree.click(position={"x": x, "y": y})
        if (await page.locator(".chosen").inner_text()).startswith("Trial 0"):
            await tree.click(position={"x": x, "y": y})
            break
    await page.get_by_role("heading", name="Trial 0", exact=True).wait_for()
    await opened.check()


async def test_single_keys_lead_everywhere_and_can_be_turned_off(
    open_page: Open, files: Callable[..., str]
) -> None:
    opened = await open_page(files(10))
    page = opened.page
    await page.keyboard.press("2")
    await page.wait_for_selector('main[data-view="lineage"]')
    await page.keyboard.press("/")
    assert await page.evaluate("document.activeElement.type") == "search"
    await page.keyboard.type("2")
    assert await page.locator('main[data-view="lineage"]').count() == 1
    await opened.go(f"#/{NAME}/trial/4")
    await page.locator("main").focus()
    await page.keyboard.press("j")
    await page.get_by_role("heading", name="Trial 5", exact=True).wait_for()
    await page.keyboard.press("k")
    await page.get_by_role("heading", name="Trial 4", exact=True).wait_for()
    await page.keyboard.press("?")
    await page.get_by_label("single keys are shortcuts").uncheck()
    await page.get_by_role("button", name="Close").click()
    await page.keyboard.press("2")
    await page.get_by_role("heading", name="Trial 4", exact=True).wait_for()
    assert await page.locator('main[data-view="trial"]').count() == 1
    await opened.check()


async def test_nothing_is_wider_than_a_phone(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10), phone=True)
    wide = {}
    for view, route in VIEWS.items():
        await opened.go(f"#/{NAME}/{route}")
        width = await opened.page.evaluate("document.documentElement.scrollWidth")
        if width > 360:
            wide[view] = width
    assert wide == {}
    await opened.check()


@pytest.mark.parametrize(
    "dark", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["light", "dark"]
)
async def test_axe_finds_nothing_serious(
    open_page: Open, files: Callable[..., str], dark: bool
) -> None:
    axe = (resources("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    opened = await open_page(files(10), dark=dark)
    await opened.page.evaluate(axe)
    found: dict[str, list[Any]] = {}
    for view, route in VIEWS.items():
        await opened.go(f"#/{NAME}/{route}")
        await opened.until("!document.querySelector('main .waiting')")
        answer = await opened.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        serious = [
            (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
            for one in answer["violations"]
            if one["impact"] in ("serious", "critical")
        ]
        if serious:
            found[view] = serious
    assert found == {}
    await opened.check()


async def test_campaigns_are_listed(open_page: Open, files: Callable[..., str]) -> None:
    opened = await open_page(files(10))
    await opened.page.get_by_role("link", name="recipelab").click()
    await opened.page.get_by_role("heading", name="Campaigns").wait_for()
    await opened.page.get_by_role("link", name="other").click()
    await opened.page.get_by_role("heading", name="Overview of other").wait_for(state="attached")
    await opened.check()


@pytest.mark.skipif("RECIPELAB_PAGE_IMAGES" not in os.environ, reason="no pictures were asked for")
@pytest.mark.parametrize("name", ["overview", "lineage", "trial", "phone"])
async def test_pictures_of_the_docs(open_page: Open, files: Callable[..., str], name: str) -> None:
    """``RECIPELAB_PAGE_IMAGES=docs/images`` has the pictures of the docs made anew."""
    trials = 400 if name == "lineage" else 60
    opened = await open_page(files(trials, "docs"), dark=name == "lineage", phone=name == "phone")
    route = {"trial": "trial/36", "phone": "overview"}.get(name, name)
    await opened.go(f"#/{NAME}/{route}")
    await opened.until("!document.querySelector('main .waiting')")
    file = f"{os.environ['RECIPELAB_PAGE_IMAGES']}/page-{name}.png"
    picture = await opened.page.screenshot(path=file, animations="disabled")
    assert len(picture) <= 150_000
