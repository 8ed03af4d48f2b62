"""A watched file: it is handed over while the command runs, and hurts nobody but its writer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.sandbox import Ending, LocalSandbox, PhaseResult, Sandbox
from recipelab.sandbox.base import WATCH_BYTES, Watch

from .helpers import names_in, phase

APPENDING = """
import time
with open('out/curve.csv', 'a', buffering=1) as file:
    for step in range(600):
        print(step, file=file)
        time.sleep(0.05)
"""


@pytest.fixture
async def bare() -> AsyncIterator[Sandbox]:
    """The local sandbox without namespaces."""
    async with LocalSandbox(namespaces=False) as made:
        yield made


class Told:
    """Collects what is handed over, and says stop when it has seen something."""

    def __init__(self, until: Callable[[bytes], bool] = lambda seen: False) -> None:
        self.seen = b""
        self._until = until

    def __call__(self, piece: bytes) -> bool:
        self.seen += piece
        return self._until(self.seen)


async def watched(sandbox: Sandbox, output: Path, code: str, told: Told) -> PhaseResult:
    request = phase(output, code, output_mb=4)
    return await sandbox.run(replace(request, watch=Watch("curve.csv", told)))


async def test_a_command_is_stopped_on_what_it_appends(sandbox: Sandbox, output: Path) -> None:
    told = Told(lambda seen: b"\n5\n" in seen)
    result = await watched(sandbox, output, APPENDING, told)
    assert (result.ending, result.exit_code, result.ok) == (Ending.STOPPED, None, False)
    assert told.seen.startswith(b"0\n1\n2\n3\n4\n5\n")
    assert 0 < result.wall_seconds < 15
    assert result.cpu_seconds > 0
    assert names_in(output) == []


async def test_without_namespaces_too(bare: Sandbox, output: Path) -> None:
    told = Told(lambda seen: b"\n5\n" in seen)
    assert (await watched(bare, output, APPENDING, told)).ending is Ending.STOPPED


async def test_what_is_watched_is_no_output(sandbox: Sandbox, output: Path) -> None:
    code = "open('out/curve.csv', 'w').write('1,2\\n'); open('out/model', 'w').write('x')"
    result = await watched(sandbox, output, code, Told())
    assert result.ok and result.watched == b"1,2\n"
    assert names_in(output) == ["model"]


@pytest.mark.parametrize(
    "write",
    [
        "pass",
        "os.mkfifo('out/curve.csv')",
        "os.mkdir('out/curve.csv')",
        "os.symlink('curve.csv', 'out/curve.csv')",
        "open('out/curve.csv', 'wb').write(bytes(range(256)) * 16)",
    ],
)
async def test_what_is_no_file_of_lines_hurts_nobody(
    sandbox: Sandbox, output: Path, write: str
) -> None:
    told = Told()
    result = await watched(sandbox, output, f"import os, time\n{write}\ntime.sleep(0.5)", told)
    assert result.ok, result.log
    assert told.seen in (b"", bytes(range(256)) * 16)


async def test_a_link_shows_nothing_of_the_host(
    bare: Sandbox, output: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    told = Told()
    code = f"import os, time\nos.symlink({str(secret)!r}, 'out/curve.csv')\ntime.sleep(0.5)"
    result = await watched(bare, output, code, told)
    assert result.ok and told.seen == b"" == result.watched


async def test_no_more_is_read_than_a_bound(sandbox: Sandbox, output: Path) -> None:
    told = Told()
    # So much that what is not read fills every buffer on its way.
    code = "import time\nopen('out/curve.csv', 'wb').write(b'1,1\\n' * 900_000)\ntime.sleep(1.5)"
    result = await watched(sandbox, output, code, told)
    assert result.ok, result.log
    assert len(told.seen) == WATCH_BYTES == len(result.watched)
