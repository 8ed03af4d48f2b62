"""Failures: the kind of a failed phase, its signature, and the lines that show the cause."""

from __future__ import annotations

import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from recipelab.core.errors import SandboxError
from recipelab.core.trial import Failure, FailureKind, Phase, Status
from recipelab.evaluation.causes import Cause, first_cause, is_consequence
from recipelab.sandbox.base import Ending, PhaseResult

FULL = (
    "out/ has room for the pack's limits.output_mb, and the temporary folder for limits.scratch_mb"
)
"""Said of a full disk, as no sandbox has another that could be full."""

EXCERPT_LINES = 14
EXCERPT_CHARACTERS = 1_600
SIGNATURE_CHARACTERS = 200

_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line \d+, in (?P<name>\S+)')
_Rules = tuple[tuple[FailureKind, re.Pattern[str]], ...]

# What an exception's name says for sure, whatever words are in its message.
_NAMES: _Rules = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        (FailureKind.OOM, r"MemoryError|OutOfMemory"),
        (FailureKind.SYNTAX, r"SyntaxError|IndentationError|TabError"),
        (FailureKind.IMPORT, r"ModuleNotFoundError|ImportError"),
        (FailureKind.NAME, r"NameError|AttributeError|UnboundLocalError"),
        (FailureKind.TYPE, r"TypeError"),
        (FailureKind.VALUE, r"KeyError"),
        (FailureKind.MISSING_OUTPUT, r"FileNotFoundError"),
    )
)
# Fatal ones, which also count in a line that is no exception's.
_WORDS: _Rules = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (
            FailureKind.INFRASTRUCTURE,
            r"uncorrectable ECC|CUDA_ERROR_ECC|NVRM: Xid|fallen off the bus|GPU is lost|"
            r"collective operation timeout|NCCL\b.{0,200}\b(?:timeout|timed out)|ncclSystemError|"
            r"system not yet initialized|devices?(?:\(s\))? (?:is/)?are busy or unavailable|"
            r"uncorrectable NVLink error|CUDA (?:driver )?error: (?:unknown error|system driver)|"
            r"unsupported display driver|Driver/library version mismatch|"
            r"NCCL (?:communicator was aborted|error\b.{0,200}unhandled system error)|"
            r"NCCL error: remote process exited or there was a network error|"
            # Shared memory that is too small for it is the recipe's own affair.
            r"(?:signal: |^)bus error\b(?!.*shared memory)|Errno 5\] Input/output error",
        ),
        (
            FailureKind.OOM,
            r"out of memory|can(?:'|no)t allocate memory|unable to allocate [\d.]+ [KMGT]i?B|"
            r"OutOfMemory|MemoryError|STATUS_ALLOC_FAILED|"
            r"(?:out of|insufficient) shared memory",
        ),
        (
            FailureKind.PROCESSES,
            r"can't start new thread|pthread_create failed|"
            r"Resource temporarily unavailable|fork: retry",
        ),
        (FailureKind.DISK, r"no space left|file too large|disk quota|Errno 2[78]\b"),
        (FailureKind.NAN, r"(?<![\w-])-?(?:nan|inf)(?![\w-])|non-finite|not finite"),
    )
)
_MESSAGES: _Rules = (
    (
        FailureKind.SHAPE,
        re.compile(
            r"shape|size mismatch|sizes? of tensor|dimension|expected input\[|mat1 and mat2|"
            r"channels|must match",
            re.IGNORECASE,
        ),
    ),
)
_LAST_NAMES: _Rules = (
    (
        FailureKind.VALUE,
        re.compile(r"value|IndexError|ZeroDivisionError|OverflowError", re.IGNORECASE),
    ),
)
SCORER_FAILED = "the scorer failed on what predict left"
_SIGNALS = range(1, 65)
_SIGBUS = 7
_FULL_BYTES = 1 << 20
_BUSY_SHARE = 0.5
_PRESSURE = re.compile(r"^some avg10=([0-9.]+)", re.MULTILINE)
_LOOKED_BACK = 6
"""Lines before the end in which a program that prints its cause and exits has printed it."""

