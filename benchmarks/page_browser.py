"""How soon a report can be used: a file of many trials, opened in a real browser.

A lineage is filled, written as a report, and opened several times, each time in a fresh browser. It
counts until the overview has its chart, until the lineage's tree is drawn, until a filtered table
has its rows, and until the last trial is shown whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from lineage_fill import CAMPAIGN, fill
from playwright.async_api import Page, async_playwright

from recipelab.campaign.campaign import Campaign
from recipelab.core.content import Home
from recipelab.page.data import CampaignData
from recipelab.page.export import Mode, write_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

STEPS = {
    "overview": (
        None,
        "document.querySelectorAll('.figure').length === 4"
        " && document.querySelector('.uplot canvas')",
    ),
    "tree": (
        f"location.hash = '#/{CAMPAIGN}/lineage'",
        "document.querySelector('.tree canvas')?.width > 300",
    ),
    "table, filtered": (
        f"location.hash = '#/{CAMPAIGN}/lineage?as=table&text=warmup&status=kept'",
        "document.querySelector('.count-of')?.textContent.includes(' of ')"
        " && document.querySelector('tbody tr:not(.room)')",
    ),
    "last trial": (
        f"location.hash = '#/{CAMPAIGN}/trial/LAST'",
        "document.querySelector('.hypothesis')",
    ),
}


async def until(page: Page, condition: str) -> None:
    """Wait until something is so and the browser has drawn it."""
    for _ in range(10_000):
        if await page.evaluate(f"Boolean({condition})"):
            break
        await asyncio.sleep(0.005)
    else:
        raise SystemExit(f"never so: {condition}")
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


async def opened(file: Path, trials: int, program: str) -> dict[str, float]:
    """Return the seconds of each step in a fresh browser."""
    took: dict[str, float] = {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": 1280, "height": 860})
        await page.goto("about:blank")
        for name, (action, condition) in STEPS.items():
            began = time.perf_counter()
            if action is None:
                await page.goto(f"{file.as_uri()}#/{CAMPAIGN}/overview", wait_until="commit")
            else:
                await page.evaluate(action.replace("LAST", str(trials - 1)))
            await until(page, condition)
            took[name] = time.perf_counter() - began
        await browser.close()
    return took


async def main() -> None:
    """Fill, write, open, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=5, help="fresh browsers")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        parser.error("there is no Chromium on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        fill(home.lineage, options.trials)
        file = Path(folder) / "report.html"
        with Campaign.open(CAMPAIGN, home=home) as campaign:
            began = time.perf_counter()
            write_page(file, [CampaignData(campaign)], Mode.REPORT)
            wrote = time.perf_counter() - began
        size = file.stat().st_size
        tries = [await opened(file, options.trials, program) for _ in range(options.times)]
    print(f"{options.trials} trials: written in {wrote:.2f} s, {size / 1e6:.2f} MB")
    found = {name: [one[name] for one in tries] for name in STEPS}
    for name, seconds in found.items():
        print(f"{name:18} {statistics.median(seconds):.3f} s (at most {max(seconds):.3f} s)")
    if options.json is not None:
        facts = {"trials": options.trials, "write_seconds": wrote, "bytes": size, "steps": found}
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
