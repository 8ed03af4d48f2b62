"""What ``kill -9`` leaves behind: campaigns are killed at random moments and resumed.

    python benchmarks/kills.py --kills 100
    python benchmarks/kills.py --kills 24 --sandbox docker --trials 6 --within 12

Each campaign of the toy pack is killed until it comes to its end between two kills. After every
kill the lineage is compared with what it held before, and what lives on is looked for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from recipelab.core.trial import Status
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.sandbox.docker.options import LABEL_PREFIX

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "recipelab"]
GONE_SECONDS = 5.0
"""How long after a kill a process of a phase may still be there."""


@dataclass
class Tally:
    """What was seen over all kills; everything from ``lost`` on should be zero.

    Attributes:
        kills: Processes that were killed.
        campaigns: Campaigns that came to their end.
        trials: Trials that spent the budgets, baselines left out.
        in_flight: Trials without an outcome at a kill, by their state, summed over kills.
        phases: Processes of phases at kills, summed.
        lost: Judged trials that were gone, or had another outcome, after a later kill or the end.
        twice: Recipes that were measured under two numbers.
        without_outcome: Trials of ended campaigns that have none.
        miscounted: Ended campaigns whose count is not their budget.
        faults: Commands that failed without being killed; what they said.
        processes: Processes of phases that lived on after a kill.
        containers: Containers of ended campaigns.
        folders: Temporary folders of ended campaigns.
        leases: Slots that ended campaigns still hold.
    """

    kills: int = 0
    campaigns: int = 0
    trials: int = 0
    in_flight: dict[str, int] = field(default_factory=dict)
    phases: int = 0
    lost: int = 0
    twice: int = 0
    without_outcome: int = 0
    miscounted: int = 0
    faults: list[str] = field(default_factory=list)
    processes: int = 0
    containers: int = 0
    folders: int = 0
    leases: int = 0


@dataclass
class Campaign:
    """One campaign in a project of its own.

    Attributes:
        folder: Holds the project, and every temporary file of its processes.
        name: Its name.
        trials: Its budget.
        sandbox: Where it trains.
    """

    folder: Path
    name: str
    trials: int
    sandbox: str
    judged: dict[int, TrialRecord] = field(default_factory=dict)

    def begin(self) -> subprocess.Popen[bytes]:
        """Starts it, or resumes it if it is there."""
        words = ["resume", self.name]
        if not self.records():
            budget = ["--trials", str(self.trials), "--slots", "2", "--share-devices"]
            words = ["run", "toy", "--name", self.name, "--if-exists", "continue", *budget]
        return subprocess.Popen(
            [*COMMAND, *words, "--sandbox", self.sandbox],
            cwd=self.folder / "project",
            env={**os.environ, "TMPDIR": str(self.folder / "tmp"), "RECIPELAB_HOME": "home"},
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "output").open("wb"),
            stderr=subprocess.STDOUT,
        )

    def records(self) -> list[TrialRecord]:
        """All trials so far, in order."""
        database = self.folder / "project/home/lineage.db"
        if not database.is_file():
            return []
        with LineageStore.open(database, create=True) as store:
            if self.name not in {campaign.name for campaign in store.campaigns()}:
                return []
            wanted = TrialFilter(order="oldest", limit=200)
            return list(store.query(self.name, wanted).items)

    def look(self, tally: Tally) -> list[TrialRecord]:
        """Compares the lineage with what it held at the last look."""
        records = self.records()
        now = {record.number: record for record in records if record.outcome is not None}
        for number, before in self.judged.items():
            aborted = before.outcome is not None and before.outcome.status is Status.ABORTED
            tally.lost += not aborted and now.get(number) != before
        self.judged = now
        return records

    def audit(self, tally: Tally) -> None:
        """Looks at it when it has ended."""
        records = self.look(tally)
        measured = Counter(r.digest for r in records if r.outcome and r.outcome.seed_runs)
        spent = sum(r.outcome.status.counts for r in records if r.outcome)
        tally.campaigns += 1
        tally.trials += spent
        tally.twice += sum(count - 1 for count in measured.values())
        tally.without_outcome += sum(r.outcome is None for r in records)
        tally.miscounted += spent != self.trials
        tally.miscounted += [r.number for r in records] != list(range(len(records)))
        tally.folders += len(list((self.folder / "tmp").glob("recipelab-*")))
        if self.sandbox == "docker":
            tally.containers += len(containers(self.name))
        with LineageStore.open(self.folder / "project/home/lineage.db", create=True) as store:
            tally.leases += len(store.leases(self.name))


def containers(campaign: str) -> list[str]:
    """Containers of a campaign, running or not."""
    label = f"label={LABEL_PREFIX}campaign={campaign}"
    words = ["docker", "ps", "--all", "--quiet", "--filter", label]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


def below(pid: int) -> set[tuple[int, str]]:
    """Processes that descend from one: their ids and start times."""
    parents: dict[int, tuple[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            rest = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        parents[int(path.parent.name)] = (int(rest[1]), rest[19])
    found = {pid}
    while more := {child for child, (up, _) in parents.items() if up in found} - found:
        found |= more
    return {(child, parents[child][1]) for child in found - {pid}}


def alive(processes: set[tuple[int, str]]) -> Iterator[int]:
    """Those that still run; one that waits to be collected has ended."""
    for pid, started in processes:
        try:
            rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if rest[19] == started and rest[0] != "Z":
            yield pid


def killed(process: subprocess.Popen[bytes], seconds: float) -> set[tuple[int, str]] | None:
    """Kills a process after some time; its descendants, or ``None`` if it ended by itself."""
    try:
        process.wait(seconds)
        return None
    except subprocess.TimeoutExpired:
        # Held still first, so that it begins nothing while its descendants are listed.
        process.send_signal(signal.SIGSTOP)
        descendants = below(process.pid)
        process.kill()
        process.wait()
        return descendants


def one(campaign: Campaign, chance: random.Random, within: float, most: int, tally: Tally) -> None:
    """Kills a campaign until it ends, or enough were killed and it is left to come to its end."""
    while True:
        last = tally.kills >= most
        process = campaign.begin()
        descendants = killed(process, 600.0 if last else chance.uniform(0.0, within))
        if descendants is None:
            if process.returncode:
                said = (campaign.folder / "output").read_text(errors="replace")
                tally.faults.append(f"{campaign.name} exit {process.returncode}: {said[-1500:]}")
            campaign.audit(tally)
            return
        tally.kills += 1
        tally.phases += len(descendants)
        deadline = time.monotonic() + GONE_SECONDS
        while list(alive(descendants)) and time.monotonic() < deadline:
            time.sleep(0.02)
        tally.processes += len(list(alive(descendants)))
        for record in campaign.look(tally):
            if record.outcome is None:
                state = record.state.value
                tally.in_flight[state] = tally.in_flight.get(state, 0) + 1


def main() -> None:
    """Prints the tally."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--sandbox", choices=("local", "docker"), default="local")
    parser.add_argument("--trials", type=int, default=12, help="budget of each campaign")
    parser.add_argument("--within", type=float, default=5.0, help="latest moment, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    tally, chance, began = Tally(), random.Random(args.seed), time.monotonic()
    while tally.kills < args.kills:
        with tempfile.TemporaryDirectory(prefix="kills-") as name:
            folder = Path(name)
            (folder / "tmp").mkdir()
            shutil.copytree(ROOT / "tests/project", folder / "project")
            own = f"kills-{os.getpid()}-{tally.campaigns}"
            campaign = Campaign(folder, own, args.trials, args.sandbox)
            one(campaign, chance, args.within, args.kills, tally)
        print(f"{tally.kills} kills, {tally.campaigns} campaigns", file=sys.stderr)
    figures = {**asdict(tally), "seconds": round(time.monotonic() - began)}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    for key, value in figures.items():
        print(f"{key.replace('_', ' ')}: {value}")


if __name__ == "__main__":
    main()
