"""Where a project keeps its campaigns: the lineage, and a folder for each campaign's papers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recipelab.errors import RecipelabError

DEFAULT = ".recipelab"
VARIABLE = "RECIPELAB_HOME"
LINEAGE_VARIABLE = "RECIPELAB_LINEAGE"


class Home:
    """The folder that holds ``lineage.db`` and ``campaigns/NAME/``.

    Args:
        root: The folder; made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def find(cls, root: Path | None = None) -> Home:
        """The folder asked for, else ``$RECIPELAB_HOME``, else ``.recipelab`` here."""
        return cls((root or Path(os.environ.get(VARIABLE) or DEFAULT)).absolute())

    @property
    def lineage(self) -> Path | str:
        """The lineage: the URL in ``$RECIPELAB_LINEAGE``, else the database file in the folder."""
        return os.environ.get(LINEAGE_VARIABLE) or self.root / "lineage.db"

    def campaign(self, name: str) -> Path:
        """The folder of one campaign."""
        return self.root / "campaigns" / name

    def is_locked(self, name: str) -> bool:
        """Whether some process runs a campaign."""
        try:
            with (self.campaign(name) / "lock").open() as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Keeps a second process from running the same campaign.

        Raises:
            RecipelabError: Another process runs it.
        """
        folder = self.campaign(name)
        folder.mkdir(parents=True, exist_ok=True)
        # The lock belongs to the open file, so it is gone with the process, however that dies.
        with (folder / "lock").open("a+") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.seek(0)
                owner = stream.read().strip() or "?"
                raise RecipelabError(
                    f"campaign {name} is running already (process {owner})"
                ) from None
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            yield
