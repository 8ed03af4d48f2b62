"""Create, end and reopen campaigns, start their rounds, and tell which others they learn from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from secrets import token_bytes
from typing import Any

from recipelab.core.errors import LineageError, unknown_name
from recipelab.core.trial import Trust
from recipelab.lineage.database import Row, Transaction
from recipelab.lineage.leases import begin_drivers_round
from recipelab.lineage.lookup import OpenLineage, campaign_id_of, last_round
from recipelab.lineage.records import CampaignRecord, RoundRecord
from recipelab.lineage.values import (
    LARGEST_INTEGER,
    REASON_CHARACTERS,
    clean,
    cut,
    from_optional_stamp,
    from_stamp,
    now,
    to_json,
    to_stamp,
)

RUNNING = "running"
PAUSED = "paused"
ENDS = ("stopped", "finished")

PRIORS = "priors"
"""Key of the names of prior campaigns in a campaign's settings."""

TRUST = "trust"
"""Key of the trust of a campaign's pack in its settings."""

SECRET_BYTES = 16
"""Random bytes of a campaign's secret."""

_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,80}")
"""Names of campaigns; they name folders too, so ``.`` and ``..`` are none."""

_CAMPAIGNS = """
SELECT name, pack, profile, model, sandbox, seed, trials, hours, settings, state, stop_reason,
  created_at, ended_at
FROM campaign
"""


