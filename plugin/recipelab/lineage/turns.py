"""Keep each turn of a specialist: what it was shown when it began, its trials and its messages.

What is shown is stored once, under the hash of its text. One view repeats most lines of the view
before it, so it is deflated with that one as preset dictionary: some hundred bytes are left of
several thousand. A chain of such views ends after :data:`LONGEST_CHAIN` with one that stands alone.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recipelab.core.errors import LineageError
from recipelab.lineage.database import Row, Transaction
from recipelab.lineage.lookup import (
    LARGEST_NUMBER,
    OpenLineage,
    check_round,
    number_of,
    trial_id_of,
    trial_key,
)
from recipelab.lineage.values import clean, cut_name, from_stamp, now, to_stamp

LONGEST_CHAIN = 32
"""Views that are read at most to have one."""

VIEW_PAGE = 200
"""Views that are in memory at once while they are read one by one."""

_TURNS = """
SELECT t.number, t.specialist, t.round_number, t.began_at, v.sha256, t.first_message,
  t.last_message
FROM turn t LEFT JOIN turn_view v ON v.id = t.view_id
WHERE t.campaign_id = :campaign
"""
_TRIALS = "SELECT turn_number, trial_id FROM turn_trial WHERE trial_id BETWEEN :low AND :high"
_CHAIN = """
WITH RECURSIVE chain (base_id, data, depth) AS (
  SELECT base_id, data, 0 FROM turn_view WHERE id = :id
  UNION ALL
  SELECT v.base_id, v.data, c.depth + 1 FROM turn_view v JOIN chain c ON v.id = c.base_id
)
SELECT data FROM chain ORDER BY depth DESC
"""
_VIEW_ID = "SELECT id FROM turn_view WHERE sha256 = :sha256"
_VIEW_AND_NEWEST = f"""
SELECT ({_VIEW_ID}), (
  SELECT view_id FROM turn WHERE campaign_id = :campaign AND view_id IS NOT NULL
  ORDER BY number DESC LIMIT 1)
