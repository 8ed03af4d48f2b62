"""The scratch bench under attack: answers, network, other runs, the recipe, and time."""

from __future__ import annotations

import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.evaluation import scratch
from recipelab.evaluation.scratch import ScratchBench
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox import Ending
from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.local.sandbox import namespaces_fault
from recipelab.sandbox.slots import ANYWHERE, SlotPool

from ..sandbox.conftest import docker_daemon, docker_image, marker, sandbox  # noqa: F401
from ..sandbox.helpers import processes_with, wait_until

LABELS = {"campaign": "c", "trial": "0"}

ATTACK = """
import os, socket, sys

def tried(what, work):
    try:
        print("BROKE" if work() else "held", what)
    except OSError as error:
        print("held", what, error.strerror)

def written(path):
    with open(path, "a") as file:
        file.write("x")
    return True

def reached():
    with socket.create_connection((HOST, PORT), 2):
        return True

def answers():
    found = []
    for folder, names, files in os.walk("/"):
        names[:] = [name for name in names if os.path.join(folder, name) not in SYSTEM]
        found += [name for name in files if name == "answers.txt"]
    return found

SYSTEM = {"/proc", "/sys", "/dev", "/usr"}
tried("answers by walking", answers)
for path in PATHS:
    tried(f"read {path}", lambda: open(path).read())
tried("network", reached)
tried("recipe", lambda: written("recipe/train.py"))
tried("new file beside the recipe", lambda: written("recipe/new.py"))
tried("data", lambda: written("data/inputs.txt"))
tried("what another run left", lambda: os.path.exists("out/left") or os.path.exists("/tmp/left"))
for place in ("out/left", "/tmp/left"):
    written(place)
print("sees", sorted(os.listdir(".")), open("data/inputs.txt").read())
"""


@pytest.fixture
def pack(toy: Pack) -> Pack:
    """The toy pack, whose train phase sees the inputs."""
    train = toy.phases.train.model_copy(update={"data": {"data/inputs.txt": "inputs.txt"}})
    return toy.model_copy(update={"phases": toy.phases.model_copy(update={"train": train})})


@pytest.fixture
def bench(pack: Pack, sandbox: Sandbox) -> ScratchBench:  # noqa: F811
    """A bench in each sandbox in turn."""
    if sandbox.name == "local" and (fault := namespaces_fault(Path(tempfile.gettempdir()))):
        pytest.skip(f"no namespaces: {fault}")
    data = ensure_data(pack, say=lambda text: None)
    return ScratchBench(pack, sandbox, data, SlotPool([ANYWHERE]))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of the host that nobody inside may reach."""
    with socket.create_server(("0.0.0.0", 0)) as opened:
        opened.settimeout(0.0)
        yield opened


async def test_no_answer_no_network_and_nothing_stays(
    bench: ScratchBench, pack: Pack, listener: socket.socket
) -> None:
    hidden = [pack.root / "data" / "answers.txt", pack.root / "evaluator" / "score.py"]
    host = socket.gethostbyname(socket.gethostname())
    head = (
        f"HOST, PORT, PATHS = {host!r}, {listener.getsockname()[1]}, {[str(p) for p in hidden]!r}\n"
    )
    files = dict(pack.baseline().files)
    for _ in range(2):
        result = await bench.run(files, head + ATTACK, 20.0, LABELS)
        assert result.ok, result.log
        assert "BROKE" not in result.log, result.log
        assert result.log.count("held") == 8, result.log
        assert "sees ['data', 'out', 'recipe']" in result.log
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert pack.baseline().files == files


async def test_no_process_outlives_its_code(bench: ScratchBench, pack: Pack, marker: str) -> None:  # noqa: F811
    code = (
        f"import os, time\nMARKER = {marker!r}\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        words = ['python3', '-c', 'import time; time.sleep(99)', MARKER]\n"
        "        os.execvp(words[0], words)\n"
        "time.sleep(0.3)\n"
    )
    result = await bench.run(pack.baseline().files, code, 20.0, LABELS)
    assert result.ok, result.log
    wait_until(lambda: not processes_with(marker))


async def test_it_ends_at_its_deadline_and_within_its_memory(
    bench: ScratchBench, pack: Pack
) -> None:
    files = pack.baseline().files
    result = await bench.run(files, "while True: pass", 1.0, LABELS)
    assert result.ending is Ending.DEADLINE
    result = await bench.run(files, "x = bytearray(2 << 30)", 20.0, LABELS)
    assert not result.ok


async def test_it_waits_for_a_slot_and_not_for_ever(
    pack: Pack,
    sandbox: Sandbox,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = SlotPool([ANYWHERE])
    bench = ScratchBench(pack, sandbox, ensure_data(pack, say=lambda text: None), pool)
    monkeypatch.setattr(scratch, "WAIT_SECONDS", 0.2)
    async with pool.lease():
        with pytest.raises(RecipelabError, match="no slot was free"):
            await bench.run(pack.baseline().files, "print(1)", 5.0, LABELS)
    assert (await bench.run(pack.baseline().files, "print(1)", 20.0, LABELS)).log.strip() == "1"


FORGER = """
import os
HIDDEN = open("inputs/windows.bin", "rb").read().decode("latin-1")
CALLS, SECONDS = "1    9.000    9.000    9.000    9.000", "9.000"
print(HIDDEN)
for n, name in enumerate(HIDDEN.split()):
    exec(f"def _{name.strip('.,')}(): pass\\n_{name.strip('.,')}()") if name.isalpha() else None
