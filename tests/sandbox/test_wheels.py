"""Whether the packages of an image can be had, told by pip without a download."""

from __future__ import annotations

import platform
import zipfile
from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.sandbox.spec import ImageSpec, read_image_spec
from recipelab.sandbox.wheels import download_wheels, resolve_requirements

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:9"
"""Nobody listens there."""


@pytest.fixture(autouse=True)
def only_these_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the machine's own configuration of pip out, but for the index of pip itself."""
    for name in ("PIP_FIND_LINKS", "PIP_CONSTRAINT"):
        monkeypatch.delenv(name, raising=False)


def wheel(folder: Path, name: str, tags: str = "py3-none-any", needs: str = "") -> None:
    """Puts a wheel into a folder; its name holds the version."""
    package, version = name.split("-")
    folder.mkdir(exist_ok=True)
    info = f"{package}-{version}.dist-info"
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(folder / f"{name}-{tags}.whl", "w") as archive:
        head = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", head + requires)
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tags}\n")
        archive.writestr(f"{info}/RECORD", "")


def image(folder: Path, *lines: str) -> ImageSpec:
    """A sandbox with these requirements, from the folder's wheels alone."""
    (folder / "Dockerfile").touch()
    text = ["# What recipes import.", "--no-index", f"--find-links {folder}/wheels", *lines]
    (folder / "requirements.txt").write_text("\n".join([*text, ""]))
    (folder / "sandbox.toml").write_text(
        'format = 1\nname = "s"\ndescription = "d"\nimage = "i"\n'
        'dockerfile = "Dockerfile"\nbase = "b"\npython = "3.12"\n'
    )
    return read_image_spec(folder / "sandbox.toml")


def test_a_wheel_for_linux_alone_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tags = f"cp39-abi3-linux_{platform.machine()}"
    wheel(tmp_path / "wheels", "recipelab_fast-1.0", tags)
    folder = download_wheels(image(tmp_path, "recipelab_fast"), lambda line: None)
    assert [path.name for path in folder.iterdir()] == [f"recipelab_fast-1.0-{tags}.whl"]


def test_what_cannot_be_had_is_named(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheel(wheels, "recipelab_here-1.0", f"cp39-abi3-linux_{platform.machine()}")
    wheel(wheels, "recipelab_other-1.0", "cp312-cp312-win_amd64")
    wheel(wheels, "recipelab_needs-1.0", needs="recipelab_gone>=2")
    found = resolve_requirements(
        image(tmp_path, "recipelab_other # for Windows", "recipelab.here>=2", "recipelab_needs")
    )
    on = f"for Python 3.12 on {platform.machine()}"
    assert (found.packages, found.unproved) == ((), ())
    assert {one.requirement: one.reason for one in found.missing} == {
        "recipelab_other": f"no wheel of recipelab-other {on}; there are wheels for "
        "cp312-cp312-win_amd64",
        "recipelab.here>=2": f"no wheel of recipelab-here {on} in the version asked for; "
        "there are 1.0",
        "recipelab_needs": f"no wheel of recipelab-gone {on}",
    }


def test_requirements_at_odds_are_named_together(tmp_path: Path) -> None:
    for name, needs in (("a-1.0", "recipelab_c==1"), ("b-1.0", "recipelab_c==2")):
        wheel(tmp_path / "wheels", f"recipelab_{name}", needs=needs)
    for version in "12":
        wheel(tmp_path / "wheels", f"recipelab_c-{version}")
    (fault,) = resolve_requirements(image(tmp_path, "recipelab_a", "recipelab_b")).missing
    assert fault.requirement == "recipelab_a, recipelab_b"
    assert "depends on recipelab_c==1; " in fault.reason


def test_a_place_that_does_not_answer_proves_nothing(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "recipelab_here-1.0")
    address = f"recipelab_direct @ {NOWHERE}/recipelab_direct-1.0-py3-none-any.whl"
    spec = image(
        tmp_path, f"--find-links {NOWHERE}/more/", "recipelab_here", "recipelab_far", address
    )
    found = resolve_requirements(spec)
    assert (found.packages, found.missing) == (("recipelab_here==1.0",), ())
    reasons = {one.requirement: one.reason for one in found.unproved}
    assert reasons.keys() == {"recipelab_far", address}
    assert reasons["recipelab_far"].startswith(f"{NOWHERE}/more/ does not answer: ")
    assert "127.0.0.1" in reasons[address]


def test_an_option_that_pip_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(RecipelabError, match=r"requirements\.txt: .*--no-such-option"):
        resolve_requirements(image(tmp_path, "--no-such-option", "recipelab_here"))
