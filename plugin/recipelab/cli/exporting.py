"""``recipelab export``: one recipe, or a whole campaign."""

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
from recipelab.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.lineage import LineageStore

Trial = Annotated[
    int | None,
    typer.Argument(help="Number of a trial, 0 is the baseline; leave out for all trials."),
]
Patch = Annotated[bool, typer.Option("--patch", help="The diff from the baseline.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File or folder that is written.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="Of all trials: jsonl, csv, parquet, or git (a repository)."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]


def export(
    number: Trial = None,
    patch: Patch = False,
    format: Format = None,
    output: Output = None,
    force: Force = False,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Export a trial's recipe (a patch for git apply, or files), or a whole campaign (--format)."""
    with clear_errors(), opened(home, name) as (store, campaign):
        if number is None:
            told = _campaign(store, campaign.name, format, output, force=force)
        elif format is not None:
            raise RecipelabError("--format is for all trials: leave out the number")
        elif as_json:
            print_json({"trial": number, **_exported(store, campaign.name, number)})
            return
        else:
            told = _trial(store, campaign.name, number, patch=patch, output=output)
        if as_json:
            print_json({"campaign": campaign.name, "format": format, "output": str(output)})
        elif told:
            out.print(Text(told), soft_wrap=True)


def _campaign(
    store: LineageStore, campaign: str, format: str | None, output: Path | None, *, force: bool
) -> str:
    from recipelab.exchange.exporting import FORMATS, export_campaign

    if format is None or output is None:
        raise RecipelabError(
            "say what to export: the number of a trial, or all of them with "
            f"--format {'|'.join(FORMATS)} --output PATH"
        )
    export_campaign(store, campaign, output, format, force=force)
    return f"{campaign} as {format}: {output}"


def _trial(
    store: LineageStore, campaign: str, number: int, *, patch: bool, output: Path | None
) -> str:
    if not patch and output is None:
        raise RecipelabError("say what to export: --patch, or --output FOLDER for the files")
    exported = _exported(store, campaign, number)
    if output is None:
        typer.echo(exported["patch"], nl=False)
        return ""
    if patch:
        output.write_text(exported["patch"], "utf-8", newline="")
    else:
        _write_files(output, exported["files"])
    return f"trial {number} of {campaign}: {output}"


def _exported(store: LineageStore, campaign: str, number: int) -> dict[str, Any]:
    from recipelab.report.papers import patch_of

    files = store.files(campaign, number)
    if not files:
        raise RecipelabError(f"trial {number} was rejected and has no recipe")
    return {"patch": patch_of(store, campaign, number), "files": files}


def _write_files(folder: Path, files: dict[str, str]) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise RecipelabError(f"{folder} is not empty; name a new folder")
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8", newline="")