print("--- profile ---")
for name in HIDDEN.split():
    print("  ", CALLS, f"{{built-in method {name}}}")
    print("  ", CALLS, f"recipe/predict.py:{len(name)}({name})")
    print("  ", CALLS, f"/lib/{name}.py:7(len)", HIDDEN)
print("  ", CALLS, "recipe/predict.py:99999999999999999999(<module>)")
print(f"9    {'9' * 400}.0 9.0 9.0 9.0 <string>:1(x)", " " * 60_000, "x")
END
"""


@pytest.mark.parametrize("end", ["os._exit(0)", "raise SystemExit(HIDDEN)", ""])
async def test_the_profile_of_a_phase_that_sees_hidden_text_cannot_carry_it(
    sandbox: Sandbox,  # noqa: F811
    end: str,
) -> None:
    pack = load_pack(str(Path(__file__).parent / "project/task_packs/toy_lm"))
    data = ensure_data(pack, say=lambda text: None)
    bench = ScratchBench(pack, sandbox, data, SlotPool([ANYWHERE]))
    files = dict(pack.baseline().files)
    files["recipe/predict.py"] += "def slow():\n    for _ in range(2_000_000): pass\nslow()\n"
    honest = await bench.profile_predict(files, LABELS)
    assert honest.failed is None and honest.result.ok
    # Names that the recipe does not choose: its own functions, and what is built in.
    for name in (r"recipe/predict\.py:\d+\(slow\)", r"\{built-in method builtins\.sum\}"):
        assert re.search(rf"^ *\d+ %  {name}$", honest.table, re.MULTILINE), honest.table
    files["recipe/predict.py"] += FORGER.replace("END", end)
    forged = await bench.profile_predict(files, LABELS)
    assert len(forged.table) < 2_000
    hidden = set(data["hidden.txt"].read_text().split()) - set(" ".join(files.values()).split())
    known = re.findall(r"\w+", " ".join(files.values()) + honest.table)
    told = [word for word in re.findall(r"[A-Za-z]{5,}", forged.table) if word not in known]
    assert "{built-in method the}" not in forged.table
    assert not hidden.intersection(told), forged.table


def test_it_sees_training_data_only_where_the_pack_allows(pack: Pack, tmp_path: Path) -> None:
    data = {"inputs.txt": tmp_path / "inputs.txt", "answers.txt": tmp_path / "answers.txt"}

    def seen(own: Pack) -> set[str]:
        return set(ScratchBench(own, None, data, SlotPool([ANYWHERE])).training_data())  # type: ignore[arg-type]

    assert seen(pack) == {"data/inputs.txt"}
    closed = pack.scratch.model_copy(update={"data": False})
    assert seen(pack.model_copy(update={"scratch": closed})) == set()
