"""``recipelab plot``: campaigns as pictures for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from recipelab.cli.common import Force, HomeOption, clear_errors, opened_campaign, out
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
