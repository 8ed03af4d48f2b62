"""``SandboxCodeExecutor``: AutoGen's code execution, each block in a sandbox of its own."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import ClassVar, Self, Unpack, cast

from autogen_core import CancellationToken, Component
from autogen_core.code_executor import CodeBlock, CodeExecutor

from recipelab.core.errors import RecipelabError
from recipelab.executor.config import SandboxCodeExecutorConfig, Settings, open_code_sandbox
from recipelab.executor.functions import Function, FunctionSource, function_source, stub
from recipelab.executor.runner import (
    BlockRunner,
    ExecutionReport,
    SandboxCodeResult,
    in_executor_thread,
)
from recipelab.executor.work import LANGUAGES
from recipelab.sandbox import Sandbox
from recipelab.sandbox.files import new_folder, reap_folders, remove_tree

CANCELLED = "Code execution was cancelled."


class SandboxCodeExecutor(CodeExecutor, Component[SandboxCodeExecutorConfig]):
    """Executes each code block in a hardened container of its own; files are kept between blocks.

    It replaces AutoGen's ``DockerCommandLineCodeExecutor``. Code has no network. Files that a block
    leaves in its working directory are there for the next block. Processes that a block leaves
    running are killed. Concurrent calls run one after the other.

    .. code-block:: python

        async with SandboxCodeExecutor(timeout=60, work_dir="coding") as executor:
            block = CodeBlock("print(6 * 7)", "python")
            result = await executor.execute_code_blocks([block], CancellationToken())

    Args:
        image: Name of an image; see :class:`~recipelab.executor.SandboxCodeExecutorConfig`.
        functions: Functions that code can import from the functions module: plain functions, those
            of ``with_requirements``, or sources.
        settings: Other keys of :class:`~recipelab.executor.SandboxCodeExecutorConfig`.

    Raises:
        ValueError: An argument is not valid, or is one of AutoGen's own executors; the message says
            what to give instead.
    """

    component_config_schema = SandboxCodeExecutorConfig
    component_provider_override = "recipelab.SandboxCodeExecutor"

    SUPPORTED_LANGUAGES = LANGUAGES

    FUNCTION_PROMPT_TEMPLATE: ClassVar[str] = """\
Code can import these functions from the module `$module_name`, as in \
`from $module_name import foo`:

