"""Blocking work beside the event loop that a cancellation does not leave half done."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from autogen_core.code_executor import CodeBlock, CodeResult

from recipelab.core.errors import RecipelabError, SandboxError
from recipelab.executor.config import SandboxCodeExecutorConfig, image_name
from recipelab.executor.inside import NOT_PLACED
from recipelab.executor.work import (
    BlockError,
    Listing,
    Program,
    adopt,
    drop_placeholders,
    listing,
    module_text,
    packages,
    program_of,
)
from recipelab.sandbox import Ending, Input, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.files import remove_tree
from recipelab.sandbox.processes import in_thread

T = TypeVar("T")


async def finished(work: Callable[[], T]) -> T:
    """Runs short work in a thread; a cancellation goes on only when it is done.

    Args:
        work: What to run. It must end by itself.
    """
    future = asyncio.wrap_future(in_thread(work, name="code-executor"))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        future.exception()  # Looked at, so that asyncio does not report it as forgotten.
        raise


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
class ExecutionReport:
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


def report_phase(
    result: PhaseResult, config: SandboxCodeExecutorConfig, report: ExecutionReport
) -> bool:
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


def _report_exit(
    result: PhaseResult, config: SandboxCodeExecutorConfig, report: ExecutionReport
) -> None:
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


_HERE = Path(__file__).parent
_MIB = 1 << 20


class BlockRunner:
    """The blocks of one executor between a start and a stop. One block runs at a time."""

    def __init__(
        self, sandbox: Sandbox, config: SandboxCodeExecutorConfig, *, work: Path, private: Path
    ) -> None:
        """Notes where to run; nothing runs yet.

        Args:
            sandbox: A started sandbox.
            config: Limits, environment and functions.
            work: The folder whose files blocks share.
            private: A folder for what lies beside it: the functions, and a phase's comings and
                goings.
        """
        self._sandbox = sandbox
        self._config = config
        self._work = work
        self._private = private
        self._modules = private / "modules"

    async def check_functions(self) -> None:
        """Stores the functions, and looks whether the image has what they need.

        Raises:
            RecipelabError: It lacks packages, or the functions cannot be imported.
        """
        self._modules.mkdir(exist_ok=True)
        if not self._config.functions:
            return
        module = self._modules / f"{self._config.functions_module}.py"
        module.write_text(module_text(self._config.functions), encoding="utf-8")
        wanted = (self._config.functions_module, *packages(self._config.functions))
        stage = self._stage()
        try:
            result = await self._run(stage, "check", ("inside_check.py", *wanted), ())
            missing = stage / "new" / "missing"
            lines = missing.read_text(encoding="utf-8").splitlines() if missing.is_file() else []
        finally:
            remove_tree(stage)
        if lines:
            raise RecipelabError(
                f"the functions need what {image_name(self._config, self._sandbox)} does not have: "
                f"{', '.join(lines)}. Code runs without network, so nothing can be installed then: "
                "name the packages in requirements.txt of a sandbox of your own, and build it with "
                "`recipelab sandbox build NAME`"
            )
        if not result.ok:
            raise RecipelabError(f"the functions cannot be imported:\n{result.log}")

    async def run(self, block: CodeBlock, report: ExecutionReport) -> None:
        """Runs one block and takes its files.

        Args:
            block: The code.
            report: What came of it is added here.

        Raises:
            SandboxError: The machinery failed; the code is not to blame.
        """
        try:
            program = program_of(block)
        except BlockError as error:
            report.fail(str(error))
            return
        before = await finished(partial(listing, self._work))
        if fault := self._too_much(before):
            report.fail(fault)
            return
        stage = self._stage()
        try:
            code = stage / "code" / program.file
            code.parent.mkdir(parents=True)
            code.write_bytes(program.code)
            inputs = (Input(self._work, "work"), Input(stage / "code", "code"))
            words = ("inside.py", program.interpreter, program.file)
            result = await self._run(stage, "code", words, inputs)
            if report_phase(result, self._config, report):
                await finished(partial(self._take, stage / "new", program, before, result, report))
        finally:
            await finished(partial(remove_tree, stage))

    async def _run(
        self, stage: Path, phase: str, words: tuple[str, ...], inputs: tuple[Input, ...]
    ) -> PhaseResult:
        script, *arguments = words
        output = stage / "new"
        output.mkdir()
        request = PhaseRequest(
            phase=phase,
            command=("python", f"run/{script}", *arguments),
            inputs=(
                Input(_HERE / script, f"run/{script}"),
                Input(self._modules, "modules"),
                *inputs,
            ),
            output=output,
            limits=self._config.limits(),
            environment=self._config.environment,
        )
        return await self._sandbox.run(request)

    def _take(
        self,
        new: Path,
        program: Program,
        before: Listing,
        result: PhaseResult,
        report: ExecutionReport,
    ) -> None:
        """Makes the work folder what the block left in it."""
        drop_placeholders(new)
        if passing := self._config.delete_tmp_files and not program.named:
            (new / program.file).unlink(missing_ok=True)
        try:
            # Where something was refused, what is missing may be there after all.
            behind = adopt(self._work, new, before=before, forget=not result.refused)
        except SandboxError as error:
            report.fail(f"{error}. {UNCHANGED}")
            return
        if behind:
            report.note(f"Not kept, as the work folder has a link there: {names(behind)}.")
        if not passing:
            report.kept(str(self._work / program.file))

    def _too_much(self, before: Listing) -> str | None:
        """Why a block could not be given the work folder's files, or ``None``."""
        megabytes, files = self._config.output_mb, self._config.output_files
        if before.size > megabytes * _MIB:
            return f"The work folder has {before.size / _MIB:.0f} MiB; the limit is {megabytes}."
        if len(before.files) >= files:
            return f"The work folder has {len(before.files)} files; the limit is {files}."
        return None

    def _stage(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="block-", dir=self._private))
