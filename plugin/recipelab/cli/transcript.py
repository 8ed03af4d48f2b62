"""``recipelab transcript``: a campaign as a review, or its messages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.report.transcript import Transcript, TranscriptFormat

Round = Annotated[int | None, typer.Option("--round", help="Only this round.")]
Trial = Annotated[
    int | None, typer.Option("--trial", help="Only the turns that tell of this trial.")
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="text|markdown|html|jsonl",
        help="Default: by the ending of --output; else text on a terminal, Markdown elsewhere.",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this FILE.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file that is there.")]


def transcript(
    round_number: Round = None,
    trial: Trial = None,
    format_name: FormatOption = None,
    output: Output = None,
    force: Force = False,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Print the group chat: who proposed what and why, what was asked, what came of it."""
    from recipelab.report.transcript import Transcript, format_of

    with clear_errors():
        _check(round_number, trial, format_name, output, as_json=as_json)
        kind = format_of(format_name, output)
        with opened(home, name) as (store, campaign):
            told = Transcript(store, campaign, round_number, trial)
            if as_json:
                print_json(list(told.payloads()))
            elif output is not None and kind is not None:
                _write(told, output, kind, force=force)
            else:
                _print(told, kind)


def _check(
    round_number: int | None,
    trial: int | None,
    format_name: str | None,
    output: Path | None,
    *,
    as_json: bool,
) -> None:
    if round_number is not None and trial is not None:
        raise RecipelabError("--round and --trial: give one of them; a trial belongs to a round")
    if as_json and (format_name is not None or output is not None):
        raise RecipelabError("--json prints one JSON list; for a file or a format leave it out")


def _write(told: Transcript, output: Path, kind: TranscriptFormat, *, force: bool) -> None:
    from recipelab.exchange.replacing import replacing

    with replacing(output, force=force) as place:
        told.write(place, kind)
    out.print(Text(f"transcript of {told.campaign.name}: {output} ({kind})"), soft_wrap=True)


def _print(told: Transcript, kind: TranscriptFormat | None) -> None:
    from recipelab.report.transcript import TranscriptFormat

    if kind is None:
        kind = TranscriptFormat.TEXT if out.is_terminal else TranscriptFormat.MARKDOWN
    if kind is TranscriptFormat.TEXT:
        told.show(out)
        return
    for piece in told.pieces(kind):
        typer.echo(piece, nl=False)
