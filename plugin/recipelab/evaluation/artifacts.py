"""Artifacts that are worth keeping: what trainings left, by its hash, in a campaign's folder.

A trial's artifacts lie in folders that end with it. That of its first seed run is copied before, if
somebody may want it: by default of the head of the working line and of the certified recipe, and
each is removed when it is neither any more.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from recipelab.core.content import make_private, read_limited
from recipelab.core.logs import logger
from recipelab.core.trial import Status
from recipelab.plan import KeepArtifacts

INDEX = "index.json"

_log = logger(__name__)


@dataclass(frozen=True)
class TrainedArtifact:
    """What a training left.

    Attributes:
        seed: The seed of the training.
        digest: SHA-256 over names and contents of its files.
        folder: Where its files are.
    """

    seed: int
    digest: str
    folder: Path


@dataclass(frozen=True)
class _Entry:
    seed: int
    digest: str


class ArtifactStore:
    """The artifacts of a campaign that are kept.

    Args:
        folder: Where they are; made when the first one is kept.
        keep: Of which trials.
    """

    def __init__(self, folder: Path, keep: KeepArtifacts = KeepArtifacts.BEST) -> None:
        self._folder = folder
        self._keep = keep

    def wants(self, status: Status) -> bool:
        """Return whether the artifact of a trial that ended so may be worth keeping."""
        if self._keep is KeepArtifacts.NONE:
            return False
        return status.is_parent or (self._keep is KeepArtifacts.ALL and not status.is_failure)

    def put(self, trial: int, artifact: TrainedArtifact) -> None:
        """Keep an artifact. A disk that is full costs the copy, and not the trial."""
        target = self._folder / artifact.digest
        try:
            make_private(self._folder)
            if not target.is_dir():
                with TemporaryDirectory(prefix=".new-", dir=self._folder) as place:
                    copy = shutil.copytree(artifact.folder, Path(place) / "artifact")
                    # Two trials may leave the same: the first that is there stays.
                    with suppress(FileExistsError):
                        os.rename(copy, target)
            self._write({**self._entries(), trial: _Entry(artifact.seed, artifact.digest)})
        except OSError as error:
            _log.warning("the artifact of a trial could not be kept", trial=trial, error=str(error))

    def settle(self, best: Collection[int]) -> None:
        """Remove what is not wanted any more.

        Args:
            best: Numbers of the head and of the certified trial.
        """
        if self._keep is not KeepArtifacts.BEST:
            return
        entries = self._entries()
        wanted = {trial: entry for trial, entry in entries.items() if trial in best}
        if wanted == entries:
            return
        try:
            self._write(wanted)
        except OSError as error:
            _log.warning("old artifacts could not be removed", error=str(error))
            return
        kept = {entry.digest for entry in wanted.values()}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def trials(self) -> tuple[int, ...]:
        """Return the trials whose artifacts are here."""
        return tuple(sorted(self._entries()))

    def of(self, trial: int) -> TrainedArtifact | None:
        """Return the artifact of a trial, if it is here."""
        entry = self._entries().get(trial)
        if entry is None or not (folder := self._folder / entry.digest).is_dir():
            return None
        return TrainedArtifact(entry.seed, entry.digest, folder)

    def _entries(self) -> dict[int, _Entry]:
        try:
            found = json.loads(read_limited(self._folder / INDEX))
        except (OSError, ValueError):
            return {}
        return {int(trial): _Entry(**entry) for trial, entry in found.items()}

    def _write(self, entries: dict[int, _Entry]) -> None:
        fresh = self._folder / f"{INDEX}.new"
        table = {str(trial): asdict(entry) for trial, entry in sorted(entries.items())}
        fresh.write_text(json.dumps(table), "utf-8")
        os.replace(fresh, self._folder / INDEX)
