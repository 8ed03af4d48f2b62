"""``recipelab export``: one trial's recipe, or a whole campaign."""

from __future__ import annotations

from pathlib import Path
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
from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.lineage import LineageStore

What = Annotated[str, typer.Argument(help="Number of a trial; with --to, the name of a campaign.")]
To = Annotated[
    Path | None,
    typer.Option("--to", help="Export a whole campaign to this FILE, or FOLDER for git."),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="jsonl|csv|parquet|git",
        help="With --to; default by its ending. jsonl loses nothing.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def export(
    what: What,
    to: To = None,
    format_name: FormatOption = None,
    patch: Annotated[bool, typer.Option("--patch", help="The diff from the baseline.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the trial to this FILE or FOLDER.")
    ] = None,
    force: Force = False,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Export a trial's recipe (as a patch, or as its files), or with --to a whole campaign."""
    with clear_errors():
        if to is not None:
            if patch or output is not None or name is not None:
                raise RecipelabError(
                    "--to exports a whole campaign: --patch, --output and --name are for a trial"
                )
            _campaign(what, to, format_name, home, force=force, as_json=as_json)
            return
        if format_name is not None:
            raise RecipelabError("--format is for a whole campaign: say where with --to")
        with opened(home, name) as (store, campaign):
            exported = _trial(store, campaign.name, _number(what))
            _write(exported, output, patch=patch, force=force)
        if as_json:
            print_json(exported)
        elif output is not None:
            told = f"trial {exported['trial']} of {campaign.name}: {output}"
            out.print(Text(told), soft_wrap=True)
        elif patch:
            typer.echo(exported["patch"], nl=False)
        else:
            raise RecipelabError(
                "say what to export: --patch, --output FOLDER for the files, or --to FILE for a "
                "whole campaign"
            )


def _campaign(
    name: str, to: Path, format_name: str | None, home: Path | None, *, force: bool, as_json: bool
) -> None:
    from recipelab.exchange.files import export_campaign

    with opened(home, name) as (store, campaign):
        written = export_campaign(store, campaign.name, to, format_name=format_name, force=force)
        facts = {
            "campaign": campaign.name,
            "format": written,
            "to": str(to),
            "trials": store.trial_count(campaign.name),
        }
    if as_json:
        print_json(facts)
        return
    out.print(Text(f"campaign {name}, {facts['trials']} trials: {to} ({written})"), soft_wrap=True)


def _number(what: str) -> int:
    if not what.isascii() or not what.isdigit():
        raise RecipelabError(
            f"{what!r} is no number of a trial; to export a whole campaign say where: --to FILE"
        )
    return int(what)


def _trial(store: LineageStore, campaign: str, number: int) -> dict[str, Any]:
    from recipelab.report.figures import patch_of

    files = store.files(campaign, number)
    if not files:
        raise RecipelabError(f"the lineage holds no recipe of trial {number}")
    return {"trial": number, "patch": patch_of(store, campaign, number), "files": files}


def _write(exported: dict[str, Any], output: Path | None, *, patch: bool, force: bool) -> None:
    from recipelab.exchange.replacing import check_paths, replacing

    if output is None:
        return
    check_paths(exported["files"], exported["trial"])
    # A folder may hold a user's own files, so not even --force replaces one.
    with replacing(output, force=force) as place:
        if patch:
            place.write_text(exported["patch"], "utf-8", newline="")
            return
        for path, text in exported["files"].items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8", newline="")
