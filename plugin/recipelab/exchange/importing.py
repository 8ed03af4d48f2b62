"""``recipelab import``: finds out what a file or folder holds, reads it, and stores it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recipelab.errors import LineageError, RecipelabError
from recipelab.exchange.native_reading import read_export
from recipelab.exchange.released_rows import Damage
from recipelab.exchange.released_run import RESULTS, read_released
from recipelab.lineage import LineageStore
from recipelab.lineage.importing import CampaignCopy, add_copy


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
