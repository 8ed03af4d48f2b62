"""What transactions do to the leases and reservations of drivers; see :mod:`.drivers`."""

from __future__ import annotations

from dataclasses import dataclass

from recipelab.core.errors import BudgetSpent, LineageError
from recipelab.core.trial import Status
from recipelab.lineage.database import Transaction
from recipelab.lineage.values import now, to_stamp

_COUNTED = tuple(status.value for status in Status if status.counts)
LIVE_DRIVERS = "SELECT number FROM driver WHERE campaign_id = :campaign AND state = 'live'"
_EXPIRE = """
UPDATE driver SET state = 'lost', ticket = NULL
WHERE campaign_id = :campaign AND state = 'live' AND until < {clock} AND number <> :but
"""
_HOLD = """
INSERT INTO trial_lease (campaign_id, trial_number, driver) VALUES (:campaign, :trial, :driver)
ON CONFLICT (campaign_id, trial_number) DO UPDATE SET driver = excluded.driver, wish = NULL
"""
IN_FLIGHT = "SELECT count(*) FROM trial WHERE campaign_id = :campaign AND status IS NULL"
_ROOM = f"""
SELECT ({LIVE_DRIVERS} LIMIT 1), (SELECT trials FROM campaign WHERE id = :campaign),
  (SELECT coalesce(sum(trials), 0) FROM tally WHERE campaign_id = :campaign AND status IN :statuses)
"""
_USED = """
SELECT max(id), coalesce(sum(CASE WHEN model <> 'device' THEN prompt_tokens + completion_tokens
  ELSE 0 END), 0), coalesce(sum(CASE WHEN model <> 'device' THEN cost ELSE 0 END), 0),
  coalesce(sum(CASE WHEN model = 'device' THEN seconds ELSE 0 END), 0),
  coalesce(sum(CASE WHEN model = 'device' THEN calls ELSE 0 END), 0)
FROM usage WHERE campaign_id = :campaign AND id > :after
"""
_RESERVE = """
UPDATE driver SET tokens = :tokens, money = :money
WHERE campaign_id = :campaign AND number = :driver
"""


@dataclass(frozen=True)
class LeaseTimes:
    """How long a driver may be silent.

    Attributes:
        beat: Seconds between two beats of a driver, and between two looks for lost ones.
        expiry: Seconds after a beat until the others may take its trials.
    """

    beat: float = 10.0
    expiry: float = 40.0

    def __post_init__(self) -> None:
        if not 0.0 < 2 * self.beat <= self.expiry < float("inf"):
            raise LineageError(
                f"a lease of {self.expiry:g} s with a beat each {self.beat:g} s is not valid; "
                "valid: a beat above 0, and a lease of two beats or more"
            )


@dataclass(frozen=True)
class DriverRecord:
    """A driver of a campaign.

    Attributes:
        number: Its number in the campaign, from 1.
        run: The stretch of the campaign that it takes part in, from 1.
        host: Name of its machine.
        process: Identity of its process.
        model: The model of its specialists.
        state: ``live``, ``left``, or ``lost`` if it was given up.
        lease: Seconds until its lease ends, if it is not heard of before.
        trials: How many trials it holds.
    """

    number: int
    run: int
    host: str
    process: str
    model: str
    state: str
    lease: float
    trials: int


@dataclass(frozen=True)
class DriverLook:
    """What a driver sees of the others.

    Attributes:
        live: Whether it is a driver still, and was not given up.
        calibrates: Whether it is the first of those that live, which measures the baseline.
        others: How many others live.
        stop: Whether somebody wants the campaign stopped.
        kills: Trials of its own that somebody wants ended.
        free: Whether trials in flight are nobody's, or a lease is over.
        in_flight: Trials in flight, of all drivers and of none.
    """

    live: bool
    calibrates: bool
    others: int
    stop: bool
    kills: tuple[int, ...]
    free: bool
    in_flight: int


@dataclass(frozen=True)
class UsedTotals:
    """What a campaign has used, as far as it is written.

    Attributes:
        last: Id of the newest row that is in the sums.
        tokens: Tokens sent to and received from models.
        money: Their cost.
        device_seconds: How long trials have held slots.
        device_trials: In how many entries.
    """

    last: int = 0
    tokens: int = 0
    money: float = 0.0
    device_seconds: float = 0.0
    device_trials: int = 0