"""
# Writers of another campaign may store the same view at the same moment.
_NEW_VIEW = """
INSERT INTO turn_view (sha256, base_id, data) VALUES (:sha256, :base_id, :data)
ON CONFLICT (sha256) DO NOTHING
"""
_VIEWS = """
SELECT v.sha256, min(t.began_at) FROM turn t JOIN turn_view v ON v.id = t.view_id
WHERE t.campaign_id = :campaign GROUP BY v.sha256 ORDER BY min(t.number)
"""
# The messages of a turn are written when it ends.
_IDLE = """
SELECT specialist, count(*) FROM turn
WHERE campaign_id = :campaign AND last_message IS NOT NULL AND number NOT IN (
  SELECT turn_number FROM turn_trial WHERE trial_id BETWEEN :low AND :high
)
GROUP BY specialist
"""
_TAKEN = """
SELECT count(*) FROM turn
WHERE campaign_id = :campaign AND specialist = :specialist AND (
  view_id IS NOT NULL
  OR number IN (SELECT turn_number FROM turn_trial WHERE trial_id BETWEEN :low AND :high)
)
"""
_VIEW_IDS = """
SELECT v.id, v.sha256, min(t.began_at) FROM turn t JOIN turn_view v ON v.id = t.view_id
WHERE t.campaign_id = :campaign GROUP BY v.id, v.sha256 ORDER BY min(t.number)
"""
_STORED = "SELECT id, base_id, data FROM turn_view WHERE id IN :ids"
_HEARD = """
UPDATE turn SET first_message = coalesce(first_message, :first), last_message = :last
WHERE campaign_id = :campaign AND number = :number
"""


@dataclass(frozen=True)
class TurnRecord:
    """A turn of a specialist: what it was shown, and what came of it.

    Attributes:
        number: Its number in its campaign, from 1.
        specialist: Whose turn it was.
        round: Number of the round; ``None`` outside of rounds.
        began_at: When the specialist was shown the view, in UTC.
        view: SHA-256 of what it was shown, under which the lineage has the text; ``None`` if that
            was nothing.
        trials: Numbers of the trials that it submitted.
        first_message: Position of its first message; ``None`` if none is written.
        last_message: Position of its last message. Those of others lie between.
    """

    number: int
    specialist: str
    round: int | None
    began_at: datetime
    view: str | None
    trials: tuple[int, ...] = ()
    first_message: int | None = None
    last_message: int | None = None


@dataclass(frozen=True)
class ViewRecord:
    """What specialists were shown when turns began, without its text.

    Attributes:
        hash: SHA-256 of the text.
        first_used_at: When the first turn showed it, in UTC.
    """

    hash: str
    first_used_at: datetime


class TurnStore(OpenLineage):
    """Reads and writes turns and what they showed.

    Args:
        database: The open database.
    """

    def add_turn(
        self, campaign: str, specialist: str, *, view: str, round_number: int | None
    ) -> int:
        """Add a turn that begins.

        Args:
            campaign: Name of the campaign.
            specialist: Whose turn it is.
            view: What the specialist is shown; empty if that is nothing.
            round_number: The round in which it begins; ``None`` outside of rounds.

        Returns:
            The number of the turn in its campaign, from 1.

        Raises:
            LineageError: There is no such campaign or round.
        """
        with self._writing_to(campaign) as (transaction, campaign_id):
            if round_number is not None:
                check_round(transaction, campaign_id, round_number, campaign)
            last = transaction.value(
                "SELECT max(number) FROM turn WHERE campaign_id = :campaign", campaign=campaign_id
            )
            turn = TurnRecord((last or 0) + 1, cut_name(specialist), round_number, now(), None)
            insert_turn(transaction, campaign_id, turn, view)
            return turn.number

    def turns(self, campaign: str) -> tuple[TurnRecord, ...]:
        """Return the turns of a campaign, oldest first.

        An older lineage has none of the turns that were taken before it was brought up to date.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(f"{_TURNS} ORDER BY t.number", campaign=campaign_id)
            return _with_trials(transaction, campaign_id, rows)

    def idle_turns(self, campaign: str) -> dict[str, int]:
        """Return how many turns of each specialist have ended without a trial."""
        with self._asking(campaign) as (transaction, campaign_id):
            low, high = trial_key(campaign_id, 0), trial_key(campaign_id, LARGEST_NUMBER)
            return transaction.pairs(_IDLE, campaign=campaign_id, low=low, high=high)

    def taken_turns(self, campaign: str, specialist: str) -> int:
        """Return how many turns of a specialist began with a view, or have submitted a trial."""
        with self._asking(campaign) as (transaction, campaign_id):
            return int(
                transaction.value(
                    _TAKEN,
                    campaign=campaign_id,
                    specialist=cut_name(specialist),
                    low=trial_key(campaign_id, 0),
                    high=trial_key(campaign_id, LARGEST_NUMBER),
                )
            )

    def turn_of(self, campaign: str, trial: int) -> TurnRecord | None:
        """Return the turn in which a trial was submitted; ``None`` if that was in none.

        Raises:
            LineageError: There is no such campaign or trial.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            trial_id = trial_id_of(transaction, campaign_id, trial, campaign)
            number = transaction.value(
                "SELECT turn_number FROM turn_trial WHERE trial_id = :id", id=trial_id
            )
            statement = f"{_TURNS} AND t.number = :number"
            rows = transaction.rows(statement, campaign=campaign_id, number=number)
            return next(iter(_with_trials(transaction, campaign_id, rows)), None)

    def turn_messages(self, campaign: str, turn: int) -> tuple[int, ...]:
        """Return the positions of the messages that a specialist said in a turn, in order.

        Raises:
            LineageError: There is no such campaign.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.values(
                "SELECT m.position FROM turn t JOIN message m ON m.campaign_id = t.campaign_id "
                "AND m.position BETWEEN t.first_message AND t.last_message "
                "AND m.source = t.specialist "
                # Specialists of the same name speak in the rounds of other drivers.
                "AND (m.round_number IS NULL OR t.round_number IS NULL "
                "OR m.round_number = t.round_number) "
                "WHERE t.campaign_id = :campaign AND t.number = :turn ORDER BY m.position",
                campaign=campaign_id,
                turn=turn,
            )
            return tuple(rows)

    def views(self, campaign: str) -> tuple[ViewRecord, ...]:
        """Return what was shown in the turns of a campaign, each text once, oldest first."""
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_VIEWS, campaign=campaign_id)
            return tuple(ViewRecord(digest.hex(), from_stamp(first)) for digest, first in rows)

    def each_view(self, campaign: str) -> Iterator[tuple[ViewRecord, str]]:
        """Yield what was shown in the turns of a campaign with its text, each once.

        A view is read with the one before it at hand, so that a whole campaign takes as long as a
        few single ones. No transaction stays open meanwhile.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            rows = transaction.rows(_VIEW_IDS, campaign=campaign_id)
        texts: dict[int, bytes] = {}
        for start in range(0, len(rows), VIEW_PAGE):
            page = rows[start : start + VIEW_PAGE]
            with self._reading() as transaction:
                stored = transaction.rows(_STORED, ids=[row[0] for row in page])
                found = {key: (base, data) for key, base, data in stored}
                for key, digest, first in page:
                    base, data = found[key]
                    if base is not None and base not in texts:
                        texts[base] = _text_of(transaction, base)[0]
                    texts[key] = _inflated(data, b"" if base is None else texts[base])
                    yield ViewRecord(digest.hex(), from_stamp(first)), texts[key].decode()
            # A base is the newest view of its time, so that those before it are asked no more.
            texts = dict(list(texts.items())[-LONGEST_CHAIN:])

    def view_text(self, sha256: str) -> str:
        """Return what was shown in a turn.

        Args:
            sha256: The hash of the text, in hexadecimal digits.

        Raises:
            LineageError: Nothing with that hash was shown.
        """
        with self._reading() as transaction:
            try:
                found = transaction.value(_VIEW_ID, sha256=bytes.fromhex(sha256))
            except ValueError:
                found = None
            if found is None:
                raise LineageError(f"no turn has shown a view with the SHA-256 {sha256!r}")
            return _text_of(transaction, found)[0].decode()


def _with_trials(
    transaction: Transaction, campaign_id: int, rows: Sequence[Row]
) -> tuple[TurnRecord, ...]:
    """Return turns with the trials that they submitted."""
    if not rows:
        return ()
    statement, values = _TRIALS, dict[str, Any]()
    if len(rows) == 1:
        statement += " AND turn_number = :number"
        values["number"] = rows[0][0]
    trials: defaultdict[int, list[int]] = defaultdict(list)
    low, high = trial_key(campaign_id, 0), trial_key(campaign_id, LARGEST_NUMBER)
    for number, trial_id in transaction.rows(
        f"{statement} ORDER BY trial_id", low=low, high=high, **values
    ):
        trials[number].append(number_of(trial_id))
    return tuple(
        TurnRecord(
            number,
            specialist,
            round_number,
            from_stamp(began_at),
            None if digest is None else digest.hex(),
            tuple(trials[number]),
            first,
            last,
        )
        for number, specialist, round_number, began_at, digest, first, last in rows
    )


def insert_turn(transaction: Transaction, campaign_id: int, turn: TurnRecord, view: str) -> None:
    """Add a turn as it is but for its trials, with what it showed; empty if that is nothing."""
    transaction.insert(
        "turn",
        campaign_id=campaign_id,
        number=turn.number,
        round_number=turn.round,
        specialist=turn.specialist,
        began_at=to_stamp(turn.began_at),
        view_id=_insert_view(transaction, campaign_id, view) if view else None,
        first_message=turn.first_message,
        last_message=turn.last_message,
    )


def insert_turn_trial(transaction: Transaction, campaign_id: int, trial_id: int, turn: int) -> None:
    """Note in which turn a trial was submitted.

    Raises:
        LineageError: The campaign has no such turn.
    """
    last = transaction.value(
        "SELECT max(number) FROM turn WHERE campaign_id = :campaign", campaign=campaign_id
    )
    if not 1 <= turn <= (last or 0):
        known = f"it has turns 1 to {last}" if last else "it has none yet"
        raise LineageError(f"there is no turn {turn} in which a trial can be submitted; {known}")
    transaction.insert("turn_trial", trial_id=trial_id, turn_number=turn)


def note_heard(
    transaction: Transaction, campaign_id: int, said: Iterable[tuple[int | None, int]]
) -> None:
    """Note which messages belong to turns.

    Args:
        transaction: Where to.
        campaign_id: The campaign.
        said: Number of the turn, if any, and position of each new message, in order.
    """
    places: dict[int, list[int]] = {}
    for turn, position in said:
        if turn is not None:
            places.setdefault(turn, []).append(position)
    rows = [
        {"campaign": campaign_id, "number": turn, "first": positions[0], "last": positions[-1]}
        for turn, positions in places.items()
    ]
    transaction.run_many(_HEARD, rows)


def _insert_view(transaction: Transaction, campaign_id: int, view: str) -> int:
    """Store what a turn shows unless it is there, and return its id."""
    content = clean(view).encode()
    digest = hashlib.sha256(content).digest()
    ((found, base_id),) = transaction.rows(_VIEW_AND_NEWEST, sha256=digest, campaign=campaign_id)
    if found is not None:
        return int(found)
    base, length = (b"", 0) if base_id is None else _text_of(transaction, base_id)
    if length >= LONGEST_CHAIN:
        base_id, base = None, b""
    transaction.run(_NEW_VIEW, sha256=digest, base_id=base_id, data=_deflated(content, base))
    return int(transaction.value(_VIEW_ID, sha256=digest))


def _text_of(transaction: Transaction, view_id: int) -> tuple[bytes, int]:
    """Return the text of a view, and how many views were read for it."""
    chain = transaction.values(_CHAIN, id=view_id)
    text = b""
    for data in chain:
        text = _inflated(data, text)
    return text, len(chain)


def _deflated(content: bytes, base: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS, zdict=base)
    return packer.compress(content) + packer.flush()


def _inflated(data: bytes, base: bytes) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=base)
    return unpacker.decompress(data) + unpacker.flush()
