"""A campaign of the endurance benchmark, what is counted of it, and the processes around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from recipelab.core.trial import Status
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.sandbox.docker.options import LABEL_PREFIX

ROOT = Path(__file__).parents[1]

SAME_SECRET = """
from recipelab.lineage import campaigns
campaigns.token_bytes = lambda size: b"endurance".ljust(size)[:size]
from recipelab.cli.app import app
app()
"""
"""The command line, with a secret that all campaigns share, and so seeds and scores."""

COMMAND = [sys.executable, "-c", SAME_SECRET]


@dataclass
class Tally:
    """What was seen over all strikes; everything from ``lost`` on should be zero.

    Attributes:
        strikes: Strikes by their kind.
        campaigns: Campaigns that came to their end.
        trials: Trials that spent the budgets, baselines left out.
        resumed: How often a driver ended with a message, other than by a kill, and was resumed.
        in_flight: Trials without an outcome at a strike, by their state, summed.
        phases: Processes below the driver at strikes, summed.
        lost: Judged trials that were gone, or had another outcome, after a later strike or the end.
        twice: Recipes that were measured under two numbers.
        without_outcome: Trials of ended campaigns that have none.
        miscounted: Ended campaigns whose count is not their budget.
        different: Of ended campaigns whose trials are not those of the undisturbed one, the first
            trial that differs.
        faults: Commands that failed where nothing had struck, or with a traceback; what they said.
        processes: Processes of phases that lived on after a kill.
        containers: Containers of ended campaigns.
        folders: Temporary folders of ended campaigns.
        leases: Slots that ended campaigns still hold.
    """

    strikes: dict[str, int] = field(default_factory=dict)
    campaigns: int = 0
    trials: int = 0
    resumed: int = 0
    in_flight: dict[str, int] = field(default_factory=dict)
    phases: int = 0
    lost: int = 0
    twice: int = 0
    without_outcome: int = 0
    miscounted: int = 0
    different: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    processes: int = 0
    containers: int = 0
    folders: int = 0
    leases: int = 0


Proposed = tuple[str, str, object, Status | None, float | None]
"""What of a trial has to be the same as undisturbed."""


@dataclass
class Campaign:
    """One campaign in a project of its own.

    Attributes:
        folder: Holds the project, and every temporary file of its processes.
        name: Its name.
        words: Further words of ``run``: budget, slots, sandbox.
        lineage: URL of its lineage; ``None`` for a file in the project.
        environment: Environment variables of its processes.
    """

    folder: Path
    name: str
    words: list[str]
    lineage: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    judged: dict[int, TrialRecord] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "tmp").mkdir()
        shutil.copytree(ROOT / "tests/project", self.folder / "project")

    def begin(self) -> subprocess.Popen[bytes]:
        """Starts it, or resumes it if it is there."""
        elsewhere = {"RECIPELAB_LINEAGE": self.lineage} if self.lineage else {}
        words = ["resume", self.name]
        if not self.records():
            words = ["run", "toy", "--name", self.name, "--if-exists", "continue", *self.words]
        return subprocess.Popen(
            [*COMMAND, *words],
            cwd=self.folder / "project",
            env={
                **os.environ,
                "TMPDIR": str(self.folder / "tmp"),
                "RECIPELAB_HOME": "home",
                **elsewhere,
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "output").open("wb"),
            stderr=subprocess.STDOUT,
        )

    @property
    def said(self) -> str:
        """What its newest process printed, its end."""
        return (self.folder / "output").read_text(errors="replace")[-3000:]

    @contextmanager
    def opened(self) -> Iterator[LineageStore | None]:
        """Opens its lineage; ``None`` before there is one."""
        database = self.folder / "project/home/lineage.db"
        if self.lineage is None and not database.is_file():
            yield None
            return
        with LineageStore.open(self.lineage or database, create=True) as store:
            yield store

    def records(self) -> list[TrialRecord]:
        """All trials so far, in order."""
        with self.opened() as store:
            if store is None or self.name not in {found.name for found in store.campaigns()}:
                return []
            wanted = TrialFilter(order="oldest", limit=200)
            return list(store.query(self.name, wanted).items)

    def proposed(self) -> list[Proposed]:
        """What of its trials has to be the same as undisturbed."""
        return [
            (
                record.specialist,
                record.hypothesis,
                record.edits,
                record.outcome.status if record.outcome else None,
                record.outcome.score if record.outcome else None,
            )
            for record in self.records()
        ]

    def look(self, tally: Tally) -> list[TrialRecord]:
        """Compares the lineage with what it held at the last look."""
        records = self.records()
        now = {record.number: record for record in records if record.outcome is not None}
        for number, before in self.judged.items():
            aborted = before.outcome is not None and before.outcome.status is Status.ABORTED
            tally.lost += not aborted and not _is_same(before, now.get(number))
        self.judged = now
        return records

    def audit(self, tally: Tally, budget: int, undisturbed: Sequence[Proposed] | None) -> None:
        """Looks at it when it has ended."""
        records = self.look(tally)
        measured = Counter(r.digest for r in records if r.outcome and r.outcome.seed_runs)
        spent = sum(r.outcome.status.counts for r in records if r.outcome)
        tally.campaigns += 1
        tally.trials += spent
        tally.twice += sum(count - 1 for count in measured.values())
        tally.without_outcome += sum(r.outcome is None for r in records)
        tally.miscounted += spent != budget
        tally.miscounted += [r.number for r in records] != list(range(len(records)))
        if undisturbed is not None and (now := self.proposed()) != list(undisturbed):
            pairs = zip_longest(undisturbed, now)
            number, pair = next((n, pair) for n, pair in enumerate(pairs) if pair[0] != pair[1])
            outcome = records[number].outcome if number < len(records) else None
            reason = outcome.reason if outcome is not None else "no outcome"
            tally.different.append(f"trial {number} was {pair[0]}, now {pair[1]}: {reason}")
        tally.folders += len(list((self.folder / "tmp").glob("recipelab-*")))
        tally.containers += len(containers(self.name)) if shutil.which("docker") else 0
        with self.opened() as store:
            tally.leases += len(store.leases(self.name)) if store is not None else 1


def _is_same(before: TrialRecord, now: TrialRecord | None) -> bool:
    """Whether a judged trial is what it was; its standing may change with later checkpoints."""
    return now is not None and (now.digest, now.outcome) == (before.digest, before.outcome)


def containers(campaign: str) -> list[str]:
    """Containers of a campaign, running or not; none where no daemon answers."""
    label = f"label={LABEL_PREFIX}campaign={campaign}"
    words = ["docker", "ps", "--all", "--quiet", "--filter", label]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()


def processes() -> dict[int, tuple[int, str]]:
    """All processes: their parents and start times."""
    parents: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        parents[int(path.parent.name)] = (int(rest[1]), rest[19])
    return parents


def children(pid: int) -> set[int]:
    """Processes that one has started itself."""
    return {child for child, (up, _) in processes().items() if up == pid}


def below(pid: int) -> set[tuple[int, str]]:
    """Processes that descend from one: their ids and start times."""
    parents = processes()
    found = {pid}
    while more := {child for child, (up, _) in parents.items() if up in found} - found:
        found |= more
    return {(child, parents[child][1]) for child in found - {pid}}


def alive(those: set[tuple[int, str]]) -> Iterator[int]:
    """Those that still run; one that waits to be collected has ended."""
    for pid, started in those:
        try:
            rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if rest[19] == started and rest[0] != "Z":
            yield pid
