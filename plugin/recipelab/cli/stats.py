"""``recipelab stats``."""

from __future__ import annotations

from typing import Annotated

import typer

from recipelab.cli.common import AsJson, HomeOption, clear_errors, opened, out, print_json


def stats(
    name: Annotated[str | None, typer.Argument(help="Campaign; default the newest.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Figures of a campaign: statuses, best so far, failures, chains, time, near misses, ideas."""
    from recipelab.analysis import campaign_stats, history_of
    from recipelab.report.figures import figures

    with clear_errors(), opened(home, name) as (store, campaign):
        facts = campaign_stats(history_of(store, campaign.name))
        if as_json:
            print_json(facts)
            return
        for part in figures(facts):
            out.print(part)