$functions"""

    def __init__(
        self,
        image: str | None = None,
        *,
        functions: Sequence[Function] = (),
        **settings: Unpack[Settings],
    ) -> None:
        sources = tuple(function_source(function) for function in functions)
        given = {"image": image, **settings, "functions": sources}
        self._config = SandboxCodeExecutorConfig.model_validate(given)
        work = self._config.work_dir
        if work is not None and Path(work).resolve() == Path.cwd():
            warnings.warn(
                "Using the current directory as work_dir is deprecated: all of its files are "
                "copied into each container, and changed by code",
                DeprecationWarning,
                stacklevel=2,
            )
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[None]] = set()
        self._sandbox: Sandbox | None = None
        self._runner: BlockRunner | None = None
        self._stopped = False
        self._private: Path | None = None
        self._remove_private: weakref.finalize[..., SandboxCodeExecutor] | None = None

    @property
    def timeout(self) -> float:
        """Seconds that one code block may take."""
        return self._config.timeout

    @property
    def functions_module(self) -> str:
        """Name of the module that code imports functions from."""
        return self._config.functions_module

    @property
    def functions(self) -> tuple[FunctionSource, ...]:
        """The functions that code can import, as source."""
        return self._config.functions

    def format_functions_for_prompt(self, prompt_template: str = FUNCTION_PROMPT_TEMPLATE) -> str:
        """Return what a model should be told of the functions: signatures and docstrings.

        Args:
            prompt_template: The text, with ``$module_name`` and ``$functions`` in it.
        """
        stubs = "\n\n".join(map(stub, self.functions))
        return Template(prompt_template).safe_substitute(
            module_name=self.functions_module, functions=stubs
        )

    @property
    def work_dir(self) -> Path:
        """Folder on this machine with the files that blocks share.

        Raises:
            RecipelabError: It is a temporary folder, and the executor is not started.
        """
        if self._config.work_dir is not None:
            return Path(self._config.work_dir).absolute()
        if self._private is None:
            raise RecipelabError("the executor is not started, and names no work folder")
        return self._private / "work"

    async def execute_code_blocks(
        self, code_blocks: Sequence[CodeBlock], cancellation_token: CancellationToken
    ) -> SandboxCodeResult:
        """Execute blocks in order, up to the first that fails. Starts the executor if needed.

        Args:
            code_blocks: The blocks, at least one.
            cancellation_token: Cancels the running block; that is a result too, with exit code 1.

        Returns:
            The output of all blocks and the exit code of the last: 124 after a timeout, 137 after
            too much memory, and 1 for a block that cannot be run.

        Raises:
            ValueError: There is no block.
            RecipelabError: The executor was stopped, or cannot be started.
            SandboxError: The machinery failed; the code is not to blame.
        """
        if not code_blocks:
            raise ValueError("there is no code block to execute")
        report = ExecutionReport(self._config)
        task = asyncio.create_task(self._run(code_blocks, report))
        self._running.add(task)
        cancellation_token.link_future(task)
        try:
            await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            report.fail(f"{CANCELLED} The files are as the last finished block left them.")
        finally:
            self._running.discard(task)
        return report.result

    async def start(self) -> None:
        """Open the sandbox, and check that functions have what they need. May be called twice.

        Raises:
            RecipelabError: The sandbox cannot be opened, or lacks what functions need.
            SandboxError: The machinery failed.
        """
        async with self._lock:
            self._stopped = False
            await self._ready()

    async def stop(self) -> None:
        """Kill what runs and remove a temporary work folder. May be called twice."""
        self._stopped = True
        await self._cancel_running()
        async with self._lock:
            await self._close()
            if self._remove_private is not None:
                await in_executor_thread(self._remove_private)
            self._private = self._remove_private = None

    async def restart(self) -> None:
        """Kill what runs and connect again; files stay."""
        await self._cancel_running()
        async with self._lock:
            await self._close()
            self._stopped = False
            await self._ready()

    async def _run(self, blocks: Sequence[CodeBlock], report: ExecutionReport) -> None:
        async with self._lock:
            if self._stopped:
                raise RecipelabError(
                    "the executor was stopped; start it again, or use `async with`"
                )
            runner = await self._ready()
            for block in blocks:
                await runner.run(block, report)
                if report.failed:
                    return

    async def _ready(self) -> BlockRunner:
        """Start it if it is not started. The caller holds the lock."""
        if self._runner is not None:
            return self._runner
        if self._private is None:
            self._private = new_folder(Path(tempfile.gettempdir()), what="code")
            # An executor that nobody stops leaves nothing behind either.
            self._remove_private = weakref.finalize(self, remove_tree, self._private)
        self.work_dir.mkdir(parents=True, exist_ok=True)
        try:
            await in_executor_thread(lambda: reap_folders(self.work_dir))
            self._sandbox = await in_executor_thread(lambda: open_code_sandbox(self._config))
            await self._sandbox.start()
            runner = BlockRunner(
                self._sandbox, self._config, work=self.work_dir, private=self._private
            )
            await runner.prepare()
        except BaseException:
            await self._close()
            raise
        self._runner = runner
        return runner

    async def _close(self) -> None:
        self._runner = None
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.stop()

    async def _cancel_running(self) -> None:
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _to_config(self) -> SandboxCodeExecutorConfig:
        return self._config

    @classmethod
    def _from_config(cls, config: SandboxCodeExecutorConfig) -> Self:
        settings = {name: getattr(config, name) for name in Settings.__annotations__}
        return cls(config.image, functions=config.functions, **cast(Settings, settings))
