"""The kept trials of a campaign as a stream that ``git fast-import`` reads.

Each kept trial is a commit on the commit of the trial it was made from. If that one was not kept,
the nearest kept trial above it stands in its place. The baseline is the root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from recipelab.errors import RecipelabError
from recipelab.exchange.campaign_copy import each_trial, utc
from recipelab.exchange.git_message import commit_message
from recipelab.exchange.mark import MetricFacts, metric_of
from recipelab.exchange.replacing import check_paths
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.trial import Outcome, Status

MAIN = "main"
"""The branch that ends at the best trial."""

_IN_NAMES = re.compile(r"[<>\x00-\x1f\x7f]")
_COMMITTER = b"recipelab <recipelab@localhost>"


@dataclass(frozen=True)
class Commit:
    """A kept trial and the trials whose commits are its parents."""

    record: TrialRecord
    outcome: Outcome
    parents: tuple[int, ...]


def commits_of(store: LineageStore, campaign: str) -> tuple[Commit, ...]:
    """The commits of a campaign, each after its parents."""
    found: dict[int, Commit] = {}
    for record in each_trial(store, campaign, (Status.BASELINE, Status.KEPT)):
        if record.outcome is not None:
            above = (_kept(store, campaign, number, found) for number in record.parents)
            parents = dict.fromkeys(number for number in above if number is not None)
            found[record.number] = Commit(record, record.outcome, tuple(parents))
    return tuple(found.values())


def branches_of(commits: tuple[Commit, ...], best: int) -> dict[str, int]:
    """The branches by name, each with the trial it ends at.

    Returns:
        ``main``, which ends at the best, and ``side-N`` for every other trial N on which no kept
        trial stands.
    """
    used = {parent for commit in commits for parent in commit.parents}
    ends = (commit.record.number for commit in commits if commit.record.number not in used)
    return {MAIN: best} | {f"side-{number}": number for number in ends if number != best}


def stream_of(
    store: LineageStore, campaign: str, commits: tuple[Commit, ...], branches: Mapping[str, int]
) -> Iterator[bytes]:
    """What ``git fast-import`` is to read: every commit with its tag, then the branches.

    Raises:
        RecipelabError: A file of a recipe has a path that no Git repository can hold.
    """
    record = store.campaign(campaign)
    try:
        metric = metric_of(record)
    except RecipelabError:
        # Its pack is not on this machine: the score goes without its name and unit.
        metric = None
    yield b"feature done\n"
    for commit in commits:
        files = store.files(campaign, commit.record.number)
        yield from _commit(commit, files, campaign, metric)
    for name, number in branches.items():
        yield f"reset refs/heads/{name}\nfrom :{number + 1}\n\n".encode()
    yield b"done\n"


def _kept(
    store: LineageStore, campaign: str, number: int, found: Mapping[int, Commit]
) -> int | None:
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
    yield b"author " + _author(record.specialist) + _time(record.proposed_at)
    yield b"committer " + _COMMITTER + _time(record.judged_at or record.proposed_at)
    yield _data(message)
    for place, parent in enumerate(commit.parents):
        yield f"{'merge' if place else 'from'} :{parent + 1}\n".encode()
    yield b"deleteall\n"
    check_paths(files, record.number)
    for path, text in sorted(files.items()):
        yield b"M 100644 inline " + _quoted(path) + b"\n" + _data(text)
    yield b"\n"


def _author(specialist: str) -> bytes:
    name = " ".join(_IN_NAMES.sub(" ", specialist).split()).strip(".,:;\"' ") or "nobody"
    return f"{name} <specialist@localhost>".encode()


def _time(when: datetime) -> bytes:
    # Git knows no time before 1970.
    return f" {max(0, int(utc(when).timestamp()))} +0000\n".encode()


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%s\n" % (len(content), content)


def _quoted(path: str) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'.encode()
