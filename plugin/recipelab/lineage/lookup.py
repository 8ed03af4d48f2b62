"""Find campaigns, trials and rounds by the names that people know, in one transaction an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any, TypeVar

from recipelab.core.errors import LeaseLost, LineageError, unknown_name
from recipelab.lineage.database import Database, Transaction
from recipelab.lineage.values import clean

LARGEST_NUMBER = 2**32 - 1
"""Largest number that a trial can have."""

METRIC = "metric"
"""Key of the metric (name, unit, goal) in a campaign's settings."""

MARK = "imported"
"""Key of the mark of an imported campaign in its settings; a mark may have a metric, too."""

LIVE = "live"
"""State of a driver that was heard of in time, and has not left."""

_STATE = "SELECT state FROM driver WHERE campaign_id = :campaign AND number = :driver"
_HELD = f"""
SELECT ({_STATE}),
  (SELECT driver FROM trial_lease WHERE campaign_id = :campaign AND trial_number = :trial),
  (SELECT 1 FROM trial WHERE id = :id AND status IS NULL)
"""
_LOCK = "SELECT 1 FROM campaign WHERE id = :id FOR UPDATE"

Found = TypeVar("Found")

_MOMENT: ContextVar[Transaction | None] = ContextVar("moment", default=None)


def trial_key(campaign_id: int, number: int) -> int:
    """Return the id of a trial."""
    return campaign_id * (LARGEST_NUMBER + 1) + number


def number_of(trial_id: int) -> int:
    """Return the number of a trial in its campaign."""
    return trial_id & LARGEST_NUMBER


class OpenLineage:
    """An open database, with one transaction for each answer and for each write.

    Args:
        database: The open database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = Lock()
        # No campaign is ever removed or renamed, so a name means the same one for ever.
        self._campaign_ids: dict[str, int] = {}
        # Under which number this process drives a campaign that several drivers may share.
        self._driving: dict[str, int] = {}
        # Seconds that the trials of such a campaign may hold slots in all.
        self._most_device: dict[str, float] = {}

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Make all answers within the context see the lineage at the same moment.

        Not for code that awaits, or that reads what it has itself written meanwhile.
        """
        with self._reading() as transaction:
            before = _MOMENT.set(transaction)
            try:
                yield
            finally:
                _MOMENT.reset(before)

    @contextmanager
    def _reading(self) -> Iterator[Transaction]:
        held = _MOMENT.get()
        if held is not None and held.database is self._database:
            yield held
            return
        with self._database.reading() as transaction:
            yield transaction

    @contextmanager
    def _asking(self, campaign: str) -> Iterator[tuple[Transaction, int]]:
        """Open a transaction for an answer about a campaign."""
        with self._reading() as transaction:
            campaign_id = self._campaign_ids.get(campaign)
            if campaign_id is None:
                campaign_id = campaign_id_of(transaction, campaign)
                self._campaign_ids[campaign] = campaign_id
            yield transaction, campaign_id

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        with self._turn, self._database.writing() as transaction:
            yield transaction

    @contextmanager
    def _writing_to(self, campaign: str) -> Iterator[tuple[Transaction, int]]:
        """Open a transaction that writes to a campaign; other writers of it wait."""
        with self._writing() as transaction:
            campaign_id = self._campaign_ids.get(campaign)
            if campaign_id is None:
                campaign_id = campaign_id_of(transaction, campaign, to_write=True)
            elif not self._database.is_sqlite:
                transaction.run(_LOCK, id=campaign_id)
            yield transaction, campaign_id

    @contextmanager
    def _writing_trial(
        self, campaign: str, number: int, *, judges: bool = False
    ) -> Iterator[tuple[Transaction, int]]:
        """Open a transaction that writes to a trial, which a driver has to hold for that.

        Args:
            campaign: Name of the campaign.
            number: The trial's number.
            judges: Whether its outcome is written; else a judged trial is anybody's.

        Raises:
            LeaseLost: This process is a driver, and the trial is another one's, or it was given up.
        """
        with self._writing_to(campaign) as (transaction, campaign_id):
            driver = self._driving.get(campaign)
            if driver is not None:
                trial_id = trial_key(campaign_id, number)
                ((state, holder, is_open),) = transaction.rows(
                    _HELD, campaign=campaign_id, driver=driver, trial=number, id=trial_id
                )
                _require_live(driver, state)
                if (judges or is_open) and holder != driver:
                    whose = "nobody's" if holder is None else f"driver {holder}'s"
                    raise LeaseLost(
                        f"trial {number} of {campaign} is {whose} by now, not driver {driver}'s"
                    )
            yield transaction, campaign_id


def check_live(transaction: Transaction, campaign_id: int, driver: int) -> None:
    """Check that a driver was not given up by the others, as one that slept for a minute is.

    Raises:
        LeaseLost: It was.
    """
    _require_live(driver, transaction.value(_STATE, campaign=campaign_id, driver=driver))


def _require_live(driver: int, state: str | None) -> None:
    if state != LIVE:
        raise LeaseLost(f"driver {driver} drives the campaign no more: it is {state}")


