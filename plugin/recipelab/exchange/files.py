"""``recipelab export NAME --to``: chooses the format and writes it."""

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
from recipelab.exchange.tables import write_csv, write_parquet
from recipelab.lineage import LineageStore
from recipelab.lineage.copy import CampaignCopy, add_copy


@dataclass(frozen=True)
class ExportFormat:
    """A format.

    Attributes:
        ending: The ending of a path that chooses it.
        write: Writes a campaign to a path that is not there yet.
        may_go: Whether what is at a path may be replaced by it.
    """

    ending: str
    write: Callable[[LineageStore, str, Path], None]
    may_go: Callable[[Path], bool] = is_file


def write_jsonl(store: LineageStore, campaign: str, file: Path) -> None:
    """Writes a campaign as JSON Lines, without loss."""
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
) -> str:
    """Writes a campaign to a file or, as a Git repository, to a folder.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        target: Where it goes; it is there whole at the end, or not at all.
        format_name: One of :data:`FORMATS`; ``None`` goes by the ending of the target.
        force: Whether a file, or a folder of an earlier export to Git, may be replaced.

    Returns:
        The name of the format.

    Raises:
        RecipelabError: There is no such campaign or format, something is there already, the
            target cannot be written, or what the format needs is missing.
    """
    name = format_name or _by_ending(target)
    if name not in FORMATS:
        raise RecipelabError(unknown_name("format", name, FORMATS))
    chosen = FORMATS[name]
    store.campaign(campaign)
    with replacing(target, force=force, may_go=chosen.may_go) as place:
        chosen.write(store, campaign, place)
    return name


def _by_ending(target: Path) -> str:
    for name, item in FORMATS.items():
        if target.name.endswith(item.ending):
            return name
    endings = ", ".join(item.ending for item in FORMATS.values())
    raise RecipelabError(
        f"the format of {target} is not clear: end it in one of {endings}, or give --format "
        f"{'|'.join(FORMATS)}"
    )


@dataclass(frozen=True)
class Imported:
    """What an import brought.

    Attributes:
        kind: ``released run`` or ``export``.
        copy: The campaign as it was stored.
        damage: Everything that was wrong with the source's rows.
    """

    kind: str
    copy: CampaignCopy
    damage: tuple[Damage, ...]


def import_campaign(store: LineageStore, path: Path, name: str) -> Imported:
    """Reads a campaign from outside into the lineage.

    Args:
        store: The lineage.
        path: Folder of a released run, its ``results.tsv``, or a JSONL export.
        name: Name that the campaign gets.

    Raises:
        RecipelabError: The path holds nothing that can be read, or the name cannot be given.
    """
    if name in {campaign.name for campaign in store.campaigns()}:
        raise LineageError(f"there is a campaign {name} already; choose another name with --as")
    try:
        imported = _read(path, name)
        add_copy(store, imported.copy)
    except (OSError, ValueError, OverflowError) as error:
        # What no path, number or text can be: the transaction has left nothing behind.
        raise RecipelabError(f"cannot import {path}: {error}") from None
    return imported


def _read(path: Path, name: str) -> Imported:
    if not path.exists():
        raise RecipelabError(f"there is no {path}")
    if path.is_dir() and not (path / RESULTS).is_file():
        raise RecipelabError(
            f"{path} has no {RESULTS}; give the folder of a released run ({RESULTS}, tree.tsv), "
            "or a file that recipelab export --format jsonl wrote"
        )
    if path.is_dir() or path.name == RESULTS:
        folder = path if path.is_dir() else path.parent
        return Imported("released run", *read_released(folder, name))
    return Imported("export", read_export(path, name), ())
