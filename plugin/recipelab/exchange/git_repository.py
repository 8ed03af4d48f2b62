"""A campaign as a Git repository: every kept trial is a commit on top of the one it came from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from recipelab.errors import RecipelabError
from recipelab.exchange.campaign_copy import utc
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.report.text import plain
from recipelab.trial import Status

MAIN = "main"
"""The branch that leads to the best trial; others are called ``side/NUMBER`` after their tip."""

_AUTHOR = "recipelab <recipelab@localhost>"
_PAGE = 200


def write_git(store: LineageStore, campaign: str, folder: Path) -> None:
    """Makes a repository of the kept trials of a campaign.

    Branches, tags (``trial/NUMBER``), messages and dates come from the lineage alone, so the same
    campaign gives the same commits.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        folder: Where the repository goes; must not exist, or be empty.

    Raises:
        RecipelabError: Git is not there or fails, or no kept trial has a recipe.
    """
    kept = list(_kept(store, campaign))
    files = {record.number: store.files(campaign, record.number) for record in kept}
    if not any(files.values()):
        raise RecipelabError(
            f"no trial of {campaign} has a recipe (released runs have none): nothing to commit; "
            "take --format jsonl"
        )
    best = store.best_brief(campaign).number
    stream = b"".join(_commits(store, campaign, kept, files, best))
    folder.mkdir(parents=True, exist_ok=True)
    _git(folder, "init", "--quiet", f"--initial-branch={MAIN}")
    _git(folder, "fast-import", "--quiet", stdin=stream)
    _git(folder, "reset", "--quiet", "--hard", MAIN)


def _kept(store: LineageStore, campaign: str) -> Iterator[TrialRecord]:
    """The baseline and the kept trials, oldest first."""
    statuses, seen = (Status.BASELINE, Status.KEPT), 0
    while True:
        wanted = TrialFilter(statuses=statuses, order="oldest", limit=_PAGE, offset=seen)
        items = store.query(campaign, wanted).items
        yield from items
        seen += len(items)
        if len(items) < _PAGE:
            return


def _commits(
    store: LineageStore,
    campaign: str,
    kept: Sequence[TrialRecord],
    files: Mapping[int, Mapping[str, str]],
    best: int,
) -> Iterator[bytes]:
    """The stream for ``git fast-import``: commits, then branches."""
    known = {record.number for record in kept}
    tips = set(known)
    for record in kept:
        above = list(dict.fromkeys(_nearest(store, campaign, known, record.parents)))
        tips -= set(above)
        yield _commit(campaign, record, files[record.number], above)
    for number in sorted(tips - {best}):
        yield f"reset refs/heads/side/{number}\nfrom :{number + 1}\n\n".encode()
    yield f"reset refs/heads/{MAIN}\nfrom :{best + 1}\n\n".encode()


def _nearest(
    store: LineageStore, campaign: str, known: set[int], parents: Sequence[int]
) -> Iterator[int]:
    """For each parent itself, or its nearest ancestor by first parents that is a commit."""
    for number in parents:
        above: int | None = number
        while above is not None and above not in known:
            further = store.brief(campaign, above).parents
            above = further[0] if further else None
        if above is not None:
            yield above


def _commit(
    campaign: str, record: TrialRecord, files: Mapping[str, str], above: Sequence[int]
) -> bytes:
    at = int(utc(record.judged_at or record.proposed_at).timestamp())
    head = f"commit refs/tags/trial/{record.number}\nmark :{record.number + 1}\n"
    who = "".join(f"{role} {_AUTHOR} {at} +0000\n" for role in ("author", "committer"))
    parts = [head.encode(), who.encode(), _data(_message(campaign, record))]
    parts += [
        f"{'from' if place == 0 else 'merge'} :{number + 1}\n".encode()
        for place, number in enumerate(above)
    ]
    if files:  # What a trial without a recipe was made from stays as it is.
        parts.append(b"deleteall\n")
    for path, text in sorted(files.items()):
        parts += [b"M 100644 inline " + _quoted(path) + b"\n", _data(text)]
    return b"".join([*parts, b"\n"])


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%b\n" % (len(content), content)


def _quoted(path: str) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'.encode()


def _message(campaign: str, record: TrialRecord) -> str:
    outcome = record.outcome
    subject = " ".join(plain(record.hypothesis).split())
    lines = [f"Trial {record.number}: {subject[:60]}", "", plain(record.hypothesis).strip(), ""]
    if outcome is not None:
        lines += [plain(outcome.reason), ""]
        lines += [f"Score: {outcome.score!r}", f"Score-SE: {outcome.score_se!r}"]
        lines += [f"Delta: {outcome.delta!r}", f"Delta-SE: {outcome.delta_se!r}"]
        lines += [
            f"Gate: {plain(gate.name)} {gate.value!r}, limit {gate.limit!r}"
            for gate in outcome.gates
        ]
        lines += [
            f"Seed {run.seed}: "
            + ", ".join(f"{plain(name)}={value!r}" for name, value in sorted(run.measures.items()))
            for run in outcome.seed_runs
        ]
    lines += [
        f"Campaign: {campaign}",
        f"Status: {record.status or 'in_flight'}",
        f"Specialist: {plain(record.specialist)}",
        f"Surface: {plain(record.surface)}",
        f"Recipe-Digest: {record.digest}",
    ]
    return "\n".join(lines) + "\n"


def _git(folder: Path, *words: str, stdin: bytes = b"") -> None:
    # Nobody's settings, templates or hooks: the same campaign gives the same repository anywhere.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TEMPLATE_DIR": "",
        "GIT_TERMINAL_PROMPT": "0",
    }
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], input=stdin, capture_output=True, env=environment
        )
    except FileNotFoundError as error:
        raise RecipelabError("--format git needs git, which is not there") from error
    if done.returncode != 0:
        raise RecipelabError(f"git {words[0]} failed: {done.stderr.decode(errors='replace')}")
