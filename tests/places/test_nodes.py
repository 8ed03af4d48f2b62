"""What goes to a node and back: only what is missing, and nothing that a node may do with it."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.places.parcel import NodeFacts, Parcel, Piece, Reply, Tree, TreeEntry
from recipelab.places.placed import NodeLink, PlacedSandbox
from recipelab.places.stream import StreamLink
from recipelab.sandbox import Input
from recipelab.sandbox.slots import Slot
from tests.sandbox.helpers import names_in, phase, processes_with, wait_until

from .conftest import open_pipes, place_request, process_of
from .pipes import PipesPlace

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (folder := tmp_path / "output").mkdir()
    return folder


class Spy(NodeLink):
    """A link that notes what is sent, and may put other words into its node's mouth."""

    def __init__(self, link: NodeLink) -> None:
        self._link = link
        self.node, self.slot = link.node, link.slot
        self.sent: list[Piece] = []
        self.asked: list[str] = []
        self.say: Callable[[Reply], Reply] = lambda reply: reply
        self.give: Callable[[list[Piece]], list[Piece]] = lambda pieces: pieces
        self.own: Callable[[NodeFacts], NodeFacts] = lambda facts: facts
        self.alter: Callable[[Parcel], Parcel] = lambda parcel: parcel

    async def facts(self) -> NodeFacts:
        return self.own(await self._link.facts())

    async def load_image(self, digest: str) -> NodeFacts:
        return await self._link.load_image(digest)

    async def missing(self, digests: Sequence[str]) -> list[str]:
        return await self._link.missing(digests)

    async def put(self, pieces: Sequence[Piece]) -> None:
        self.sent += pieces
        await self._link.put(pieces)

    async def run(
        self,
        name: str,
        parcel: Parcel,
        tell: Callable[[bytes], None],
        watch: Callable[[bytes], bool],
    ) -> Reply:
        return self.say(await self._link.run(name, self.alter(parcel), tell, watch))

    async def blobs(self, wanted: Sequence[tuple[str, int]]) -> list[Piece]:
        self.asked += [digest for digest, _ in wanted]
        return self.give(await self._link.blobs(wanted))

    async def cancel(self, name: str) -> None:
        await self._link.cancel(name)

    @property
    def bytes_sent(self) -> int:
        return sum(len(piece.data) for piece in self.sent)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[StreamLink, Path]]:
    """A node over pipes, whose link is spied on, and the folder of its store."""
    folder = tmp_path_factory.mktemp("place")
    async with open_pipes(folder, nodes="1") as opened:
        assert isinstance(opened.place, PipesPlace)
        yield next(iter(opened.place.links.values())), folder / "stores/node-0"


@pytest_asyncio.fixture(loop_scope="module")
async def spied(worker: tuple[StreamLink, Path]) -> tuple[PlacedSandbox, Spy]:
    """A sandbox of its own over the same worker."""
    sandbox, spy = PlacedSandbox(place_request()), Spy(worker[0])
    await sandbox.start()
    await sandbox.join(spy)
    return sandbox, spy


def folder_of(tmp_path: Path, name: str) -> Path:
    (folder := tmp_path / name).mkdir()
    return folder


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def test_data_are_sent_once_and_what_a_phase_left_is_not_sent_back(
    spied: tuple[PlacedSandbox, Spy], tmp_path: Path
) -> None:
    sandbox, spy = spied
    data, recipe = tmp_path / "data", folder_of(tmp_path, "recipe")
    data.write_bytes(tmp_path.name.encode() * 100_000)
    script = recipe / "train.py"
    script.write_text("open('out/model', 'wb').write(open('data', 'rb').read()[:300_000])")
    inputs = (Input(data, "data"), Input(recipe, "recipe"))
    left = folder_of(tmp_path, "left")
    assert (await sandbox.run(phase(left, "python", "recipe/train.py", inputs=inputs))).ok
    assert spy.bytes_sent > data.stat().st_size
    # The next phase sees what the first left, under another name, and nothing is sent.
    spy.sent.clear()
    request = phase(
        folder_of(tmp_path, "second"),
        "print(len(open('artifact/model').read()), len(open('data').read()))",
        inputs=(Input(left, "artifact"), Input(data, "data")),
    )
    assert (await sandbox.run(request)).log == f"300000 {data.stat().st_size}\n"
    assert spy.sent == []
    # Of a recipe with one other file that file is sent, and the list of its files.
    script.write_text("print('other')")
    request = phase(folder_of(tmp_path, "third"), "python", "recipe/train.py", inputs=inputs)
    assert (await sandbox.run(request)).log == "other\n"
    assert 0 < spy.bytes_sent < 2000


