"""Downloads a file from an address, and goes on where an earlier attempt was broken off."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path

from recipelab.cache import cache_root

CONNECT_SECONDS = 20
BLOCK = 1 << 20
PARTIAL = 206
BEYOND_THE_END = 416


class DownloadError(Exception):
    """The file could not be had; the message says why. What came so far is kept."""


def partial_path(url: str) -> Path:
    """Where the beginning of a download is kept."""
    return cache_root() / "partial" / hashlib.sha256(url.encode()).hexdigest()


def download(url: str, *, limit_bytes: int) -> Path:
    """Downloads a file, from where the last attempt ended if the server can do so.

    Args:
        url: Its address.
        limit_bytes: A file longer than this is broken off, and not kept.

    Returns:
        Where it lies; whoever has taken and checked it removes it.

    Raises:
        DownloadError: The address does not answer, or answers with too much.
    """
    path = partial_path(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    have = path.stat().st_size if path.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=CONNECT_SECONDS
        ) as reply:
            # A server that cannot go on sends all of it again.
            _append(reply, path, have if reply.status == PARTIAL else 0, limit_bytes)
    except urllib.error.HTTPError as error:
        if error.code != BEYOND_THE_END:
            raise DownloadError(str(error.reason)) from None
        # It was whole already; its hash will tell.
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(str(getattr(error, "reason", error))) from None
    return path


def _append(reply: http.client.HTTPResponse, path: Path, start: int, limit_bytes: int) -> None:
    size = start
    with path.open("ab" if start else "wb") as stream:
        while block := reply.read(BLOCK):
            size += len(block)
            if size > limit_bytes:
                break
            stream.write(block)
    if size > limit_bytes:
        path.unlink()
        raise DownloadError(f"longer than {limit_bytes:,} bytes")
    expected = reply.headers.get("Content-Length")
    if expected is not None and size - start < int(expected):
        raise DownloadError(f"broken off after {size:,} bytes; the next attempt goes on from there")
