"""Both halves over one stream: silence, garbage, and a side that is gone."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import SandboxError, SandboxUnavailable
from recipelab.places import stream
from recipelab.places.parcel import NodeSetup, Parcel, SpecFiles
from recipelab.places.placed import NodeLost
from recipelab.places.setup import node_setup
from recipelab.places.stream import Frames, StreamLink, serve
from recipelab.sandbox.base import PhaseLimits

from .conftest import place_request

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def pair() -> tuple[Ends, Ends]:
    """The two ends of a stream."""
    one, two = socket.socketpair()
    return await asyncio.open_connection(sock=one), await asyncio.open_connection(sock=two)


async def test_a_worker_whose_driver_falls_silent_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BEAT_SECONDS", 0.1)
    here, there = await pair()
    served = asyncio.ensure_future(serve(*there))
    link = StreamLink(*here)
    setup = await node_setup(place_request(store=str(tmp_path / "store")))
    facts = await link.greet(setup)
    assert (facts.sandbox, served.done()) == ("local", False)
    # A driver that hangs says nothing, and its stream stays open.
    monkeypatch.setattr(stream, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(link, "_frames", None)
    for task in link._tasks:
        task.cancel()
    await asyncio.wait_for(served, 60)
    here[1].close()


async def test_a_worker_that_falls_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(stream, "BEAT_SECONDS", 0.1)
    here, there = await pair()
    link = StreamLink(*here)
    with pytest.raises(SandboxUnavailable, match=r"nothing came for 0\.5 seconds"):
        await asyncio.wait_for(link.greet(NodeSetup(spec=SpecFiles(table=""), sandbox="x")), 60)
    with pytest.raises(NodeLost, match="nothing came"):
        await link.missing([])
    there[1].close()


async def test_who_is_told_of_a_phase_and_raises_hangs_nothing(tmp_path: Path) -> None:
    here, there = await pair()
    served = asyncio.ensure_future(serve(*there))
    link = StreamLink(*here)
    await link.greet(await node_setup(place_request(store=str(tmp_path / "store"))))

    def tell(piece: bytes) -> None:
        raise ValueError("told wrongly")

    command = ("python", "-c", "print('said')")
    limits = PhaseLimits(seconds=60)
    parcel = Parcel(phase="test", command=command, inputs=(), limits=limits, told=True)
    with pytest.raises(NodeLost, match="told wrongly"):
        await asyncio.wait_for(link.run("a", parcel, tell, lambda piece: False), 60)
    await link.close()
    await asyncio.wait_for(served, 60)


async def test_a_setup_that_cannot_be_read_is_told_in_words() -> None:
    here, there = await pair()
    served = asyncio.ensure_future(serve(*there))
    link = StreamLink(*here)
    with pytest.raises((SandboxError, SandboxUnavailable), match=r"sandbox\.toml|worker failed"):
        await link.greet(NodeSetup(spec=SpecFiles(table="{}"), sandbox="local"))
    await asyncio.wait_for(served, 60)
    with pytest.raises(NodeLost, match="closed"):
        await link.facts()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_what_is_no_frame_ends_the_stream(data: bytes) -> None:
    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        frames = Frames(reader, None)  # type: ignore[arg-type]
        while True:
            await frames.receive()

    with pytest.raises(NodeLost):
        asyncio.run(read())


async def test_a_frame_is_bounded() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(struct.pack(">II", 10, 1 << 31))
    with pytest.raises(NodeLost, match="too long"):
        await Frames(reader, None).receive()  # type: ignore[arg-type]
