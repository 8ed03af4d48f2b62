"""What the local sandbox promises in either of its ways, with namespaces and without."""

from __future__ import annotations

import resource
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from recipelab.core.errors import SandboxError
from recipelab.sandbox import Ending, Input, LocalSandbox
from recipelab.sandbox.local.sandbox import namespaces_fault
from recipelab.sandbox.spec import load_image_spec

from .helpers import names_in, phase


@pytest.fixture(params=[True, False], ids=["namespaces", "host"])
def namespaces(request: pytest.FixtureRequest) -> bool:
    """Each way in turn."""
    if request.param and (fault := namespaces_fault(Path(tempfile.gettempdir()))):
        pytest.skip(f"no namespaces: {fault}")
    return bool(request.param)


@pytest.fixture
async def local(namespaces: bool) -> AsyncIterator[LocalSandbox]:
    """The sandbox, started."""
    async with LocalSandbox(namespaces=namespaces, pass_environment=("GIVEN", "MISSING")) as made:
        yield made


async def test_the_record_says_which_way(
    local: LocalSandbox, namespaces: bool, output: Path
) -> None:
    result = await local.run(phase(output, "pass"))
    assert result.environment.endswith("in namespaces" if namespaces else "without namespaces")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
async def test_signals_are_exact(local: LocalSandbox, output: Path, number: int) -> None:
    result = await local.run(phase(output, f"import os; os.kill(os.getpid(), {int(number)})"))
    assert (result.ending, result.exit_code) == (Ending.EXITED, -number)


async def test_named_variables_are_passed(
    local: LocalSandbox, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", "from the host")
    monkeypatch.setenv("OTHER", "hunter2")
    result = await local.run(phase(output, "import os; print(dict(os.environ))"))
    assert "'GIVEN': 'from the host'" in result.log
    assert "MISSING" not in result.log and "hunter2" not in result.log


async def test_variables_that_a_specification_names_are_passed(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVEN", "from the host")
    spec = load_image_spec("cpu")
    named = spec.container.model_copy(update={"environment": ("GIVEN",)})
    spec = spec.model_copy(update={"container": named})
    async with LocalSandbox.from_spec(spec, build=False, progress=print) as made:
        result = await made.run(phase(output, "import os; print(os.environ['GIVEN'])"))
    assert result.log == "from the host\n"


@pytest.mark.parametrize(
    ("gpus", "told"), [((), " void"), (("0",), "0 None"), (("1", "3"), "1,3 None")]
)
async def test_only_the_named_gpus_are_shown(
    local: LocalSandbox, output: Path, gpus: tuple[str, ...], told: str
) -> None:
    names = "os.environ['CUDA_VISIBLE_DEVICES'], os.environ.get('NVIDIA_VISIBLE_DEVICES')"
    result = await local.run(phase(output, f"import os; print({names})", gpus=gpus))
    assert result.log == f"{told}\n"


async def test_a_driver_that_only_a_variable_names_is_there(
    local: LocalSandbox, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, other = tmp_path / "driver", tmp_path / "other"
    for folder, name in ((driver, "libcuda.so.1"), (other, "libother.so")):
        folder.mkdir()
        (folder / name).touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{other}:{driver}:relative:")
    code = (
        "import os; path = os.environ.get('LD_LIBRARY_PATH')\n"
        "print(path, path and os.listdir(path), os.environ['CUDA_DEVICE_ORDER'])"
    )
    told = await local.run(phase(output, code, gpus=("GPU-aaaa",)))
    assert told.log == f"{driver} ['libcuda.so.1'] PCI_BUS_ID\n"
    assert (await local.run(phase(output, code))).log == "None None PCI_BUS_ID\n"


async def test_memory_of_cuda_is_not_limited(local: LocalSandbox, output: Path) -> None:
    code = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0] >> 20)"
    assert (await local.run(phase(output, code, memory_mb=256))).log == "256\n"
    # A limit of the host's own stays.
    free = resource.getrlimit(resource.RLIMIT_DATA)[0] >> 20
    assert (await local.run(phase(output, code, memory_mb=256, gpus=("0",)))).log == f"{free}\n"


async def test_what_is_left_in_a_tripwire_is_told_and_goes_nowhere(
    local: LocalSandbox, output: Path
) -> None:
    program = """
import os
open('out/a', 'w').write('x')
open('bait/b\\n', 'w').write('x')
os.mkdir('bait/folder'); os.mkfifo('bait/folder/pipe')
os.symlink('/', 'bait/link')
"""
    result = await local.run(phase(output, program, tripwires=("other", "bait")))
    assert result.ok, result.log
    assert result.tampered == (r"bait/b\n", "bait/folder", "bait/folder/pipe", "bait/link")
    assert names_in(output) == ["a"]


async def test_untouched_tripwires_are_not_told(local: LocalSandbox, output: Path) -> None:
    program = "import os; print(os.listdir('bait')); open('out/a', 'w').close()"
    result = await local.run(phase(output, program, tripwires=("bait",)))
    assert (result.log, result.tampered, names_in(output)) == ("[]\n", (), ["a"])


async def test_very_much_in_a_tripwire(local: LocalSandbox, output: Path) -> None:
    program = """
import os
for number in range(100): open(f'wide/{number}', 'w').close()
os.chdir('deep')
for _ in range(100): os.mkdir('d'); os.chdir('d')
"""
    for tripwires in (("wide", "deep"), ("deep", "wide")):
        result = await local.run(phase(output, program, tripwires=tripwires))
        assert result.ok, result.log
        # 64 are named, of which some very long ones look the same.
        assert 32 < len(result.tampered) <= 64
        assert list(result.tampered) == sorted(result.tampered)


async def test_tripwires_are_looked_at_after_the_deadline(
    local: LocalSandbox, output: Path
) -> None:
    program = "import time; open('bait/a', 'w').close(); time.sleep(60)"
    result = await local.run(phase(output, program, tripwires=("bait",), seconds=1))
    assert (result.ending, result.tampered) == (Ending.DEADLINE, ("bait/a",))


@pytest.mark.parametrize("name", ["out", "out/a", "data", "data/a/b", "../a", "/a", "", "other"])
async def test_bad_tripwires_are_refused(
    local: LocalSandbox, output: Path, tmp_path: Path, name: str
) -> None:
    inputs = (Input(tmp_path, "data/a"),)
    with pytest.raises(SandboxError, match="tripwire"):
        await local.run(phase(output, "pass", inputs=inputs, tripwires=("other", name)))
