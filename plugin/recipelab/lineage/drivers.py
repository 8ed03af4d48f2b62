"""Several drivers on one campaign: who they are, which trials they hold, who judges, what is spent.

A driver is a process that runs a campaign. It is heard of by its beats, which move the end of its
lease by the clock of the database, as clocks of machines differ. One that was not heard of before
its lease has ended may be given up by any other, in the transaction that takes its trials. From
then on the lineage refuses what it writes for them (:class:`LeaseLost`): a process that slept for a
minute cannot tell by itself that it did. Each change is made under the lock of the campaign's row,
so two drivers never see the same trial as free.
"""

from __future__ import annotations

from collections.abc import Sequence

from recipelab.core.errors import BudgetSpent, LineageError
from recipelab.core.trial import Status
from recipelab.lineage.leases import (
    IN_FLIGHT,
    LIVE_DRIVERS,
    DriverLook,
    DriverRecord,
    LeaseTimes,
    UsedTotals,
    check_room,
    expire,
    handed_on,
    hold_trial,
    note_reserved,
    used_by,
)
from recipelab.lineage.lookup import LIVE, OpenLineage, check_live, trial_key
from recipelab.lineage.trial_rows import reopen_trial
from recipelab.lineage.values import REASON_CHARACTERS, clean, cut, cut_name, now, to_stamp

STOP = "stop"
"""The wish that all drivers of a campaign end."""

_DRIVERS = """
SELECT d.number, d.run, d.host, d.process, d.model, d.state, d.until - {clock},
  (SELECT count(*) FROM trial_lease l
   WHERE l.campaign_id = d.campaign_id AND l.driver = d.number)
FROM driver d WHERE d.campaign_id = :campaign ORDER BY d.number
"""
_GIVE_UP = """
UPDATE driver SET state = 'lost', ticket = NULL
WHERE campaign_id = :campaign AND state = 'live' AND process = :process
"""
_BEAT = """
UPDATE driver SET until = {clock} + :expiry
WHERE campaign_id = :campaign AND number = :driver AND state = 'live' RETURNING number
"""
_FREE = """
SELECT t.number FROM trial t
LEFT JOIN trial_lease l ON l.campaign_id = t.campaign_id AND l.trial_number = t.number
LEFT JOIN driver d ON d.campaign_id = l.campaign_id AND d.number = l.driver AND d.state = 'live'
WHERE t.campaign_id = :campaign AND t.status IS NULL AND d.number IS NULL
ORDER BY t.id LIMIT :most
"""
_HELD = "SELECT trial_number FROM trial_lease WHERE campaign_id = :campaign AND driver = :driver"
_OVERDUE = """
SELECT 1 FROM driver WHERE campaign_id = :campaign AND state = 'live' AND until < {clock} LIMIT 1
"""
_RUN_BEGAN = "SELECT min(began) FROM driver WHERE campaign_id = :campaign AND run = :run"
_RESERVED = """
SELECT coalesce(sum(tokens), 0), coalesce(sum(money), 0) FROM driver
WHERE campaign_id = :campaign AND run = :run AND number <> :driver
"""
_JUDGED_SINCE = """
SELECT judged_order, number FROM trial
WHERE campaign_id = :campaign AND judged_order >= :order ORDER BY judged_order
"""


