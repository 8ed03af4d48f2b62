"""Sum trials up: counts, surfaces, failures that repeat, near misses, unproven gains, margins."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from recipelab.core.trial import FailureKind, GateResult, Phase, Standing, Status
from recipelab.lineage.database import Row, Transaction
from recipelab.lineage.filter import COUNTED, GOALS, check_name, check_page, words_of
from recipelab.lineage.lookup import goal_of, last_trial_id, number_of
from recipelab.lineage.records import Page
from recipelab.lineage.summary_records import (
    BankedMargin,
    FailureGroup,
    MarginGain,
    MissedGate,
    NearMiss,
    SurfaceSummary,
)
from recipelab.lineage.trial_reads import json_parts, trial_briefs
from recipelab.lineage.trials import TrialReader, best_id
from recipelab.lineage.values import LARGEST_INTEGER, cut_name, from_stamp

FIXES_TOLD = 5
"""Trials that got past a failure that are told, at most."""

NEAR = (Status.GATE_MISSED, Status.OVERSIZE, Status.TRAIN_OVERRUN, Status.EVAL_OVERRUN)
"""Statuses of near misses: the trial was measured, and missed a limit."""

HIDDEN = 2.0
"""Standard errors up to which a loss does not show, and from which a margin has grown."""

WORTH = 0.1
"""Share of the best's margin by which one has to be larger to be worth telling."""

BANKED_AMONG = 60
"""Discarded trials whose margins are looked at: those whose scores are nearest to the best's."""

_TALLIES = """
SELECT surface, specialist, status, sum(trials), max(last_id), min(low_delta), max(high_delta),
  sum(since_kept_on_surface), sum(since_kept_by_specialist)
FROM tally WHERE campaign_id = :campaign GROUP BY surface, specialist, status
"""
_FAILURES = """
SELECT failure_id, sum(trials) AS trials, min(first_id), max(last_id) AS last_id, count(*) OVER ()
FROM tally WHERE campaign_id = :campaign AND failure_id > 0 {conditions}
GROUP BY failure_id ORDER BY trials DESC, last_id DESC LIMIT :limit OFFSET :offset
"""
_OF_KINDS = "AND failure_id IN (SELECT id FROM failure WHERE kind IN :kinds) "
_FAILED_LAST = """
SELECT t.id, f.signature, f.kind, f.phase, t.judged_at, x.excerpt
FROM trial t JOIN failure f ON f.id = t.failure_id JOIN trial_text x ON x.trial_id = t.id
WHERE t.id IN :ids
"""
_FIXED_BY = """
SELECT trial_id FROM fix WHERE failure_id = :failure ORDER BY trial_id DESC LIMIT :limit
"""
# One ordered walk for each status: all of them at once would have to be sorted first.
_NEAR_MISSES = " UNION ALL ".join(
    f"SELECT * FROM (SELECT id, score FROM trial WHERE campaign_id = :campaign "
    f"AND status = '{status.value}' AND score {{better}} :best "
    f"ORDER BY score {{order}}, id LIMIT :most) AS {status.value}"
    for status in NEAR
)
_UNPROVEN = " UNION ALL ".join(
    "SELECT * FROM (SELECT id, score FROM trial WHERE campaign_id = :campaign "
    f"AND {which} AND score {{better}} :best AND delta {{better}} 0 "
    f"ORDER BY score {{order}}, id LIMIT :most) AS {name}"
    for name, which in (
        ("discarded", f"status = '{Status.DISCARDED.value}'"),
        ("fallen", f"standing = '{Standing.UNPROVEN.value}'"),
    )
)
_DISCARDED_NEAREST = (
    "SELECT id, score FROM trial WHERE campaign_id = :campaign "
    f"AND status = '{Status.DISCARDED.value}' AND score {{worse}}= :best "
    "ORDER BY score {order}, id LIMIT :most"
)
_CHILDREN = """
SELECT parent_id, count(*) FROM parent WHERE parent_id IN :ids GROUP BY parent_id
"""


