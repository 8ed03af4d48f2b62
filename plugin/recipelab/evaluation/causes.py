"""Reads the first cause of a failure out of a log, whoever wrote it: Python, PyTorch, a launcher.

A log is written by code that nobody trusts; it decides what people are told, and no score.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_HEADER = "Traceback (most recent call last):"
_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_RANK = re.compile(r"^\[(?:rank|default)(?P<rank>\d{1,6})\]: ?")
_GROUP = "Exception Group Traceback"
_GROUP_EDGE = re.compile(r"^ +(?:[|+] |\+(?:-\+)?-+(?: (?:\d+|\.\.\.) -+)?$|\|$)")
_OF_LAUNCHER = re.compile(r"^\[?[EWI]\d{4} \d\d:\d\d:\S+ .*(?:torch/distributed/|elastic|\[c10d\])")
_REPORT = re.compile(r"^(?:torch\.distributed\.elastic\.\S*\.)?ChildFailedError\b")
_LINKED = ("During handling of the above exception", "The above exception was the direct cause of")

_NAMED = re.compile(r"^[A-Za-z_][\w.]*(?::.*)?$")
_LOOSE = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b.*$")
"""An exception's line that stands without a traceback."""

_MERE_END = re.compile(r"^(?:SystemExit|KeyboardInterrupt)\b")
_ORDINARY = re.compile(
    r"^(?:\w+\.)*(?:ImportError|ModuleNotFoundError|KeyError|AttributeError|StopIteration)\b"
)
"""Programs catch these to try something else; what fails then is the cause."""

_CONSEQUENCE = re.compile(
    r"[Cc]onnection (?:was )?(?:closed|reset|refused)|Broken ?[Pp]ipe|communicator was aborted|"
    r"SignalException|DistNetworkError|ncclRemoteError|remote process (?:has )?exited"
)
"""What a process says when another one of the same command is gone."""

_REPEATED = re.compile(r"(?=.*[A-Za-z])(.{4,512}?)\1{1,15}$")
"""The same words from two to sixteen times, and nothing else."""

_EXIT_CODE = re.compile(r"^\s*exitcode\s*: (?P<code>-?\d{1,3})\b", re.MULTILINE)
_FAILED_RANK = re.compile(r"^\s*rank\s*: (?P<rank>\d{1,6})\b", re.MULTILINE)
_ROOT = "Root Cause (first observed failure):"

_LINES_AFTER = 4
"""Lines that may come after the traceback that ended a process: notes, warnings at exit."""


@dataclass(frozen=True)
class Cause:
    """What ended a command first.

    Attributes:
        error: The line that names the exception; empty if none did.
        lines: What that process wrote up to that line; all of the log if there is none.
        log: What all processes wrote, without what a launcher adds.
        rank: Number of the process that failed first, if the log tells.
        exit_code: Exit code of that process as its launcher reports it; negative for a signal.
    """

    error: str
    lines: tuple[str, ...]
    log: tuple[str, ...] = ()
    rank: int | None = None
    exit_code: int | None = None


@dataclass(frozen=True)
class _Traceback:
    """An exception with all that led to it: the first of a chain.

    Attributes:
        error: The line that names it.
        start: Number of the line with which the chain begins.
        end: Number of the error's line.
        after: How many lines with text the same process wrote afterwards.
    """

    error: str
    start: int
    end: int
    after: int


def is_consequence(error: str) -> bool:
    """Return whether an exception tells only that another process of the command is gone."""
    return bool(_CONSEQUENCE.search(error))


def first_cause(log: str, *, error_file: str = "", killed: bool = False) -> Cause:
    """Return what ended a command first.

    Several processes may have written the log at once, each its own exception; a launcher adds a
    report. The process that failed first counts, and of an exception that was raised while another
    was handled the other one.

    Args:
        log: The log.
        error_file: What torchelastic wrote into its error file.
        killed: Whether a signal ended the command: exceptions from long before do not count then.
    """
    lines = _clean_lines(log)
    at = _report_start(lines)
    report = "\n".join(text for _, text in lines[at:]) if at is not None else ""
    root = report.partition(_ROOT)[2] or report
    code, rank = _EXIT_CODE.search(root), _FAILED_RANK.search(root)
    exit_code = int(code["code"]) if code else None
    root_rank = int(rank["rank"]) if rank else None
    own = [line for line in lines[:at] if not _OF_LAUNCHER.match(line[1])]
    if at is not None:
        own = [(rank, text) for rank, line in own for text in _said_together(line)]
    whole = tuple(text for _, text in own)
    killed = killed or (exit_code is not None and exit_code < 0)

    written = _of_one(_callstack(error_file) or _reported_callstack(root))
    if written.error and not is_consequence(written.error):
        return Cause(written.error, written.lines, whole, root_rank, exit_code)
    found = _chosen(own, root_rank, at is not None, killed)
    if found is None:
        return Cause("", _without_ends(own), whole, root_rank, exit_code)
    which, process, traceback = found
    above = tuple(process[: traceback.end + 1])
    first = root_rank if which is None else which
    return Cause(traceback.error, above, whole, first, exit_code)


