"""Makes a Git repository out of the kept trials of a campaign."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from recipelab.errors import RecipelabError
from recipelab.exchange.git_commits import MAIN, branches_of, commits_of, stream_of
from recipelab.lineage import LineageStore

MADE_HERE = "recipelab-export"
"""File in ``.git`` that says that the repository is an export, which may be made anew."""

_SAFE = (
    f"core.hooksPath={os.devnull}",
    f"core.attributesFile={os.devnull}",
    "core.protectHFS=true",
    "core.protectNTFS=true",
)


def is_export(folder: Path) -> bool:
    """Whether a folder is a repository that :func:`write_git` made."""
    return (folder / ".git" / MADE_HERE).is_file()


def write_git(store: LineageStore, campaign: str, folder: Path) -> None:
    """Writes the kept trials as commits into a new repository, and checks out the best.

    Equal lineages give equal commits: names and times are the lineage's, and neither the user's
    nor the system's configuration, templates or hooks are read.

    Raises:
        RecipelabError: Git is missing or refuses, or the campaign has nothing to commit yet.
    """
    if shutil.which("git") is None:
        raise RecipelabError("--format git needs git, which is missing; install it")
    commits = commits_of(store, campaign)
    if not commits:
        raise RecipelabError(f"campaign {campaign} has neither baseline nor kept trial to commit")
    branches = branches_of(commits, store.best(campaign).number)
    folder.mkdir()
    _git(folder, "init", "--template=", f"--initial-branch={MAIN}", "--object-format=sha1")
    stream = stream_of(store, campaign, commits, branches)
    _git(folder, "fast-import", "--quiet", stream=stream)
    # Paths and names come from agents: what Git itself would not trust is not handed out.
    _git(folder, "fsck", "--strict", "--no-dangling", "--no-progress")
    _git(folder, "reset", "--hard", MAIN)
    (folder / ".git" / MADE_HERE).write_text(f"{campaign}\n", "utf-8")


def _git(folder: Path, *words: str, stream: Iterable[bytes] = ()) -> None:
    settings = [word for setting in _SAFE for word in ("-c", setting)]
    done = subprocess.run(
        ["git", *settings, *words],
        cwd=folder,
        env=_environment(folder),
        input=b"".join(stream),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
        raise RecipelabError(f"git {words[0]} failed: {told[0]}")


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
