"""Runs AutoGen's own tests of code executors with recipelab's executor in the place of theirs.

``python benchmarks/upstream_suites.py CHECKOUT [--kind docker --image IMAGE] [-- PYTEST OPTIONS]``

``CHECKOUT`` is a clone of github.com/microsoft/autogen at ``python-v0.7.5``; nothing is fetched.
Besides recipelab, the tests need ``aiofiles``, ``asyncio-atexit``, ``polars`` and
``pytest-asyncio``. A table of test and outcome comes last; ``docs/code-executor.md`` says why some
differ on purpose.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recipelab import SandboxCodeExecutor

SUITES = (
    "autogen-agentchat/tests/test_code_executor_agent.py",
    "autogen-ext/tests/tools/test_python_code_executor_tool.py",
    "autogen-ext/tests/code_executors/test_commandline_code_executor.py",
    "autogen-ext/tests/code_executors/test_docker_commandline_code_executor.py",
    "autogen-ext/tests/code_executors/test_user_defined_functions.py",
)


def swap(kind: str, image: str | None) -> None:
    """Puts recipelab's executor where AutoGen's tests import their own from."""
    from autogen_ext.code_executors import docker, local

    own = SandboxCodeExecutor.__init__

    def init(self: SandboxCodeExecutor, given: str | None = None, **settings: Any) -> None:
        if "cleanup_temp_files" in settings:
            settings["delete_tmp_files"] = settings.pop("cleanup_temp_files")
        own(self, given or image, **{"kind": kind, **settings})

    SandboxCodeExecutor.__init__ = init  # type: ignore[method-assign]
    docker.DockerCommandLineCodeExecutor = SandboxCodeExecutor  # type: ignore[misc, assignment]
    local.LocalCommandLineCodeExecutor = SandboxCodeExecutor  # type: ignore[misc, assignment]


class Outcomes:
    """Collects how each test ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that has run, or that was not to run."""
        if report.when == "call" or report.outcome != "passed":
            why = str(report.longrepr).strip().splitlines() if report.failed else []
            reason = next((line for line in reversed(why) if line.startswith("E ")), "")
            file, _, name = report.nodeid.rpartition("/")[2].partition("::")
            self.lines.append(f"| {report.outcome} | {file} | {name} | {reason[1:].strip()[:90]} |")


def main(words: Sequence[str]) -> int:
    """Runs the suites; the exit code is that of pytest."""
    own, _, options = " ".join(words).partition(" -- ")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--kind", default="local")
    parser.add_argument("--image")
    given = parser.parse_args(own.split())
    packages = given.checkout / "python/packages"
    suites = [str(packages / name) for name in SUITES]
    missing = [name for name in suites if not Path(name).is_file()]
    if missing:
        print(f"not a checkout of AutoGen: there is no {missing[0]}", file=sys.stderr)
        return 2
    swap(given.kind, given.image)
    outcomes = Outcomes()
    plain = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "--rootdir", str(packages)]
    code = pytest.main([*plain, "-c", "/dev/null", *options.split(), *suites], [outcomes])
    print("\n".join(["| outcome | file | test | why |", "|---|---|---|---|", *outcomes.lines]))
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
