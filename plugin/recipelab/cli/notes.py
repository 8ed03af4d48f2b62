"""``recipelab note``: what people tell the specialists."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from recipelab.cli.common import (
    AsJson,
    HomeOption,
    NameOption,
    clear_errors,
    opened,
    out,
    print_json,
)

if TYPE_CHECKING:
    from recipelab.lineage import Note


def note(
    text: Annotated[
        str | None, typer.Argument(help="What to tell; leave out to list the notes.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="The specialist that it is for.")] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="The trial that it is about.")] = None,
    retire: Annotated[int | None, typer.Option(min=1, help="Number of a note to retire.")] = None,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Leave a note for the specialists, who see it from their next turn on until it is retired."""
    from recipelab.core.errors import RecipelabError

    with clear_errors(), opened(home, name) as (store, campaign):
        if text is not None and retire is not None:
            raise RecipelabError("leave a note, or retire one: not both at once")
        if text is None and (to is not None or trial is not None):
            raise RecipelabError("--to and --trial are for a new note: give its text")
        if text is not None:
            store.add_note(campaign.name, text, specialist=to, trial=trial)
        if retire is not None:
            store.retire_note(campaign.name, retire)
        found = store.notes(campaign.name)
        if as_json:
            print_json([_facts(item) for item in found])
            return
        for item in found:
            out.print(Text(_line(item)), soft_wrap=True)
        if not found:
            out.print(f"no notes in {campaign.name}", markup=False)


def _facts(item: Note) -> dict[str, Any]:
    facts = asdict(item)
    return facts | {key: facts[key] and str(facts[key]) for key in ("created_at", "retired_at")}


def _line(item: Note) -> str:
    from recipelab.core.text import plain

    whom = f" to {item.specialist}" if item.specialist else ""
    about = f" on trial {item.trial}" if item.trial is not None else ""
    return f"{item.number}{whom}{about}: {plain(item.text)}"