async def test_many_small_files_go_in_few_messages(
    spied: tuple[PlacedSandbox, Spy], tmp_path: Path
) -> None:
    sandbox, spy = spied
    folder = folder_of(tmp_path, "folder")
    for number in range(300):
        (folder / f"file-{number}").write_text(f"{tmp_path} {number}")
    messages = 0
    put = spy.put

    async def counted(pieces: Sequence[Piece]) -> None:
        nonlocal messages
        messages += 1
        await put(pieces)

    spy.put = counted  # type: ignore[method-assign]
    code = "import os, shutil; shutil.copytree('folder', 'out/all')"
    request = phase(
        folder_of(tmp_path, "out"), code, inputs=(Input(folder, "folder"),), output_files=300
    )
    result = await sandbox.run(request)
    assert result.ok, result.log
    assert (len(names_in(request.output / "all")), messages) == (300, 1)


async def test_a_file_that_is_changed_in_the_store_is_sent_again(
    spied: tuple[PlacedSandbox, Spy], worker: tuple[StreamLink, Path], tmp_path: Path
) -> None:
    sandbox, spy = spied
    data = tmp_path / "data"
    data.write_text(f"right {tmp_path}")
    inputs = (Input(data, "data"),)
    first = phase(folder_of(tmp_path, "a"), "print(open('data').read())", inputs=inputs)
    assert (await sandbox.run(first)).log == f"right {tmp_path}\n"
    digest = digest_of(data.read_bytes())
    (blob,) = worker[1].glob(f"blobs/*/{digest}")
    overwrite(blob, b"w" * blob.stat().st_size)
    spy.sent.clear()
    again = await sandbox.run(replace(first, output=folder_of(tmp_path, "b")))
    assert (again.log, again.tampered) == (f"right {tmp_path}\n", ())
    assert digest in [piece.digest for piece in spy.sent]


async def test_data_that_change_while_a_phase_runs_are_found(
    spied: tuple[PlacedSandbox, Spy], worker: tuple[StreamLink, Path], tmp_path: Path
) -> None:
    sandbox, _ = spied
    data = tmp_path / "data"
    data.write_text(f"right {tmp_path}")
    (size, digest) = data.stat().st_size, digest_of(data.read_bytes())

    def meddle(piece: bytes) -> None:
        (blob,) = worker[1].glob(f"blobs/*/{digest}")
        overwrite(blob, b"w" * size)

    code = (
        "import time; print('begun', flush=True)\n"
        "while open('inner/data').read()[:1] == 'r': time.sleep(0.01)"
    )
    inputs = (Input(data, "inner/data"),)
    request = phase(folder_of(tmp_path, "a"), code, inputs=inputs)
    result = await sandbox.run(replace(request, tell=meddle))
    assert (result.ok, result.tampered) == (True, ("inner/data",))
    # It is not used again.
    request = phase(folder_of(tmp_path, "b"), "print(open('inner/data').read())", inputs=inputs)
    assert (await sandbox.run(request)).log == f"right {tmp_path}\n"


def overwrite(blob: Path, data: bytes) -> None:
    """Change the bytes of a file in place, as a broken disk or its owner could."""
    blob.chmod(0o644)
    blob.write_bytes(data)
    blob.chmod(0o444)


def entry(path: str, data: bytes = b"evil", size: int | None = None) -> TreeEntry:
    return TreeEntry.model_construct(
        path=path, size=len(data) if size is None else size, digest=digest_of(data)
    )


LIES: dict[str, tuple[Callable[[Reply], Reply], str]] = {
    "a path that leaves the folder": (
        lambda reply: with_entries(reply, entry("../evil")),
        "leaves the folder",
    ),
    "an absolute path": (lambda reply: with_entries(reply, entry("/tmp/evil")), "leaves"),
    "an endless file": (lambda reply: with_entries(reply, entry("big", size=1 << 50)), "more out"),
    "too many files": (
        lambda reply: with_entries(reply, *(entry(f"f{n}") for n in range(999))),
        "more outputs",
    ),
    "a time that is none": (lambda reply: changed(reply, wall_seconds=math.nan), "cannot be"),
    "a time before the beginning": (lambda reply: changed(reply, cpu_seconds=-1.0), "cannot be"),
    "a file that it does not have": (
        lambda reply: with_entries(reply, entry("a", b"another")),
        "no file",
    ),
}


