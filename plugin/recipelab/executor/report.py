"""The words in which an agent reads how its code ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from autogen_core.code_executor import CodeResult

from recipelab.executor.config import SandboxCodeExecutorConfig
from recipelab.executor.inside import NOT_PLACED
from recipelab.sandbox import Ending, PhaseResult

TIMEOUT_CODE = 124
MEMORY_CODE = 137
FAILED_CODE = 1
CANCELLED = "Code execution was cancelled."
UNCHANGED = "The files are as they were before this block."
_NAMED = 8


@dataclass
class SandboxCodeResult(CodeResult):
    """What came of code blocks.

    Attributes:
        code_file: Host path of the first block's code, or ``None`` if it was not kept.
        timed_out: Whether the last block was stopped at its timeout. Its exit code is 124 then; but
            code may also exit with 124 by itself.
    """

    code_file: str | None = None
    timed_out: bool = False


@dataclass
class Report:
    """Grows block by block; after the first block that fails nothing more is added."""

    _parts: list[str] = field(default_factory=list)
    _exit_code: int = 0
    _code_file: str | None = None
    _timed_out: bool = False

    def output(self, text: str) -> None:
        """Adds what a block printed."""
        self._parts.append(text)

    def note(self, text: str) -> None:
        """Adds a line of ours, told from those of the code."""
        before = "".join(self._parts)
        start = "" if not before or before.endswith("\n") else "\n"
        self._parts.append(f"{start}[sandbox] {text}\n")

    def fail(self, text: str, exit_code: int = FAILED_CODE) -> None:
        """Adds why a block did not do what it should."""
        self.note(text)
        self._exit_code = exit_code

    def exited(self, exit_code: int) -> None:
        """Notes the exit code of a block that ended by itself."""
        self._exit_code = exit_code

    def timeout(self, seconds: float) -> None:
        """Notes that a block was stopped at its timeout."""
        self._timed_out = True
        self.fail(f"Timeout: stopped after {seconds:g} seconds. {UNCHANGED}", TIMEOUT_CODE)

    def kept(self, code_file: str) -> None:
        """Notes where the code of a block lies."""
        self._code_file = self._code_file or code_file

    def cancelled(self) -> None:
        """Notes that the whole was cancelled."""
        self.fail(f"{CANCELLED} The files are as the last finished block left them.")

    @property
    def failed(self) -> bool:
        """Whether a block has failed."""
        return self._exit_code != 0

    def result(self) -> SandboxCodeResult:
        """All of it."""
        return SandboxCodeResult(
            exit_code=self._exit_code,
            output="".join(self._parts),
            code_file=self._code_file,
            timed_out=self._timed_out,
        )


def report_phase(result: PhaseResult, config: SandboxCodeExecutorConfig, report: Report) -> bool:
    """Adds how a block ended.

    Returns:
        Whether its files may be taken.
    """
    before, found, reason = result.log.rpartition(NOT_PLACED)
    if found and not before and result.exit_code == FAILED_CODE:
        report.fail(f"The files could not be put in place:{reason.rstrip()}. {UNCHANGED}")
        return False
    report.output(result.log)
    match result.ending:
        case Ending.DEADLINE:
            report.timeout(config.timeout)
        case Ending.MEMORY:
            used = f"Killed: more than {config.memory_mb} MiB of memory, files included."
            report.fail(f"{used} {UNCHANGED}", MEMORY_CODE)
        case Ending.OUTPUT:
            report.fail(f"{_too_much(result, config)} {UNCHANGED}")
        case Ending.EXITED:
            _report_exit(result, config, report)
    return result.ending is Ending.EXITED


def names(items: tuple[str, ...]) -> str:
    """Some of the items, and how many there are beyond them."""
    more = len(items) - _NAMED
    text = ", ".join(items[:_NAMED])
    return f"{text} and {more} more" if more > 0 else text


def _report_exit(result: PhaseResult, config: SandboxCodeExecutorConfig, report: Report) -> None:
    code = FAILED_CODE if result.exit_code is None else result.exit_code
    report.exited(code if code >= 0 else 128 - code)
    if result.refused:
        refused = tuple(each.removeprefix("out/") for each in result.refused)
        report.note(f"Not kept: {names(refused)}. No file was removed because of that.")
    if code and result.refused_processes:
        report.note(f"Some processes were refused: the limit is {config.pids}.")


def _too_much(result: PhaseResult, config: SandboxCodeExecutorConfig) -> str:
    limits = f"{config.output_mb} MiB and {config.output_files} files"
    refused = tuple(each.removeprefix("out/") for each in result.refused[-1:])
    return f"Files were left beyond the limits of {limits}: {names(refused) or 'too many'}."
