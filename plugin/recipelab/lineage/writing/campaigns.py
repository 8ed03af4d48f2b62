"""The part of the store that writes campaigns and their rounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlmodel import col

from recipelab.core.errors import LineageError, unknown_name
from recipelab.lineage.finding import find_campaign, last_round
from recipelab.lineage.query import LARGEST
from recipelab.lineage.reading.loading import campaign_record
from recipelab.lineage.records import CampaignRecord
from recipelab.lineage.saving import now
from recipelab.lineage.tables import CampaignRow, RoundRow
from recipelab.lineage.text import REASON_CHARACTERS, clean, cut, to_json
from recipelab.lineage.writing.base import Writing, lock_names

RUNNING = "running"
PAUSED = "paused"
ENDS = ("stopped", "finished")

_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,80}")
"""Names of campaigns; they name folders too, so ``.`` and ``..`` are none."""


class CampaignWriter(Writing):
    """Creates, ends and reopens campaigns, and starts rounds."""

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
        check_campaign(name, seed, trials)
        with self._writing() as connection:
            lock_names(connection)
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
            campaign_id = find_campaign(connection, name, to_write=True)["id"]
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
        check_campaign(name, 0, trials)
        with self._writing() as connection:
            given = {"trials": trials, "hours": hours}
            values = {key: value for key, value in given.items() if value is not None}
            open_again = {"state": RUNNING, "stop_reason": None, "ended_at": None}
            return _updated(connection, name, values | open_again)

    def pause_campaign(self, name: str, *, paused: bool = True) -> CampaignRecord:
        """Asks whoever runs a campaign to begin no trial, or to go on.

        Args:
            name: Name of the campaign.
            paused: Whether it is to rest.

        Raises:
            LineageError: There is no such campaign, or it has ended.
        """
        with self._writing() as connection:
            state = find_campaign(connection, name, to_write=True)["state"]
            if state in ENDS:
                raise LineageError(
                    f"campaign {name} is {state} and cannot be paused; valid: {RUNNING}, {PAUSED}"
                )
            return _updated(connection, name, {"state": PAUSED if paused else RUNNING})

    def start_round(self, campaign: str) -> int:
        """Starts the next round, the first being 1, and ends the one before.

        Returns:
            The round's number.
        """
        with self._writing() as connection:
            campaign_id = find_campaign(connection, campaign, to_write=True)["id"]
            _end_rounds(connection, campaign_id)
            last = last_round(connection, campaign_id)
            values = {"campaign_id": campaign_id, "number": last + 1, "started_at": now()}
            connection.execute(insert(RoundRow), values)
            return last + 1


def check_campaign(name: str, seed: int, trials: int | None) -> None:
    """Checks what names a campaign and what bounds it.

    Raises:
        LineageError: The name is no name, or a number is too large to store.
    """
    if _NAME.fullmatch(name) is None:
        raise LineageError(
            f"{name!r} cannot name a campaign: use 1 to 80 letters, digits, '.', '_' and '-', "
            "not dots alone"
        )
    for what, number in (("seed", seed), ("trials", trials)):
        if number is not None and abs(number) > LARGEST:
            raise LineageError(f"{what} is too large to store: {number}")


def _updated(connection: Connection, name: str, values: Mapping[str, Any]) -> CampaignRecord:
    row = find_campaign(connection, name, to_write=True)
    connection.execute(update(CampaignRow).where(col(CampaignRow.id) == row["id"]), values)
    return campaign_record(find_campaign(connection, name))


def _end_rounds(connection: Connection, campaign_id: int) -> None:
    is_open = col(RoundRow.ended_at).is_(None)
    connection.execute(
        update(RoundRow)
        .where(col(RoundRow.campaign_id) == campaign_id, is_open)
        .values(ended_at=now())
    )
