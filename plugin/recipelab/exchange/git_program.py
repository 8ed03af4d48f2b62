"""Runs Git so that nothing of the user's settings, hooks or surroundings changes what it does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from recipelab.errors import RecipelabError

_SAFE = (
    f"core.hooksPath={os.devnull}",
    f"core.attributesFile={os.devnull}",
    "core.autocrlf=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
)

TOLD_LINES = 3
"""Lines of what Git says of an error that are passed on."""


def need_git(what: str) -> None:
    """Makes sure that Git is there.

    Args:
        what: What needs it, for the message.

    Raises:
        RecipelabError: It is missing.
    """
    if shutil.which("git") is None:
        raise RecipelabError(f"{what} needs git, which is missing; install it")


def git(folder: Path, *words: str, stream: bytes = b"") -> None:
    """Runs a Git command.

    Args:
        folder: Where it runs; no repository above it is looked at.
        words: The command.
        stream: Its standard input.

    Raises:
        RecipelabError: It failed; the message holds what Git said.
    """
    settings = [word for setting in _SAFE for word in ("-c", setting)]
    done = subprocess.run(
        ["git", *settings, *words],
        cwd=folder,
        env=_environment(folder),
        input=stream,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise RecipelabError(f"git {words[0]} failed: {'; '.join(told[:TOLD_LINES])}")


def _environment(folder: Path) -> dict[str, str]:
    """Nothing of the user's but the path to programs."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        # A home without configuration; and a folder above that is a repository is not looked at.
        "HOME": os.fspath(folder),
        "GIT_CEILING_DIRECTORIES": os.fspath(folder.parent),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "TZ": "UTC",
    }
