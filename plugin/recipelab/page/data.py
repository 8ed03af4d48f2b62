"""A campaign as the page shows it: plain data that JSON holds, read from the lineage.

Names are those of the lineage's records; times are seconds since 1970, and ``None`` stands for what
is not known. All text was written by agents, people or code that nobody trusts, so all of it goes
through :func:`recipelab.page.shown.page_json`, which makes it safe to show.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cached_property
from statistics import stdev
from time import time
from typing import TYPE_CHECKING, Any

from recipelab.budget import DEVICE, BudgetLimits, Ledger, Spent
from recipelab.campaign.reader import CampaignReader
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Checkpoint, Outcome, Status, Trust
from recipelab.exchange.metric import MetricFacts, metric_of
from recipelab.lineage import CampaignRecord, LineageStore
from recipelab.lineage.campaigns import trust_of
from recipelab.lineage.columns import ChangeMark, ColumnRow, TrialColumns, columns_of
from recipelab.lineage.trial_view import checkpoint_verdict
from recipelab.packs.judging_sections import Goal
from recipelab.plan import Plan, plan_of

if TYPE_CHECKING:
    from recipelab.packs.pack import Pack

MOST_FAILURES = 200
"""Failures by signature that are shown, the most frequent first."""

SPENT_AMONG = 40
"""Newest messages of the chat among which one tells what the campaign had spent."""

_METRIC = "metric"
_UNITS = {
    "trials": "trials",
    "hours": "h",
    "device_hours": "h",
    "tokens": "tokens",
    "money": "USD",
    "plateau": "trials without a keep",
}
_NEAR = frozenset((Status.GATE_MISSED, Status.OVERSIZE, Status.TRAIN_OVERRUN, Status.EVAL_OVERRUN))


def now_data(reader: CampaignReader) -> dict[str, Any]:
    """Return what goes on right now; of a campaign that nobody runs, which trials it left."""
    now = reader.now()
    facts = dict(now.facts())
    if not now.driver_alive:
        left = reader.store.in_flight_briefs(reader.name)
        facts["queued"] = [brief.number for brief in left]
    return facts


def campaigns_data(store: LineageStore, home: Home) -> list[dict[str, Any]]:
    """Return what tells the campaigns of a lineage apart, oldest first."""
    return [campaign_row(store, home, record) for record in store.campaigns()]


def campaign_row(store: LineageStore, home: Home, record: CampaignRecord) -> dict[str, Any]:
    """Return what tells a campaign apart from others."""
    counts = store.counts(record.name)
    gain = None
    if Status.BASELINE in counts:
        goal = _metric_of(record).goal
        before, after = store.brief(record.name, 0).score, store.best_brief(record.name).score
        gain = goal.gain_percent(before, after)
    names = ("name", "pack", "profile", "model", "sandbox", "state", "stop_reason")
    row = {name: getattr(record, name) for name in names}
    row |= {"created_at": record.created_at, "ended_at": record.ended_at}
    row |= {
        "trials": sum(many for status, many in counts.items() if status and status.counts),
        "running": counts.get(None, 0),
        "driver_alive": home.is_locked(record.name),
        "best_gain": gain,
    }
    return row


def _metric_of(record: CampaignRecord) -> MetricFacts:
    """Return the metric of a campaign; of one whose pack is gone and does not say it, a guess."""
    try:
        return metric_of(record)
    except RecipelabError:
        return MetricFacts("score", "", Goal.MINIMIZE)


class CampaignData:
    """Reads one campaign for the page; what its pack says is read once.

    Args:
        reader: The campaign.

    Attributes:
        reader: The campaign.
        store: Its lineage.
        name: Its name.
    """

    def __init__(self, reader: CampaignReader) -> None:
        self.reader = reader
        self.store = reader.store
        self.name = reader.name

    @cached_property
    def metric(self) -> MetricFacts:
        """Name, unit and goal of the metric."""
        return _metric_of(self.reader.record)

    @cached_property
    def pack(self) -> Pack | None:
        """The task pack; ``None`` if it is not on this machine."""
        try:
            return self.reader.pack
        except (RecipelabError, OSError):
            return None

    def trials(self, since: str | None = None) -> dict[str, Any]:
        """Return the trials as columns, lowest number first.

        Args:
            since: The token of an earlier answer, for those alone that have changed since;
                ``None`` for all. ``whole`` says whether all were given.
        """
        mark = None if since is None else ChangeMark.parsed(since)
        found = self.store.trial_columns(self.name, mark)
        return trials_data(found, self.metric.goal)

    def campaign(self) -> dict[str, Any]:
        """Return all that the page shows of the campaign itself."""
        with self.store.moment():
            return self._campaign()

    def _campaign(self) -> dict[str, Any]:
        store, name, record = self.store, self.name, self.reader.record
        plan = _plan(record)
        surfaces = {item.name: item for item in store.surfaces(name)}
        specialists = {item.name: item for item in store.specialists(name)}
        trust = trust_of(record)
        asked = () if plan is None else plan.specialists
        facts = {
            key: getattr(record, key)
            for key in ("name", "pack", "profile", "model", "sandbox", "seed", "state")
        }
        facts |= {
            "stop_reason": record.stop_reason,
            "created_at": record.created_at,
            "ended_at": record.ended_at,
            "driver_alive": self.reader.is_running,
            "trust": trust,
            "warning": None if trust is None else Trust(trust).warning,
            "missing": self._missing(),
            "metric": self._metric(),
            "surfaces": sorted(surfaces.keys() | (self.pack.surface_names if self.pack else ())),
            "specialists": sorted({*specialists, *asked}),
            "budget": self._budget(record, plan),
            "checkpoints": [
                {"position": item.position, "made_at": item.made_at} | _checkpoint(item.found)
                for item in store.checkpoints(name)
            ],
            "certificates": [
                {"trial": item.trial, "made_at": item.made_at} | vars(item.found)
                for item in store.certificates(name)
            ],
            "failures": store.failures(name, limit=MOST_FAILURES).items,
            "notes": store.notes(name, retired=True),
            "rounds": store.rounds(name),
            "messages": store.message_count(name),
            "arms": self._arms(record),
        }
        return facts | self._groups(surfaces, specialists) | self._line()

    def _missing(self) -> list[str]:
        """Return what is not on this machine, and so is not shown, in words."""
        found = []
        if self.reader.is_imported:
            found.append("this campaign was imported: its pack and its logs are not here")
        elif self.pack is None:
            found.append(
                "the task pack is not on this machine, or has changed since: noise, gates and the "
                "false-claim budget are told as far as the lineage has them"
            )
        return found

    def _metric(self) -> dict[str, Any]:
        unit = f" ({self.metric.unit})" if self.metric.unit else ""
        return self.metric.to_json() | {"title": f"{self.metric.name}{unit}"}

    def _line(self) -> dict[str, Any]:
        """Return baseline, head, certified recipe, noise, gates and tests."""
        counts = self.store.counts(self.name)
        if Status.BASELINE not in counts:
            return {
                "baseline": None, "best": None, "certified": None, "best_gain": None,
                "certified_gain": None, "noise": None, "gates": [], "evidence": self._evidence(),
            }  # fmt: skip
        store, name, goal = self.store, self.name, self.metric.goal
        best, certified = store.best_brief(name), store.certified_brief(name)
        record = store.trial(name, 0)
        before = record.outcome.score if record.outcome else None
        return {
            "baseline": 0,
            "best": best.number,
            "certified": certified.number,
            "best_gain": goal.gain_percent(before, best.score),
            "certified_gain": goal.gain_percent(before, certified.score),
            "noise": self._noise(record.outcome),
            "gates": list(self._gates(record.outcome)),
            "evidence": self._evidence(),
        }

    def _noise(self, baseline: Outcome | None) -> dict[str, Any] | None:
        """Return how much the baseline varied, and the smallest lead that a test would see."""
        runs = baseline.seed_runs if baseline else ()
        values = [run.measures[_METRIC] for run in runs if _METRIC in run.measures]
        if len(values) < 2:
            return None
        smallest = None
        if self.pack is not None:
            from recipelab.evaluation.calibration import calibration_of, smallest_claim

            calibration = calibration_of(self.pack, runs)
            if calibration is not None:
                smallest = smallest_claim(self.pack, calibration)
        return {"sd": stdev(values), "smallest_visible": smallest, "seeds": len(values)}

    def _gates(self, baseline: Outcome | None) -> Iterator[dict[str, Any]]:
        """Yield the gates as the baseline was held to them; their units are those of the pack."""
        for gate in baseline.gates if baseline else ():
            # The margin is the distance to the limit on its right side.
            at_most = gate.margin * (gate.limit - gate.value) >= 0.0
            yield {
                "name": gate.name, "limit": gate.limit, "at_most": at_most, "unit": "",
                "baseline": gate.value, "margin": gate.margin, "error": gate.error,
            }  # fmt: skip

    def _evidence(self) -> dict[str, Any]:
        """Return what all tests of the campaign may claim by luck, and what they have used of it.

        A test that ends in a claim passes its level on, so it spends nothing.
        """
        checkpoints: list[dict[str, Any]] = [
            {
                "kind": "checkpoint", "trial": item.found.trial, "against": item.found.against,
                "held": item.found.held, "verdict": checkpoint_verdict(item.found),
                "p": item.found.p, "level": item.found.level, "seeds": item.found.seeds,
                "made_at": item.made_at,
            }
            for item in self.store.checkpoints(self.name)
        ]  # fmt: skip
        tests = [*self.store.tested_trials(self.name), *checkpoints]
        spent = sum(test["level"] or 0.0 for test in tests if not test["held"])
        acceptance = self.pack.acceptance if self.pack else None
        rate = acceptance.false_keep_rate if acceptance else None
        return {
            "policy": acceptance.policy if acceptance else None,
            "false_claim_budget": rate,
            "spent": spent,
            "left": None if rate is None else max(0.0, rate - spent),
            "claims": sum(bool(test["held"]) for test in tests),
            "looks": acceptance.confirm if acceptance else None,
            "tests": tests,
        }

    def _budget(self, record: CampaignRecord, plan: Plan | None) -> list[dict[str, Any]]:
        """Return what was spent of each kind, and its limit if it has one."""
        limits = BudgetLimits(trials=record.trials, hours=record.hours)
        limits = limits if plan is None else plan.limits
        spent = Ledger(self.store, self.name, limits, goal=self.metric.goal).spent
        used = {"hours": self._hours(record), "plateau": spent.since_kept}
        rows = [
            {
                "kind": kind, "unit": unit, "limit": getattr(limits, kind),
                "used": used[kind] if kind in used else getattr(spent, kind),
            }
            for kind, unit in _UNITS.items()
            if kind != "plateau" or limits.plateau is not None
        ]  # fmt: skip
        calls = sum(item.calls for item in self.store.usage(self.name) if item.model != DEVICE)
        rows.append({"kind": "model_calls", "unit": "calls", "limit": None, "used": calls})
        if limits.target is not None:
            rows.append(self._target(limits.target, spent))
        return rows

    def _target(self, target: float, spent: Spent) -> dict[str, Any]:
        return {"kind": "target", "unit": self.metric.unit, "limit": target, "used": spent.best}

    def _hours(self, record: CampaignRecord) -> float | None:
        """Return the wall-clock hours of the present run, or of the last one."""
        newest = self.store.newest_messages(self.name, type="TextMessage", limit=SPENT_AMONG)
        for message in newest:
            metadata = message.payload.get("metadata")
            if not isinstance(metadata, Mapping) or "spent" not in metadata:
                continue
            with suppress(ValueError, TypeError, KeyError):
                hours = float(json.loads(metadata["spent"])["hours"])
                if self.reader.is_running:
                    hours += max(0.0, time() - message.created_at.timestamp()) / 3600.0
                return hours
        if record.ended_at is None:
            return None
        return (record.ended_at - record.created_at).total_seconds() / 3600.0

    def _groups(
        self, surfaces: Mapping[str, Any], specialists: Mapping[str, Any]
    ) -> dict[str, list[dict[str, Any]]]:
        """Return how surfaces and specialists have done, and what they took."""
        on_surface, by_specialist = defaultdict[str, float](float), defaultdict[str, float](float)
        for (surface, specialist), seconds in self.store.cpu_seconds(self.name).items():
            on_surface[surface] += seconds
            by_specialist[specialist] += seconds
        calls: dict[str, Counter[str]] = defaultdict(Counter)
        for item in self.store.usage(self.name):
            if item.model != DEVICE:
                for key in ("calls", "prompt_tokens", "completion_tokens", "seconds", "cost"):
                    calls[item.specialist][key] += getattr(item, key)
        nothing = dict.fromkeys(("calls", "prompt_tokens", "completion_tokens"), 0)
        passes = self.store.idle_turns(self.name)
        return {
            "by_surface": [
                _group(item) | {"cpu_seconds": on_surface[name]} for name, item in surfaces.items()
            ],
            "by_specialist": [
                _group(item)
                | nothing
                | {"seconds": 0.0, "cost": 0.0, "passes": passes.get(name, 0)}
                | calls[name]
                | {"cpu_seconds": by_specialist[name]}
                for name, item in specialists.items()
            ],
        }

    def _arms(self, record: CampaignRecord) -> list[dict[str, Any]] | None:
        """Return the campaigns on the same pack and profile; ``None`` if there is no other."""
        alike = [
            other
            for other in self.store.campaigns()
            if (other.pack, other.profile) == (record.pack, record.profile)
        ]
        plans = {other.name: _plan(other) for other in alike}
        found = [
            {
                "name": other.name, "model": other.model, "seed": other.seed,
                "arm": plan.arm if (plan := plans[other.name]) else None,
            }
            for other in alike
        ]  # fmt: skip
        return found if len(found) > 1 else None


def _plan(record: CampaignRecord) -> Plan | None:
    with suppress(RecipelabError):
        return plan_of(record)
    return None


def _group(item: Any) -> dict[str, Any]:
    names = ("name", "tried", "kept", "best_delta", "last_kept", "since_kept", "last_tried")
    statuses = {status or "in_flight": many for status, many in item.statuses.items()}
    return {name: getattr(item, name) for name in names} | {"statuses": statuses}


def _checkpoint(found: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint without its seed runs, which the page shows with its trials."""
    left_out = ("runs", "against_runs")
    facts = {f.name: getattr(found, f.name) for f in fields(found) if f.name not in left_out}
    return facts | {"verdict": checkpoint_verdict(found)}


