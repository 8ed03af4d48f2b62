"""Makes a Git repository out of the kept trials of a campaign."""

from __future__ import annotations

from pathlib import Path

from recipelab.errors import RecipelabError
from recipelab.exchange.git_commits import MAIN, branches_of, commits_of, stream_of
from recipelab.exchange.git_program import git, need_git
from recipelab.lineage import LineageStore

MADE_HERE = "recipelab-export"
"""File in ``.git`` that says that the repository is an export, which may be made anew."""


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
    need_git("--format git")
    commits = commits_of(store, campaign)
    if not commits:
        raise RecipelabError(f"campaign {campaign} has neither baseline nor kept trial to commit")
    branches = branches_of(commits, store.best(campaign).number)
    folder.mkdir()
    git(folder, "init", "--template=", f"--initial-branch={MAIN}", "--object-format=sha1")
    stream = stream_of(store, campaign, commits, branches)
    git(folder, "fast-import", "--quiet", stream=b"".join(stream))
    # Paths and names come from agents: what Git itself would not trust is not handed out.
    git(folder, "fsck", "--strict", "--no-dangling", "--no-progress")
    git(folder, "reset", "--hard", MAIN)
    (folder / ".git" / MADE_HERE).write_text(f"{campaign}\n", "utf-8")
