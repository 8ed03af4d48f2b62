"""How the inputs of a container are gathered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recipelab.sandbox import Input, PhaseRequest

from .helpers import phase

inputs = pytest.importorskip("recipelab.sandbox.docker.inputs")

SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def request_(tmp_path: Path, output: Path) -> PhaseRequest:
    """A request with a small file, a large one, a folder, and one that only its owner may read."""
    (tmp_path / "recipe" / "inner").mkdir(parents=True)
    (tmp_path / "recipe" / "inner" / "a.py").write_text("a")
    (tmp_path / "recipe" / "link").symlink_to("inner/a.py")
    for name, size in (("small", 5), ("large", inputs.COPIED_BYTES + 1), ("private", 5)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    (tmp_path / "private").chmod(0o600)
    targets = {"recipe": "recipe", "small": "data/a", "large": "data/b", "private": "private"}
    given = tuple(Input(tmp_path / name, target) for name, target in targets.items())
    return phase(output, "pass", inputs=given, tripwires=("evaluator",))


def test_links_cost_nothing_and_the_tree_holds_every_place(
    request_: PhaseRequest, tmp_path: Path
) -> None:
    with inputs.gathered(request_, [tmp_path], linked=True) as found:
        tree = found.folder
        assert found.bound == [] and found.below is not None
        assert (tree / "data/b").samefile(tmp_path / "large")
        assert (tree / "recipe/inner/a.py").samefile(tmp_path / "recipe/inner/a.py")
        assert os.readlink(tree / "recipe/link") == "inner/a.py"
        assert not (tree / "private").samefile(tmp_path / "private")
        assert (tree / "private").stat().st_mode & 0o777 == 0o444
        assert sorted(os.listdir(tree)) == ["data", "evaluator", "out", "private", "recipe"]
    assert list(tmp_path.glob("recipelab-*")) == [] and (tmp_path / "large").exists()


def test_without_an_overlay_no_file_is_shared_but_what_is_too_large(
    request_: PhaseRequest, tmp_path: Path
) -> None:
    with inputs.gathered(request_, [tmp_path], linked=False) as found:
        assert found.below is None
        assert found.bound == [(tmp_path / "large", "data/b")]
        for path in ("data/a", "recipe/inner/a.py"):
            assert (found.folder / path).stat().st_nlink == 1
        mounts = found.mounts("/trial")
    assert [mount["Target"] for mount in mounts] == ["/trial", "/trial/data/b"]
    assert all(mount["ReadOnly"] for mount in mounts)


@pytest.mark.skipif(
    not SHARED_MEMORY.is_dir() or SHARED_MEMORY.stat().st_dev == Path("/tmp").stat().st_dev,
    reason="takes two disks",
)
def test_the_tree_lies_on_the_disk_of_the_largest_input(
    request_: PhaseRequest, tmp_path: Path
) -> None:
    with inputs.gathered(request_, [SHARED_MEMORY, tmp_path], linked=True) as found:
        assert found.folder.is_relative_to(tmp_path) and found.bound == []
    with inputs.gathered(request_, [SHARED_MEMORY], linked=True) as found:
        assert found.folder.is_relative_to(SHARED_MEMORY)
        assert (found.folder / "data/a").is_file()
        assert found.bound == [(tmp_path / "large", "data/b")]


def test_paths_that_mean_something_among_the_options_of_a_mount_take_copies(
    request_: PhaseRequest, tmp_path: Path
) -> None:
    odd = tmp_path / "a,b:c"
    with inputs.gathered(request_, [odd], linked=True) as found:
        assert found.below is None and (found.folder / "data/a").stat().st_nlink == 1
