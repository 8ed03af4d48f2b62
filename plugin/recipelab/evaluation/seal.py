"""The seal of a campaign: what its trials were measured with, to tell when that is another.

Trials are compared as long as pack, evaluator, data and image are the same: that stretch is an
epoch, and a campaign in the lineage is one epoch. The seal is taken when a campaign begins, and is
held against what is there whenever it goes on or is measured again. Where it differs, the next
epoch is a campaign of its own, so that nothing is compared across (:meth:`Campaign.next_epoch`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Proposal
from recipelab.lineage import CampaignRecord, LineageStore
from recipelab.lineage.campaigns import SEAL
from recipelab.packs.data import data_digests
from recipelab.packs.load import PACK_FILE, pack_names
from recipelab.packs.pack import Pack

JUDGING = (
    "metric", "gates", "acceptance", "seeds", "budgets", "limits", "phases", "certify", "control",
    "fidelity", "evaluator", "protected", "legality", "hardware", "sandbox", "warm",
)  # fmt: skip
"""The tables of ``pack.toml`` that decide what a measurement means."""

MOST_TOLD = 8
"""Changes that a refusal names; of more it gives the number."""

_UNSET = "(not set)"
_HASH_CHARACTERS = 12


class Seal(BaseModel):
    """What the trials of a campaign are measured with.

    Attributes:
        folder: The pack's folder, its links followed.
        pack: The keys of :data:`JUDGING` that are set, as ``metric.goal``, to their values as JSON.
        recipe: SHA-256 of the starting recipe's files together. It is told of no change, as a
            campaign goes on from its own baseline; it tells packs of one name apart.
        evaluator: Files of the evaluator to their SHA-256.
        data: Data files to their SHA-256; empty where no data was fetched yet.
        image: What the sandbox runs in; empty where that is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    folder: str
    pack: dict[str, str]
    recipe: str = ""
    evaluator: dict[str, str]
    data: dict[str, str] = {}
    image: str = ""

    @classmethod
    def of_pack(cls, pack: Pack, data: Mapping[str, Path] | None = None, image: str = "") -> Self:
        """Return the seal of a pack as it is now.

        Args:
            pack: The pack, with its profile applied.
            data: Path of each data file; ``None`` if they are not to be looked at.
            image: What the sandbox runs in.
        """
        dumped = pack.model_dump(mode="json", include=set(JUDGING), exclude_defaults=True)
        evaluator = pack.root / pack.evaluator.folder
        return cls(
            folder=str(pack.root.resolve()),
            pack=dict(_leaves(dumped)),
            recipe=_tree_digest(pack.root / pack.recipe.folder),
            evaluator=_file_digests(evaluator, pack.evaluator.folder),
            data={} if data is None else data_digests(pack, data),
            image=image,
        )

    @classmethod
    def of_campaign(cls, record: CampaignRecord) -> Self | None:
        """Return the seal that the lineage holds of a campaign; ``None`` for an older one."""
        try:
            return cls.model_validate(record.settings.get(SEAL))
        except ValidationError:
            return None

    def changes(self, now: Seal) -> list[str]:
        """Return what is another now, a line each: which file or key, and how.

        What one of the two does not know (data or image) is not compared.
        """
        found = [
            f"pack.toml: {key}: {self.pack.get(key, _UNSET)} -> {now.pack.get(key, _UNSET)}"
            for key in sorted({*self.pack, *now.pack})
            if self.pack.get(key) != now.pack.get(key)
        ]
        found += _changed_files("", self.evaluator, now.evaluator)
        if self.data and now.data:
            found += _changed_files("data: ", self.data, now.data)
        if self.image and now.image and self.image != now.image:
            found.append(f"image: {self.image} -> {now.image}")
        return found

    def first_in(self, before: Seal | None) -> Seal:
        """Return the same seal, with the folder of an earlier one as long as that has the pack."""
        if before is None or not os.path.isfile(Path(before.folder, PACK_FILE)):
            return self
        return self.model_copy(update={"folder": before.folder})

    def is_elsewhere(self, now: Seal) -> bool:
        """Return whether a pack is another one of the same name, and not this one, moved."""
        if self.folder == now.folder or not os.path.isfile(Path(self.folder, PACK_FILE)):
            return False
        return bool(self.changes(now)) or self.recipe != now.recipe