def with_entries(reply: Reply, *entries: TreeEntry) -> Reply:
    return changed(reply, outputs=Tree.model_construct(is_file=False, entries=entries))


def changed(reply: Reply, **values: object) -> Reply:
    return reply.model_copy(update=values)


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_of_a_node_is_not_trusted(
    spied: tuple[PlacedSandbox, Spy], output: Path, lie: str
) -> None:
    sandbox, spy = spied
    spy.say, words = LIES[lie]
    before = {path for path in output.parent.rglob("*")}
    with pytest.raises(SandboxError, match=words):
        result = await sandbox.run(phase(output, "open('out/a', 'w').write('evil')"))
        # What is refused by its name is no error, as a command's is none: it is not there.
        raise SandboxError(" ".join(result.refused))
    assert names_in(output) == []
    assert {path for path in output.parent.rglob("*")} == before


@pytest.mark.parametrize(
    "give",
    [
        lambda pieces: [one._replace(data=b"x" * len(one.data)) for one in pieces],
        lambda pieces: [one._replace(digest="0" * 64) for one in pieces],
        lambda pieces: [one._replace(data=one.data * 2) for one in pieces],
        lambda pieces: [one._replace(data=b"", last=False) for one in pieces],
    ],
)
async def test_bytes_of_a_node_are_held_against_their_hash(
    spied: tuple[PlacedSandbox, Spy], output: Path, give: Callable[[list[Piece]], list[Piece]]
) -> None:
    sandbox, spy = spied
    spy.give = give
    with pytest.raises(SandboxError, match=r"not what its hash says|nobody asked"):
        await sandbox.run(phase(output, "open('out/a', 'w').write('right')"))
    assert names_in(output) == []


async def test_a_link_in_the_outputs_of_a_node_is_refused(
    spied: tuple[PlacedSandbox, Spy], output: Path
) -> None:
    sandbox, spy = spied
    link = TreeEntry(path="a", kind="link", link="/etc/passwd")
    spy.say = lambda reply: with_entries(reply, link)
    result = await sandbox.run(phase(output, "pass"))
    assert (result.refused, names_in(output)) == (("out/a (symbolic link)",), [])


async def test_a_folder_of_data_that_the_node_does_not_have(
    spied: tuple[PlacedSandbox, Spy], output: Path, tmp_path: Path
) -> None:
    sandbox, spy = spied
    folder = folder_of(tmp_path, "pictures")
    (folder / "a").write_text("a")
    request = phase(output, "pass", inputs=(Input(folder, "data", as_is=True),))

    def elsewhere(parcel: Parcel) -> Parcel:
        (one,) = parcel.inputs
        gone = one.model_copy(update={"place": f"{one.place}-of-the-driver"})
        return parcel.model_copy(update={"inputs": (gone,)})

    spy.alter = elsewhere
    with pytest.raises(SandboxError, match=r"no folder .*pictures-of-the-driver for data"):
        await sandbox.run(request)

    def other(parcel: Parcel) -> Parcel:
        (folder / "b").write_text("b")  # The driver had looked before.
        return parcel

    spy.alter = other
    with pytest.raises(SandboxError, match="holds other files than on the driver"):
        await sandbox.run(request)


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"image": "local python 2.7 linux"}, r"image of .*node-0: .*; of other: local python 2.7"),
        ({"packages": {"torch": "0.1"}}, "packages of .*torch 0.1"),
        ({"sandbox": "docker"}, "sandbox of .*docker"),
        ({"recipelab": "0.0.1"}, "version of recipelab"),
    ],
)
async def test_a_node_that_would_measure_something_else_is_refused(
    spied: tuple[PlacedSandbox, Spy], update: dict[str, object], words: str
) -> None:
    sandbox, spy = spied
    other = Spy(spy)
    other.slot = Slot("other:0", node="other")
    other.own = lambda facts: facts.model_copy(update={"node": "other", **update})
    with pytest.raises(SandboxUnavailable, match=words):
        await sandbox.join(other)
    assert [slot.name for slot in sandbox.pool.slots] == [spy.slot.name]


