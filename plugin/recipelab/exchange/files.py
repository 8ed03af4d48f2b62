"""A campaign into a file or folder, and back: chooses the format, and writes or reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recipelab.core.errors import LineageError, RecipelabError, unknown_name
from recipelab.exchange.git import is_export, write_git
from recipelab.exchange.jsonl import export_lines, read_export
from recipelab.exchange.released_run import RESULTS, read_released
from recipelab.exchange.released_trials import Damage
from recipelab.exchange.replacing import is_file, replacing
from recipelab.exchange.results_table import is_results_table, read_results_table
from recipelab.exchange.tables import write_csv, write_parquet
from recipelab.lineage import LineageStore
from recipelab.lineage.copy import CampaignCopy, add_copy


@dataclass(frozen=True)
class ExportFormat:
    """A format that a campaign can be exported to.

    Attributes:
        suffix: The end of a path that chooses the format.
        write: Writes a campaign to a path at which nothing is.
        may_replace: Returns whether the format may replace what is at a path.
    """

    suffix: str
    write: Callable[[LineageStore, str, Path], None]
    may_replace: Callable[[Path], bool] = is_file


def write_jsonl(store: LineageStore, campaign: str, file: Path) -> None:
    """Write a campaign as JSON Lines, without loss."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(export_lines(store, campaign))


FORMATS = {
    "jsonl": ExportFormat(".jsonl", write_jsonl),
    "csv": ExportFormat(".csv", write_csv),
    "parquet": ExportFormat(".parquet", write_parquet),
    "git": ExportFormat(".git", write_git, is_export),
}
"""The formats by name."""


def export_campaign(
    store: LineageStore,
    campaign: str,
    target: Path,
    *,
    format_name: str | None = None,
    force: bool = False,
    head: bool = False,
) -> str:
    """Write a campaign to a file or, as a Git repository, to a folder.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        target: The file or folder; it is there whole at the end, or not at all.
        format_name: One of :data:`FORMATS`; ``None`` goes by the suffix of the target.
        force: Whether a file, or a folder of an earlier export to Git, may be replaced.
        head: Whether the branch ``main`` of a Git repository ends at the head of the working line
            instead of at the certified trial.

    Returns:
        The name of the format.

    Raises:
        RecipelabError: There is no such campaign or format, the target exists or cannot be
            written, or a program or package that the format needs is missing.
    """
    name = format_name or _format_by_suffix(target)
    if name not in FORMATS:
        raise RecipelabError(unknown_name("format", name, FORMATS))
    chosen = FORMATS[name]
    # The campaign may be running; everything is exported as it is at one moment.
    with store.moment():
        store.campaign(campaign)
        with replacing(target, force=force, may_replace=chosen.may_replace) as place:
            if head and name == "git":
                write_git(store, campaign, place, head=True)
            else:
                chosen.write(store, campaign, place)
    return name


def _format_by_suffix(target: Path) -> str:
    for name, item in FORMATS.items():
        if target.name.endswith(item.suffix):
            return name
    endings = ", ".join(item.suffix for item in FORMATS.values())
    raise RecipelabError(
        f"the format of {target} is not clear: end it in one of {endings}, or give --format "
        f"{'|'.join(FORMATS)}"
    )


@dataclass(frozen=True)
class Imported:
    """An imported campaign.

    Attributes:
        kind: ``released run``, ``results table`` or ``export``.
        copy: The campaign as it was stored.
        damage: Every damaged row of the source.
    """

    kind: str
    copy: CampaignCopy
    damage: tuple[Damage, ...]


def import_campaign(store: LineageStore, path: Path, name: str) -> Imported:
    """Read a campaign into the lineage.

    Args:
        store: The lineage.
        path: Folder of a released run, its ``results.tsv``, that of an agent's own experiments
            (``commit``, a score, ``status``, ``description``), or a JSONL export.
        name: Name that the campaign gets.

    Raises:
        RecipelabError: The path holds nothing that can be read, or the name is taken or not valid.
    """
    if name in {campaign.name for campaign in store.campaigns()}:
        raise LineageError(f"there is a campaign {name} already; choose another name with --as")
    try:
        imported = _read(path, name)
        add_copy(store, imported.copy)
    except (OSError, ValueError, OverflowError) as error:
        # A value that no path, number or text can have: the transaction has left nothing behind.
        raise RecipelabError(f"cannot import {path}: {error}") from None
    return imported


def _read(path: Path, name: str) -> Imported:
    if not path.exists():
        raise RecipelabError(f"there is no {path}")
    if not path.is_dir() and not path.is_file():
        raise RecipelabError(f"{path} is neither a file nor a folder")
    if path.is_dir() and not (path / RESULTS).is_file():
        raise RecipelabError(
            f"{path} has no {RESULTS}; give the folder of a released run ({RESULTS}, tree.tsv), "
            "or a file that recipelab export --format jsonl wrote"
        )
    table = path / RESULTS if path.is_dir() else path
    if is_results_table(table):
        return Imported("results table", *read_results_table(table, name))
    if path.is_dir() or path.name == RESULTS:
        folder = path if path.is_dir() else path.parent
        return Imported("released run", *read_released(folder, name))
    return Imported("export", read_export(path, name), ())