def hold_trial(transaction: Transaction, campaign_id: int, number: int, driver: int) -> None:
    """Give a trial to a driver, whoever had it."""
    transaction.run(_HOLD, campaign=campaign_id, trial=number, driver=driver)


def end_lease(transaction: Transaction, campaign_id: int, number: int) -> None:
    """Note that a trial is judged, so that nobody holds it any more."""
    transaction.run(
        "DELETE FROM trial_lease WHERE campaign_id = :campaign AND trial_number = :trial",
        campaign=campaign_id,
        trial=number,
    )


def note_reserved(
    transaction: Transaction, campaign_id: int, driver: int, tokens: int, money: float
) -> None:
    """Note what the calls of a driver have reserved."""
    transaction.run(
        _RESERVE, campaign=campaign_id, driver=driver, tokens=tokens, money=float(money)
    )


def check_room(
    transaction: Transaction,
    campaign_id: int,
    campaign: str,
    device_seconds: float | None = None,
) -> None:
    """Check that a campaign that drivers run has room for one more trial.

    A trial in flight is its own reservation: it is in the transaction that proposes it.

    Args:
        transaction: Where the trial is proposed.
        campaign_id: The campaign.
        campaign: Its name, for the message.
        device_seconds: Seconds that trials may hold slots in all; ``None`` without a bound.

    Raises:
        BudgetSpent: It has none.
    """
    ((live, limit, used),) = transaction.rows(_ROOM, campaign=campaign_id, statuses=[*_COUNTED, ""])
    if live is None:
        return
    if limit is not None and int(used) >= limit:
        raise BudgetSpent(f"all {limit} trials of {campaign} are spent or in flight")
    if device_seconds is not None:
        used_up = used_by(transaction, campaign_id, UsedTotals())
        flying = transaction.value(IN_FLIGHT, campaign=campaign_id)
        each = used_up.device_seconds / used_up.device_trials if used_up.device_trials else 0.0
        if used_up.device_seconds + each * (flying + 1) > device_seconds:
            raise BudgetSpent(
                f"the device time of {campaign} is spent, or trials in flight need it"
            )


def begin_drivers_round(
    transaction: Transaction, campaign_id: int, driver: int, number: int
) -> None:
    """Note that a driver leads a round, which is to be added; its round before is over."""
    transaction.run(
        "UPDATE round SET ended_at = :now WHERE campaign_id = :campaign AND ended_at IS NULL "
        "AND number IN (SELECT round_number FROM driver_round "
        "WHERE campaign_id = :campaign AND driver = :driver)",
        now=to_stamp(now()),
        campaign=campaign_id,
        driver=driver,
    )
    transaction.insert("driver_round", campaign_id=campaign_id, round_number=number, driver=driver)


def expire(transaction: Transaction, campaign_id: int, but: int | None = None) -> None:
    """Give up the drivers whose lease is over.

    Args:
        transaction: Where they are.
        campaign_id: The campaign.
        but: One that is spared: it is at work, as it asks, and nobody has taken anything of it.
    """
    statement = _EXPIRE.format(clock=transaction.database.clock)
    transaction.run(statement, campaign=campaign_id, but=-1 if but is None else but)


def handed_on(transaction: Transaction, campaign_id: int, before: int | None) -> tuple[int, float]:
    """Take over what a driver had reserved that comes again under another number."""
    if before is None:
        return 0, 0.0
    row = transaction.row(
        "SELECT tokens, money FROM driver WHERE campaign_id = :campaign AND number = :driver",
        campaign=campaign_id,
        driver=before,
    )
    note_reserved(transaction, campaign_id, before, 0, 0.0)
    return (0, 0.0) if row is None else (int(row[0]), float(row[1]))


def used_by(transaction: Transaction, campaign_id: int, since: UsedTotals) -> UsedTotals:
    """Return totals with what came after them: rows of a campaign are written in their order."""
    ((last, tokens, money, seconds, trials),) = transaction.rows(
        _USED, campaign=campaign_id, after=since.last
    )
    return UsedTotals(
        since.last if last is None else last,
        since.tokens + int(tokens),
        since.money + float(money),
        since.device_seconds + float(seconds),
        since.device_trials + int(trials),
    )