async def test_a_gpu_that_no_longer_answers_on_its_node(
    worker: tuple[StreamLink, Path], tmp_path: Path
) -> None:
    sandbox, spy = PlacedSandbox(place_request()), Spy(worker[0])
    await sandbox.start()
    spy.own = lambda facts: facts.model_copy(update={"gpus": ("GPU-1", "GPU-2")})
    await sandbox.join(spy)
    # The worker's own sandbox knows no GPU.
    spy.alter = lambda parcel: parcel.model_copy(update={"limits": replace(parcel.limits, gpus=())})
    request = phase(folder_of(tmp_path, "a"), "raise SystemExit(1)", gpus=("GPU-2",))
    assert (await sandbox.run(request)).exit_code == 1
    spy.own = lambda facts: facts.model_copy(update={"gpus": ("GPU-1",)})
    with pytest.raises(SandboxError, match="GPU GPU-2 does not answer there"):
        await sandbox.run(replace(request, output=folder_of(tmp_path, "b")))
    assert sandbox.pool.slots == ()


async def test_a_slot_that_comes_back_on_another_node_is_another(
    spied: tuple[PlacedSandbox, Spy], tmp_path: Path
) -> None:
    sandbox, spy = spied
    request = phase(folder_of(tmp_path, "a"), "print('here')")
    on_slot = replace(request, slot=spy.slot.name, node=spy.node)
    sandbox.leave(spy, "its node was taken away")
    for asked in (request, on_slot):
        with pytest.raises(SandboxError, match=r"no slot is left at the place|is gone"):
            await sandbox.run(asked)
    again = Spy(spy)
    again.node, again.slot = "other", Slot(spy.slot.name, node="other")
    await sandbox.join(again)
    with pytest.raises(SandboxError, match=r"slot node-0:0 of node node-0 is gone"):
        await sandbox.run(on_slot)
    assert (await sandbox.run(replace(on_slot, node="other"))).log == "here\n"


async def test_words_on_isolation_name_the_nodes(worker: tuple[StreamLink, Path]) -> None:
    sandbox = PlacedSandbox(place_request())
    for node, lost in (("a", "less"), ("b", "less"), ("c", "")):
        spy = Spy(worker[0])
        spy.slot = Slot(f"{node}:0", node=node)
        told = {"node": node, "lost_isolation": lost}
        spy.own = lambda facts, told=told: facts.model_copy(update=told)  # type: ignore[misc]
        await sandbox.join(spy)
    assert sandbox.lost_isolation() == "on a, b: less"
    strict = PlacedSandbox(replace(place_request(), needs_isolation=True))
    spy.own = lambda facts: facts.model_copy(update={"node": "a", "lost_isolation": "less"})
    with pytest.raises(SandboxUnavailable, match="node a: less; a language model"):
        await strict.join(spy)


@pytest.mark.slow
async def test_a_worker_whose_driver_is_gone_ends_and_what_it_runs(tmp_path: Path) -> None:
    marker = f"marker-{tmp_path.name}"
    code = f"import time; time.sleep(600) # {marker}"
    async with open_pipes(tmp_path, nodes="1") as opened:
        assert isinstance(opened.place, PipesPlace)
        opened.place.pool.grows = False
        (link,) = opened.place.links.values()
        request = phase(folder_of(tmp_path, "out"), code, seconds=600)
        task = asyncio.ensure_future(opened.place.sandbox.run(request))
        await asyncio.to_thread(wait_until, lambda: processes_with(marker))
        # As when the driver's process ends.
        process = process_of(link)
        assert process.stdin is not None
        process.stdin.close()
        with pytest.raises(SandboxError, match="is lost"):
            await asyncio.wait_for(task, 30)
        assert await asyncio.wait_for(process.wait(), 30) == 0
        await asyncio.to_thread(wait_until, lambda: not processes_with(marker))


async def test_a_worker_that_cannot_begin_says_why(tmp_path: Path) -> None:
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores/node-0").mkdir(mode=0o777)
    (tmp_path / "stores/node-0").chmod(0o777)
    with pytest.raises(SandboxUnavailable, match="not a folder that this user alone may change"):
        async with open_pipes(tmp_path, nodes="1"):
            pass