def trials_data(found: TrialColumns, goal: Goal) -> dict[str, Any]:
    """Return trials as columns of equal length.

    A near miss missed a limit with a score better than that of the best of its time; an unproven
    gain passed every gate with such a score, and was not kept, or fell with its line.
    """
    columns = columns_of(found.rows, ColumnRow._fields)
    better = _better(found.rows, goal)
    columns["near_miss"] = [
        row.status in _NEAR and ahead for row, ahead in zip(found.rows, better, strict=True)
    ]
    columns["unproven_gain"] = [
        ahead and (row.status == Status.DISCARDED or row.standing == "unproven")
        for row, ahead in zip(found.rows, better, strict=True)
    ]
    return {"token": str(found.mark), "whole": found.whole, "columns": columns}


def _better(rows: Sequence[ColumnRow], goal: Goal) -> list[bool]:
    """Return for each trial whether it scored better than the best of its time.

    The delta says it; for trials without one, as imported ones, the best is that of all trials.
    """
    found: dict[int, bool] = {}
    best: float | None = None
    for row in sorted(rows, key=lambda row: row.judged_order or 0):
        gain = None if row.delta is None else goal.sign * row.delta
        if gain is None and row.score is not None and best is not None:
            gain = goal.sign * (row.score - best)
        found[row.number] = gain is not None and gain > 0.0
        if row.status in (Status.KEPT, Status.BASELINE) and row.score is not None:
            best = row.score
    return [found[row.number] for row in rows]
