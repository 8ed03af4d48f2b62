"""Profiles: where the phases of a recipe spend their time, in runs that are not scored.

The profiler runs in the process of the recipe, which may print whatever it likes in its place. So
where a phase sees hidden data, nothing of what it printed is handed on as it is:
:func:`withheld_table` takes names from elsewhere, and shares in whole percents.
"""

from __future__ import annotations

import builtins
import re
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType

from recipelab.core.trial import Phase, Status
from recipelab.evaluation.observers import TrialObserver
from recipelab.sandbox.base import PhaseResult

LINES = 30
"""Functions in a profile that is shown."""

LINES_READ = 150
"""Functions in a profile that is read here, and not shown."""

SHOWN_OF_HIDDEN = 15
"""Functions that are shown of a phase that saw hidden data."""

NAME_CHARACTERS = 100
"""Characters of a function's name at most."""

PROFILE_MARK = "--- profile ---"
"""Line before the profile in the log of its run."""

_PROFILER = """
import cProfile, pstats, runpy, sys
sys.argv = sys.argv[1:]
profile = cProfile.Profile()
try:
    profile.runcall(runpy.run_path, sys.argv[0], run_name="__main__")
except SystemExit as end:
    if end.code not in (None, 0):
        raise
finally:
    print("{mark}", flush=True)
    table = pstats.Stats(profile, stream=sys.stdout)
    table.sort_stats("tottime").print_stats({lines})
"""

LINE_CHARACTERS = 500
"""A longer line of a table is none."""

_ROW = re.compile(r"\d+(?:/\d+)?\s+(\d{1,9}\.\d{1,6})(?:\s+\d+\.\d+){3}\s+(\S.*)$")
"""A line of a table: calls, own seconds, a call, with callees, a call, name."""

_BUILT_IN = re.compile(r"\{built-in method ([\w.]+)\}|\{method '(\w+)' of '([\w.]+)' objects\}")

_PLACE = re.compile(r"(?P<path>.+):(?P<line>\d{1,9})\((?P<name>.+)\)$")


@dataclass(frozen=True)
class Profile:
    """A phase of a recipe under a profiler.

    Attributes:
        result: What the sandbox saw of the phase, or of the one before it that failed.
        phase: The phase that it is of.
        table: The functions that took most; empty where nothing may be shown.
        held_seconds: How long a slot was held, in seconds.
        failed: The status that a trial would have got; ``None`` if it would have gone on.
    """

    result: PhaseResult
    phase: Phase
    table: str
    held_seconds: float
    failed: Status | None = None


class ProfileLogs(TrialObserver):
    """Keeps what the recipe's phases print.

    Attributes:
        of: The logs by phase, in order: one for each round.
    """

    def __init__(self) -> None:
        self.of: dict[Phase, list[str]] = {}

    def logged(self, phase: Phase, seed: int | None, log: str) -> None:
        """Keep the log of a phase that has ended."""
        self.of.setdefault(phase, []).append(log)


def profiler(lines: int = LINES) -> str:
    """Return a script that runs the script of its arguments under a profiler.

    Args:
        lines: Functions in its table at most.
    """
    return _PROFILER.format(mark=PROFILE_MARK, lines=lines)


def profile_table(log: str) -> str:
    """Return the table of a profile, without what the recipe printed before it."""
    before, mark, table = log.rpartition(PROFILE_MARK)
    rows = (table if mark else before).strip("\n").splitlines()
    return "\n".join(row.rstrip() for row in rows if row.strip())


def names_in(log: str) -> frozenset[str]:
    """Return the names of functions in the table of a profile."""
    return frozenset(name for name, _ in _rows(profile_table(log)))


def withheld_table(logs: Iterable[str], files: Mapping[str, str], known: Collection[str]) -> str:
    """Return where a phase spent its time that saw hidden data, without what could carry them.

    Named are functions that stand in the recipe, others that its training has called, where
    nothing is hidden, and what is built into Python. The rest is one sum. No figure is finer than a
    percent of the whole.

    Args:
        logs: What the phase printed under the profiler, round by round.
        files: The files of the recipe.
        known: Names of functions in the profile of its training.
    """
    own: defaultdict[str, float] = defaultdict(float)
    places = {path: set(_places(path, text)) for path, text in files.items()}
    for log in logs:
        for name, seconds in _rows(profile_table(log)):
            own[_told_name(name, places, known)] += seconds
    total = sum(own.values())
    if total <= 0.0:
        return ""
    most = sorted(own.items(), key=lambda item: -item[1])
    shares = {name: round(100 * seconds / total) for name, seconds in most}
    others = shares.pop("", 0)
    told = [(name, share) for name, share in shares.items() if share >= 1][:SHOWN_OF_HIDDEN]
    rows = [f"{share:3d} %  {name}" for name, share in told]
    rest = max(0, 100 - others - sum(share for _, share in told))
    head = (
        "own time by function, as a share of the phase's; it sees hidden data, so no more is told"
    )
    tail = [f"{others:3d} %  functions of libraries that train does not call"]
    tail.append(f"{rest:3d} %  all others")
    return "\n".join([head, *rows, *tail])


def _rows(table: str) -> Iterator[tuple[str, float]]:
    """Yield the functions of a table with their own seconds."""
    for line in table.splitlines():
        if len(line) <= LINE_CHARACTERS and (match := _ROW.match(line.strip())):
            yield match[2], float(match[1])


def _told_name(
    name: str, places: Mapping[str, set[tuple[int, str]]], known: Collection[str]
) -> str:
    """Return the name under which a function is shown; empty for none."""
    if (match := _PLACE.match(name)) is not None:
        where = f"/{match['path']}"
        for path, functions in places.items():
            if where.endswith(f"/{path}") and (int(match["line"]), match["name"]) in functions:
                return f"{path}:{match['line']}({match['name']})"
    return name[:NAME_CHARACTERS] if name in known or _is_built_in(name) else ""


def _is_built_in(name: str) -> bool:
    """Return whether a name is that of a function of Python's own, as this process has them."""
    if (match := _BUILT_IN.fullmatch(name)) is None:
        return False
    function, method, owner = match.groups()
    place, _, last = (owner or function).rpartition(".")
    if place and place not in sys.stdlib_module_names:
        return False
    found = vars(sys.modules.get(place or "builtins", builtins)).get(last)
    return (
        found is not None if owner is None else isinstance(found, type) and hasattr(found, method)
    )


def _places(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of the functions that stand in a file."""
    if not path.endswith(".py"):
        return
    try:
        waiting = [compile(text, path, "exec", dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    while waiting:
        code = waiting.pop()
        yield code.co_firstlineno, code.co_name
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
