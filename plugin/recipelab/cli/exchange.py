"""``recipelab export`` and ``recipelab import``: recipes and whole campaigns, out and in."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from recipelab.cli.common import (
    AsJson,
    HomeOption,
    NameOption,
    clear_errors,
    opened_campaign,
    out,
    print_json,
    say,
)
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain, shorten
from recipelab.core.text_form import BYTES_KEPT

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign
    from recipelab.exchange.files import Imported

BEST = "best"
"""The certified trial; with ``--head`` the head of the working line."""

SHOWN_CHARACTERS = 60
"""Characters of a damaged row that are shown."""


def export(
    what: Annotated[
        str, typer.Argument(help="Number of a trial, or best; with --to, the name of a campaign.")
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Export a whole campaign to this FILE, or FOLDER for git."),
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="jsonl|csv|parquet|git",
            help="With --to; default by its ending. jsonl loses nothing.",
        ),
    ] = None,
    patch: Annotated[bool, typer.Option("--patch", help="The diff from the baseline.")] = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            help="With --patch: what stands before its paths; default the pack's folder in its "
            "repository, so that git apply takes it."
        ),
    ] = None,
    artifact: Annotated[
        bool,
        typer.Option("--artifact", help="Recipe and trained artifact, and how to predict with it."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the trial to this FILE or FOLDER.")
    ] = None,
    head: Annotated[
        bool,
        typer.Option("--head", help="The head of the working line, not the certified trial."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Export a trial's recipe (as a patch, or as its files), or with --to a whole campaign."""
    with clear_errors():
        if to is not None and (patch or artifact or output is not None or name is not None):
            raise RecipelabError(
                "--to exports a whole campaign: --patch, --artifact, --output and --name are for "
                "a trial"
            )
        if prefix is not None and not patch:
            raise RecipelabError("--prefix is for --patch")
        if artifact and (patch or output is None):
            raise RecipelabError("--artifact writes a folder: give --output FOLDER, and no --patch")
        if to is None and format_name is not None:
            raise RecipelabError("--format is for a whole campaign: say where with --to")
        if head and to is None and what != BEST:
            raise RecipelabError(f"--head is for {BEST} and for --to, not for trial {what!r}")
    if to is not None:
        _export_campaign(what, to, format_name, home, force=force, head=head, as_json=as_json)
        return
    with opened_campaign(home, name) as campaign:
        if what == BEST:
            number = _best(campaign, head=head)
        elif what.isascii() and what.isdigit():
            number = int(what)
        else:
            raise RecipelabError(
                f"{what!r} is no trial; valid: {BEST}, or the number of a trial; to export a whole "
                "campaign say where: --to FILE"
            )
        if artifact and output is not None:
            campaign.export_artifact(number, output, force=force)
            if as_json:
                print_json({"trial": number, "folder": str(output)})
            else:
                words = f"trial {number} of {campaign.name}, with its artifact: {output}"
                out.print(Text(words), soft_wrap=True)
            return
        diff = _patch_here(campaign, number, prefix, told=patch and output is None and not as_json)
        _export_trial(campaign, number, output, diff, patch=patch, force=force, as_json=as_json)


def _patch_here(campaign: Campaign, number: int, prefix: str | None, *, told: bool) -> str:
    """Return the patch of a trial as ``git apply`` takes it here, and say if it takes it nowhere.

    Args:
        campaign: The campaign.
        number: The trial.
        prefix: What a user wants before its paths; ``None`` for the pack's folder.
        told: Whether the patch goes to standard output, perhaps to Git.
    """
    from recipelab.exchange.patches import left_out_by_git, patch_prefix

    folder, here = campaign.pack_folder(), Path.cwd()
    if prefix is None:
        prefix = patch_prefix(folder, here) if folder is not None else ""
    elif prefix and not prefix.endswith("/"):
        prefix += "/"
    patch = campaign.patch(number, prefix=prefix)
    if told and folder is not None and (words := left_out_by_git(patch, folder, here)):
        say(words)
    return patch


def _export_campaign(
    name: str,
    to: Path,
    format_name: str | None,
    home: Path | None,
    *,
    force: bool,
    head: bool,
    as_json: bool,
) -> None:
    with opened_campaign(home, name) as campaign:
        written = campaign.export(to, format_name=format_name, force=force, head=head)
        trials = campaign.store.trial_count(name)
    if as_json:
        print_json({"campaign": name, "format": written, "to": str(to), "trials": trials})
        return
    out.print(Text(f"campaign {name}, {trials} trials: {to} ({written})"), soft_wrap=True)


