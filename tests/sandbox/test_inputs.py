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


def test_small_inputs_are_copied_and_large_files_are_linked_once(
    request_: PhaseRequest, tmp_path: Path
) -> None:
    layers = inputs.InputLayers([tmp_path])
    changed = set()
    for _ in range(3):
        with inputs.gathered(request_, layers, overlays=True) as found:
            tree, [layer] = found.folder, found.layers
            assert found.bound == []
            assert (layer / "data/b").samefile(tmp_path / "large")
            assert (tree / "data/a").stat().st_nlink == 1
            assert (tree / "recipe/inner/a.py").stat().st_nlink == 1
            assert os.readlink(tree / "recipe/link") == "inner/a.py"
            assert (tree / "private").stat().st_mode & 0o777 == 0o444
            assert sorted(os.listdir(tree)) == ["data", "evaluator", "out", "private", "recipe"]
            # By this time others tell whether a file has to be read again.
            changed.add((tmp_path / "large").stat().st_ctime_ns)
    assert len(changed) == 1
    layers.close()
    assert list(tmp_path.glob("recipelab-*")) == [] and (tmp_path / "large").exists()


def test_a_file_that_was_replaced_is_linked_anew(request_: PhaseRequest, tmp_path: Path) -> None:
    layers = inputs.InputLayers([tmp_path])
    with inputs.gathered(request_, layers, overlays=True):
        pass
    (tmp_path / "large").rename(tmp_path / "before")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(inputs.COPIED_BYTES + 1)
    with inputs.gathered(request_, layers, overlays=True) as found:
        assert (found.layers[0] / "data/b").samefile(tmp_path / "large")
    layers.close()


def test_without_an_overlay_no_file_is_shared_but_what_is_too_large(
    request_: PhaseRequest, tmp_path: Path
) -> None:
    layers = inputs.InputLayers([tmp_path])
    with inputs.gathered(request_, layers, overlays=False) as found:
        assert found.layers == ()
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
def test_links_lie_on_the_disk_of_the_largest_file(request_: PhaseRequest, tmp_path: Path) -> None:
    layers = inputs.InputLayers([SHARED_MEMORY, tmp_path])
    with inputs.gathered(request_, layers, overlays=True) as found:
        assert found.folder.is_relative_to(SHARED_MEMORY) and found.bound == []
        assert found.layers[0].is_relative_to(tmp_path)
    layers.close()
    layers = inputs.InputLayers([SHARED_MEMORY])
    with inputs.gathered(request_, layers, overlays=True) as found:
        assert found.bound == [(tmp_path / "large", "data/b")]
    layers.close()


def test_a_large_folder_is_linked_or_mounted(output: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    with (folder / "weights").open("wb") as file:
        file.truncate(inputs.COPIED_BYTES + 1)
    request = phase(output, "pass", inputs=(Input(folder, "artifact"),))
    layers = inputs.InputLayers([tmp_path])
    with inputs.gathered(request, layers, overlays=True) as found:
        assert found.bound == []
        assert (found.folder / "artifact/weights").samefile(folder / "weights")
    with inputs.gathered(request, layers, overlays=False) as found:
        assert found.bound == [(folder, "artifact")]


def test_paths_that_mean_something_among_the_options_of_a_mount_take_copies(
    request_: PhaseRequest, tmp_path: Path
) -> None:
    odd = tmp_path / "a,b:c"
    odd.mkdir()
    with inputs.gathered(request_, inputs.InputLayers([odd]), overlays=True) as found:
        assert found.layers == () and (found.folder / "data/a").stat().st_nlink == 1
