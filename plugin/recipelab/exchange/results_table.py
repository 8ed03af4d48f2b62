"""Reads the table that an agent keeps of its experiments: ``commit``, a score, ``status``, words.

It is the ``results.tsv`` of karpathy/autoresearch and of repositories of its layout: tabs between
columns, a line for each experiment in order, ``keep``, ``discard`` or ``crash`` as status. The
second column is the score and names the metric.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recipelab.core.content import read_limited
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Failure, FailureKind, Outcome, Phase, Status, Trust
from recipelab.evaluation.failures import signature_of
from recipelab.exchange.metric import MetricFacts, foreign_campaign
from recipelab.exchange.released_trials import MAX_TABLE_BYTES, Damage
from recipelab.lineage import CampaignRecord, TrialRecord
from recipelab.lineage.campaigns import TRUST
from recipelab.lineage.copy import CampaignCopy
from recipelab.lineage.lookup import MARK
from recipelab.packs.judging_sections import Goal

FIRST, STATUS, WORDS = "commit", "status", "description"
"""Columns that every such table has, beside that of the score."""
STATUSES = {"keep": Status.KEPT, "discard": Status.DISCARDED, "crash": Status.CRASHED}
_MORE_IS_BETTER = re.compile(r"acc|auc|f1|score|reward")
_SURFACE = "recipe"


def is_results_table(file: Path) -> bool:
    """Return whether a file begins as such a table does."""
    try:
        with file.open("rb") as stream:
            head = stream.readline(4096).decode("utf-8-sig", "replace").strip().split("\t")
    except OSError:
        return False
    return len(head) > 2 and head[0] == FIRST and {STATUS, WORDS} <= set(head)


def read_results_table(file: Path, name: str) -> tuple[CampaignCopy, tuple[Damage, ...]]:
    """Read such a table as a campaign.

    The first row is the baseline, and each experiment's parent is the last one that was kept. When
    they ran nobody has written down, so all have the time of the file.

    Args:
        file: The table.
        name: Name that the campaign gets.

    Returns:
        The campaign, and every row that was left out.

    Raises:
        RecipelabError: It is no such table, or has no row that can be read.
    """
    lines = read_limited(file, MAX_TABLE_BYTES).decode("utf-8-sig", "replace").splitlines()
    header = lines[0].split("\t") if lines else []
    if not is_results_table(file):
        raise RecipelabError(f"{file}: no table with {FIRST}, a score, {STATUS} and {WORDS}")
    rows: list[dict[str, str]] = []
    damage: list[Damage] = []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        # Words are the last column, so a tab in them tears nothing else.
        cells = [cell.strip() for cell in line.split("\t", len(header) - 1)]
        row = dict(zip(header, cells, strict=False))
        if problem := _problem(row, header):
            damage.append(Damage(file.name, number, cells[0], problem, None, line))
        else:
            rows.append(row)
    if not rows:
        raise RecipelabError(f"{file}: it has no row that can be read")
    when = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    metric = header[1]
    goal = Goal.MAXIMIZE if _MORE_IS_BETTER.search(metric.lower()) else Goal.MINIMIZE
    table = _Table(metric, goal, when, file.name)
    trials = tuple(table.trials(rows))
    campaign = table.campaign(name, rows, damage)
    judged = tuple(range(len(trials)))
    return CampaignCopy(campaign, (), trials, {}, judged, ()), tuple(damage)


def _problem(row: Mapping[str, str], header: Sequence[str]) -> str:
    if len(row) < len(header):
        return f"{len(row)} columns, and there have to be {len(header)}"
    if row[STATUS] not in STATUSES:
        return f"the status {row[STATUS]!r} is none of {', '.join(STATUSES)}"
    if row[STATUS] != "crash" and _number(row[header[1]]) is None:
        return f"{header[1]} is {row[header[1]]!r}, no finite number"
    return ""


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class _Table:
    """What all rows of a table share."""

    metric: str
    goal: Goal
    when: datetime
    file: str

    def trials(self, rows: Sequence[Mapping[str, str]]) -> list[TrialRecord]:
        """Return the trials of the rows; the first is the baseline."""
        found: list[TrialRecord] = []
        parent: int | None = None
        for number, row in enumerate(rows):
            outcome = self._outcome(row, is_first=number == 0)
            found.append(
                TrialRecord(
                    number=number,
                    round=None,
                    specialist="",
                    surface=_SURFACE,
                    hypothesis=row[WORDS],
                    expected_delta=0.0,
                    parents=() if parent is None else (parent,),
                    edits=(),
                    digest="",
                    diff="",
                    outcome=outcome,
                    proposed_at=self.when,
                    judged_at=self.when,
                )
            )
            if outcome.status in (Status.BASELINE, Status.KEPT):
                parent = number
        return found

    def _outcome(self, row: Mapping[str, str], *, is_first: bool) -> Outcome:
        status = STATUSES[row[STATUS]]
        log = "".join(f"{key}: {value}\n" for key, value in row.items() if key != WORDS)
        if status is Status.CRASHED:
            words = row[WORDS]
            failure = Failure(Phase.TRAIN, FailureKind.VALUE, signature_of(words), words)
            return Outcome(status, "it crashed", failure=failure, log_tail=log)
        return Outcome(
            Status.BASELINE if is_first else status,
            f"imported from {self.file}",
            score=_number(row[self.metric]),
            log_tail=log,
        )

    def campaign(
        self, name: str, rows: Sequence[Mapping[str, str]], damage: Sequence[Damage]
    ) -> CampaignRecord:
        """Return the campaign, marked as one that somebody else's program ran."""
        mark: dict[str, Any] = {
            "from": "results table",
            "source": self.file,
            "metric": MetricFacts(self.metric, "", self.goal).to_json(),
            "source_ids": [row[FIRST] for row in rows],
            "damage": [{"line": item.line, "problem": item.problem} for item in damage],
        }
        return foreign_campaign(
            name,
            f"imported/{self.file}",
            {MARK: mark, TRUST: str(Trust.SELF_REPORTED)},
            reason=f"imported from {self.file}",
            began=self.when,
            ended=self.when,
        )