class SummaryReader(TrialReader):
    """Sums trials up.

    Args:
        database: The open database.
    """

    def trial_count(self, campaign: str) -> int:
        """Return how many trials the campaign has, those in flight included."""
        return sum(self.counts(campaign).values())

    def counts(self, campaign: str) -> dict[Status | None, int]:
        """Return how many trials ended in each way; ``None`` counts those in flight.

        Returns:
            Only what there is, in the order of :class:`Status`, with ``None`` last.
        """
        with self._asking(campaign) as (transaction, campaign_id):
            return _counts(_tallies(transaction, campaign_id))

    def surfaces(self, campaign: str, *, goal: str | None = None) -> tuple[SurfaceSummary, ...]:
        """Return how the trials of each surface went, by name.

        Args:
            campaign: Name of the campaign.
            goal: Which deltas are best: ``minimize`` or ``maximize``; ``None`` for what the
                campaign says.

        Raises:
            LineageError: There is no such goal.
        """
        return self._summaries(campaign, goal, by_surface=True)

    def specialists(self, campaign: str, *, goal: str | None = None) -> tuple[SurfaceSummary, ...]:
        """Return how the trials of each specialist went, by name.

        Args:
            campaign: Name of the campaign.
            goal: Which deltas are best: ``minimize`` or ``maximize``; ``None`` for what the
                campaign says.

        Raises:
            LineageError: There is no such goal.
        """
        return self._summaries(campaign, goal, by_surface=False)

    def _summaries(
        self, campaign: str, goal: str | None, *, by_surface: bool
    ) -> tuple[SurfaceSummary, ...]:
        groups: dict[str, list[_Tally]] = defaultdict(list)
        with self._asking(campaign) as (transaction, campaign_id):
            goal = _checked_goal(transaction, campaign_id, goal)
            tallies = _tallies(transaction, campaign_id)
        for tally in tallies:
            groups[tally.surface if by_surface else tally.specialist].append(tally)
        return tuple(
            _summary(name, groups[name], goal, by_surface=by_surface) for name in sorted(groups)
        )

    def failures(
        self,
        campaign: str,
        *,
        kinds: Sequence[FailureKind] = (),
        surfaces: Sequence[str] = (),
        limit: int = 50,
        offset: int = 0,
    ) -> Page[FailureGroup]:
        """Return the failures of a campaign by signature, the most frequent first.

        Args:
            campaign: Name of the campaign.
            kinds: Only these kinds; empty for any.
            surfaces: Only trials on these surfaces; empty for any.
            limit: How many at most, from 1 to 200.
            offset: How many to pass over.

        Raises:
            LineageError: There is no such kind, or limit or offset is out of bounds.
        """
        check_page(limit, offset)
        conditions, values = "", dict[str, Any]()
        if kinds:
            conditions += _OF_KINDS
            values["kinds"] = list(words_of("kinds", kinds, FailureKind))
        if surfaces:
            conditions += "AND surface IN :surfaces"
            values["surfaces"] = [cut_name(name) for name in words_of("surfaces", surfaces)]
        statement = _FAILURES.format(conditions=conditions)
        with self._asking(campaign) as (transaction, campaign_id):
            values |= {"campaign": campaign_id, "limit": limit}
            rows = transaction.rows(statement, **values, offset=min(offset, LARGEST_INTEGER))
            # Each row tells how many there are; beyond the last one, the first one does.
            told = rows or (transaction.rows(statement, **values, offset=0) if offset else [])
            return Page(_failure_groups(transaction, rows), told[0][-1] if told else 0)

    def near_misses(
        self, campaign: str, *, goal: str | None = None, limit: int = 50, offset: int = 0
    ) -> Page[NearMiss]:
        """Return the trials that missed a limit although they scored better than the best of now.

        Args:
            campaign: Name of the campaign.
            goal: Which scores are best: ``minimize`` or ``maximize``; ``None`` for what the
                campaign says.
            limit: How many at most, from 1 to 200.
            offset: How many to pass over.

        Returns:
            The best score first. None while the best has no score, or there is no trial.

        Raises:
            LineageError: There is no such goal, or limit or offset is out of bounds.
        """
        return self._better(campaign, _NEAR_MISSES, goal, limit, offset)

    def unproven_gains(
        self, campaign: str, *, goal: str | None = None, limit: int = 50, offset: int = 0
    ) -> Page[NearMiss]:
        """Return the trials that passed every gate and scored better than the best of now.

        They were discarded because their gain could be luck, or lost their standing when a
        checkpoint took their line back. Each was also better than the best that it was held
        against, on the same seeds.

        Args:
            campaign: Name of the campaign.
            goal: Which scores are best: ``minimize`` or ``maximize``; ``None`` for what the
                campaign says.
            limit: How many at most, from 1 to 200.
            offset: How many to pass over.

        Returns:
            The best score first. None while the best has no score, or there is no trial.

        Raises:
            LineageError: There is no such goal, or limit or offset is out of bounds.
        """
        return self._better(campaign, _UNPROVEN, goal, limit, offset)

    def banked_margins(
        self, campaign: str, *, goal: str | None = None, limit: int = 6
    ) -> tuple[BankedMargin, ...]:
        """Return discarded trials that hold a gate by more than the best, at no cost that shows.

        Args:
            campaign: Name of the campaign.
            goal: Which scores are best: ``minimize`` or ``maximize``; ``None`` for what the
                campaign says.
            limit: How many at most, from 1 to 200.

        Returns:
            The smallest cost first. None while the best has no score, or there is no trial.

        Raises:
            LineageError: There is no such goal, or the limit is out of bounds.
        """
        check_page(limit, 0)
        with self._asking(campaign) as (transaction, campaign_id):
            lowest = _checked_goal(transaction, campaign_id, goal) == "minimize"
            if last_trial_id(transaction, campaign_id) is None:
                return ()
            number = best_id(transaction, campaign_id, campaign)
            best = trial_briefs(transaction, [number])[0]
            if best.score is None:
                return ()
            statement = _DISCARDED_NEAREST.format(
                worse=">" if lowest else "<", order="ASC" if lowest else "DESC"
            )
            rows = transaction.rows(
                statement, campaign=campaign_id, best=best.score, most=BANKED_AMONG
            )
            gates = json_parts(transaction, "gates", [number, *(row[0] for row in rows)])
            own = [GateResult(*gate) for gate in gates.get(number, ())]
            briefs = trial_briefs(transaction, [row[0] for row in rows])
        found = []
        for brief, (trial_id, score) in zip(briefs, rows, strict=True):
            cost = abs(score - best.score)
            if brief.delta_se is None or cost > HIDDEN * brief.delta_se:
                continue
            gains = _margin_gains([GateResult(*gate) for gate in gates.get(trial_id, ())], own)
            if gains:
                found.append(BankedMargin(brief, cost, gains))
        return tuple(found[:limit])

    def _better(
        self, campaign: str, statement: str, goal: str | None, limit: int, offset: int
    ) -> Page[NearMiss]:
        check_page(limit, offset)
        with self._asking(campaign) as (transaction, campaign_id):
            lowest = _checked_goal(transaction, campaign_id, goal) == "minimize"
            if last_trial_id(transaction, campaign_id) is None:
                return Page((), 0)
            best = trial_briefs(transaction, [best_id(transaction, campaign_id, campaign)])[0]
            if best.score is None:
                return Page((), 0)
            order = "ASC" if lowest else "DESC"
            near = statement.format(better="<" if lowest else ">", order=order)
            values = {"campaign": campaign_id, "best": best.score}
            passed = min(offset, LARGEST_INTEGER - limit)
            rows = transaction.rows(
                f"SELECT id, score FROM ({near}) AS near ORDER BY score {order}, id "
                "LIMIT :limit OFFSET :offset",
                **values,
                most=passed + limit,
                limit=limit,
                offset=passed,
            )
            items = _near_misses(transaction, rows, best.score)
            total = offset + len(rows)
            if len(rows) == limit or (offset and not rows):
                counted = f"SELECT count(*) FROM ({near}) AS near"
                total = min(COUNTED, transaction.value(counted, **values, most=COUNTED))
            return Page(items, total, total >= COUNTED)


