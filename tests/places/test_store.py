"""A node's store, the manifests of trees, and the slots that a node has."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.places import store as store_module
from recipelab.places.parcel import (
    NodeFacts,
    NodeSetup,
    Parcel,
    ParcelInput,
    Piece,
    SpecFiles,
    Tree,
    TreeEntry,
    TreesMissing,
)
from recipelab.places.placed import node_slots
from recipelab.places.setup import read_spec, spec_files
from recipelab.places.store import NodeStore
from recipelab.places.trees import Hashes
from recipelab.sandbox.base import PhaseLimits
from recipelab.sandbox.requirements import image_spec_of
from recipelab.sandbox.spec import load_image_spec

MANY = 1 << 30


@pytest.fixture
def made(tmp_path: Path) -> Iterator[NodeStore]:
    store = NodeStore(tmp_path / "store", most_bytes=MANY)
    yield store
    store.close()


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(store: NodeStore, data: bytes) -> str:
    digest = digest_of(data)
    store.put(Piece(digest, 0, data, True))
    return digest


def put_tree(store: NodeStore, files: dict[str, bytes], *, executable: bool = False) -> str:
    """Sends a folder of files, as a driver does."""
    entries = (
        TreeEntry(path=name, size=len(data), digest=put(store, data), executable=executable)
        for name, data in sorted(files.items())
    )
    return put(store, Tree(entries=tuple(entries)).to_bytes())


def test_blobs_come_in_pieces_and_are_held_against_their_hash(made: NodeStore) -> None:
    data = os.urandom(100)
    digest = digest_of(data)
    made.put(Piece(digest, 0, data[:60], False))
    assert made.missing([digest]) == [digest]
    with pytest.raises(SandboxError, match="out of turn"):
        made.put(Piece(digest, 61, data[61:], True))
    made.put(Piece(digest, 60, data[60:], True))
    assert made.missing([digest]) == []
    assert (made.read(digest, 0).data, made.read(digest, 0, 10)) == (
        data,
        Piece(digest, 0, data[:10], False),
    )
    with pytest.raises(SandboxError, match="not what its hash says"):
        made.put(Piece(digest_of(b"right"), 0, b"wrong", True))
    with pytest.raises(SandboxError, match="before the first"):
        made.put(Piece(digest_of(b"right"), 3, b"ht", True))
    for bad in ("../../etc/passwd", "A" * 64, ""):
        with pytest.raises(SandboxError, match="no SHA-256"):
            made.missing([bad])
        with pytest.raises(SandboxError, match="no SHA-256"):
            made.read(bad, 0)


def test_trees_are_put_together_once_and_are_read_only(made: NodeStore) -> None:
    tree = put_tree(made, {"a": b"a", "b": b"b"})
    tools = put_tree(made, {"a": b"a"}, executable=True)
    with made.using([tree, tools, tree]) as (first, tool, second):
        assert first == second
        assert (first / "a").read_bytes() == (tool / "a").read_bytes() == b"a"
        assert [path.stat().st_mode & 0o777 for path in (first, first / "a", tool / "a")] == [
            0o555,
            0o444,
            0o555,
        ]
    with made.using([tree]) as (again,):
        assert again == first


def test_what_is_not_whole_is_thrown_out(made: NodeStore) -> None:
    tree, other = put_tree(made, {"a": b"a", "b": b"b"}), put_tree(made, {"b": b"b"})
    with made.using([tree]) as (root,):
        (root / "a").chmod(0o644)
        (root / "a").write_bytes(b"A")
        assert made.changed(tree)
    with pytest.raises(TreesMissing) as missing, made.using([tree, other]):
        pass
    assert missing.value.digests == (tree,)
    # What had not changed is still there.
    assert made.missing([digest_of(b"a"), digest_of(b"b"), other]) == [digest_of(b"a")]


def test_a_blob_that_was_changed_makes_no_tree(made: NodeStore, tmp_path: Path) -> None:
    digest = put(made, b"right")
    (blob,) = (tmp_path / "store").glob(f"blobs/*/{digest}")
    blob.chmod(0o644)
    blob.write_bytes(b"wrong")
    tree = put_tree(made, {})
    assert tree
    entry = TreeEntry(path="a", size=5, digest=digest)
    tree = put(made, Tree(entries=(entry,)).to_bytes())
    with pytest.raises(TreesMissing), made.using([tree]):
        pass


def test_another_worker_finds_what_was_sent(made: NodeStore, tmp_path: Path) -> None:
    tree = put_tree(made, {"a": b"a"})
    with made.using([tree]):
        pass
    other = NodeStore(tmp_path / "store", most_bytes=MANY)
    assert other.missing([tree]) == []
    with other.using([tree]) as (root,):
        assert (root / "a").read_bytes() == b"a"
    other.close()


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=25),
    room=st.integers(2, 6),
)
def test_the_store_keeps_its_bound_and_what_is_in_use(
    steps: list[tuple[int, bool]],
    room: int,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trees of 1,000 bytes come and are used; those unused for longest go first."""
    monkeypatch.setattr(store_module, "KEPT_SECONDS", -1.0)
    root = tmp_path_factory.mktemp("store")
    root.chmod(0o700)
    store = NodeStore(root, most_bytes=room * 1000)
    clock = 1_000_000_000
    held = put_tree(store, {"held": b"h" * 1000})
    with store.using([held]) as (folder,):
        for number, is_used in steps:
            tree = put_tree(store, {"a": bytes([number]) * 1000})
            try:
                with store.using([tree]):
                    pass
            except TreesMissing:
                continue  # Nothing but what is in use has room.
            if is_used:
                clock += 10
                os.utime(root / "trees" / tree / "used", (clock, clock))
        store.put(Piece(digest_of(b"last"), 0, b"last", True))
        assert (folder / "held").read_bytes() == b"h" * 1000
        blobs = [path.stat().st_size for path in root.glob("blobs/*/*")]
        assert sum(blobs) <= (room + 1) * 1000 + 2_000
        # Whatever is left is whole.
        for tree_folder in (root / "trees").iterdir():
            assert not store.changed(tree_folder.name)
    store.close()


