"""Draws the picture of the README from a campaign: ``python docs/picture.py NAME OUT.svg``."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from recipelab.campaign.campaign import Campaign
from recipelab.cli.progress import print_summary

WIDTH = 124


def main(name: str, output: str) -> None:
    """Print the end of a campaign into an SVG."""
    with Campaign.open(name) as campaign, Path("/dev/null").open("w") as nowhere:
        console = Console(
            record=True, width=WIDTH, file=nowhere, force_terminal=True, highlight=False
        )
        print_summary(console, campaign)
        console.save_svg(output, title="make demo")


if __name__ == "__main__":
    main(*sys.argv[1:3])
