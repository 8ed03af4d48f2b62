"""Packages that a pack asks for: an image on top of the sandbox's, or this Python has them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from recipelab.campaign.pack_check import check_pack
from recipelab.campaign.pack_runs import Level
from recipelab.core.errors import PackError, SandboxUnavailable
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox.choose import open_sandbox
from recipelab.sandbox.local.namespaces import interpreter
from recipelab.sandbox.requirements import image_spec_of, missing_here

from .helpers import phase

GONE = "recipelab-no-such-package"


def with_sandbox(toy: Pack, table: str) -> Pack:
    file = toy.root / "pack.toml"
    text = file.read_text().replace('sandbox = "cpu"\n', "")
    file.write_text(text.replace("[metric]", f"[sandbox]\n{table}\n\n[metric]", 1))
    return load_pack("toy")


def test_the_table_names_sandbox_and_packages(toy: Pack) -> None:
    pack = with_sandbox(toy, 'name = "cpu"\nrequirements = ["einops", "pyyaml>=6,<7"]')
    assert (pack.sandbox, pack.requirements) == ("cpu", ("einops", "pyyaml>=6,<7"))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('requirements = ["--index-url x"]', "'--index-url x' is no requirement"),
        ('requirements = ["./wheel.whl"]', "'./wheel.whl' is no requirement"),
        ('requirements = ["a @ https://b"]', "is no requirement"),
        ("requirements = [3]", "requirements.0"),
        ('packages = ["a"]', "sandbox.packages: unknown key; valid: name, requirements"),
    ],
)
def test_what_names_no_package_is_refused(toy: Pack, table: str, words: str) -> None:
    with pytest.raises(PackError, match=words):
        with_sandbox(toy, table)


@pytest.mark.parametrize(
    ("requirement", "lacks"),
    [
        ("pydantic", None),
        ("PyDantic>=2", None),
        ("pydantic[email]", None),
        ("pydantic>=1000", f"pydantic>=1000 (it has {version('pydantic')})"),
        (GONE, GONE),
        (f"{GONE}==1.0; python_version > '3'", f"{GONE}==1.0; python_version > '3'"),
    ],
)
def test_this_python_tells_what_it_lacks(requirement: str, lacks: str | None) -> None:
    assert missing_here((requirement,)) == ((lacks,) if lacks else ())


def test_the_local_sandbox_names_its_python_and_the_command(project: Path) -> None:
    spec = image_spec_of("cpu", ("pydantic", GONE))
    with pytest.raises(SandboxUnavailable) as caught:
        open_sandbox("local", spec, build=True, say=print, allow_local_fallback=True)
    assert f"lacks {GONE} of the pack" in str(caught.value)
    assert f"{interpreter()} -m pip install {GONE}" in str(caught.value)
    open_sandbox(
        "local",
        image_spec_of("cpu", ("pydantic",)),
        build=True,
        say=lambda text: None,
        allow_local_fallback=True,
    )


async def test_the_check_says_so_before_anything_runs(toy: Pack) -> None:
    pack = with_sandbox(toy, f'requirements = ["{GONE}"]')
    found = [item async for item in check_pack(pack, sandbox="local", slots=1)]
    (told,) = [item for item in found if item.what == "requirements"]
    assert told.level is Level.ERROR and "pip install" in told.text
    assert "baseline" not in {item.what for item in found}


def test_images_have_the_names_of_what_is_in_them(project: Path) -> None:
    one, same = image_spec_of("cpu", ("a", "b")), image_spec_of("cpu", ("b", "a"))
    other = image_spec_of("cpu", ("a",))
    assert one.image == same.image != other.image
    assert one.image.startswith("recipelab/cpu-") and one.base == "recipelab/cpu"
    assert one.below is not None and one.below.image == "recipelab/cpu"
    assert one.requirements.read_text() == "a\nb\n"
    assert image_spec_of("cpu", ()).image == "recipelab/cpu"


@pytest.mark.docker
async def test_an_image_has_the_packages_on_top(
    docker_image: str, project: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built with no network but the package index's, on an image that is there."""
    spec = image_spec_of("cpu", ("iniconfig",))
    below = spec.below
    assert below is not None
    light = below.model_copy(update={"image": docker_image})
    layered = light.with_packages(spec.folder, "0123456789ab")
    made = open_sandbox(
        "docker", layered, build=True, say=lambda text: None, allow_local_fallback=False
    )
    async with made as sandbox:
        result = await sandbox.run(phase(output, "import iniconfig; print(iniconfig.__name__)"))
    assert result.log == "iniconfig\n", result.log
