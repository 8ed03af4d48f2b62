"""Image specifications, and the choice of a sandbox."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError, SandboxUnavailable
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.choose import docker_daemon_error, open_sandbox
from recipelab.sandbox.spec import ImageSpec, load_image_spec, read_image_spec

from .helpers import CPU_SANDBOX


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped sandbox."""
    return shutil.copytree(CPU_SANDBOX, tmp_path / "cpu")


def changed(folder: Path, old: str, new: str) -> Path:
    """The specification with a piece of its text replaced."""
    file = folder / "sandbox.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def test_the_shipped_specification() -> None:
    spec = load_image_spec("cpu")
    assert (spec.image, spec.python) == ("recipelab/cpu", "3.11")
    assert spec.requirements.read_text() == "torch==2.13.0\nnumpy\n"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format = 1", "format = 2", "format: 2 is not a known format; valid: 1"),
        ("format = 1\n", "", "format: None is not a known format"),
        ('name = "cpu"', "", "name: Field required; valid: lower-case"),
        ('name = "cpu"', 'name = "C P U"', "name: ... (it is 'C P U'); valid: lower-case"),
        ('python = "3.11"', "python = 3.11", "python: ... (it is 3.11); valid: a Python version"),
        (
            '"Dockerfile"',
            '"../Dockerfile"',
            "dockerfile: ... (it is '../Dockerfile'); valid: the name of a file",
        ),
        ('"Dockerfile"', '"Other"', "there must be a file Other beside it"),
        ("python =", "pyhton =", "pyhton: no such key; valid: base, container"),
        ("format = 1", "format = ", "sandbox.toml: Invalid value"),
        (
            'image = "recipelab/cpu"',
            'image = "--help"',
            "image: ... (it is '--help'); valid: an image name",
        ),
    ],
)
def test_faults_are_named(folder: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(RecipelabError) as raised:
        read_image_spec(changed(folder, old, new))
    for text in ("sandbox.toml: ", *words.split(" ... ")):
        assert text in str(raised.value)


def test_missing_requirements(folder: Path) -> None:
    (folder / "requirements.txt").unlink()
    with pytest.raises(RecipelabError, match=r"requirements\.txt"):
        read_image_spec(folder / "sandbox.toml")


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(RecipelabError, match=r"unknown sandbox 'gpu9'; valid: .*cpu"):
        load_image_spec("gpu9")


@pytest.fixture
def spec(folder: Path) -> ImageSpec:
    """The shipped specification."""
    return read_image_spec(folder / "sandbox.toml")


def test_local_on_demand(spec: ImageSpec) -> None:
    said: list[str] = []
    made = open_sandbox("local", spec, build=False, say=said.append, allow_local_fallback=False)
    assert isinstance(made, LocalSandbox)
    assert said == [] and "does not isolate" in made.notice(), "whoever opens it tells it"


def test_auto_falls_back_only_where_that_is_allowed(no_daemon: None, spec: ImageSpec) -> None:
    said: list[str] = []
    made = open_sandbox("auto", spec, build=True, say=said.append, allow_local_fallback=True)
    assert isinstance(made, LocalSandbox)
    assert said == [] and "does not isolate" in made.notice(), "whoever opens it tells it"
    with pytest.raises(SandboxUnavailable, match="start Docker, or ask for `--sandbox local`"):
        open_sandbox("auto", spec, build=True, say=said.append, allow_local_fallback=False)


def test_docker_is_never_replaced(no_daemon: None, spec: ImageSpec) -> None:
    with pytest.raises(SandboxUnavailable, match="start Docker"):
        open_sandbox("docker", spec, build=True, say=print, allow_local_fallback=True)


def test_unknown_kind(spec: ImageSpec) -> None:
    with pytest.raises(SandboxUnavailable, match="valid: auto, docker, local"):
        open_sandbox("podman", spec, build=True, say=print, allow_local_fallback=True)


def test_daemon_error(no_daemon: None) -> None:
    assert docker_daemon_error()


@pytest.mark.docker
def test_auto_takes_docker(docker_daemon: None, spec: ImageSpec) -> None:
    made = open_sandbox("auto", spec, build=False, say=print, allow_local_fallback=True)
    assert made.name == "docker"


@pytest.mark.docker
def test_a_base_that_cannot_be_had(docker_daemon: None, spec: ImageSpec) -> None:
    from recipelab.sandbox.images import build_image

    with pytest.raises(SandboxUnavailable, match="--base IMAGE"):
        build_image(spec, base="localhost:1/recipelab/nowhere:1")


@pytest.mark.docker
def test_a_build_that_fails_shows_why(docker_image: str, folder: Path) -> None:
    from recipelab.sandbox.images import build_image

    (folder / "requirements.txt").write_text("# none\n")
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nRUN echo because-of-this; exit 3\n")
    file = changed(folder, '"recipelab/cpu"', '"recipelab/broken"')
    with pytest.raises(RecipelabError, match="because-of-this"):
        build_image(read_image_spec(file), base=docker_image)


def test_docker_is_not_imported_with_the_package() -> None:
    code = (
        "import sys, recipelab.sandbox, recipelab.sandbox.choose, recipelab.sandbox.spec\n"
        "raise SystemExit('docker' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
