"""Lists of trials: JSON that is streamed, and a table that shows the newest."""

from __future__ import annotations

import json
from io import StringIO

from rich.console import Console

from recipelab.exchange.campaign_copy import each_trial
from recipelab.lineage import LineageStore
from recipelab.report.trial import campaign_facts, json_list, trial_facts, trials_json, trials_page
from tests.report.conversation import CAMPAIGN, two_at_once


def shown(store: LineageStore, limit: int) -> str:
    console = Console(file=StringIO(), width=120)
    with console.capture() as captured:
        for part in trials_page(store, CAMPAIGN, unit="points", width=120, limit=limit):
            console.print(part)
    return captured.get()


def test_streamed_json_is_that_of_the_whole_list(store: LineageStore) -> None:
    campaign = store.campaign(CAMPAIGN)
    for fill in (lambda: None, lambda: two_at_once(store)):
        fill()
        rows = [trial_facts(record) for record in each_trial(store, CAMPAIGN)]
        whole = campaign_facts(store, campaign) | {"rows": rows}
        text = json.dumps(whole, ensure_ascii=False, indent=2)
        assert "".join(trials_json(store, campaign)) == f"{text}\n"


def test_a_list_of_any_length_is_json() -> None:
    for items in ([], [1], ["a\nb", {"c": []}, None]):
        assert "".join(json_list(items)) == json.dumps(items, indent=2)


def test_the_newest_trials_are_shown_and_the_others_counted(store: LineageStore) -> None:
    two_at_once(store)
    all_of_them, two = shown(store, 50), shown(store, 2)
    assert "not shown" not in all_of_them
    assert all_of_them.index("baseline") < all_of_them.index("rejected")
    assert "2 older trials are not shown. For more of them: --limit 8" in two
    assert "baseline" not in two
    assert two.index("crashed") < two.index("rejected")
