"""Other users of the machine: what they could read, write or take first, whatever the umask."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipelab.core.content import Home, cache_root, make_private
from recipelab.core.errors import SandboxUnavailable
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.sandbox import Input, LocalSandbox, PhaseLimits, PhaseRequest
from recipelab.sandbox.files import new_folder, reap_folders
from recipelab.sandbox.local.sandbox import namespaces_fault
from recipelab.sandbox.slots import Slot, SlotPool

from .lineage.helpers import add_campaign


@pytest.fixture(params=[0, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(top: Path) -> list[str]:
    """What others can reach: files and folders with a mode for them below folders that let them."""
    found: list[str] = []
    if not mode(top) & 0o007:
        return found
    for path in top.iterdir():
        if path.is_dir():
            found += open_to_others(path)
        elif mode(path) & 0o007:
            found.append(str(path))
    return found


def test_a_home_and_its_lineage_are_closed(umask: int, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    home = Home(tmp_path / "work/.recipelab")
    with LineageStore.open(home.root / "lineage.db", create=True) as store:
        add_campaign(store)
        # While it is open there are more files than one.
        files = sorted(path.name for path in home.root.iterdir())
        assert files[0] == "lineage.db"
        assert len(files) > 1
        assert {mode(path) for path in home.root.iterdir()} == {0o600}
    with home.locked("c"):
        (home.campaign("c") / "transcript.md").write_text("x")
    assert mode(home.root) == 0o700
    assert open_to_others(tmp_path) == []


def test_a_lineage_in_a_folder_that_is_open_is_closed(umask: int, tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    LineageStore.open(tmp_path / "open/x.db", create=True).close()
    assert mode(tmp_path / "open/x.db") == 0o600


def test_modes_that_a_team_has_set_stay(umask: int, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    LineageStore.open(file, create=True).close()
    file.chmod(0o660)
    tmp_path.chmod(0o770)
    LineageStore.open(file).close()
    make_private(tmp_path)
    assert (mode(file), mode(tmp_path)) == (0o660, 0o770)


def test_the_cache_is_closed(umask: int, project: Path) -> None:
    ensure_data(load_pack("toy"), say=lambda text: None)
    assert mode(cache_root()) == 0o700
    assert open_to_others(project.parent / "cache") == []


def test_temporary_folders_are_closed_and_have_names_that_nobody_foretells(
    umask: int, tmp_path: Path
) -> None:
    one, other = new_folder(tmp_path), new_folder(tmp_path)
    assert one.name.rsplit("-", 1)[0] == other.name.rsplit("-", 1)[0]
    assert one.name != other.name
    assert mode(one) == 0o700


def test_a_link_in_place_of_a_folder_is_not_reaped(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_text("x")
    dead = f"recipelab-trial-{'0' * 10}-999999-1-abc"
    (tmp_path / dead).symlink_to(other)
    assert reap_folders(tmp_path) == ()
    assert (other / "x").exists()


def taken(folder: Path) -> None:
    slot = Slot("core-0")
    locks = SlotPool([slot], folder=folder)._lock(slot)
    assert locks
    for lock in locks:
        os.close(lock)


def test_slots_are_not_leased_in_a_folder_of_somebody_else(umask: int, tmp_path: Path) -> None:
    taken(tmp_path / "own")
    assert mode(tmp_path / "own") == 0o700
    assert mode(tmp_path / "own/core-0.lock") == 0o600
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    (tmp_path / "file").write_text("")
    folders = ["open", "link", "file"]
    if os.getuid() == 0:
        (tmp_path / "theirs").mkdir()
        os.chown(tmp_path / "theirs", 12345, 12345)
        folders.append("theirs")
    for name in folders:
        with pytest.raises(SandboxUnavailable, match=f"{name} is not a folder that this user"):
            taken(tmp_path / name)


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    (folder / "core-0.lock").symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="symbolic links"):
        taken(folder)
    assert not (tmp_path / "made").exists()


LOOK = """
import os, socket, sys
found = []
for top in sys.argv[1:]:
    for folder, names, files in os.walk(top):
        found += [os.path.join(folder, name) for name in (*names, *files)]
for line in open("/proc/net/unix"):
    found += [part for part in line.split() if part.startswith(("/", "@"))]
for name in os.listdir("/proc"):
    if name.isdigit():
        try:
            found.append(open(f"/proc/{name}/cmdline").read())
        except OSError:
            pass
with open("out/found", "w") as stream:
    stream.write("\\n".join(found))
"""


async def test_a_phase_sees_nothing_of_other_trials_the_home_and_the_temporary_folder(
    tmp_path: Path,
) -> None:
    if fault := namespaces_fault(Path(tempfile.gettempdir())):
        pytest.skip(f"no namespaces: {fault}")
    canary = "a-name-that-nothing-else-has"
    other = new_folder(Path(tempfile.gettempdir()), what="trial")
    home = Path.home() / f".{canary}"
    try:
        (other / canary).write_text("the answers")
        home.write_text("a key")
        code, out = tmp_path / "code", tmp_path / "results"
        code.mkdir()
        out.mkdir()
        (code / "look.py").write_text(LOOK)
        tops = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/home", "/root", str(Path.home()))
        request = PhaseRequest(
            phase="train",
            command=("python", "code/look.py", *tops, str(tmp_path), str(other)),
            inputs=(Input(code, "code"),),
            output=out,
            limits=PhaseLimits(seconds=60, memory_mb=512, cpus=1),
        )
        async with LocalSandbox(namespaces=True) as sandbox:
            result = await sandbox.run(request)
        assert result.exit_code == 0, result.log
        found = (out / "found").read_text().splitlines()
        # Its own command names the other folder, so that line is left out.
        seen = [line for line in found if "look.py" not in line]
        assert seen
        assert [line for line in seen if canary in line or other.name in line] == []
        # A command line has zero bytes between its words.
        assert [line for line in seen if "\0" in line and "pytest" in line] == []
    finally:
        home.unlink(missing_ok=True)
        reap_folders(Path(tempfile.gettempdir()))
        for path in other.iterdir():
            path.unlink()
        other.rmdir()
