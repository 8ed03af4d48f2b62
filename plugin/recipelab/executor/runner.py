"""Runs code blocks in a sandbox, one phase for each block, and reports how they ended."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from autogen_core.code_executor import CodeBlock, CodeResult

from recipelab.core.errors import RecipelabError, SandboxError
from recipelab.executor.config import SandboxCodeExecutorConfig, image_name
from recipelab.executor.functions import module_text, required_packages
from recipelab.executor.inside import NOT_PLACED
from recipelab.executor.work import (
    BlockError,
    Listing,
    Program,
    drop_placeholders,
    list_folder,
    program_of,
    update_folder,
)
from recipelab.sandbox import Ending, Input, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.files import remove_tree
from recipelab.sandbox.processes import MIB, uninterrupted

T = TypeVar("T")

TIMEOUT_CODE = 124
MEMORY_CODE = 137
FAILED_CODE = 1
UNCHANGED = "The files are as they were before this block."
_LISTED = 8
_HERE = Path(__file__).parent


@dataclass
class SandboxCodeResult(CodeResult):
    """The result of code blocks.

    Attributes:
        code_file: Host path of the first block's code, as the stock executors give it; ``None`` if
            no block could be run. There is no file if it was not kept, as after a timeout or with
            ``delete_tmp_files``.
        timed_out: Whether the last block was stopped at its timeout. Its exit code is 124 then; but
            code may also exit with 124 by itself.
    """

    code_file: str | None = None
    timed_out: bool = False


class ExecutionReport:
    """The result of code blocks as it grows; after the first block that fails nothing is added.

    Args:
        config: The limits, which messages name.
    """

    def __init__(self, config: SandboxCodeExecutorConfig) -> None:
        self.result = SandboxCodeResult(exit_code=0, output="")
        self._config = config

    @property
    def failed(self) -> bool:
        """Whether a block has failed."""
        return self.result.exit_code != 0

    def note(self, text: str) -> None:
        """Add a line that the code did not print, marked as such."""
        output = self.result.output
        start = "" if not output or output.endswith("\n") else "\n"
        self.result.output = f"{output}{start}[sandbox] {text}\n"

    def fail(self, text: str, exit_code: int = FAILED_CODE) -> None:
        """Add why a block failed."""
        self.note(text)
        self.result.exit_code = exit_code

    def add_phase(self, phase: PhaseResult) -> bool:
        """Add what a block printed and how it ended; return whether its files may be taken."""
        before, found, reason = phase.log.rpartition(NOT_PLACED)
        if found and not before and phase.exit_code == FAILED_CODE:
            self.fail(f"The files could not be put in place:{reason.rstrip()}. {UNCHANGED}")
            return False
        self.result.output += phase.log
        config, refused = self._config, tuple(name.removeprefix("out/") for name in phase.refused)
        match phase.ending:
            case Ending.DEADLINE:
                self.result.timed_out = True
                text = f"Timeout: stopped after {config.timeout:g} seconds."
                self.fail(f"{text} {UNCHANGED}", TIMEOUT_CODE)
            case Ending.MEMORY:
                text = f"Killed: more than {config.memory_mb} MiB of memory, files included."
                self.fail(f"{text} {UNCHANGED}", MEMORY_CODE)
            case Ending.OUTPUT:
                limits = f"{config.output_mb} MiB and {config.output_files} files"
                names = _names(refused[-1:]) or "too many"
                self.fail(f"Files were left beyond the limits of {limits}: {names}. {UNCHANGED}")
            case Ending.EXITED:
                code = FAILED_CODE if phase.exit_code is None else phase.exit_code
                self.result.exit_code = code if code >= 0 else 128 - code
                if refused:
                    self.note(f"Not kept: {_names(refused)}. No file was removed because of that.")
                if code and phase.refused_processes:
                    self.note(f"Some processes were refused: the limit is {config.pids}.")
        return phase.ending is Ending.EXITED


def _names(items: tuple[str, ...]) -> str:
    """Return the first items as text, and how many more there are."""
    more = len(items) - _LISTED
    text = ", ".join(items[:_LISTED])
    return f"{text} and {more} more" if more > 0 else text


async def in_executor_thread(work: Callable[[], T]) -> T:
    """Run short work in a thread; a cancellation takes effect only when it is done."""
    return await uninterrupted(work, name="code-executor")


class BlockRunner:
    """The blocks of one executor between a start and a stop. One block runs at a time."""

    def __init__(
        self, sandbox: Sandbox, config: SandboxCodeExecutorConfig, *, work: Path, private: Path
    ) -> None:
        """Note where to run; nothing runs yet.

        Args:
            sandbox: A started sandbox.
            config: Limits, environment and functions.
            work: The folder whose files blocks share.
            private: A folder for the functions, and for the code and outputs of a phase.
        """
        self._sandbox = sandbox
        self._config = config
        self._work = work
        self._private = private
        self._modules = private / "modules"
        self._init = (config.init_command,) if config.init_command else ()
        self._data = tuple(
            Input(path := Path(given).absolute(), f"data/{name}", as_is=path.is_dir())
            for name, given in config.data.items()
        )

    async def prepare(self) -> None:
        """Store the functions, and check that the image has what they need, and that data are here.

        Raises:
            RecipelabError: It lacks packages, the functions cannot be imported, or there is no such
                file or folder.
        """
        for entry in self._data:
            if not entry.source.exists():
                raise RecipelabError(f"{entry.target}: there is no file or folder {entry.source}")
        self._modules.mkdir(exist_ok=True)
        if not self._config.functions:
            return
        module = self._modules / f"{self._config.functions_module}.py"
        module.write_text(module_text(self._config.functions), encoding="utf-8")
        wanted = (self._config.functions_module, *required_packages(self._config.functions))
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
                f"{', '.join(lines)}. Code runs without network, so they cannot be installed then: "
                "name the packages in requirements.txt of a sandbox of your own, and build it with "
                "`recipelab sandbox build NAME`"
            )
        if not result.ok:
            raise RecipelabError(f"the functions cannot be imported:\n{result.log}")

    async def run(self, block: CodeBlock, report: ExecutionReport) -> None:
        """Run one block and take its files.

        Args:
            block: The code.
            report: Receives the result.

        Raises:
            SandboxError: The machinery failed; the code is not to blame.
        """
        try:
            program = program_of(block)
        except BlockError as error:
            report.fail(str(error))
            return
        before = await in_executor_thread(partial(list_folder, self._work))
        if fault := self._size_fault(before):
            report.fail(fault)
            return
        stage = self._stage()
        try:
            code = stage / "code" / program.file
            code.parent.mkdir(parents=True)
            code.write_bytes(program.code)
            inputs = (Input(self._work, "work"), Input(stage / "code", "code"), *self._data)
            report.result.code_file = report.result.code_file or str(self._work / program.file)
            script = ("inside.py", program.interpreter, program.file, *self._init)
            result = await self._run(stage, "code", script, inputs)
            if report.add_phase(result):
                forget = not result.refused  # What is missing may be among what was refused.
                take = partial(self._take, stage / "new", program, before, forget, report)
                await in_executor_thread(take)
        finally:
            await in_executor_thread(partial(remove_tree, stage))

    async def _run(
        self, stage: Path, phase: str, script: tuple[str, ...], inputs: tuple[Input, ...]
    ) -> PhaseResult:
        name, *arguments = script
        output = stage / "new"
        output.mkdir()
        request = PhaseRequest(
            phase=phase,
            command=("python", f"run/{name}", *arguments),
            inputs=(
                Input(_HERE / name, f"run/{name}"),
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
        forget: bool,
        report: ExecutionReport,
    ) -> None:
        """Bring the work folder to the state in which the block left it."""
        drop_placeholders(new)
        if self._config.delete_tmp_files and not program.named:
            (new / program.file).unlink(missing_ok=True)
        try:
            linked = update_folder(self._work, new, before=before, forget=forget)
        except SandboxError as error:
            report.fail(f"{error}. {UNCHANGED}")
            return
        if linked:
            report.note(f"Not kept, as the work folder has a link there: {_names(linked)}.")

    def _size_fault(self, before: Listing) -> str | None:
        """Return why a block cannot be given the files of the work folder, or ``None``."""
        megabytes, files = self._config.output_mb, self._config.output_files
        if before.size > megabytes * MIB:
            return f"The work folder has {before.size / MIB:.0f} MiB; the limit is {megabytes}."
        if len(before.files) >= files:
            return f"The work folder has {len(before.files)} files; the limit is {files}."
        return None

    def _stage(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="block-", dir=self._private))
