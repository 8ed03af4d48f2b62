"""Git: the kept trials of a campaign as a history.

Git is run so that none of the user's settings, hooks or surroundings changes its results.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain, shorten
from recipelab.core.trial import Outcome, Status
from recipelab.exchange.campaign_copy import utc
from recipelab.exchange.metric import MetricFacts, metric_of
from recipelab.exchange.replacing import check_paths
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.lineage.trial_view import measure_means, status_words

_SAFE = (
    f"core.hooksPath={os.devnull}",
    f"core.attributesFile={os.devnull}",
    "core.autocrlf=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
)

ERROR_LINES = 3
"""Lines of Git's error message that are passed on."""
SUBJECT_CHARACTERS = 72
MAIN = "main"
"""The branch that ends at the certified trial, or at the head where that is asked for."""
EXPORT_MARK = "recipelab-export"
"""File in ``.git`` that says that the repository is an export, which may be replaced."""

_FORBIDDEN_IN_NAMES = re.compile(r"[<>\x00-\x1f\x7f]")
_COMMITTER = b"recipelab <recipelab@localhost>"


def need_git(what: str) -> None:
    """Raise if Git is not installed.

    Args:
        what: What needs it, for the message.

    Raises:
        RecipelabError: Git is missing.
    """
    if shutil.which("git") is None:
        raise RecipelabError(f"{what} needs git, which is missing; install it")


