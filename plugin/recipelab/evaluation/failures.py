"""Failures: the kind of a failed phase, its signature, and the lines that show the cause."""

from __future__ import annotations

import re

from recipelab.core.trial import Failure, FailureKind, Phase, Status
from recipelab.sandbox.base import Ending, PhaseResult

EXCERPT_LINES = 14
EXCERPT_CHARACTERS = 1_600
SIGNATURE_CHARACTERS = 200

_EXCEPTION = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Warning)\b.*$"
)
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line \d+, in (?P<name>\S+)')
_KINDS: tuple[tuple[FailureKind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (FailureKind.OOM, r"MemoryError|out of memory|can't allocate memory|OutOfMemory"),
        (FailureKind.DISK, r"no space left|file too large|disk quota|Errno 2[78]"),
        (FailureKind.SYNTAX, r"SyntaxError|IndentationError|TabError"),
        (FailureKind.IMPORT, r"ModuleNotFoundError|ImportError"),
        (FailureKind.NAN, r"\bnan\b|\binf\b|non-finite|not finite"),
        (
            FailureKind.SHAPE,
            r"shape|size mismatch|sizes? of tensor|dimension|expected input\[|mat1 and mat2|"
            r"channels|size of tensor|must match",
        ),
        (FailureKind.NAME, r"NameError|AttributeError|UnboundLocalError"),
        (FailureKind.MISSING_OUTPUT, r"FileNotFoundError"),
        (FailureKind.TYPE, r"TypeError"),
        (FailureKind.VALUE, r"ValueError|KeyError|IndexError|ZeroDivisionError|OverflowError"),
    )
)
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
        case Ending.EXITED:
            return _failure_of_exit(result, phase, seed)
    return _failure_of_line(phase, kind, line, result, seed)


def left_too_much(phase: Phase, line: str, *, seed: int, result: PhaseResult) -> Failure:
    """Return the failure of a phase that ended well but left more than the pack takes."""
    return _failure_of_line(phase, FailureKind.SIZE, line, result, seed)


def missing_output(phase: Phase, what: str, *, seed: int, result: PhaseResult) -> Failure:
    """Return the failure of a phase that ended well but left not what the next one needs."""
    line = f"{phase} ended with exit code 0 but left no {what} in out/"
    return _failure_of_line(phase, FailureKind.MISSING_OUTPUT, line, result, seed)


def _failure_of_line(
    phase: Phase, kind: FailureKind, line: str, result: PhaseResult, seed: int
) -> Failure:
    """Return a failure that one line of ours states, with what sandbox and log have to add."""
    lines = [line, *_refused_processes(result), *result.refused, *_tail(result.log, 6)]
    text = "\n".join(lines)[:EXCERPT_CHARACTERS]
    return Failure(phase, kind, signature_of(line), text, seed)


def _refused_processes(result: PhaseResult) -> list[str]:
    count = result.refused_processes
    return [f"{count} processes or threads were refused at the limit"] if count else []


def _failure_of_exit(result: PhaseResult, phase: Phase, seed: int) -> Failure:
    if refused := _refused_processes(result):
        line = f"{phase} came to its limit of processes"
        excerpt = _excerpt([*refused, *_tail(result.log, EXCERPT_LINES)])
        return Failure(phase, FailureKind.PROCESSES, line, excerpt, seed)
    lines = result.log.rstrip().splitlines()
    found = next((i for i in range(len(lines) - 1, -1, -1) if _EXCEPTION.match(lines[i])), None)
    if found is None:
        code = result.exit_code or 0
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        last = lines[-1] if lines else "(no output)"
        # The number of a signal or exit code is what tells these failures apart: it stays.
        signature = f"{ended}: {signature_of(last)}"[:SIGNATURE_CHARACTERS]
        kind = FailureKind.SIGNAL if code < 0 else kind_of(last)
        excerpt = _excerpt(_tail(result.log, EXCERPT_LINES)) or f"{ended}, no output"
        return Failure(phase, kind, signature, excerpt, seed)
    where = _innermost(lines[:found])
    signature = signature_of(lines[found]) + (f" in {where}" if where else "")
    excerpt = _excerpt(lines[max(0, found - EXCERPT_LINES + 1) : found + 1])
    return Failure(phase, kind_of(lines[found]), signature[:SIGNATURE_CHARACTERS], excerpt, seed)


def kind_of(line: str) -> FailureKind:
    """Return the kind of failure that an error's last line stands for."""
    return next((kind for kind, rule in _KINDS if rule.search(line)), FailureKind.OTHER)


def _innermost(lines: list[str]) -> str:
    """Return the innermost frame of the recipe's own files, as ``train.py:main``."""
    frames = [match for line in lines if (match := _FRAME.match(line))]
    own = [match for match in frames if "site-packages" not in match["path"]]
    own = [match for match in own if "/lib/python" not in match["path"]]
    return f"{own[-1]['path'].rsplit('/', 1)[-1]}:{own[-1]['name']}" if own else ""


def _tail(log: str, count: int) -> list[str]:
    return log.rstrip().splitlines()[-count:]


def _excerpt(lines: list[str]) -> str:
    # The cause is at the end of a traceback, so a cut takes the beginning.
    return "\n".join(lines)[-EXCERPT_CHARACTERS:]


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
        return f"{self.failure.phase}: {self.failure.signature}"


class EvaluatorFault(Exception):
    """The pack's own evaluator failed, or gave no usable figures: not the recipe's fault."""
