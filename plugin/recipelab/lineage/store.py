"""The store of trials and their parents: one writer, any number of readers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, func, insert, select, update
from sqlmodel import col

from recipelab.errors import LineageError, unknown_name
from recipelab.lineage.database import open_engine
from recipelab.lineage.finding import find_campaign
from recipelab.lineage.loading import campaign_record
from recipelab.lineage.query import LARGEST
from recipelab.lineage.records import CampaignRecord
from recipelab.lineage.saving import now
from recipelab.lineage.tables import CampaignRow, RoundRow
from recipelab.lineage.text import REASON_CHARACTERS, clean, cut, to_json
from recipelab.lineage.writer import LineageWriter

RUNNING = "running"
ENDS = ("stopped", "finished")

_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,80}")
"""Names of campaigns; they name folders too, so ``.`` and ``..`` are none."""


class LineageStore(LineageWriter):
    """The lineage in a SQLite file.

    Every write is one transaction that is on the disk when the method returns: kill the process
    at any point, and what was recorded is there, whole and once. Threads may share a store, and
    processes a file; writers take turns. Open one with :meth:`open`.

    Args:
        engine: The open database.
    """

    @classmethod
    def open(cls, target: str | PathLike[str]) -> Self:
        """Opens a lineage, or makes a new one with its folders.

        Args:
            target: Path of the file, or its URL as ``sqlite:///folder/lineage.db``.

        Raises:
            LineageError: The file is no lineage or of another version (it is left as it is), or
                it cannot be opened or made.
        """
        return cls(open_engine(target))

    @property
    def url(self) -> str:
        """URL under which :meth:`open` finds this lineage from any folder."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Closes the file."""
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

    def create_campaign(
        self,
        *,
        name: str,
        pack: str,
        profile: str,
        model: str,
        sandbox: str,
        seed: int,
        trials: int | None,
        hours: float | None,
        settings: Mapping[str, Any],
    ) -> CampaignRecord:
        """Adds a campaign, which runs from now on.

        Args:
            name: 1 to 80 letters, digits, ``.``, ``_`` and ``-``; unique.
            pack: Name or path of the task pack.
            profile: Profile of the pack.
            model: Model specification.
            sandbox: Where its trials run.
            seed: Seed of the offline model's choices.
            trials: Trials that may be spent; ``None`` for no bound.
            hours: Wall-clock hours that may be spent; ``None`` for no bound.
            settings: Whatever else it is started with, as plain data.

        Raises:
            LineageError: The name is taken or no name, or a number is too large to store.
        """
        _check_campaign(name, seed, trials)
        with self._writing() as connection:
            if connection.scalar(select(col(CampaignRow.id)).where(col(CampaignRow.name) == name)):
                raise LineageError(
                    f"there is a campaign {name} already; resume it, or choose another name"
                )
            values = {
                "name": name,
                "pack": clean(pack),
                "profile": clean(profile),
                "model": clean(model),
                "sandbox": clean(sandbox),
                "seed": seed,
                "trials": trials,
                "hours": hours,
                "settings": to_json(settings),
                "state": RUNNING,
                "created_at": now(),
            }
            connection.execute(insert(CampaignRow), values)
            return campaign_record(find_campaign(connection, name))

    def end_campaign(self, name: str, state: str, reason: str) -> CampaignRecord:
        """Ends a campaign and its open round.

        Args:
            name: Name of the campaign.
            state: ``stopped`` if it may go on, ``finished`` if its budget is spent.
            reason: Why it ended.

        Raises:
            LineageError: There is no such campaign, or no such state.
        """
        if state not in ENDS:
            raise LineageError(unknown_name("end of a campaign", state, ENDS))
        with self._writing() as connection:
            campaign_id = find_campaign(connection, name)["id"]
            _end_rounds(connection, campaign_id)
            reason = cut(reason, REASON_CHARACTERS)
            values = {"state": state, "stop_reason": reason, "ended_at": now()}
            return _updated(connection, name, values)

    def reopen_campaign(
        self, name: str, trials: int | None = None, hours: float | None = None
    ) -> CampaignRecord:
        """Lets a campaign go on.

        Args:
            name: Name of the campaign.
            trials: New bound of trials; ``None`` leaves it as it is.
            hours: New bound of hours; ``None`` leaves it as it is.

        Raises:
            LineageError: There is no such campaign, or a number is too large to store.
        """
        _check_campaign(name, 0, trials)
        with self._writing() as connection:
            given = {"trials": trials, "hours": hours}
            values = {key: value for key, value in given.items() if value is not None}
            open_again = {"state": RUNNING, "stop_reason": None, "ended_at": None}
            return _updated(connection, name, values | open_again)

    def start_round(self, campaign: str) -> int:
        """Starts the next round, the first being 1, and ends the one before.

        Returns:
            The round's number.
        """
        with self._writing() as connection:
            campaign_id = find_campaign(connection, campaign)["id"]
            _end_rounds(connection, campaign_id)
            rounds = select(func.max(col(RoundRow.number)))
            last = connection.scalar(rounds.where(col(RoundRow.campaign_id) == campaign_id)) or 0
            values = {"campaign_id": campaign_id, "number": last + 1, "started_at": now()}
            connection.execute(insert(RoundRow), values)
            return last + 1


def _check_campaign(name: str, seed: int, trials: int | None) -> None:
    if _NAME.fullmatch(name) is None:
        raise LineageError(
            f"{name!r} cannot name a campaign: use 1 to 80 letters, digits, '.', '_' and '-', "
            "not dots alone"
        )
    for what, number in (("seed", seed), ("trials", trials)):
        if number is not None and abs(number) > LARGEST:
            raise LineageError(f"{what} is too large to store: {number}")


def _updated(connection: Connection, name: str, values: Mapping[str, Any]) -> CampaignRecord:
    row = find_campaign(connection, name)
    connection.execute(update(CampaignRow).where(col(CampaignRow.id) == row["id"]), values)
    return campaign_record(find_campaign(connection, name))


def _end_rounds(connection: Connection, campaign_id: int) -> None:
    is_open = col(RoundRow.ended_at).is_(None)
    connection.execute(
        update(RoundRow)
        .where(col(RoundRow.campaign_id) == campaign_id, is_open)
        .values(ended_at=now())
    )