def located(name: str, record: CampaignRecord) -> str:
    """Return under which name or path the pack of a campaign is found from here.

    A campaign may go on from another folder than the one that it was started in.

    Args:
        name: The name or path that it was started with.
        record: The campaign.
    """
    seal = Seal.of_campaign(record)
    if seal is None or not os.path.isfile(Path(seal.folder, PACK_FILE)):
        return name
    is_here = os.path.isdir(name) if "/" in name else name in pack_names()
    return name if is_here else seal.folder


def check_folder(seal: Seal, now: Seal) -> None:
    """Check that a pack is the one that a campaign was started with, and no namesake.

    Raises:
        RecipelabError: It is another; the message names both folders.
    """
    if seal.is_elsewhere(now):
        raise RecipelabError(
            f"the campaign measures the pack in {seal.folder}, and from here another one of the "
            f"same name is found: {now.folder}; call this from the folder where the campaign was "
            "started, or start a campaign of the other pack"
        )


def check_seal(campaign: str, seal: Seal, now: Seal) -> None:
    """Check that a campaign would be measured as it was.

    Raises:
        RecipelabError: Something is another; the message names what, as far as it is known.
    """
    check_folder(seal, now)
    if found := seal.changes(now):
        told = "\n".join(f"  {line}" for line in found[:MOST_TOLD])
        rest = f"\n  and {len(found) - MOST_TOLD} more" if len(found) > MOST_TOLD else ""
        raise RecipelabError(
            f"what campaign {campaign} is measured with has changed since it began, so that new "
            f"trials could not be compared with its own:\n{told}{rest}\n"
            "put it back, or measure baseline and best anew, and go on from there: "
            f"recipelab resume {campaign} --new-epoch"
        )


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of a table, with dots, and the JSON of their values."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{place}.{item.get('name', number)}")
    else:
        yield place, json.dumps(value, ensure_ascii=False)


def _file_digests(folder: Path, name: str) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder by its path; what Python caches is none."""
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": _sha256(path)
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts and path.is_file()
    }


def _tree_digest(folder: Path) -> str:
    total = hashlib.sha256()
    for path, digest in _file_digests(folder, "").items():
        total.update(f"{path}\0{digest}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _changed_files(prefix: str, then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{prefix}{path}: {_short(then.get(path))} -> {_short(now.get(path))}"
        for path in sorted({*then, *now})
        if then.get(path) != now.get(path)
    ]


def _short(digest: str | None) -> str:
    return "(no file)" if digest is None else f"sha256 {digest[:_HASH_CHARACTERS]}"


def carried_over(
    store: LineageStore, before: str, here: Recipe, surfaces: Sequence[str]
) -> Proposal | None:
    """Return the best recipe of an epoch as the first proposal of the next one.

    Args:
        store: The lineage.
        before: The campaign that is the epoch before.
        here: The starting recipe of the next one.
        surfaces: The surfaces of the pack.

    Returns:
        The proposal, which is measured beside the new baseline; ``None`` if nothing was better.
    """
    best = store.best_brief(before)
    if best.number == 0:
        return None
    start, recipe = (Recipe(store.files(before, number)) for number in (0, best.number))
    merged = here.merged(start, recipe)
    files = recipe.files if isinstance(merged, str) else merged.files
    edits = tuple(
        Edit(path, None, text)
        for path, text in sorted(files.items())
        if text != here.files.get(path)
    )
    surface = best.surface if best.surface in surfaces else surfaces[0]
    words = f"the best of {before} (trial {best.number}), measured anew in this epoch"
    return Proposal("campaign", surface, 0, words, 0.0, edits)