class DriverStore(OpenLineage):
    """Keeps the drivers of campaigns, their leases and what they reserve.

    A store acts for one driver of a campaign from :meth:`enter_campaign` on: what it writes to
    trials is refused as soon as others have given that driver up.

    Args:
        database: The open database.
    """

    @property
    def is_shared(self) -> bool:
        """Whether drivers on several machines can reach it, so that runs have leases."""
        return not self._database.is_sqlite

    def drivers(self, campaign: str, *, live: bool = False) -> tuple[DriverRecord, ...]:
        """Return the drivers of a campaign in the order in which they came.

        Args:
            campaign: Name of the campaign.
            live: Only those that neither left nor were given up, and whose lease is not over.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            statement = _DRIVERS.format(clock=self._database.clock)
            found = [
                DriverRecord(*row) for row in transaction.rows(statement, campaign=campaign_id)
            ]
        return tuple(d for d in found if not live or (d.state == LIVE and d.lease >= 0))

    def enter_campaign(
        self, campaign: str, *, host: str, process: str, model: str, times: LeaseTimes, joins: bool
    ) -> tuple[int, float]:
        """Make this process a driver of a campaign; the store acts for it from now on.

        One that this store was before, and that was given up, hands on what it has reserved.

        Args:
            campaign: Name of the campaign.
            host: Name of the machine.
            process: Identity of the process.
            model: The model of its specialists.
            times: How long it may be silent.
            joins: Whether others may drive the campaign, too.

        Returns:
            Its number, and the age of the campaign's run in seconds.

        Raises:
            LineageError: It does not join, and others drive the campaign; or there is none.
        """
        with self._writing_to(campaign) as (transaction, campaign_id):
            expire(transaction, campaign_id)
            live = transaction.values(LIVE_DRIVERS, campaign=campaign_id)
            if live and not joins:
                raise LineageError(
                    f"campaign {campaign} is running already (driver "
                    f"{', '.join(map(str, sorted(live)))}); work on it, too: recipelab join "
                    f"{campaign} --lineage URL"
                )
            last, run = transaction.rows(
                "SELECT max(number), max(run) FROM driver WHERE campaign_id = :campaign",
                campaign=campaign_id,
            )[0]
            before = self._driving.get(campaign)
            # Whoever finds nobody begins a run, but for one that was given up and comes again.
            run = run if live or before is not None else (run or 0) + 1
            tokens, money = handed_on(transaction, campaign_id, before)
            moment = transaction.value(f"SELECT {self._database.clock}")
            number = (last or 0) + 1
            transaction.insert(
                "driver",
                campaign_id=campaign_id,
                number=number,
                run=run,
                host=cut_name(host),
                process=clean(process),
                model=cut_name(model),
                began=moment,
                until=moment + times.expiry,
                state=LIVE,
                tokens=tokens,
                money=money,
            )
            began = transaction.value(_RUN_BEGAN, campaign=campaign_id, run=run)
        self._driving[campaign] = number
        return number, moment - began

    def beat(self, campaign: str, driver: int, times: LeaseTimes) -> bool:
        """Extend the lease of a driver; return ``False`` if it was given up."""
        with self._asking(campaign) as (_, campaign_id):
            pass
        statement = _BEAT.format(clock=self._database.clock)
        # Not in turn with other writes of this process: they may wait for the campaign's lock.
        with self._database.writing() as transaction:
            found = transaction.values(
                statement, campaign=campaign_id, driver=driver, expiry=float(times.expiry)
            )
        return bool(found)

    def give_up_process(self, campaign: str, process: str) -> None:
        """Give up the drivers of a process that is known to be dead, before their leases end."""
        with self._writing_to(campaign) as (transaction, campaign_id):
            transaction.run(_GIVE_UP, campaign=campaign_id, process=process)

    def leave_campaign(
        self, campaign: str, state: str, reason: str, *, unless_last: bool = False
    ) -> bool:
        """Leave a campaign; the last driver ends it.

        Args:
            campaign: Name of the campaign.
            state: ``stopped`` or ``finished``, as in ``end_campaign``.
            reason: Why it ends.
            unless_last: Whether the last one stays, as it has something to do.

        Returns:
            Whether no other driver lives; ``False`` where this store acts for none.
        """
        driver = self._driving.get(campaign)
        if driver is None:
            return False
        with self._writing_to(campaign) as (transaction, campaign_id):
            expire(transaction, campaign_id, but=driver)
            live = transaction.values(LIVE_DRIVERS, campaign=campaign_id)
            is_last = not [number for number in live if number != driver]
            if is_last and unless_last:
                return True
            transaction.run(
                "UPDATE driver SET state = 'left', ticket = NULL, tokens = 0, money = 0 "
                "WHERE campaign_id = :campaign AND number = :driver AND state = 'live'",
                campaign=campaign_id,
                driver=driver,
            )
            transaction.run(
                "UPDATE round SET ended_at = :now WHERE campaign_id = :campaign "
                "AND ended_at IS NULL AND number IN (SELECT round_number FROM driver_round "
                "WHERE campaign_id = :campaign AND driver = :driver)",
                now=to_stamp(now()),
                campaign=campaign_id,
                driver=driver,
            )
            if is_last:
                transaction.run(
                    "UPDATE campaign SET state = :state, stop_reason = :reason, "
                    "ended_at = :ended_at WHERE id = :id AND state IN ('running', 'paused')",
                    state=state,
                    reason=cut(reason, REASON_CHARACTERS),
                    ended_at=to_stamp(now()),
                    id=campaign_id,
                )
        self._driving.pop(campaign, None)
        return is_last

    def look_at_drivers(self, campaign: str) -> DriverLook:
        """Return what the driver that this store acts for sees of the others."""
        driver = self._driving.get(campaign, 0)  # None has the number 0.
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(
                "SELECT number, wish FROM driver WHERE campaign_id = :campaign AND state = 'live' "
                "ORDER BY number",
                campaign=campaign_id,
            )
            wishes: dict[int, str | None] = dict(rows)
            kills = transaction.values(
                f"{_HELD} AND wish = 'kill' ORDER BY trial_number",
                campaign=campaign_id,
                driver=driver,
            )
            overdue = transaction.value(
                _OVERDUE.format(clock=self._database.clock), campaign=campaign_id
            )
            free = overdue or transaction.value(_FREE, campaign=campaign_id, most=1) is not None
            return DriverLook(
                live=driver in wishes,
                calibrates=bool(rows) and rows[0][0] == driver,
                others=len(wishes) - (driver in wishes),
                stop=wishes.get(driver) == STOP,
                kills=tuple(kills),
                free=bool(free),
                in_flight=transaction.value(IN_FLIGHT, campaign=campaign_id),
            )

    def take_trials(self, campaign: str, most: int) -> tuple[int, ...]:
        """Take trials in flight that no living driver holds, lowest number first.

        Drivers whose lease is over are given up.

        Args:
            campaign: Name of the campaign.
            most: How many at most.

        Returns:
            Their numbers.

        Raises:
            LeaseLost: The driver of this store was given up itself.
        """
        driver = self._driving[campaign]
        with self._writing_to(campaign) as (transaction, campaign_id):
            check_live(transaction, campaign_id, driver)
            expire(transaction, campaign_id, but=driver)
            taken = transaction.values(_FREE, campaign=campaign_id, most=most)
            for number in taken:
                hold_trial(transaction, campaign_id, number, driver)
                # What the lost one held of slots is gone with it.
                transaction.run(
                    "DELETE FROM lease WHERE campaign_id = :campaign AND trial_number = :trial",
                    campaign=campaign_id,
                    trial=number,
                )
        return tuple(taken)

    def take_again(self, campaign: str, numbers: Sequence[int]) -> tuple[int, ...]:
        """Queue aborted trials once more, as far as the budget of trials has room, and take them.

        Returns:
            The numbers of those that were taken.

        Raises:
            LeaseLost: The driver of this store was given up.
        """
        driver, taken = self._driving[campaign], []
        with self._writing_to(campaign) as (transaction, campaign_id):
            check_live(transaction, campaign_id, driver)
            for number in numbers:
                trial_id = trial_key(campaign_id, number)
                status = transaction.value("SELECT status FROM trial WHERE id = :id", id=trial_id)
                try:
                    check_room(transaction, campaign_id, campaign)
                except BudgetSpent:
                    break
                if status == Status.ABORTED:
                    reopen_trial(transaction, trial_id)
                    hold_trial(transaction, campaign_id, number, driver)
                    taken.append(number)
        return tuple(taken)

    def held_trials(self, campaign: str) -> tuple[int, ...]:
        """Return the trials that the driver of this store holds."""
        driver = self._driving.get(campaign)
        with self._asking(campaign) as (transaction, campaign_id):
            return tuple(
                transaction.values(
                    f"{_HELD} ORDER BY trial_number", campaign=campaign_id, driver=driver
                )
            )

    def ask_drivers_to_stop(self, campaign: str) -> None:
        """Ask all drivers of a campaign to end it."""
        with self._writing_to(campaign) as (transaction, campaign_id):
            transaction.run(
                "UPDATE driver SET wish = 'stop' WHERE campaign_id = :campaign AND state = 'live'",
                campaign=campaign_id,
            )

    def ask_driver_to_kill(self, campaign: str, trial: int) -> None:
        """Ask the driver that holds a trial to end it; nothing happens if nobody holds it."""
        with self._writing_to(campaign) as (transaction, campaign_id):
            transaction.run(
                "UPDATE trial_lease SET wish = 'kill' "
                "WHERE campaign_id = :campaign AND trial_number = :trial",
                campaign=campaign_id,
                trial=trial,
            )

    # One confirmation at a time.

    def ask_to_judge(self, campaign: str) -> bool:
        """Take a place among the drivers that want to judge, unless it is taken.

        Returns:
            Whether this driver is the first of them, and so may judge until :meth:`end_judging`.

        Raises:
            LeaseLost: It was given up.
        """
        driver = self._driving[campaign]
        with self._writing_to(campaign) as (transaction, campaign_id):
            check_live(transaction, campaign_id, driver)
            expire(transaction, campaign_id, but=driver)
            tickets = transaction.pairs(
                "SELECT number, ticket FROM driver "
                "WHERE campaign_id = :campaign AND state = 'live' AND ticket IS NOT NULL",
                campaign=campaign_id,
            )
            if driver not in tickets:
                tickets[driver] = max(tickets.values(), default=0) + 1
                transaction.run(
                    "UPDATE driver SET ticket = :ticket "
                    "WHERE campaign_id = :campaign AND number = :driver",
                    ticket=tickets[driver],
                    campaign=campaign_id,
                    driver=driver,
                )
            return bool(min(tickets, key=tickets.__getitem__) == driver)

    def end_judging(self, campaign: str) -> None:
        """Give the place among those that want to judge back."""
        driver = self._driving.get(campaign)
        with self._writing_to(campaign) as (transaction, campaign_id):
            transaction.run(
                "UPDATE driver SET ticket = NULL "
                "WHERE campaign_id = :campaign AND number = :driver",
                campaign=campaign_id,
                driver=driver,
            )

    def begin_test(self, campaign: str, name: str) -> None:
        """Note that the driver tests something on fresh seeds, as ``trial 7``.

        Raises:
            LeaseLost: It was given up.
        """
        driver = self._driving[campaign]
        with self._writing_to(campaign) as (transaction, campaign_id):
            check_live(transaction, campaign_id, driver)
            transaction.run(
                "INSERT INTO driver_test (campaign_id, driver, name) "
                "VALUES (:campaign, :driver, :name) ON CONFLICT (campaign_id, driver, name) "
                "DO NOTHING",
                campaign=campaign_id,
                driver=driver,
                name=cut_name(name),
            )

    def end_test(self, campaign: str, name: str) -> None:
        """Note that a test has its verdict, or will have none."""
        driver = self._driving.get(campaign)
        with self._writing_to(campaign) as (transaction, campaign_id):
            transaction.run(
                "DELETE FROM driver_test "
                "WHERE campaign_id = :campaign AND driver = :driver AND name = :name",
                campaign=campaign_id,
                driver=driver,
                name=cut_name(name),
            )

    def running_tests(self, campaign: str) -> int:
        """Return how many tests run, of all drivers that were not given up."""
        with self._asking(campaign) as (transaction, campaign_id):
            found: int = transaction.value(
                "SELECT count(*) FROM driver_test t JOIN driver d "
                "ON d.campaign_id = t.campaign_id AND d.number = t.driver AND d.state = 'live' "
                "WHERE t.campaign_id = :campaign",
                campaign=campaign_id,
            )
        return found

    # One budget.

    def used_totals(self, campaign: str, since: UsedTotals) -> UsedTotals:
        """Return what a campaign has used; only what came after earlier totals is read."""
        with self._asking(campaign) as (transaction, campaign_id):
            return used_by(transaction, campaign_id, since)

    def reserve_calls(
        self,
        campaign: str,
        *,
        tokens: int,
        money: float,
        most_tokens: int | None,
        most_money: float | None,
        since: UsedTotals,
    ) -> UsedTotals:
        """Reserve all that the driver's calls of models may take or took without being written.

        Args:
            campaign: Name of the campaign.
            tokens: The tokens, with those of the call that is to be made.
            money: The cost in US dollars, with that of the call.
            most_tokens: The campaign's limit of tokens.
            most_money: The campaign's limit of money.
            since: Earlier totals.

        Returns:
            The totals of the moment.

        Raises:
            BudgetSpent: With what is used and what others have reserved it is beyond a limit;
                nothing was reserved.
            LeaseLost: The driver of this store was given up.
        """
        driver = self._driving[campaign]
        with self._writing_to(campaign) as (transaction, campaign_id):
            check_live(transaction, campaign_id, driver)
            used = used_by(transaction, campaign_id, since)
            run = transaction.value(
                "SELECT run FROM driver WHERE campaign_id = :campaign AND number = :driver",
                campaign=campaign_id,
                driver=driver,
            )
            # Of one that was given up, too: its calls may have been made.
            ((others, dollars),) = transaction.rows(
                _RESERVED, campaign=campaign_id, run=run, driver=driver
            )
            if most_tokens is not None and used.tokens + int(others) + tokens > most_tokens:
                raise BudgetSpent(f"the budget of {most_tokens:,} tokens has no room for this call")
            if most_money is not None and used.money + float(dollars) + money > most_money:
                raise BudgetSpent(f"the budget of ${most_money:g} has no room for another call")
            note_reserved(transaction, campaign_id, driver, tokens, money)
        return used

    def judged_since(self, campaign: str, order: int) -> tuple[tuple[int, int], ...]:
        """Return order and number of the trials that were judged from an order on.

        Args:
            campaign: Name of the campaign.
            order: The lowest order; the first judgment has 1. A trial that was aborted and runs
                again gives its order to another, so ask for the last one that is known again.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_JUDGED_SINCE, campaign=campaign_id, order=order)
        return tuple((order, number) for order, number in rows)

    def driver_of_round(self, campaign: str, round_number: int) -> int | None:
        """Return the driver that led a round; ``None`` where one alone may run a campaign."""
        with self._asking(campaign) as (transaction, campaign_id):
            found: int | None = transaction.value(
                "SELECT driver FROM driver_round "
                "WHERE campaign_id = :campaign AND round_number = :round",
                campaign=campaign_id,
                round=round_number,
            )
        return found