_NORMAL: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"0x[0-9a-fA-F]+"), "#"),
    (re.compile(r"(?<![\w.#])/[^\s'\",:)]+"), "<path>"),
    (re.compile(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"), "#"),
    (re.compile(r"\s+"), " "),
)


def signature_of(text: str) -> str:
    """Return the text with numbers and paths taken out, so that repeats can be counted."""
    for pattern, put in _NORMAL:
        text = pattern.sub(put, text)
    return text.strip()[:SIGNATURE_CHARACTERS].rstrip()


def status_of(result: PhaseResult, phase: Phase) -> Status:
    """Return the status of a trial whose phase did not end well."""
    if result.ending is Ending.DEADLINE and phase is not Phase.PREFLIGHT:
        return Status.TRAIN_OVERRUN if phase is Phase.TRAIN else Status.EVAL_OVERRUN
    return Status.OVERSIZE if result.ending is Ending.OUTPUT else Status.CRASHED


def failure_of(result: PhaseResult, phase: Phase, *, seed: int, budget: float) -> Failure:
    """Return what went wrong in a phase that did not end with exit code 0.

    Args:
        result: What the sandbox saw.
        phase: Which phase it was.
        seed: The seed of the run.
        budget: The phase's budget in seconds.

    Returns:
        The failure with kind, signature and excerpt.
    """
    match result.ending:
        case Ending.DEADLINE:
            line, kind = f"{phase} was killed at its budget of {budget:g} s", FailureKind.TIMEOUT
        case Ending.MEMORY:
            line, kind = f"{phase} was killed at its memory limit", FailureKind.OOM
        case Ending.OUTPUT:
            line, kind = f"{phase} left more output than the pack allows", FailureKind.SIZE
        case Ending.STOPPED:
            line, kind = f"{phase} was stopped by whoever watched it", FailureKind.OTHER
        case Ending.EXITED:
            return _failure_of_exit(result, phase, seed)
    keys = {
        Ending.DEADLINE: f"budgets.{phase}",
        Ending.MEMORY: "limits.memory_mb",
        Ending.OUTPUT: "limits.output_mb (size) or limits.output_files (number)",
    }
    named = [f"the pack's key is {key}"] if (key := keys.get(result.ending)) else []
    if result.ending is Ending.DEADLINE:
        named.insert(0, f"it had {result.cpu_seconds:.1f} CPU seconds by then")
    return _failure_of_line(phase, kind, line, result, seed, named=named)


@dataclass(frozen=True)
class MachineLoad:
    """How busy a machine is.

    Attributes:
        load: Processes that run or wait for a processor, on average over a minute.
        waiting: Share of the last ten seconds in which some process waited for one, from 0 to 1;
            ``None`` where the kernel does not tell.
        processors: How many there are.
    """

    load: float
    waiting: float | None
    processors: int

    @classmethod
    def now(cls) -> Self:
        """Return the load of this machine."""
        return cls(os.getloadavg()[0], _pressure(), os.cpu_count() or 1)

    @property
    def is_busy(self) -> bool:
        """Whether more processes want to run than can."""
        return self.load > self.processors or (self.waiting or 0.0) > _BUSY_SHARE

    def words(self, result: PhaseResult) -> str:
        """Return what a phase got on this machine, as one line."""
        took = f"{result.cpu_seconds:.1f} CPU seconds in {result.wall_seconds:.1f} s"
        return f"{took}, at a load of {self.load:.1f} on {self.processors} processors"


def _pressure() -> float | None:
    """Return what Linux says of the shortage of processors (``/proc/pressure/cpu``)."""
    try:
        told = _PRESSURE.search(Path("/proc/pressure/cpu").read_text("ascii"))
    except OSError:
        return None
    return float(told[1]) / 100.0 if told is not None else None


def too_slow(failure: Failure, tries: Sequence[str], usual: Mapping[str, float]) -> Failure:
    """Return the failure of a preflight that was killed at its budget, with what it got.

    Args:
        failure: The failure of the last try.
        tries: What each try got, in words.
        usual: What the preflight of the best took, by the names of measures.
    """
    again = len(tries) > 1
    lines = [f"{'try ' + str(i) + ': ' if again else 'it got '}{x}" for i, x in enumerate(tries, 1)]
    if (seconds := usual.get(f"{Phase.PREFLIGHT}.wall_seconds")) is not None:
        cpu = usual.get(f"{Phase.PREFLIGHT}.cpu_seconds", math.nan)
        lines.append(f"that of the best took {cpu:.1f} CPU seconds in {seconds:.1f} s")
    first, _, rest = failure.excerpt.partition("\n")
    text = "\n".join(filter(None, (first, *lines, rest)))[:EXCERPT_CHARACTERS]
    return replace(failure, excerpt=text)


def scorer_failed(
    result: PhaseResult, *, seed: int, budget: float
) -> ScorerFailed | EvaluatorFault:
    """Return the error of a scorer that did not end well, and refused nothing.

    It has scored the starting recipe, so if it ends by an exception of its own, what predict left
    is to blame. The exception's text may hold answers: a trial is told its name and place alone.
    """
    failure = failure_of(result, Phase.SCORE, seed=seed, budget=budget)
    fault = EvaluatorFault(f"the scorer failed: {failure.excerpt}")
    cause = first_cause(result.log, error_file=result.error_file, killed=False)
    name = cause.error.partition(":")[0]
    ours = (FailureKind.DISK, FailureKind.INFRASTRUCTURE, FailureKind.OOM)
    if result.ending is not Ending.EXITED or not cause.error or failure.kind in ours:
        return fault
    where = _innermost(cause.lines[:-1])
    line = f"{SCORER_FAILED}: {name}" + (f" in {where}" if where else "")
    told = Failure(Phase.SCORE, FailureKind.BAD_OUTPUT, signature_of(line), line, seed)
    return ScorerFailed(told, replace(result, log=line), fault)


def left_too_much(phase: Phase, line: str, *, seed: int, result: PhaseResult) -> Failure:
    """Return the failure of a phase that ended well but left more than the pack takes."""
    return _failure_of_line(phase, FailureKind.SIZE, line, result, seed)


def filled(failure: Failure) -> Failure:
    """Return the failure of a phase that filled its own folders; the machine's disk has room."""
    return replace(failure, kind=FailureKind.SIZE, excerpt=_excerpt([FULL, failure.excerpt]))


def missing_output(phase: Phase, what: str, *, seed: int, result: PhaseResult) -> Failure:
    """Return the failure of a phase that ended well but left not what the next one needs."""
    line = f"{phase} ended with exit code 0 but left no {what} in out/"
    return _failure_of_line(phase, FailureKind.MISSING_OUTPUT, line, result, seed)


def _failure_of_line(
    phase: Phase,
    kind: FailureKind,
    line: str,
    result: PhaseResult,
    seed: int,
    *,
    named: Sequence[str] = (),
) -> Failure:
    """Return a failure that one line of ours states, with what sandbox and log have to add."""
    lines = [line, *named, *_refused_processes(result), *result.refused, *_tail(result.log, 6)]
    text = "\n".join(lines)[:EXCERPT_CHARACTERS]
    return Failure(phase, kind, signature_of(line), text, seed)


def _refused_processes(result: PhaseResult) -> list[str]:
    count = result.refused_processes
    return [f"{count} processes or threads were refused at the limit"] if count else []


def _failure_of_exit(result: PhaseResult, phase: Phase, seed: int) -> Failure:
    if refused := _refused_processes(result):
        line = f"{phase} came to its limit of processes"
        named = "the pack's key is limits.pids"
        excerpt = _excerpt([*refused, named, *_tail(result.log, EXCERPT_LINES)])
        return Failure(phase, FailureKind.PROCESSES, line, excerpt, seed)
    signal = _signal(result.exit_code)
    cause = first_cause(result.log, error_file=result.error_file, killed=bool(signal))
    broken = _line_of_machine(cause)
    if cause.error and broken is None:
        where = _innermost(cause.lines[:-1])
        signature = signature_of(cause.error) + (f" in {where}" if where else "")
        excerpt = _excerpt(cause.lines[-EXCERPT_LINES:])
        kind = kind_of(cause.error)
        return Failure(phase, kind, signature[:SIGNATURE_CHARACTERS], excerpt, seed)
    code = result.exit_code or 0
    if cause.exit_code is not None and not signal:
        code, signal = cause.exit_code, _signal(cause.exit_code)
    ended = f"signal {signal}" if signal else f"exit code {code}"
    written = [line for line in cause.lines if line.strip()]
    last = broken or _telling_line(written)
    # The number of a signal or exit code is what tells these failures apart: it stays.
    signature = f"{ended}: {signature_of(last or '(no output)')}"[:SIGNATURE_CHARACTERS]
    kind = FailureKind.SIGNAL if signal else kind_of(last)
    # Memory or a disk below mapped memory failed: no Python of a recipe does that by itself.
    if broken or signal == _SIGBUS:
        kind = FailureKind.INFRASTRUCTURE
    rank = [] if cause.rank is None else [f"rank {cause.rank} failed first: {ended}"]
    excerpt = _excerpt([*cause.lines[-EXCERPT_LINES:], *rank]) or f"{ended}, no output"
    return Failure(phase, kind, signature, excerpt, seed)


def _signal(code: int | None) -> int:
    """Return the signal that an exit code stands for, or 0. Docker reports 128 and the signal."""
    if code is None:
        return 0
    return -code if code < 0 else code - 128 if code - 128 in _SIGNALS else 0


def _line_of_machine(cause: Cause) -> str | None:
    """Return the line that says that the machine failed, if that came before all else.

    NCCL's watchdog and the driver print it, and end the process or have it fail elsewhere.
    """
    rule = dict(_WORDS)[FailureKind.INFRASTRUCTURE]
    if cause.error and not rule.search(cause.error) and not is_consequence(cause.error):
        return None
    found = [line for line in reversed(cause.log) if rule.search(line)]
    # What a rank says of another one that is gone tells less than why that is gone.
    return next((line for line in found if not is_consequence(line)), next(iter(found), None))


def _telling_line(written: Sequence[str]) -> str:
    """Return the line that tells most of how a program ended that raised nothing."""
    near = reversed(written[-_LOOKED_BACK:])
    fatal = next((line for line in near if _first(_WORDS, line)), None)
    return fatal or (written[-1] if written else "")


def kind_of(line: str) -> FailureKind:
    """Return the kind of failure that an error's line stands for."""
    name, colon, _ = line.partition(":")
    name = name if colon or re.fullmatch(r"[\w.]+", line.strip()) else ""
    return (
        _first(_NAMES, name)
        or _first(_WORDS, line)
        or _first(_MESSAGES, line)
        or _first(_LAST_NAMES, name)
        or _first(_NAMES, line)
        or _first(_LAST_NAMES, line if re.search(r"Error\b", line) else "")
        or FailureKind.OTHER
    )


def _first(rules: _Rules, text: str) -> FailureKind | None:
    return next((kind for kind, rule in rules if rule.search(text)), None)


def _innermost(lines: Sequence[str]) -> str:
    """Return the innermost frame of the recipe's own files, as ``train.py:main``."""
    frames = [match for line in lines if (match := _FRAME.match(line))]
    own = [match for match in frames if "site-packages" not in match["path"]]
    own = [match for match in own if "/lib/python" not in match["path"]]
    return f"{own[-1]['path'].rsplit('/', 1)[-1]}:{own[-1]['name']}" if own else ""


def _tail(log: str, count: int) -> list[str]:
    return log.rstrip().splitlines()[-count:]


def _excerpt(lines: Sequence[str]) -> str:
    # The cause is at the end of a traceback, so a cut takes the beginning.
    return "\n".join(lines)[-EXCERPT_CHARACTERS:]


def is_disk_full() -> bool:
    """Return whether the disk of the machine is full, which is no recipe's fault."""
    try:
        return shutil.disk_usage(tempfile.gettempdir()).free < _FULL_BYTES
    except OSError:
        return False


class PhaseFailed(Exception):
    """A phase failed for a reason that lies in the recipe.

    Attributes:
        status: The status that the trial gets.
        failure: What went wrong.
        result: What the sandbox saw.
    """

    def __init__(self, status: Status, failure: Failure, result: PhaseResult) -> None:
        super().__init__(failure.signature)
        self.status = status
        self.failure = failure
        self.result = result

    @property
    def reason(self) -> str:
        """Why the trial has its status, in one sentence."""
        if self.failure.kind is FailureKind.PROJECTED:
            return self.failure.excerpt
        if self.failure.kind is FailureKind.TIMEOUT and self.failure.phase is not None:
            # The signature has its numbers taken out, and here they are what one wants to know.
            return f"{self.failure.phase}: {'; '.join(self.failure.excerpt.splitlines()[:2])}"
        return f"{self.failure.phase}: {self.failure.signature}"


class ScorerFailed(PhaseFailed):
    """The scorer ended by an exception of its own.

    Attributes:
        fault: The same as the fault of a scorer that fails on the starting recipe, too.
    """

    def __init__(self, failure: Failure, result: PhaseResult, fault: EvaluatorFault) -> None:
        super().__init__(Status.CRASHED, failure, result)
        self.fault = fault


class MachineSuspected(SandboxError):
    """The log of a phase says that the machine failed, as by a memory error of a GPU.

    A recipe can print the same, and can let NCCL time out. So the trial is tried once more only.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.phase}: {failure.signature}\n{failure.excerpt}")


class EvaluatorFault(Exception):
    """The pack's own evaluator failed, or gave no usable figures: not the recipe's fault."""
