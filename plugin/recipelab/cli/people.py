"""``recipelab pause`` and ``recipelab submit``: what people do to a campaign besides notes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from recipelab.cli.common import (
    FAILED,
    AsJson,
    HomeOption,
    NameOption,
    clear_errors,
    opened,
    out,
    print_json,
)
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError


def pause(
    name: Annotated[str | None, typer.Argument(help="Campaign; default the newest.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Let a running campaign rest: trials that run go on, none is begun until it is resumed."""
    with clear_errors(), opened(home, name) as (store, campaign):
        place = Home.find(home)
        if not place.is_locked(campaign.name):
            raise RecipelabError(
                f"no process runs campaign {campaign.name} ({campaign.state}) from {place.root}, "
                f"so there is nothing to pause; go on with it: recipelab resume {campaign.name}"
            )
        store.pause_campaign(campaign.name)
        running = len(store.in_flight_briefs(campaign.name))
        if as_json:
            print_json({"campaign": campaign.name, "state": "paused", "in_flight": running})
            return
        told = f"Campaign {campaign.name} begins no trial; {running} are queued or run to their end"
        out.print(f"{told}. Go on with: recipelab resume {campaign.name}", markup=False)


def submit(
    hypothesis: Annotated[str, typer.Option(help="Why the change should help.")],
    patch: Annotated[str, typer.Option(metavar="FILE|-", help="The change, as git diff has it.")],
    parent: Annotated[
        int | None, typer.Option(min=0, help="Trial whose recipe is changed; default the best.")
    ] = None,
    surface: Annotated[
        str | None, typer.Option(help="What it is about; needed if the pack has several.")
    ] = None,
    expected_delta: Annotated[
        float, typer.Option(help="Expected change of the metric, signed, in its unit.")
    ] = 0.0,
    proposer: Annotated[str, typer.Option("--as", metavar="NAME", help="Who proposes.")] = "person",
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Propose a trial, like any specialist. A running campaign takes it up within a second.

    Exit code 1 if it was rejected: it is in the lineage, and is not run.
    """
    from recipelab.cli.submitting import Request, taken, told

    with clear_errors(), opened(home, name) as (store, campaign):
        asked = Request(_read(patch), hypothesis, expected_delta, proposer, parent, surface)
        runs = Home.find(home).is_locked(campaign.name)
        facts = taken(store, campaign, asked, runs=runs)
        if as_json:
            print_json(facts)
        else:
            out.print(Text(told(facts)), soft_wrap=True)
        if facts["status"] == "rejected":
            raise typer.Exit(FAILED)


def _read(patch: str) -> bytes:
    if patch == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(patch).read_bytes()
    except OSError as error:
        raise RecipelabError(f"cannot read the patch {patch}: {error.strerror}") from None
