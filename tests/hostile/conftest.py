"""Evaluates the selected cases once, with the host's traps around them."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..sandbox.conftest import docker_daemon, docker_image  # noqa: F401
from .bench import Bench, Seen, WatchedSandbox
from .case import Case


@dataclass
class Listener:
    """A port of the host that nobody inside may reach."""

    sockets: list[socket.socket] = field(default_factory=list[socket.socket])
    reached: list[str] = field(default_factory=list[str])
    port: int = 0

    def open(self) -> None:
        """Listens on the same number for TCP and UDP, on every address."""
        tcp = socket.create_server(("0.0.0.0", 0))
        self.port = tcp.getsockname()[1]
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("0.0.0.0", self.port))
        self.sockets = [tcp, udp]
        threading.Thread(target=self._watch, args=(tcp.accept, "tcp"), daemon=True).start()
        threading.Thread(
            target=self._watch, args=(lambda: udp.recv(99), "udp"), daemon=True
        ).start()

    def close(self) -> None:
        """Stops listening."""
        for opened in self.sockets:
            opened.close()

    def _watch(self, wait: object, what: str) -> None:
        try:
            wait()  # type: ignore[operator]
        except OSError:
            return  # It was closed.
        self.reached.append(what)


@dataclass
class Everything:
    """All that was seen of the selected cases."""

    cases: dict[str, Seen]
    listener: Listener
    marker: str
    folders: Path


def _selected(session: pytest.Session) -> list[Case]:
    calls = (getattr(item, "callspec", None) for item in session.items)
    found = [call.params["case"] for call in calls if call and "case" in call.params]
    return [case for case in found if isinstance(case, Case)]


@pytest.fixture(scope="session")
def everything(
    request: pytest.FixtureRequest,
    docker_image: str,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Everything]:
    """Every selected case, evaluated."""
    home, temporary = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("temporary")
    temporary.chmod(0o755)
    marker = f"hostile-{os.getpid()}-{secrets.token_hex(4)}"
    secret = home / "secret"
    secret.write_text(marker[::-1])
    listener = Listener()
    listener.open()
    words = {"PORT": str(listener.port), "SECRET": str(secret), "HIDDEN": marker[::-1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        patch.setenv("RECIPELAB_TEST_HOST_SECRET", marker[::-1])
        patch.setattr("tempfile.tempdir", str(temporary))
        # On seeds of the day an honest twin may be lucky, and join the line.
        patch.setattr("recipelab.evaluation.seeds.token_bytes", lambda size: b"1" * size)
        cases = asyncio.run(_evaluated(_selected(request.session), docker_image, marker, words))
    listener.close()
    yield Everything(cases, listener, marker, temporary)


async def _evaluated(
    cases: list[Case], image: str, marker: str, words: dict[str, str]
) -> dict[str, Seen]:
    async with WatchedSandbox(image=image, marker=marker) as sandbox:
        return await Bench(sandbox, words).run(cases)