def git(folder: Path, *words: str, stream: Iterable[bytes] = ()) -> None:
    """Run a Git command.

    Args:
        folder: Where it runs; no repository above it is looked at.
        words: The command.
        stream: Its standard input, part by part.

    Raises:
        RecipelabError: It failed; the message holds what Git said.
    """
    settings = [word for setting in _SAFE for word in ("-c", setting)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            ["git", *settings, *words],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        # A command that ends before it has read everything says why.
        with suppress(BrokenPipeError), process:
            assert process.stdin is not None
            process.stdin.writelines(stream)
        if process.returncode:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            reason = "; ".join(lines[:ERROR_LINES]) or "no reason given"
            raise RecipelabError(f"git {words[0]} failed: {reason}")


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment that has nothing of the user's but the path to programs."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        # The home holds no configuration, and a repository in a folder above is not looked at.
        "HOME": os.fspath(folder),
        "GIT_CEILING_DIRECTORIES": os.fspath(folder.parent),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def commit_message(
    record: TrialRecord, outcome: Outcome, *, campaign: str, metric: MetricFacts | None, bare: bool
) -> str:
    """Return the message of a trial's commit.

    Args:
        record: The trial.
        outcome: How it ended.
        campaign: Name of its campaign.
        metric: What its score is, if that is known.
        bare: Whether the lineage holds no recipe of it.
    """
    hypothesis = plain(record.hypothesis).strip() or "(no hypothesis)"
    subject = shorten(f"trial {record.number}, {record.surface}: {hypothesis}", SUBJECT_CHARACTERS)
    parts = [
        subject,
        hypothesis,
        f"{status_words(outcome.status, record.standing)}: {plain(outcome.reason).strip()}",
        "\n".join(_measured(record, outcome, metric)),
    ]
    if bare:
        parts.append("The lineage holds no recipe of this trial.")
    parts.append("\n".join(_trailers(record, campaign)))
    return "\n\n".join(parts) + "\n"


def _measured(record: TrialRecord, outcome: Outcome, metric: MetricFacts | None) -> Iterator[str]:
    unit = f" {metric.unit}" if metric and metric.unit else ""
    name = metric.name if metric else "score"
    yield f"{name}: {_number(outcome.score)}{unit}, standard error {_number(outcome.score_se)}"
    yield (
        f"change: {_number(outcome.delta)}{unit}, standard error {_number(outcome.delta_se)}, "
        f"expected {_number(record.expected_delta)}"
    )
    for gate in outcome.gates:
        limits = f"limit {_number(gate.limit)}, margin {_number(gate.margin)}"
        yield _line(f"gate {gate.name}: {_number(gate.value)}, {limits}")
    means = measure_means(outcome.seed_runs)
    if means:
        yield f"means over seed runs (n = {len(outcome.seed_runs)}):"
    for key, mean in means.items():
        yield _line(f"  {key}: {_number(mean)}", indent="  ")


def _trailers(record: TrialRecord, campaign: str) -> Iterator[str]:
    """Yield the last paragraph, which Git reads as trailers: no text above can pose as one."""
    yield f"Recipelab-Campaign: {campaign}"
    yield f"Recipelab-Trial: {record.number}"
    yield f"Recipelab-Parents: {' '.join(map(str, record.parents)) or 'none'}"
    if record.standing is not None:
        yield f"Recipelab-Standing: {record.standing}"
    yield _line(f"Recipelab-Specialist: {record.specialist}")
    yield _line(f"Recipelab-Surface: {record.surface}")
    yield _line(f"Recipelab-Digest: {record.digest or 'none'}")


def _line(text: str, indent: str = "") -> str:
    return indent + " ".join(plain(text).split())


def _number(value: float | None) -> str:
    """Return all digits of a number, so that nothing measured is rounded away."""
    return "none" if value is None else repr(value)


def is_export(folder: Path) -> bool:
    """Return whether a folder is a repository that :func:`write_git` made."""
    return (folder / ".git" / EXPORT_MARK).is_file()


def write_git(store: LineageStore, campaign: str, folder: Path, *, head: bool = False) -> None:
    """Write the kept trials as commits into a new repository, and check out the certified one.

    With ``head`` the head of the working line is checked out instead.

    Equal lineages give equal commits: names and times are the lineage's, and neither the user's
    nor the system's configuration, templates or hooks are read.

    Raises:
        RecipelabError: Git is missing or refuses, or the campaign has nothing to commit yet.
    """
    need_git("--format git")
    commits = commits_of(store, campaign)
    if not commits:
        raise RecipelabError(f"campaign {campaign} has neither baseline nor kept trial to commit")
    branches = branches_of(commits, store.winner_brief(campaign, head=head).number)
    folder.mkdir()
    git(folder, "init", "--template=", f"--initial-branch={MAIN}", "--object-format=sha1")
    stream = stream_of(store, campaign, commits, branches)
    git(folder, "fast-import", "--quiet", stream=stream)
    # Paths and names come from agents: Git itself checks what it would not trust.
    git(folder, "fsck", "--strict", "--no-dangling", "--no-progress")
    git(folder, "reset", "--hard", MAIN)
    (folder / ".git" / EXPORT_MARK).write_text(f"{campaign}\n", "utf-8")


@dataclass(frozen=True)
class Commit:
    """A kept trial, and the numbers of the trials whose commits are its parents."""

    record: TrialRecord
    outcome: Outcome
    parents: tuple[int, ...]


def commits_of(store: LineageStore, campaign: str) -> tuple[Commit, ...]:
    """Return the commits of a campaign, each after its parents."""
    found: dict[int, TrialRecord] = {}
    for record in store.each_trial(campaign, (Status.BASELINE, Status.KEPT)):
        if record.outcome is not None:
            found[record.number] = record
    commits: dict[int, Commit] = {}
    # A trial may have moved onto a head of a higher number, but that was judged before it.
    for number in store.judged_order(campaign):
        if number in found and (outcome := found[number].outcome) is not None:
            record = found[number]
            above = (_nearest_kept(store, campaign, parent, commits) for parent in record.parents)
            parents = dict.fromkeys(parent for parent in above if parent is not None)
            commits[number] = Commit(record, outcome, tuple(parents))
    return tuple(commits.values())


def branches_of(commits: tuple[Commit, ...], best: int) -> dict[str, int]:
    """Return the branches by name, each with the trial at which it ends.

    They are ``main``, which ends at the best, and ``side-N`` for every other trial N that is no
    parent of a kept trial.
    """
    used = {parent for commit in commits for parent in commit.parents}
    ends = (commit.record.number for commit in commits if commit.record.number not in used)
    return {MAIN: best} | {f"side-{number}": number for number in ends if number != best}


def stream_of(
    store: LineageStore, campaign: str, commits: tuple[Commit, ...], branches: Mapping[str, int]
) -> Iterator[bytes]:
    """Yield the input of ``git fast-import``: every commit with its tag, then the branches.

    Raises:
        RecipelabError: A file of a recipe has a path that no Git repository can hold.
    """
    record = store.campaign(campaign)
    try:
        metric = metric_of(record)
    except RecipelabError:
        # The pack is not on this machine: the score goes without its name and unit.
        metric = None
    yield b"feature done\n"
    for commit in commits:
        files = store.files(campaign, commit.record.number)
        yield from _commit(commit, files, campaign, metric)
    for name, number in branches.items():
        yield f"reset refs/heads/{name}\nfrom :{number + 1}\n\n".encode()
    yield b"done\n"


def _nearest_kept(
    store: LineageStore, campaign: str, number: int, found: Mapping[int, Commit]
) -> int | None:
    """Return the trial itself if it is kept, else the nearest kept trial above it."""
    if number in found:
        return number
    chain = [record.number for record in store.chain(campaign, number) if record.number in found]
    return chain[-1] if chain else None


def _commit(
    commit: Commit, files: Mapping[str, str], campaign: str, metric: MetricFacts | None
) -> Iterator[bytes]:
    record = commit.record
    message = commit_message(
        record, commit.outcome, campaign=campaign, metric=metric, bare=not files
    )
    # Marks begin at 1, trials at 0.
    yield f"commit refs/tags/trial-{record.number}\nmark :{record.number + 1}\n".encode()
    name = " ".join(_FORBIDDEN_IN_NAMES.sub(" ", record.specialist).split()).strip(".,:;\"' ")
    author = f"author {name or 'nobody'} <specialist@localhost>"
    yield author.encode() + _time(record.proposed_at)
    yield b"committer " + _COMMITTER + _time(record.judged_at or record.proposed_at)
    yield _data(message)
    for place, parent in enumerate(commit.parents):
        yield f"{'merge' if place else 'from'} :{parent + 1}\n".encode()
    yield b"deleteall\n"
    check_paths(files, record.number)
    for path, text in sorted(files.items()):
        quoted = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        yield f'M 100644 inline "{quoted}"\n'.encode() + _data(text)
    yield b"\n"


def _time(when: datetime) -> bytes:
    # Git knows no time before 1970.
    return f" {max(0, int(utc(when).timestamp()))} +0000\n".encode()


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%s\n" % (len(content), content)
