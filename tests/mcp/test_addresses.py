"""Where a server listens, and what it puts in the place of paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.mcp.concealing import Concealer
from recipelab.mcp.http import chosen_token, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9000", "127.0.0.1", 9000),
        ("9000", "127.0.0.1", 9000),
        (":9000", "127.0.0.1", 9000),
        ("gpu-box", "gpu-box", 8643),
        ("[::1]:0", "::1", 0),
    ],
)
def test_where_it_listens(text: str, host: str, port: int) -> None:
    found = parse_address(text)
    assert (found.host, found.port, found.token) == (host, port, True)


@pytest.mark.parametrize("text", ["x:y", "x:70000", "x:-1", "127.0.0.1:"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(RecipelabError, match="valid: HOST:PORT"):
        parse_address(text)


def test_a_token_that_is_chosen_is_no_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPELAB_MCP_TOKEN", "x" * 16)
    assert chosen_token() == "x" * 16
    monkeypatch.setenv("RECIPELAB_MCP_TOKEN", "x" * 15)
    with pytest.raises(RecipelabError, match="16 or more"):
        chosen_token()
    monkeypatch.delenv("RECIPELAB_MCP_TOKEN")
    assert len(chosen_token()) > 30 and chosen_token() != chosen_token()


def test_a_folder_is_replaced_where_it_is_meant() -> None:
    folders = {"home": Path("/srv/night"), "pack": Path("/srv/night/pack"), "root": Path("/")}
    conceal = Concealer(folders, {"lineage": "postgresql://me:secret@host/name"})
    assert conceal("/srv/night/pack/a.py, /srv/night: x") == "(pack)/a.py, (home): x"
    assert conceal("/srv/nightly /srv/night.db a/b") == "/srv/nightly /srv/night.db a/b"
    assert conceal("no postgresql://me:secret@host/name here") == "no (lineage) here"
