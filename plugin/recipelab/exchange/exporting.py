"""``recipelab export NAME --to``: chooses the format and writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recipelab.errors import RecipelabError, unknown_name
from recipelab.exchange.git_repository import is_export, write_git
from recipelab.exchange.native import export_lines
from recipelab.exchange.replacing import is_file, replacing
from recipelab.exchange.tables import write_csv, write_parquet
from recipelab.lineage import LineageStore


@dataclass(frozen=True)
class Format:
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
    "jsonl": Format(".jsonl", write_jsonl),
    "csv": Format(".csv", write_csv),
    "parquet": Format(".parquet", write_parquet),
    "git": Format(".git", write_git, is_export),
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