def _checked_goal(transaction: Transaction, campaign_id: int, goal: str | None) -> str:
    """Return a goal that is given, or that of the campaign."""
    if goal is None:
        return goal_of(transaction, campaign_id)
    check_name("goal", goal, GOALS)
    return goal


class _Tally(NamedTuple):
    """Trials of one surface, specialist and status, however they failed."""

    surface: str
    specialist: str
    status: str
    trials: int
    last_id: int
    low_delta: float | None
    high_delta: float | None
    since_kept_on_surface: int
    since_kept_by_specialist: int


def _tallies(transaction: Transaction, campaign_id: int) -> list[_Tally]:
    """Return the tallies of a campaign, which are read once in a transaction."""
    known: dict[int, list[_Tally]] = transaction.memo.setdefault("tallies", {})
    if campaign_id not in known:
        rows = transaction.rows(_TALLIES, campaign=campaign_id)
        known[campaign_id] = [_Tally(*row) for row in rows]
    return known[campaign_id]


def _counts(tallies: Sequence[_Tally]) -> dict[Status | None, int]:
    """Return trials by status, only what there is, in the order of the statuses."""
    counts: Counter[str] = Counter()
    for tally in tallies:
        counts[tally.status] += int(tally.trials)
    known: dict[Status | None, int] = {
        status: counts[status.value] for status in Status if counts[status.value]
    }
    return known | ({None: counts[""]} if counts[""] else {})