def _best(campaign: Campaign, *, head: bool) -> int:
    """Return the number of the certified trial, or of the head where that is asked for."""
    best = campaign.best
    winner = campaign.store.winner_brief(campaign.name, head=head).number
    if winner == 0 and best.number != 0:
        raise RecipelabError(
            f"no trial of {campaign.name} is certified; take the head of its line, trial "
            f"{best.number} ({best.standing}), with --head"
        )
    return winner


def _export_trial(
    campaign: Campaign,
    number: int,
    output: Path | None,
    diff: str,
    *,
    patch: bool,
    force: bool,
    as_json: bool,
) -> None:
    files = campaign.files(number)
    if output is not None:
        texts = _on_disk(campaign, files)
        _write_trial(number, texts, diff if patch else None, output, force=force)
    if as_json:
        standing = campaign.trial(number).standing
        shown = diff.encode("utf-8", BYTES_KEPT).decode("utf-8", "replace")
        print_json({"trial": number, "standing": standing, "patch": shown, "files": files})
    elif output is not None:
        out.print(Text(f"trial {number} of {campaign.name}: {output}"), soft_wrap=True)
    elif patch:
        # As bytes: Git wants the files' own, whatever a terminal can show.
        typer.echo(diff.encode("utf-8", BYTES_KEPT), nl=False)
    else:
        raise RecipelabError(
            "say what to export: --patch, --output FOLDER for the files, or --to FILE for a "
            "whole campaign"
        )


def _on_disk(campaign: Campaign, files: dict[str, str]) -> dict[str, bytes]:
    """Return the files of a recipe as they are written: in the form of the user's own ones."""
    forms = campaign.text_forms()
    return {
        path: forms[path].bytes_of(text) if path in forms else text.encode("utf-8")
        for path, text in files.items()
    }


def _write_trial(
    number: int, files: dict[str, bytes], diff: str | None, output: Path, *, force: bool
) -> None:
    from recipelab.exchange.replacing import check_paths, replacing

    check_paths(files, number)
    # A folder may hold a user's own files, so not even --force replaces one.
    with replacing(output, force=force) as place:
        if diff is not None:
            place.write_bytes(diff.encode("utf-8", BYTES_KEPT))
            return
        for path, content in files.items():
            file = place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def import_(
    source: Annotated[
        Path,
        typer.Argument(help="Folder of a released run, its results.tsv, or a JSONL export."),
    ],
    name: Annotated[str, typer.Option("--as", help="Name that the campaign gets here.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Import a campaign: a released run, or an export of this program."""
    from recipelab.campaign.planning import open_lineage
    from recipelab.exchange.files import import_campaign

    with clear_errors():
        with open_lineage(Home.find(home), create=True) as store:
            imported = import_campaign(store, source, name)
            counts = {status or "in_flight": n for status, n in store.counts(name).items()}
        facts = _import_facts(imported, counts)
        if as_json:
            print_json(facts)
            return
        if imported.damage:
            out.print(_damage_table(imported))
        totals = ", ".join(f"{count} {status}" for status, count in counts.items())
        text = (
            f"Imported {name} ({imported.kind}): {facts['trials']} trials, {totals}. Damaged "
            f"rows: {facts['damaged']}, repaired {facts['repaired']}, not repairable "
            f"{facts['not_repairable']}."
        )
        out.print(Text(text), soft_wrap=True)


def _import_facts(imported: Imported, counts: dict[Any, int]) -> dict[str, Any]:
    damage = imported.damage
    return {
        "campaign": imported.copy.campaign.name,
        "from": imported.kind,
        "trials": len(imported.copy.trials),
        "counts": counts,
        "damaged": len(damage),
        "repaired": sum(item.repair is not None for item in damage),
        "not_repairable": sum(item.repair is None for item in damage),
        "rows": [asdict(item) for item in damage],
    }


def _damage_table(imported: Imported) -> Table:
    table = Table(title="Damaged rows", title_justify="left", box=SIMPLE_HEAD)
    for head in ("file", "line", "trial", "what is wrong", "repair", "begins"):
        table.add_column(head, overflow="fold")
    for item in imported.damage:
        line = "-" if item.line is None else str(item.line)
        repair = item.repair or "not repairable"
        cells = (item.file, line, item.trial or "-", item.problem, repair)
        begins = shorten(item.text, SHOWN_CHARACTERS)
        table.add_row(*(Text(plain(cell)) for cell in (*cells, begins)))
    return table
