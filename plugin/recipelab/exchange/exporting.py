"""``recipelab export`` of a whole campaign: JSON Lines, CSV, Parquet, or a Git repository."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from recipelab.errors import RecipelabError, unknown_name
from recipelab.exchange.git_repository import write_git
from recipelab.exchange.native import export_lines
from recipelab.exchange.tables import write_csv, write_parquet
from recipelab.lineage import LineageStore

Writer = Callable[[LineageStore, str, Path], None]


def _write_jsonl(store: LineageStore, campaign: str, file: Path) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(export_lines(store, campaign))


FORMATS: dict[str, Writer] = {
    "jsonl": _write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
    "git": write_git,
}
"""What writes each format. Only ``jsonl`` holds everything, and can be imported again."""


def export_campaign(
    store: LineageStore, campaign: str, to: Path, format: str, *, force: bool = False
) -> None:
    """Writes a whole campaign; the target is there whole, or not at all.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        to: File, or folder for ``git``.
        format: ``jsonl``, ``csv``, ``parquet`` or ``git``.
        force: Whether to replace what is there.

    Raises:
        RecipelabError: There is no such format, the target is there or cannot be written, or a
            library or program is missing.
    """
    if format not in FORMATS:
        raise RecipelabError(unknown_name("format", format, FORMATS))
    if _is_there(to) and not force:
        raise RecipelabError(f"{to} is there already; choose another, or replace it with --force")
    try:
        to.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.absolute().parent, prefix=".recipelab-") as folder:
            made = Path(folder) / "made"
            FORMATS[format](store, campaign, made)
            if to.is_dir() and not to.is_symlink():
                shutil.rmtree(to)
            os.replace(made, to)
    except OSError as error:
        raise RecipelabError(f"cannot write {to}: {error}") from error


def _is_there(to: Path) -> bool:
    return to.is_symlink() or (to.exists() and not (to.is_dir() and not any(to.iterdir())))
