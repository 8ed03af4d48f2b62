"""The store of trials and their parents: one writer, any number of readers."""

from __future__ import annotations

from os import PathLike
from types import TracebackType
from typing import Self

from recipelab.lineage.campaigns import CampaignStore
from recipelab.lineage.columns import ColumnReader
from recipelab.lineage.drivers import DriverStore
from recipelab.lineage.evidence import EvidenceStore
from recipelab.lineage.ledger import LedgerStore
from recipelab.lineage.opening import open_database
from recipelab.lineage.similar import SimilarReader
from recipelab.lineage.turns import TurnStore
from recipelab.lineage.writer import TrialWriter


class LineageStore(
    SimilarReader,
    ColumnReader,
    TrialWriter,
    CampaignStore,
    LedgerStore,
    DriverStore,
    TurnStore,
    EvidenceStore,
):
    """The lineage in a SQLite file or a PostgreSQL database.

    Every write is one transaction that is on the disk when the method returns: kill the process
    at any point, and what was recorded is there, whole and once. Threads may share a store, and
    processes a file or a database; writers of a campaign take turns, and readers never wait. Open
    one with :meth:`open`. Every method that takes the name of a campaign raises
    :class:`LineageError`, which lists the campaigns there are, if there is none of that name.

    Args:
        database: The open database.
    """

    @classmethod
    def open(cls, target: str | PathLike[str], *, create: bool = False) -> Self:
        """Open a lineage; nothing is written unless one is made or brought up to date.

        Args:
            target: Path of the file, or its URL as ``sqlite:///folder/lineage.db``, or the URL of
                a database as ``postgresql+psycopg://user:password@host/name``.
            create: Whether to make a new one, with its folders, if there is none.

        Raises:
            LineageError: There is no lineage and none is to be made, there is something else, a
                damaged one, or one of a version that is not read (it is left as it is), or it
                cannot be opened or made.
        """
        return cls(open_database(target, create=create))

    @property
    def url(self) -> str:
        """URL under which :meth:`open` finds this lineage from any folder."""
        return self._database.url

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
