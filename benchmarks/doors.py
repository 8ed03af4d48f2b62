"""Malformed and hostile patches, imports, charters, packs, and what a model may send.

Every input goes the way that a user's would: what is accepted is stored, shown and exported. What
is refused must be refused by an error that recipelab raises on purpose, within two seconds, and
nothing may be written but in the folders that the command is given.

Run it from the top of a checkout: ``python benchmarks/doors.py --tries 10000``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from doors_agents import AgentDoors, calls, replies
from doors_files import charters, imports, packs
from doors_patches import proposals
from typer.testing import CliRunner

from recipelab.agents.charter import read_charter
from recipelab.agents.charters import charter_problems, pack_problems
from recipelab.cli.app import app
from recipelab.core.errors import RecipelabError
from recipelab.core.knobs import find_knobs
from recipelab.core.trial import Outcome, Proposal, Status
from recipelab.evaluation.proposals import ProposalChecker, Rejected
from recipelab.exchange.files import import_campaign
from recipelab.exchange.patches import edits_of_patch
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack, load_playbook, read_pack
from recipelab.sandbox.spec import read_image_spec

SLOW_SECONDS = 2.0
TURN_SECONDS = 20.0
"""The same for a turn: in it a model makes a hundred calls, if it likes."""
HANG_SECONDS = 30
"""After so much CPU time an input is broken off, and counts as slow."""
WAIT_SECONDS = 300
"""The same on the clock, for what waits: on a busy machine all else takes long, too."""
MEMORY_BYTES = 6 << 30
"""Of addresses: an input that asks for more meets a MemoryError, and the machine lives on."""
READERS = (
    ("lineage", "--name", "{name}"),
    ("lineage", "--name", "{name}", "--json"),
    ("show", "0", "--name", "{name}"),
    ("trials", "--name", "{name}"),
    ("stats", "{name}"),
    ("transcript", "--name", "{name}"),
    ("export", "{name}", "--to", "{folder}/x.csv"),
    ("export", "{name}", "--to", "{folder}/x.git"),
    ("export", "{name}", "--to", "{folder}/x.jsonl"),
    ("export", "0", "--name", "{name}", "--output", "{folder}/trial"),
)
"""What is read of an imported campaign; each import that is accepted meets some of them."""

PROJECT = Path(__file__).parents[1] / "tests/project"


class Hang(BaseException):
    """An input took so long that it was broken off."""


@dataclass
class Count:
    """What became of the inputs of one kind."""

    tried: int = 0
    refused: int = 0
    accepted: int = 0
    slow: int = 0
    tracebacks: int = 0
    outside: int = 0
    slowest: float = 0.0
    faults: dict[str, str] = field(default_factory=dict[str, str])
    families: Counter[str] = field(default_factory=Counter[str])


class Watch:
    """Sees where this process writes, through the interpreter's audit events."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] = ()
        self.outside: list[str] = []
        self._active = False
        sys.addaudithook(self._see)

    @contextmanager
    def within(self, *folders: Path) -> Iterator[list[str]]:
        """Collect the paths that are written and do not lie in some folders."""
        self.allowed = tuple(f"{os.path.realpath(folder)}{os.sep}" for folder in folders)
        self.outside = []
        self._active = True
        try:
            yield self.outside
        finally:
            self._active = False

    def _see(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._active:
            return
        writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        paths: tuple[Any, ...] = ()
        if (event == "open" and isinstance(args[2], int) and args[2] & writes) or event in (
            "os.mkdir",
            "os.remove",
            "os.rmdir",
            "os.chmod",
            "os.truncate",
        ):
            paths = args[:1]
        elif event in ("os.rename", "os.link", "os.symlink"):
            paths = args[:2] if event == "os.rename" else args[1:2]
        elif event in ("socket.connect", "os.system"):
            self.outside.append(f"{event} {args!r}")
        elif event == "subprocess.Popen" and Path(str(args[0])).name != "git":
            self.outside.append(f"{event} {args[0]!r}")
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                # Not resolved: a link on the way there is what is to be found out.
                place = os.path.realpath(os.fsdecode(path))
                # A temporary file without a name is opened by the name of its folder.
                if (
                    place != os.devnull
                    and not os.path.isdir(place)
                    and not place.startswith(self.allowed)
                ):
                    self.outside.append(f"{event} {place}")


class Arena:
    """The folders that inputs are tried in: those that may be written, and a canary."""

    def __init__(self, top: Path) -> None:
        self.canary = top / "canary"
        self.temporary = top / "canary" / "tmp"
        self.work = top / "canary" / "work"
        self.home = self.work / "home"
        for folder in (self.temporary, self.home):
            folder.mkdir(parents=True)
        (self.canary / "secret.txt").write_text("as it was")
        os.environ |= {
            "TMPDIR": str(self.temporary),
            "HOME": str(top / "canary"),
            "RECIPELAB_HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.work / "cache"),
        }
        tempfile.tempdir = str(self.temporary)
        shutil.copytree(PROJECT, self.work / "project")
        os.chdir(self.work / "project")
        self._before = self._seen()

    def _seen(self) -> list[tuple[str, int]]:
        """Return what lies around the folder of work, which has to stay as it is."""
        paths = [*self.canary.iterdir(), *self.temporary.rglob("*"), *self.canary.parent.iterdir()]
        return sorted((str(path), path.lstat().st_mode) for path in paths)

    def is_touched(self) -> bool:
        """Return whether something was written beside the folder of work."""
        touched = self._seen() != self._before
        return touched or (self.canary / "secret.txt").read_text() != "as it was"


class Doors:
    """Tries inputs of each kind and counts what becomes of them."""

    def __init__(self, arena: Arena, rng: random.Random) -> None:
        self.arena = arena
        self.rng = rng
        self.watch = Watch()
        self.store = LineageStore.open(arena.home / "lineage.db", create=True)
        self.pack = load_pack("toy")
        self._number = 0
        self._start_campaign()
        self.checker = ProposalChecker(self.store, "own", self.pack)
        self.agents = AgentDoors(self.store, self.pack, rng)
        # What is imported at first use is no part of an input's time.
        for words in (*READERS, ("packs", "show", "toy"), ("agents", "show", "left")):
            self._cli(*(word.format(name="own", folder=arena.work / "first") for word in words))

    def _start_campaign(self) -> None:
        self.store.create_campaign(
            name="own", pack="toy", profile="mini", model="offline", sandbox="local",
            seed=0, trials=10, hours=None, settings={},
        )  # fmt: skip
        number, _ = ProposalChecker(self.store, "own", self.pack).take_baseline()
        self.store.record("own", number, Outcome(Status.BASELINE, "", score=1.0))

    def _next(self, kind: str) -> Path:
        """Return a new folder for an input."""
        self._number += 1
        folder = self.arena.work / "inputs" / f"{kind}{self._number}"
        folder.mkdir(parents=True)
        return folder

    def patch(self, make: Callable[[], Any]) -> None:
        """Try a patch of a person, or the edits of an agent, and store what came of it."""
        given = make()
        files = self.checker.recipe_of(0)
        edits = edits_of_patch(files, given) if isinstance(given, bytes) else tuple(given)
        proposal = Proposal("person", "left", 0, "an idea", -1.0, edits)
        number, checked = self.checker.take(proposal, round_number=None)
        if isinstance(checked, Rejected):
            raise RecipelabError(checked.reason)
        find_knobs(checked.recipe.files)
        if self.rng.random() < 0.1:
            self._cli("show", str(number), "--name", "own")

    def import_(self, make: Callable[[Path], Path]) -> None:
        """Import a campaign, and read it in every way."""
        folder = self._next("import")
        file = make(folder)
        name = f"import{self._number}"
        import_campaign(self.store, file, name)
        for words in self.rng.sample(READERS, 3):
            self._cli(*(word.format(name=name, folder=folder) for word in words))

    def charter(self, make: Callable[[Path], Path]) -> None:
        """Read and check a charter."""
        file = make(self._next("charter"))
        read_charter(file)
        if problems := charter_problems([str(file)]):
            raise RecipelabError(problems[0])

    def pack_(self, make: Callable[[Path], Path]) -> None:
        """Read a pack with all that belongs to it, or the specification of a sandbox."""
        file = make(self._next("pack"))
        if file.name == "sandbox.toml":
            read_image_spec(file)
            return
        pack = read_pack(file)
        load_playbook(pack)
        find_knobs(pack.baseline().files)
        pack.rehearsed() if pack.rehearsal else None
        pack.certified(), pack.shortened(), pack_problems(pack)
        if all(source.kind == "path" for item in pack.data for source in item.sources):
            ensure_data(pack, say=lambda text: None)
        self._cli("packs", "show", str(file.parent))

    def _cli(self, *words: str) -> None:
        result = CliRunner().invoke(app, list(words))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code not in (0, 2):
            raise AssertionError(f"exit code {result.exit_code} of {words}: {result.output}")

    def attempt(self, count: Count, family: str, attempt: partial[None]) -> None:
        """Try one input, and note its end, its time, and what it wrote."""
        count.tried += 1
        began, busy, fault = time.perf_counter(), self._cpu_seconds(), ""
        with self.watch.within(self.arena.work, self.arena.temporary) as outside:
            try:
                signal.alarm(WAIT_SECONDS)
                signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
                try:
                    attempt()
                finally:
                    signal.alarm(0)
                    signal.setitimer(signal.ITIMER_PROF, 0)
                count.accepted += 1
            except RecipelabError as error:
                count.refused += 1
                str(error).encode("utf-8")
            except Hang:
                fault = "hang"
            except Exception as error:
                count.tracebacks += 1
                place = traceback.extract_tb(error.__traceback__)[-1]
                fault = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
                self._note(count, family, fault, traceback.format_exc())
            took = time.perf_counter() - began
            if fault != "hang":
                # Whatever else this machine does is no fault of the input.
                took = min(took, self._cpu_seconds() - busy)
        count.slowest = max(count.slowest, took)
        if took > (TURN_SECONDS if attempt.func == self.agents.try_reply else SLOW_SECONDS):
            count.slow += 1
            self._note(count, family, fault or "slow", f"{took:.1f} s")
        if outside or self.arena.is_touched():
            count.outside += 1
            self._note(count, family, "outside", "\n".join(outside) or "beside the folder of work")
        shutil.rmtree(self.arena.work / "inputs", ignore_errors=True)

    def _cpu_seconds(self) -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    def _note(self, count: Count, family: str, fault: str, text: str) -> None:
        count.families[f"{family}: {fault}"] += 1
        count.faults.setdefault(f"{family}: {fault}", text)


def main() -> None:
    """Try inputs of every kind and print the counts."""
    kinds = ("patch", "import", "charter", "pack", "call", "reply")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=10_000, help="inputs of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=list(kinds))
    parser.add_argument("--details", action="store_true", help="print each fault's traceback")
    parser.add_argument("--json", type=Path, help="write the counts to this file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def broken_off(number: int, frame: FrameType | None) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, broken_off)
    signal.signal(signal.SIGPROF, broken_off)
    target = Path.cwd() / args.json if args.json else None
    with tempfile.TemporaryDirectory() as top:
        counts = run(Path(top), args.kinds, args.tries, args.seed)
        os.chdir("/")
    show(counts, args.details)
    if target is not None:
        table = {
            kind: {k: v for k, v in vars(c).items() if k != "faults"} for kind, c in counts.items()
        }
        target.write_text(json.dumps(table, indent=2))
    bad = sum(count.slow + count.tracebacks + count.outside for count in counts.values())
    raise SystemExit(1 if bad else 0)


def run(top: Path, kinds: list[str], tries: int, seed: int) -> dict[str, Count]:
    """Try the inputs, the kinds one after the other."""
    rng = random.Random(seed)
    doors = Doors(Arena(top), rng)
    ways = {
        "patch": (doors.patch, proposals(rng, doors.arena.canary, doors.checker.recipe_of(0))),
        "import": (doors.import_, imports(rng, doors.arena.canary)),
        "charter": (doors.charter, charters(rng, doors.arena.canary)),
        "pack": (doors.pack_, packs(rng, doors.arena.canary)),
        "call": (doors.agents.try_call, calls(rng)),
        "reply": (doors.agents.try_reply, replies(rng)),
    }
    counts: dict[str, Count] = {}
    for kind in kinds:
        counts[kind] = count = Count()
        try_one, inputs = ways[kind]
        for _ in range(tries // len(kinds)):
            family, make = next(inputs)
            doors.attempt(count, family, partial(try_one, make))
    doors.store.close()
    return counts


def show(counts: dict[str, Count], details: bool) -> None:
    """Print a row for each kind, and every fault once."""
    columns = ("tried", "refused", "accepted", "slow", "tracebacks", "outside", "slowest")
    print(f"{'kind':10}", *(f"{name:>10}" for name in columns))
    for kind, count in counts.items():
        cells = [getattr(count, name) for name in columns[:-1]]
        print(f"{kind:10}", *(f"{cell:>10}" for cell in cells), f"{count.slowest:>8.2f} s")
    for kind, count in counts.items():
        for fault, times in count.families.most_common():
            print(f"{kind}: {fault} ({times})")
            if details:
                print(count.faults[fault])


if __name__ == "__main__":
    main()
