"""Runs code blocks one by one: each in a phase of its own, its files handed to the next."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from autogen_core.code_executor import CodeBlock

from recipelab.errors import RecipelabError, SandboxError
from recipelab.executor.blocks import BlockError, Program, program_of
from recipelab.executor.config import SandboxCodeExecutorConfig
from recipelab.executor.functions import module_text, packages
from recipelab.executor.opening import image_of
from recipelab.executor.report import UNCHANGED, Report, names, report_phase
from recipelab.executor.waiting import finished
from recipelab.executor.work import Listing, adopt, drop_placeholders, listing
from recipelab.sandbox import Input, PhaseRequest, PhaseResult, Sandbox
from recipelab.sandbox.staging import remove_tree

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
                f"the functions need what {image_of(self._config, self._sandbox)} does not have: "
                f"{', '.join(lines)}. Code runs without network, so nothing can be installed then: "
                "name the packages in requirements.txt of a sandbox of your own, and build it with "
                "`recipelab sandbox build NAME`"
            )
        if not result.ok:
            raise RecipelabError(f"the functions cannot be imported:\n{result.log}")

    async def run(self, block: CodeBlock, report: Report) -> None:
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
        self, new: Path, program: Program, before: Listing, result: PhaseResult, report: Report
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
