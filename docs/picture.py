"""Draws the picture of the README from a campaign: ``python docs/picture.py NAME OUT.svg``."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from recipelab.cli.progress import print_summary
from recipelab.core.content import Home
from recipelab.lineage import LineageStore

WIDTH = 124


def main(name: str, output: str) -> None:
    """Prints the end of a campaign into an SVG."""
    home = Home.find()
    with LineageStore.open(home.lineage) as store, Path("/dev/null").open("w") as nowhere:
        console = Console(
            record=True, width=WIDTH, file=nowhere, force_terminal=True, highlight=False
        )
        print_summary(console, store, home, name)
        console.save_svg(output, title="make demo")


if __name__ == "__main__":
    main(*sys.argv[1:3])
