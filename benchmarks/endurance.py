"""Campaigns that are disturbed at random moments until they end, held against one that was not.

    python benchmarks/endurance.py --strikes 100
    python benchmarks/endurance.py --strikes 24 --kinds driver,daemon --sandbox docker --within 12
    python benchmarks/endurance.py --strikes 40 --kinds driver,database --lineage URL

Kinds: ``driver`` is killed by SIGKILL and resumed; ``launcher`` kills a process of the sandbox
that holds a phase; ``daemon`` cuts every connection to the Docker daemon for a moment; ``database``
has the server end every connection of the campaign; ``disk`` takes the last byte of the disk that
the lineage lies on, for a moment; ``node`` kills a worker of a place (``--place``). After every
strike the lineage is compared with what it held before, and what lives on is looked for. At last
the trials have to be those of a campaign that nobody disturbed: same edits, statuses and scores.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

from sqlalchemy import create_engine, make_url, text

from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.sandbox.docker.options import LABEL_PREFIX

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.evaluation.daemon_proxy import DaemonProxy  # noqa: E402

SAME_SECRET = """
from recipelab.lineage import campaigns
campaigns.token_bytes = lambda size: b"endurance".ljust(size)[:size]
from recipelab.cli.app import app
app()
"""
"""The command line, with a secret that all campaigns share, and so seeds and scores."""

COMMAND = [sys.executable, "-c", SAME_SECRET]
GONE_SECONDS = 5.0
"""How long after a kill a process of a phase may still be there."""
DISK_MB = 48
"""Size of the disk that is filled, in MiB."""
WHOLE_SECONDS = 900.0
"""How long a campaign may take that is disturbed no more."""


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
    words: Sequence[str]
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


class Strike(Protocol):
    """A way to disturb a campaign."""

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Gets ready before the campaign begins."""

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Disturbs it; what has to be mended is mended before this returns."""


class KillDriver:
    """Kills the driver, and looks for what outlives it."""

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Needs nothing."""

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Kills it."""
        # Held still first, so that it begins nothing while its descendants are listed.
        driver.send_signal(signal.SIGSTOP)
        descendants = below(driver.pid)
        driver.kill()
        driver.wait()
        tally.phases += len(descendants)
        deadline = time.monotonic() + GONE_SECONDS
        while list(alive(descendants)) and time.monotonic() < deadline:
            time.sleep(0.02)
        tally.processes += len(list(alive(descendants)))


class KillLauncher:
    """Kills a process that the local sandbox has started, with the phase that it holds."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Needs nothing."""

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Kills one, if there is one right now."""
        deadline = time.monotonic() + GONE_SECONDS
        while time.monotonic() < deadline and driver.poll() is None:
            if found := sorted(children(driver.pid)):
                with _gone_is_fine():
                    os.kill(self._chance.choice(found), signal.SIGKILL)
                return
            time.sleep(0.01)


class CutDaemon:
    """Cuts all connections to the Docker daemon for a moment, as when it is started anew."""

    def __init__(self) -> None:
        self._proxy: DaemonProxy | None = None

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Puts a way to the daemon between it and the campaign that can be cut."""
        self._proxy = stack.enter_context(DaemonProxy(campaign.folder / "docker.sock"))
        campaign.environment = {**campaign.environment, "DOCKER_HOST": self._proxy.address}

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Cuts it."""
        assert self._proxy is not None
        self._proxy.cut()
        time.sleep(0.2)
        self._proxy.mend()


class EndConnections:
    """Has the database's server end every connection of the campaign's schema."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._name = ""

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Makes a schema of the campaign's own, which goes with it."""
        self._name = campaign.name.replace("-", "_")
        self._do(f"CREATE SCHEMA {self._name}")
        stack.callback(self._do, f"DROP SCHEMA {self._name} CASCADE")
        options = {"options": f"-csearch_path={self._name}", "application_name": self._name}
        url = make_url(self._server).update_query_dict(options)
        campaign.lineage = url.render_as_string(hide_password=False)

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Ends them."""
        found = f"FROM pg_stat_activity WHERE application_name = '{self._name}'"
        self._do(f"SELECT count(pg_terminate_backend(pid)) {found}")

    def _do(self, statement: str) -> None:
        engine = create_engine(self._server)
        with engine.begin() as connection:
            connection.execute(text("SET client_min_messages = warning"))
            connection.execute(text(statement))
        engine.dispose()


class FillDisk:
    """Takes the last byte of the disk that the campaign's files lie on, for a moment."""

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Mounts a small disk for them, which takes a superuser."""
        home = campaign.folder / "project/home"
        home.mkdir()
        size = f"size={DISK_MB}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "endurance", str(home)], check=True)
        stack.callback(subprocess.run, ["umount", "--lazy", str(home)], check=True)

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Fills it, waits a moment, and frees it."""
        filler = campaign.folder / "project/home/filler"
        block = b"\0" * (1 << 20)
        with filler.open("wb", buffering=0) as file:
            while block:
                try:
                    file.write(block)
                except OSError:
                    block = block[: len(block) // 2]
        with _gone_is_fine():
            driver.wait(3.0)
        filler.unlink()


class KillWorker:
    """Kills a worker of a place on this machine, whoever began it, with the phases that it runs."""

    def __init__(self, chance: random.Random, named: str) -> None:
        self._chance = chance
        self._named = named

    def prepare(self, campaign: Campaign, stack: ExitStack) -> None:
        """Needs nothing."""

    def strike(self, campaign: Campaign, driver: subprocess.Popen[bytes], tally: Tally) -> None:
        """Kills one, if there is one right now."""
        if found := [pid for pid in _processes() if self._named in _line(pid)]:
            with _gone_is_fine():
                os.kill(self._chance.choice(sorted(found)), signal.SIGKILL)


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    """Lets a process be gone, or go on."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        yield


def containers(campaign: str) -> list[str]:
    """Containers of a campaign, running or not; none where no daemon answers."""
    label = f"label={LABEL_PREFIX}campaign={campaign}"
    words = ["docker", "ps", "--all", "--quiet", "--filter", label]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()


def _processes() -> dict[int, tuple[int, str]]:
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
    return {child for child, (up, _) in _processes().items() if up == pid}


def below(pid: int) -> set[tuple[int, str]]:
    """Processes that descend from one: their ids and start times."""
    parents = _processes()
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


def _line(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
    except OSError:
        return ""


def endure(
    campaign: Campaign,
    strikes: Mapping[str, Strike],
    chance: random.Random,
    within: float,
    most: int,
    tally: Tally,
) -> None:
    """Disturbs a campaign until it ends, or enough has struck and it is left to come to its end."""
    struck, driver = False, campaign.begin()
    while True:
        last = sum(tally.strikes.values()) >= most
        try:
            driver.wait(WHOLE_SECONDS if last else chance.uniform(0.0, within))
        except subprocess.TimeoutExpired:
            if last:
                driver.kill()
                tally.faults.append(f"{campaign.name} did not end: {campaign.said}")
                return
            kind = chance.choice(sorted(strikes))
            tally.strikes[kind] = tally.strikes.get(kind, 0) + 1
            strikes[kind].strike(campaign, driver, tally)
            struck = True
            for record in campaign.look(tally):
                if record.outcome is None:
                    state = record.state.value
                    tally.in_flight[state] = tally.in_flight.get(state, 0) + 1
        if driver.poll() is None:
            continue
        if driver.returncode == 0:
            return
        if driver.returncode != -signal.SIGKILL:
            tally.resumed += 1
            if not struck or "Traceback" in campaign.said:
                tally.faults.append(f"{campaign.name} exit {driver.returncode}: {campaign.said}")
                return
        struck, driver = False, campaign.begin()


def chosen(
    names: Sequence[str], chance: random.Random, server: str | None, worker: str
) -> dict[str, Strike]:
    """Returns the ways to disturb a campaign, by name.

    Raises:
        RecipelabError: One is unknown, or lacks what it needs.
    """
    found: dict[str, Strike] = {
        "driver": KillDriver(),
        "launcher": KillLauncher(chance),
        "daemon": CutDaemon(),
        "disk": FillDisk(),
        "node": KillWorker(chance, worker),
    }
    if server is not None:
        found["database"] = EndConnections(server)
    if unknown := [name for name in names if name not in found]:
        needs = "; database needs --lineage" if server is None else ""
        raise RecipelabError(f"unknown kind {unknown[0]!r}; valid: {', '.join(found)}{needs}")
    return {name: found[name] for name in names}


def main() -> int:
    """Prints the tally."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strikes", type=int, default=100)
    parser.add_argument("--kinds", default="driver", help="comma-separated; see above")
    parser.add_argument("--sandbox", choices=("local", "docker"), default="local")
    parser.add_argument("--place", help="where phases run, as `recipelab run --place`")
    parser.add_argument(
        "--worker", default="recipelab.places.stream", help="in the command line of workers"
    )
    parser.add_argument("--lineage", help="URL of a PostgreSQL server, for the kind database")
    parser.add_argument("--trials", type=int, default=12, help="budget of each campaign")
    parser.add_argument("--slots", type=int, default=1, help="with more, trials differ by chance")
    parser.add_argument("--within", type=float, default=5.0, help="latest moment, in seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    tally, chance, began = Tally(), random.Random(args.seed), time.monotonic()
    words = ["--trials", str(args.trials), "--slots", str(args.slots), "--share-devices"]
    words += ["--sandbox", args.sandbox, "--seed", "5"]
    words += ["--place", args.place] if args.place else []
    words += ["--ahead", "0"] if args.slots == 1 else []
    undisturbed: list[Proposed] | None = None
    while sum(tally.strikes.values()) < args.strikes or undisturbed is None:
        with tempfile.TemporaryDirectory(prefix="endurance-") as name, ExitStack() as stack:
            # One name for all, as seeds follow from it, too.
            own = f"endurance-{os.getpid()}"
            campaign = Campaign(Path(name), own, words)
            try:
                kinds = chosen(args.kinds.split(","), chance, args.lineage, args.worker)
            except RecipelabError as error:
                parser.error(str(error))
            for kind in kinds.values():
                kind.prepare(campaign, stack)
            if undisturbed is None:
                driver = campaign.begin()
                if driver.wait(WHOLE_SECONDS):
                    parser.error(f"the undisturbed campaign fails: {campaign.said}")
                undisturbed = campaign.proposed()
                continue
            endure(campaign, kinds, chance, args.within, args.strikes, tally)
            campaign.audit(tally, args.trials, undisturbed if args.slots == 1 else None)
        print(
            f"{sum(tally.strikes.values())} strikes, {tally.campaigns} campaigns", file=sys.stderr
        )
    figures = {**asdict(tally), "seconds": round(time.monotonic() - began)}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    for key, value in figures.items():
        print(f"{key.replace('_', ' ')}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
