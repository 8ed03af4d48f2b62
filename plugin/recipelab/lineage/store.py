"""The store of trials and their parents: one writer, any number of readers."""

from __future__ import annotations

from os import PathLike
from types import TracebackType
from typing import Self

from recipelab.lineage.database import open_engine
from recipelab.lineage.reader import LineageReader
from recipelab.lineage.writer import LineageWriter
from recipelab.lineage.writing.campaigns import CampaignWriter
from recipelab.lineage.writing.evidence import EvidenceWriter


class LineageStore(LineageReader, LineageWriter, CampaignWriter, EvidenceWriter):
    """The lineage in a SQLite file or a PostgreSQL database.

    Every write is one transaction that is on the disk when the method returns: kill the process
    at any point, and what was recorded is there, whole and once. Threads may share a store, and
    processes a file or a database; writers of a campaign take turns, and readers never wait. Open
    one with :meth:`open`.

    Args:
        engine: The open database.
    """

    @classmethod
    def open(cls, target: str | PathLike[str]) -> Self:
        """Opens a lineage, or makes a new one with its folders.

        Args:
            target: Path of the file, or its URL as ``sqlite:///folder/lineage.db``, or the URL of
                a database as ``postgresql+psycopg://user:password@host/name``.

        Raises:
            LineageError: There is no lineage but something else, a damaged one, or one of a newer
                version (it is left as it is), or it cannot be opened or made.
        """
        return cls(open_engine(target))

    @property
    def url(self) -> str:
        """URL under which :meth:`open` finds this lineage from any folder."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
