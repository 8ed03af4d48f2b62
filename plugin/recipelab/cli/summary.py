"""The end of a campaign on a terminal: all trials, best against baseline, and where things are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from recipelab.core.trial import Status
from recipelab.report.evidence import newest_words
from recipelab.report.figures import PATCH, TRANSCRIPT
from recipelab.report.trial import comparison, racing_words, spent, trials_table

if TYPE_CHECKING:
    from recipelab.core.content import Home
    from recipelab.lineage import LineageStore


def print_summary(console: Console, store: LineageStore, home: Home, name: str) -> None:
    """Prints the trials, the totals, the best recipe against the baseline, and the papers."""
    from recipelab.exchange.campaign_copy import each_trial
    from recipelab.packs.load import load_pack

    campaign = store.campaign(name)
    metric = load_pack(campaign.pack, campaign.profile).metric
    console.print()
    title = f"Campaign {name}"
    records = list(each_trial(store, name))
    console.print(trials_table(records, unit=metric.unit, title=title, width=console.width))
    counts = store.counts(name)
    told = ", ".join(
        f"{count} {status or 'in flight'}"
        for status, count in counts.items()
        if status is not Status.BASELINE
    )
    console.print(f"{spent(counts)} trials: {told or 'none'}", markup=False)
    baseline, best = store.trial(name, 0), store.best(name)
    console.print(comparison(baseline, best, metric=metric.name, unit=metric.unit))
    if words := racing_words(store.racing(name)):
        console.print(words, markup=False)
    if best.number != baseline.number:
        console.print(newest_words(store, name, best.number), markup=False, soft_wrap=True)
    folder = home.campaign(name)
    for label, file in (("patch", PATCH), ("transcript", TRANSCRIPT)):
        path = folder / file
        if path.is_file():
            # Soft wrap keeps a long path in one piece, to be copied.
            console.print(Text(f"{label + ':':<12}{os.path.relpath(path)}"), soft_wrap=True)
