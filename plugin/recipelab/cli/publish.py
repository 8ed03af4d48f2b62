"""``recipelab plot`` and ``recipelab track``: campaigns as pictures, and in trackers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from recipelab.cli.common import (
    AsJson,
    Force,
    HomeOption,
    clear_errors,
    opened_campaign,
    out,
    print_json,
)
from recipelab.core.errors import RecipelabError


def plot(
    kind: Annotated[
        str, typer.Argument(metavar="best|tree|gates|surfaces|noise|cost", help="What to draw.")
    ],
    campaigns: Annotated[
        list[str] | None,
        typer.Argument(help="Campaigns; default the newest. best and cost take several."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="FILE to write: .svg, .pdf or .png.")
    ] = None,
    width: Annotated[
        str, typer.Option(metavar="single|double|INCHES", help="One or two columns of a paper.")
    ] = "single",
    against: Annotated[
        str,
        typer.Option(
            metavar="trials|hours|device-hours|cost", help="What the best is drawn against."
        ),
    ] = "trials",
    apart: Annotated[
        bool,
        typer.Option(
            "--apart", help="A line for each campaign, not the mean and range of like ones."
        ),
    ] = False,
    force: Force = False,
    home: HomeOption = None,
) -> None:
    """Draw campaigns into a file: best so far, tree of trials, gates, surfaces, noise, or cost."""
    from recipelab.report.plots import SUFFIXES, draw

    names = campaigns or []
    with clear_errors():
        if output is None:
            endings = ", ".join(SUFFIXES)
            raise RecipelabError(f"say where the plot goes: --output FILE, ending with {endings}")
    with opened_campaign(home, names[0] if names else None) as first:
        draw(
            kind,
            first.store,
            names or [first.name],
            output,
            width=width,
            against=against,
            apart=apart,
            force=force,
        )
        out.print(Text(f"{kind} of {', '.join(names or [first.name])}: {output}"), soft_wrap=True)


def track(
    name: Annotated[str, typer.Argument(help="Campaign.")],
    trackers: Annotated[
        list[str],
        typer.Argument(metavar="TRACKER...", help="mlflow[:URI], wandb[:PROJECT|offline], ..."),
    ],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Send a campaign to trackers of experiments; what they have already is not sent again."""
    with opened_campaign(home, name) as campaign:
        sent = campaign.track(*trackers)
    if as_json:
        print_json(sent)
        return
    for spec, many in sent.items():
        out.print(Text(f"{many} trials of {name} sent to {spec}"), soft_wrap=True)