def _chosen(
    lines: list[tuple[int | None, str]], root_rank: int | None, launched: bool, killed: bool
) -> tuple[int | None, list[str], _Traceback] | None:
    """Return the process that failed first, its lines, and how."""
    best: tuple[tuple[bool, bool, int], int | None, list[str], _Traceback] | None = None
    streams: dict[int | None, list[tuple[int, str]]] = {}
    for number, (rank, text) in enumerate(lines):
        streams.setdefault(rank, []).append((number, text))
    several = launched or len(streams) > 1
    for rank, stream in streams.items():
        process = [text for _, text in stream]
        tracebacks = [one for one in _tracebacks(process) if not _MERE_END.match(one.error)]
        if killed:
            tracebacks = [one for one in tracebacks if one.after <= _LINES_AFTER]
        causes = [one for one in tracebacks if not (several and is_consequence(one.error))]
        if not tracebacks:
            continue
        last = (causes or tracebacks)[-1]
        order = (not causes, rank != root_rank, stream[last.start][0])
        if best is None or order < best[0]:
            best = (order, rank, process, last)
    if best is None or (killed and best[0][0]):
        return None
    return best[1:]


def _of_one(lines: list[str]) -> Cause:
    """Return the cause in the traceback of a single process."""
    found = _tracebacks(lines)
    return Cause(found[-1].error, tuple(lines[: found[-1].end + 1])) if found else Cause("", ())


def _clean_lines(log: str) -> list[tuple[int | None, str]]:
    """Return the lines, each with the rank that a prefix names, without prefix and colors."""
    grouped = _GROUP in log
    found: list[tuple[int | None, str]] = []
    for line in log.rstrip().splitlines():
        text = _COLORS.sub("", line)
        prefix = _RANK.match(text)
        rank = int(prefix["rank"]) if prefix else None
        text = text[prefix.end() :] if prefix else text
        if grouped:
            text = _GROUP_EDGE.sub("", text)
        # A progress bar has no end of line.
        before, header, after = text.partition(_HEADER)
        if header and before.strip() and not before.endswith(("Original ", "Group ", " : ")):
            found.append((rank, before))
            text = header + after
        found.append((rank, text))
    return found


def _said_together(line: str) -> list[str]:
    """Return the lines in a line that several processes wrote at once.

    A process writes the text of a line and its end apart, so that the words of two that say the
    same may come before both ends.
    """
    repeated = _REPEATED.match(line)
    return [repeated[1]] * (len(line) // len(repeated[1])) if repeated else [line]


def _report_start(lines: list[tuple[int | None, str]]) -> int | None:
    """Return where the launcher's own traceback and report begin, if there is one."""
    ended = next((i for i, (_, text) in enumerate(lines) if _REPORT.match(text)), None)
    if ended is None:
        return None
    headers = (i for i in range(ended, -1, -1) if lines[i][1].endswith(_HEADER))
    return next(headers, ended)


def _tracebacks(lines: list[str]) -> list[_Traceback]:
    """Return the exceptions in the lines of one process; without tracebacks the last loose one."""
    found: list[_Traceback] = []
    written = [bool(line.strip()) for line in lines]
    loose = [number for number, line in enumerate(lines) if _LOOSE.match(line)]
    position, count = 0, len(lines)
    while position < count:
        start = position
        position += 1
        if not lines[start].endswith(_HEADER):
            continue
        while position < count and _is_inside(lines[position]):
            position += 1
        # Other threads and processes may print in between.
        ends = range(position, min(position + 4, count))
        end = next((i for i in ends if _NAMED.match(lines[i])), None)
        if end is None:
            continue
        if "ExceptionGroup" in lines[end].partition(":")[0]:
            end = next((number for number in loose if number > end), end)
        position = end + 1
        here = _Traceback(lines[end], start, end, sum(written[position:]))
        between = lines[found[-1].end + 1 : start] if found else []
        link = next((line for line in between if line.startswith(_LINKED)), "")
        if not link:
            found.append(here)
        elif link.startswith(_LINKED[0]) and _ORDINARY.match(found[-1].error):
            found[-1] = here
        else:
            first = found[-1]
            found[-1] = _Traceback(first.error, first.start, first.end, here.after)
    if not found:
        found = [_Traceback(lines[i], 0, i, sum(written[i + 1 :])) for i in loose[-1:]]
    return found


def _is_inside(line: str) -> bool:
    return not line.strip() or line[0] in " \t" or line.endswith(_HEADER)


def _without_ends(lines: Iterable[tuple[int | None, str]]) -> tuple[str, ...]:
    """Return lines without tracebacks that tell only that the program ended."""
    kept: list[str] = []
    for _, text in lines:
        if not _MERE_END.match(text):
            kept.append(text)
            continue
        while kept and _is_inside(kept[-1]):
            kept.pop()
    return tuple(kept)


def _callstack(error_file: str) -> list[str]:
    """Return the lines of the traceback in an error file of torchelastic; none if it has none."""
    try:
        message = json.loads(error_file)["message"]
        text = message if isinstance(message, str) else message["extraInfo"]["py_callstack"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return []
    return _COLORS.sub("", text).splitlines() if isinstance(text, str) else []


def _reported_callstack(root: str) -> list[str]:
    """Return the lines of the traceback in a launcher's report, which indents them."""
    _, header, text = root.partition(f": {_HEADER}")
    return [_HEADER, *_dedented(text)] if header else []


def _dedented(text: str) -> Iterator[str]:
    for line in text.splitlines()[1:]:
        if line and not line.startswith("  "):
            return
        yield line[2:]