def test_the_least_recently_used_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "KEPT_SECONDS", 100.0)
    store = NodeStore(tmp_path / "store", most_bytes=3_500)
    trees = [put_tree(store, {"a": bytes([number]) * 1000}) for number in range(3)]
    with store.using(trees):
        pass
    for age, tree in zip((500, 900, 200), trees, strict=True):
        used = tmp_path / "store/trees" / tree / "used"
        os.utime(used, (used.stat().st_mtime - age,) * 2)
    put(store, b"x" * 1000)
    assert store.missing(trees) == [trees[1]]
    store.close()


paths = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", "/", "a/b", "a/../b", "a\0b", "é"]), max_size=4
).map("/".join)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "path": paths.filter(bool),
                "kind": st.sampled_from(["file", "folder", "link"]),
                "link": st.sampled_from([None, "/etc", ".."]),
                "digest": st.sampled_from([None, "0" * 64]),
            }
        ),
        max_size=4,
    )
)
def test_no_manifest_leads_out_of_its_tree(entries: list[dict[str, object]]) -> None:
    for one in entries:
        if one["link"] is None:
            del one["link"]
        if one["digest"] is None:
            del one["digest"]
    try:
        tree = Tree.from_bytes(json.dumps({"entries": entries}).encode())
    except SandboxError:
        return
    top = Path("/top")
    links = {entry.path for entry in tree.entries if entry.kind == "link"}
    for entry in tree.entries:
        place = Path(os.path.normpath(top / entry.path))
        assert place != top and place.is_relative_to(top)
        parents = {str(parent) for parent in Path(entry.path).parents}
        assert not parents & links


@given(st.binary(max_size=200))
def test_nothing_is_read_that_is_no_parcel(data: bytes) -> None:
    with pytest.raises(SandboxError, match="Parcel"):
        Parcel.from_bytes(data)


@given(
    command=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4).map(tuple),
    seconds=st.floats(0.1, 1e6),
    cores=st.none() | st.lists(st.integers(0, 99), max_size=3).map(tuple),
    environment=st.dictionaries(st.text("abc"), st.text('abc\n"\\')),
)
def test_a_parcel_comes_out_as_it_went_in(
    command: tuple[str, ...],
    seconds: float,
    cores: tuple[int, ...] | None,
    environment: dict[str, str],
) -> None:
    parcel = Parcel(
        phase="train",
        command=command,
        inputs=(ParcelInput(target="data", tree="0" * 64),),
        limits=PhaseLimits(seconds=seconds, cpu_set=cores),
        environment=environment,
    )
    assert Parcel.from_bytes(parcel.to_bytes()) == parcel


def test_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"data")
    hashes = Hashes()
    hashes.learn(file, digest_of(b"data"))
    read: list[int] = []
    real = hashlib.file_digest

    def counted(stream: object, name: str) -> object:
        read.append(1)
        return real(stream, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", counted)
    assert hashes.pack(file).files == {digest_of(b"data"): file}
    assert read == []
    file.write_bytes(b"atad")
    assert hashes.pack(file).files == {digest_of(b"atad"): file}
    assert read == [1]


def test_an_image_is_the_same_on_the_node(tmp_path: Path) -> None:
    for spec in (load_image_spec("cpu"), image_spec_of("cpu", ["einops>=0.8"])):
        sent = SpecFiles.from_bytes(spec_files(spec).to_bytes())
        (folder := tmp_path / spec.image.replace("/", "-")).mkdir()
        found = read_spec(sent, folder)
        assert (found.image, found.base, found.container) == (
            spec.image,
            spec.base,
            spec.container,
        )
        assert found.requirements.read_text() == spec.requirements.read_text()
        assert (found.below and found.below.image) == (spec.below and spec.below.image)
    setup = NodeSetup(spec=sent, sandbox="local")
    assert NodeSetup.from_bytes(setup.to_bytes()) == setup


def test_a_node_is_divided_into_slots() -> None:
    facts = NodeFacts(node="a", sandbox="local", cores=(0, 1, 2, 5), gpus=("G1", "G2", "G3"))
    cores = [slot.cores for slot in node_slots(facts, cpus=1.5, gpus=0)]
    assert cores == [(0, 1), (2, 5)]
    # A node with fewer cores than a phase may use still has one slot: all of it.
    assert [slot.cores for slot in node_slots(facts, cpus=8, gpus=0)] == [facts.cores]
    slots = node_slots(facts, cpus=1, gpus=1)
    assert [(slot.name, slot.node, slot.gpus, slot.cores) for slot in slots] == [
        (f"a:{number}", "a", (gpu,), None) for number, gpu in enumerate(facts.gpus)
    ]
    assert [slot.gpus for slot in node_slots(facts, cpus=1, gpus=2)] == [("G1", "G2")]
    with pytest.raises(SandboxUnavailable, match="node a has 3 GPUs, and a slot needs 4"):
        node_slots(facts, cpus=1, gpus=4)
