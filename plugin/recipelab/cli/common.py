"""What the commands share: options, output, and the way errors end a command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.lineage import CampaignRecord, LineageStore

BAD_INPUT = 2
"""Exit code for anything that the user can mend."""

FAILED = 1
"""Exit code of a campaign that stopped before its budget was spent."""

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""

WIDTH = 140
"""Columns of a table that goes to a file or a pipe."""


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    wide = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(stderr=stderr, highlight=False, width=WIDTH) if wide else console


out = _console()
err = _console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the lineage; default $RECIPELAB_HOME or .recipelab."),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the campaign; default the newest.")
]


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turns an error that the user can mend into one message and exit code 2."""
    try:
        yield
    except RecipelabError as error:
        # Markup off: the message may hold text from agents or brackets from TOML.
        err.print(f"recipelab: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None


def print_json(value: Any) -> None:
    """Prints a value as JSON on standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2))


@contextmanager
def opened(home: Path | None, name: str | None) -> Iterator[tuple[LineageStore, CampaignRecord]]:
    """The existing lineage and one of its campaigns.

    Args:
        home: The folder asked for.
        name: Name of the campaign; ``None`` takes the newest.

    Raises:
        RecipelabError: There is no lineage, no campaign, or none of that name.
    """
    from recipelab.lineage import LineageStore

    place = Home.find(home)
    lineage = place.lineage
    if isinstance(lineage, Path) and not lineage.is_file():
        raise RecipelabError(f"no lineage at {lineage}; start a campaign with: recipelab run PACK")
    with LineageStore.open(lineage) as store:
        campaigns = store.campaigns()
        if name is None and not campaigns:
            raise RecipelabError("no campaign in this lineage; start one: recipelab run PACK")
        yield store, store.campaign(name) if name is not None else campaigns[-1]