class CampaignStore(OpenLineage):
    """Reads and writes campaigns and their rounds.

    Args:
        database: The open database.
    """

    def campaign(self, name: str) -> CampaignRecord:
        """Return a campaign.

        Raises:
            LineageError: There is none of that name; the message lists those there are.
        """
        with self._asking(name) as (transaction, campaign_id):
            return _campaign(transaction, campaign_id)

    def secret(self, name: str) -> bytes:
        """Return the 16 random bytes of a campaign from which its fresh seeds are made.

        Not to be shown or exported: who knows them can foretell the seeds.

        Raises:
            LineageError: There is none of that name; the message lists those there are.
        """
        with self._asking(name) as (transaction, campaign_id):
            secret: str = transaction.value(
                "SELECT secret FROM campaign WHERE id = :id", id=campaign_id
            )
        return bytes.fromhex(secret)

    def campaigns(self) -> tuple[CampaignRecord, ...]:
        """Return all campaigns, oldest first."""
        with self._reading() as transaction:
            return tuple(map(_record, transaction.rows(f"{_CAMPAIGNS} ORDER BY id")))

    def rounds(self, campaign: str) -> tuple[RoundRecord, ...]:
        """Return the rounds of a campaign in order."""
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(
                "SELECT number, started_at, ended_at FROM round WHERE campaign_id = :campaign "
                "ORDER BY number",
                campaign=campaign_id,
            )
        return tuple(
            RoundRecord(number, from_stamp(started), from_optional_stamp(ended))
            for number, started, ended in rows
        )

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
        """Add a campaign, which runs from now on.

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
        record = CampaignRecord(
            name=name,
            pack=clean(pack),
            profile=clean(profile),
            model=clean(model),
            sandbox=clean(sandbox),
            seed=seed,
            trials=trials,
            hours=hours,
            settings=settings,
            state=RUNNING,
            stop_reason=None,
            created_at=now(),
            ended_at=None,
        )
        with self._writing() as transaction:
            return _campaign(
                transaction,
                insert_campaign(transaction, record, "resume it, or choose another name"),
            )

    def end_campaign(self, name: str, state: str, reason: str) -> CampaignRecord:
        """End a campaign and its open round.

        Args:
            name: Name of the campaign.
            state: ``stopped`` if it may go on, ``finished`` if its budget is spent.
            reason: Why it ended.

        Raises:
            LineageError: There is no such campaign, or no such state.
        """
        if state not in ENDS:
            raise LineageError(unknown_name("end of a campaign", state, ENDS))
        with self._writing_to(name) as (transaction, campaign_id):
            _end_round(transaction, campaign_id)
            transaction.run(
                "UPDATE campaign SET state = :state, stop_reason = :reason, ended_at = :ended_at "
                "WHERE id = :id",
                state=state,
                reason=cut(reason, REASON_CHARACTERS),
                ended_at=to_stamp(now()),
                id=campaign_id,
            )
            return _campaign(transaction, campaign_id)

    def reopen_campaign(
        self,
        name: str,
        trials: int | None = None,
        hours: float | None = None,
        *,
        model: str | None = None,
        sandbox: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> CampaignRecord:
        """Let a campaign go on.

        Args:
            name: Name of the campaign.
            trials: New bound of trials; ``None`` leaves it as it is.
            hours: New bound of hours; ``None`` leaves it as it is.
            model: Its model from now on; ``None`` leaves it as it is.
            sandbox: Where its trials run from now on; ``None`` leaves it as it is.
            settings: Settings that take the place of those of the same name; the others stay.

        Raises:
            LineageError: There is no such campaign, or a number is too large to store.
        """
        check_campaign(name, 0, trials)
        with self._writing_to(name) as (transaction, campaign_id):
            given: dict[str, Any] = {"trials": trials, "hours": hours}
            given |= {"model": model and clean(model), "sandbox": sandbox and clean(sandbox)}
            if settings is not None:
                before = _campaign(transaction, campaign_id).settings
                given["settings"] = to_json({**before, **settings})
            for column, value in given.items():
                if value is not None:
                    statement = f"UPDATE campaign SET {column} = :value WHERE id = :id"
                    transaction.run(statement, value=value, id=campaign_id)
            transaction.run(
                "UPDATE campaign SET state = :state, stop_reason = NULL, ended_at = NULL "
                "WHERE id = :id",
                state=RUNNING,
                id=campaign_id,
            )
            return _campaign(transaction, campaign_id)

    def pause_campaign(self, name: str, *, paused: bool = True) -> CampaignRecord:
        """Ask whoever runs a campaign to begin no trial, or to go on.

        Args:
            name: Name of the campaign.
            paused: Whether it is to rest.

        Raises:
            LineageError: There is no such campaign, or it has ended.
        """
        with self._writing_to(name) as (transaction, campaign_id):
            state = _campaign(transaction, campaign_id).state
            if state in ENDS:
                raise LineageError(
                    f"campaign {name} is {state} and cannot be paused; valid: {RUNNING}, {PAUSED}"
                )
            statement = "UPDATE campaign SET state = :state WHERE id = :id"
            transaction.run(statement, state=PAUSED if paused else RUNNING, id=campaign_id)
            return _campaign(transaction, campaign_id)

    def start_round(self, campaign: str, *, beside: bool = False) -> int:
        """Start the next round, the first being 1, and end the one before.

        Args:
            campaign: Name of the campaign.
            beside: Whether the one before goes on, as another process leads it.

        Returns:
            The round's number.
        """
        with self._writing_to(campaign) as (transaction, campaign_id):
            number = last_round(transaction, campaign_id) + 1
            if beside:
                pass
            elif (driver := self._driving.get(campaign)) is not None:
                begin_drivers_round(transaction, campaign_id, driver, number)
            else:
                _end_round(transaction, campaign_id)
            transaction.insert(
                "round", campaign_id=campaign_id, number=number, started_at=to_stamp(now())
            )
            return number


def check_campaign(name: str, seed: int, trials: int | None) -> None:
    """Check what names a campaign and what bounds it.

    Raises:
        LineageError: The name is no name, or a number is too large to store.
    """
    if _NAME.fullmatch(name) is None:
        raise LineageError(
            f"{name!r} cannot name a campaign: use 1 to 80 letters, digits, '.', '_' and '-', "
            "not dots alone"
        )
    for what, number in (("seed", seed), ("trials", trials)):
        if number is not None and abs(number) > LARGEST_INTEGER:
            raise LineageError(f"{what} is too large to store: {number}")


def insert_campaign(
    transaction: Transaction, record: CampaignRecord, advice: str, secret: bytes | None = None
) -> int:
    """Add a campaign and return its id.

    Args:
        transaction: Where to.
        record: The campaign.
        advice: What to do if its name is taken.
        secret: Its secret; ``None`` for a new one.

    Raises:
        LineageError: Its name is taken; the message ends with the advice.
    """
    transaction.database.lock_campaign_names(transaction)
    if transaction.value("SELECT id FROM campaign WHERE name = :name", name=record.name):
        raise LineageError(f"there is a campaign {record.name} already; {advice}")
    ended_at = None if record.ended_at is None else to_stamp(record.ended_at)
    transaction.insert(
        "campaign",
        **vars(record)
        | {
            "settings": to_json(record.settings),
            "created_at": to_stamp(record.created_at),
            "ended_at": ended_at,
            "secret": (secret or token_bytes(SECRET_BYTES)).hex(),
        },
    )
    return campaign_id_of(transaction, record.name)


def _campaign(transaction: Transaction, campaign_id: int) -> CampaignRecord:
    (row,) = transaction.rows(f"{_CAMPAIGNS} WHERE id = :id", id=campaign_id)
    return _record(row)


def _record(row: Row) -> CampaignRecord:
    (
        name, pack, profile, model, sandbox, seed, trials, hours, settings, state, stop_reason,
        created_at, ended_at,
    ) = row  # fmt: skip
    return CampaignRecord(
        name=name,
        pack=pack,
        profile=profile,
        model=model,
        sandbox=sandbox,
        seed=seed,
        trials=trials,
        hours=hours,
        settings=json.loads(settings),
        state=state,
        stop_reason=stop_reason,
        created_at=from_stamp(created_at),
        ended_at=from_optional_stamp(ended_at),
    )


def _end_round(transaction: Transaction, campaign_id: int) -> None:
    transaction.run(
        "UPDATE round SET ended_at = :now WHERE campaign_id = :campaign AND ended_at IS NULL",
        now=to_stamp(now()),
        campaign=campaign_id,
    )


def prior_campaigns(record: CampaignRecord) -> tuple[str, ...]:
    """Return the names of the campaigns that agents of this one may ask about besides it."""
    names = record.settings.get(PRIORS)
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()


def trust_of(record: CampaignRecord) -> Trust | None:
    """Return how far the scores of a campaign can be believed; ``None`` if it was not noted."""
    noted = record.settings.get(TRUST)
    return Trust(noted) if noted in set(Trust) else None


def heading_of(record: CampaignRecord) -> str:
    """Return the line that says that nothing of a campaign is proven; empty if something may be."""
    trust = trust_of(record)
    return (trust.heading or "") if trust is not None else ""


def headed(title: str, record: CampaignRecord) -> str:
    """Return a title below the heading of its campaign, if that has one."""
    heading = heading_of(record)
    return f"{heading}\n{title}" if heading else title


def checked_priors(store: CampaignStore, names: Iterable[str], campaign: str) -> tuple[str, ...]:
    """Return the names of prior campaigns, each once, in the order given.

    Args:
        store: The lineage.
        names: The names that a user asks for.
        campaign: Name of the campaign that is to have them.

    Raises:
        LineageError: One is not in the lineage, or is the campaign itself; the message lists
            those that can be named.
    """
    there = [other.name for other in store.campaigns() if other.name != campaign]
    for name in names:
        if name not in there:
            raise LineageError(unknown_name("prior campaign", name, there))
    return tuple(dict.fromkeys(names))


SEAL = "seal"
"""Key of what a campaign is measured with in its settings; see
:class:`recipelab.evaluation.seal.Seal`."""

_OF_SCORES = ("pack", "evaluator", "data")


def comparable(campaign: CampaignRecord, prior: CampaignRecord) -> bool:
    """Return whether the scores of both mean the same.

    They have one pack and one profile, and as far as it is known the same rules, evaluator and
    data.
    """
    if (campaign.pack, campaign.profile) != (prior.pack, prior.profile):
        return False
    one, other = campaign.settings.get(SEAL), prior.settings.get(SEAL)
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return True
    return all(one.get(part) == other.get(part) for part in _OF_SCORES)


def prior_note(campaign: CampaignRecord, prior: CampaignRecord) -> str:
    """Say what a reader must know of a prior campaign's scores before any of its rows."""
    if comparable(campaign, prior):
        return (
            f"prior campaign {prior.name}: same pack and profile; its scores compare as far as "
            "its machine was like this one"
        )
    measured = f"{prior.pack} ({prior.profile})" if prior.profile else prior.pack
    if (campaign.pack, campaign.profile) == (prior.pack, prior.profile):
        measured += " with other rules, another evaluator or other data"
    return (
        f"prior campaign {prior.name}: it measured {measured}, so its scores must not be compared "
        "with those of this campaign; take its ideas and failures, not its numbers"
    )