def campaign_id_of(transaction: Transaction, name: str, *, to_write: bool = False) -> int:
    """Return the id of a campaign.

    Args:
        transaction: Where to look.
        name: Name of the campaign.
        to_write: Whether something of it is to be written: other writers of it then wait.

    Raises:
        LineageError: There is none of that name; the message lists those there are.
    """
    statement = "SELECT id FROM campaign WHERE name = :name"
    if to_write and not transaction.database.is_sqlite:
        statement += " FOR UPDATE"
    found: int | None = transaction.value(statement, name=clean(name))
    if found is None:
        names = transaction.values("SELECT name FROM campaign")
        raise LineageError(unknown_name("campaign", name, names))
    return found


def goal_in(settings: Mapping[str, Any]) -> str:
    """Return which way the metric of a campaign is better, by the campaign's settings.

    Returns:
        ``minimize`` or ``maximize``; ``minimize`` for a campaign that does not say.
    """
    mark = settings.get(MARK)
    metric = (isinstance(mark, Mapping) and mark.get(METRIC)) or settings.get(METRIC)
    goal = metric.get("goal") if isinstance(metric, Mapping) else None
    return "maximize" if goal == "maximize" else "minimize"


def goal_of(transaction: Transaction, campaign_id: int) -> str:
    """Return which way the metric of a campaign is better; see :func:`goal_in`."""
    settings = transaction.value("SELECT settings FROM campaign WHERE id = :id", id=campaign_id)
    return goal_in(json.loads(settings))


def trial_id_of(transaction: Transaction, campaign_id: int, number: int, campaign: str) -> int:
    """Return the id of a trial.

    Raises:
        LineageError: There is no such trial; the message says which there are.
    """
    return trial_ids_of(transaction, campaign_id, (number,), campaign)[0]


def read_trial(
    transaction: Transaction,
    campaign_id: int,
    number: int,
    campaign: str,
    read: Callable[[Transaction, Sequence[int]], Found],
) -> Found:
    """Return what is read of a trial; whether it is there is only asked if nothing is found.

    Args:
        transaction: Where to look.
        campaign_id: The campaign.
        number: The trial's number.
        campaign: Name of the campaign, for the message.
        read: Reads something of trials by their ids; without a trial it finds nothing, or raises
            ``KeyError``.

    Raises:
        LineageError: There is no such trial; the message says which there are.
    """
    if not 0 <= number <= LARGEST_NUMBER:
        trial_id_of(transaction, campaign_id, number, campaign)
    try:
        found = read(transaction, (trial_key(campaign_id, number),))
    except KeyError:
        trial_id_of(transaction, campaign_id, number, campaign)
        raise
    if not found:
        trial_id_of(transaction, campaign_id, number, campaign)
    return found


def trial_ids_of(
    transaction: Transaction, campaign_id: int, numbers: Sequence[int], campaign: str
) -> list[int]:
    """Return the ids of trials.

    Raises:
        LineageError: There is no such trial; the message says which there are.
    """
    asked = [trial_key(campaign_id, n) for n in numbers if 0 <= n <= LARGEST_NUMBER]
    there: set[int] = transaction.memo.setdefault("trials", set())
    # Trials stay. But what sees an earlier moment may not see what others have seen since, and what
    # a transaction has added itself goes if it fails.
    lasting = transaction.database.lasting.trials if _MOMENT.get() is None else set[int]()
    if missing := [one for one in asked if one not in there and one not in lasting]:
        found = transaction.values("SELECT id FROM trial WHERE id IN :ids", ids=missing)
        there.update(found)
        if transaction.reads_only:
            lasting.update(found)
    for number in numbers:
        key = trial_key(campaign_id, number)
        if not 0 <= number <= LARGEST_NUMBER or (key not in there and key not in lasting):
            last = last_trial_id(transaction, campaign_id)
            known = "it has none yet" if last is None else f"it has trials 0 to {number_of(last)}"
            raise LineageError(f"campaign {campaign} has no trial {number}; {known}")
    return asked


def last_trial_id(transaction: Transaction, campaign_id: int) -> int | None:
    """Return the id of the newest trial of a campaign; ``None`` if it has none yet."""
    known: dict[int, int | None] = transaction.memo.setdefault("last trials", {})
    if not transaction.reads_only or campaign_id not in known:
        low = trial_key(campaign_id, 0)
        known[campaign_id] = transaction.value(
            "SELECT max(id) FROM trial WHERE id BETWEEN :low AND :high",
            low=low,
            high=low + LARGEST_NUMBER,
        )
    return known[campaign_id]


def last_round(transaction: Transaction, campaign_id: int) -> int:
    """Return the number of the newest round of a campaign; 0 if it has none yet."""
    last: int | None = transaction.value(
        "SELECT max(number) FROM round WHERE campaign_id = :campaign_id", campaign_id=campaign_id
    )
    return last or 0


def check_round(transaction: Transaction, campaign_id: int, number: int, campaign: str) -> None:
    """Check that a campaign has a round.

    Raises:
        LineageError: There is no such round; the message says which there are.
    """
    last = last_round(transaction, campaign_id)
    if not 1 <= number <= last:
        known = f"it has rounds 1 to {last}" if last else "it has none yet"
        raise LineageError(f"campaign {campaign} has no round {number}; {known}")
