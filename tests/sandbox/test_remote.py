"""A daemon on another machine: it sees none of our folders, and speaks TLS."""

from __future__ import annotations

import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.core.errors import SandboxUnavailable
from recipelab.sandbox import DockerSandbox, Ending, Input
from recipelab.sandbox.docker import remote
from recipelab.sandbox.docker.containers import connect
from recipelab.sandbox.docker.inputs import COPIED_BYTES

from . import daemons
from .helpers import names_in, phase

pytestmark = [pytest.mark.docker, pytest.mark.slow]


@pytest.fixture(scope="module")
def far(docker_image: str) -> Iterator[dict[str, str]]:
    """The variables that lead to a daemon with other folders, which has the image."""
    daemons.skip_or_fail(
        daemons.missing("dockerd", "unshare", "openssl"), "RECIPELAB_REQUIRE_DOCKER"
    )
    with daemons.remote() as environment:
        daemons.hand_over(docker_image, environment)
        yield environment


@pytest.fixture
async def sandbox(
    far: dict[str, str], docker_image: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DockerSandbox]:
    daemons.lead_to(monkeypatch, far)
    # What others of this machine believe in does not matter.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    async with DockerSandbox(image=docker_image) as made:
        yield made
    api = connect(timeout=60)
    assert api.containers(all=True) == []
    assert not api.volumes()["Volumes"]
    api.close()


@pytest.fixture
def given(tmp_path: Path) -> tuple[Input, ...]:
    """A small folder, a large file, a large folder, one to be taken as it is, one to be changed."""
    (tmp_path / "small").mkdir()
    (tmp_path / "small/a.py").write_text("VALUE = 7\n")
    (tmp_path / "small/link").symlink_to("a.py")
    for name in ("large", "many", "as_is"):
        file = tmp_path / name
        if name != "large":
            file.mkdir()
            file /= "part"
        with file.open("wb") as opened:
            opened.truncate(COPIED_BYTES + 1)
            opened.write(name.encode())
    (tmp_path / "changed").mkdir()
    (tmp_path / "changed/x").write_text("before")
    return (
        Input(tmp_path / "small", "recipe"),
        Input(tmp_path / "large", "data/large"),
        Input(tmp_path / "many", "data/many"),
        Input(tmp_path / "as_is", "whole", as_is=True),
        Input(tmp_path / "changed", "work", writable=True),
    )


LOOK = """
import os, sys
sys.path.insert(0, "recipe")
from a import VALUE
print(VALUE, os.readlink("recipe/link"))
for path in ("data/large", "data/many/part", "whole/part"):
    print(path, open(path, "rb").read(7).strip(b"\\0"), os.path.getsize(path))
for path in ("recipe/a.py", "data/large", "data/many/new", "whole/part", "recipe/new"):
    try: open(path, "a"); print("BROKE", path)
    except OSError as error: print(error.strerror)
open("work/x", "a").write(" and after"); print(open("work/x").read())
open("out/result", "w").write("done")
"""


async def test_inputs_are_sent_and_outputs_come_back(
    sandbox: DockerSandbox,
    given: tuple[Input, ...],
    output: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[Path] = []
    send = remote.SentFolders.folder

    def noted(self: remote.SentFolders, source: Path) -> Path:
        sent.append(source)
        return send(self, source)

    monkeypatch.setattr(remote.SentFolders, "folder", noted)
    request = phase(output, LOOK, inputs=given, tripwires=("evaluator",))
    size = COPIED_BYTES + 1
    for number in range(2):
        again = tmp_path / f"output{number}"
        again.mkdir()
        result = await sandbox.run(replace(request, output=again))
        assert result.ok, result.log
        assert result.log.splitlines() == [
            "7 a.py",
            f"data/large b'large' {size}",
            f"data/many/part b'many' {size}",
            f"whole/part b'as_is' {size}",
            *["Read-only file system"] * 5,
            "before and after",
        ]
        assert names_in(again) == ["result"]
        assert result.peak_memory_mb and result.cpu_seconds > 0
    assert (tmp_path / "changed/x").read_text() == "before"
    # Data cross the network once in a sandbox's life.
    assert sent.count(tmp_path / "as_is") == 1
    assert len([source for source in sent if source.name.startswith("recipelab-inputs")]) == 1


async def test_what_was_replaced_is_sent_again(
    sandbox: DockerSandbox, output: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    request = phase(output, "print(open('d/x').read())", inputs=(Input(folder, "d", as_is=True),))
    for text in ("one", "other"):
        (folder / "new").write_text(text)
        os.replace(folder / "new", folder / "x")
        assert (await sandbox.run(request)).log == f"{text}\n"


async def test_limits_and_tripwires_hold(sandbox: DockerSandbox, tmp_path: Path) -> None:
    for number, (code, ending, limits) in enumerate(
        (
            ("b'x' * (1 << 30)", Ending.MEMORY, {"memory_mb": 128}),
            ("while True: pass", Ending.DEADLINE, {"seconds": 0.5}),
            ("open('evaluator/score.py', 'w')", Ending.EXITED, {}),
        )
    ):
        output = tmp_path / str(number)
        output.mkdir()
        request = phase(output, code, tripwires=("evaluator",), **limits)
        result = await sandbox.run(request)
        assert result.ending is ending, result.log
        assert result.tampered == (("evaluator/score.py",) if ending is Ending.EXITED else ())


async def test_a_certificate_of_nobody_known_is_refused(
    far: dict[str, str], docker_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemons.certificates(tmp_path / "others")
    daemons.lead_to(monkeypatch, {**far, "DOCKER_CERT_PATH": str(tmp_path / "others")})
    with pytest.raises(SandboxUnavailable, match="certificate verify failed"):
        await DockerSandbox(image=docker_image).start()


def test_an_archive_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError), remote._archived(tmp_path / "missing") as archive:
        archive.read()


def test_an_archive_has_no_owner_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").write_text("x")
    os.chown(tmp_path / "in/file", 1234, 1234)
    with (
        remote._archived(tmp_path / "in") as archive,
        tarfile.open(fileobj=archive, mode="r|") as opened,
    ):
        entries = list(opened)
        archive.read()
    assert [(entry.name, entry.uid, entry.gname) for entry in entries] == [
        (".", 0, ""),
        ("./file", 0, ""),
    ]