def _summary(
    name: str, tallies: Sequence[_Tally], goal: str, *, by_surface: bool
) -> SurfaceSummary:
    counts = _counts(tallies)
    kept = [tally.last_id for tally in tallies if tally.status == Status.KEPT.value]
    since_kept = (
        tally.since_kept_on_surface if by_surface else tally.since_kept_by_specialist
        for tally in tallies
    )
    return SurfaceSummary(
        name=name,
        tried=sum(counts.values()),
        statuses=counts,
        kept=counts.get(Status.KEPT, 0),
        best_delta=_best_delta(tallies, goal),
        last_kept=number_of(max(kept)) if kept else None,
        since_kept=int(sum(since_kept)),
        last_tried=number_of(max(tally.last_id for tally in tallies)),
    )


def _best_delta(tallies: Sequence[_Tally], goal: str) -> float | None:
    if goal == "minimize":
        return min((t.low_delta for t in tallies if t.low_delta is not None), default=None)
    return max((t.high_delta for t in tallies if t.high_delta is not None), default=None)


def _failure_groups(transaction: Transaction, rows: Sequence[Row]) -> tuple[FailureGroup, ...]:
    if not rows:
        return ()
    failed = transaction.rows(_FAILED_LAST, ids=[row[3] for row in rows])
    known = {trial_id: rest for trial_id, *rest in failed}
    groups = []
    for failure_id, trials, first_id, last_id, _ in rows:
        signature, kind, phase, judged_at, excerpt = known[last_id]
        fixed_by = transaction.values(_FIXED_BY, failure=failure_id, limit=FIXES_TOLD)
        group = FailureGroup(
            signature=signature,
            kind=FailureKind(kind),
            phase=Phase(phase) if phase else None,
            count=int(trials),
            first=number_of(first_id),
            last=number_of(last_id),
            last_seen=from_stamp(judged_at),
            excerpt=excerpt,
            fixed_by=tuple(map(number_of, fixed_by)),
        )
        groups.append(group)
    return tuple(groups)


def _near_misses(
    transaction: Transaction, rows: Sequence[Row], best_score: float
) -> tuple[NearMiss, ...]:
    if not rows:
        return ()
    ids = [trial_id for trial_id, _ in rows]
    gates = json_parts(transaction, "gates", ids)
    children = transaction.pairs(_CHILDREN, ids=ids)
    return tuple(
        NearMiss(
            brief,
            abs(score - best_score),
            _missed([GateResult(*gate) for gate in gates.get(trial_id, ())]),
            children.get(trial_id, 0),
        )
        for brief, (trial_id, score) in zip(trial_briefs(transaction, ids), rows, strict=True)
    )


def _margin_gains(
    gates: Sequence[GateResult], best: Sequence[GateResult]
) -> tuple[MarginGain, ...]:
    """Return the gates that are held by more than the best holds them, beyond what luck does."""
    own = {gate.name: gate for gate in best}
    if not all(gate.passed for gate in gates):
        return ()
    found = []
    for gate in gates:
        if (other := own.get(gate.name)) is None:
            continue
        gain, error = gate.margin - other.margin, math.hypot(gate.error or 0.0, other.error or 0.0)
        if gain > max(HIDDEN * error, WORTH * abs(other.margin)):
            found.append(MarginGain(gate.name, gate.margin, other.margin))
    return tuple(sorted(found, key=lambda g: -(g.margin - g.best) / (abs(g.best) or 1.0)))


def _missed(gates: Sequence[GateResult]) -> tuple[MissedGate, ...]:
    """Return the gates that were missed, the one with the largest share of its limit first."""
    missed = [
        MissedGate(gate.name, gate.value, gate.limit, -gate.margin)
        for gate in gates
        if not gate.passed
    ]
    return tuple(sorted(missed, key=lambda gate: -gate.excess / (abs(gate.limit) or 1.0)))
