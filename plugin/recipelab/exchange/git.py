"""Runs Git so that nothing of the user's settings, hooks or surroundings changes what it does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from recipelab.core.errors import EditError, RecipelabError
from recipelab.core.recipe import stays_inside
from recipelab.core.text import plain, shorten
from recipelab.core.trial import Edit, Outcome, Status
from recipelab.exchange.campaign_copy import each_trial, utc
from recipelab.exchange.metric import MetricFacts, metric_of
from recipelab.exchange.replacing import check_paths
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.lineage.trial_view import measure_means

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


SUBJECT_CHARACTERS = 72


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
        f"{outcome.status}: {plain(outcome.reason).strip()}",
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
    """The last paragraph: what git reads as trailers, so nothing in the text can pose as one."""
    yield f"Recipelab-Campaign: {campaign}"
    yield f"Recipelab-Trial: {record.number}"
    yield f"Recipelab-Parents: {' '.join(map(str, record.parents)) or 'none'}"
    yield _line(f"Recipelab-Specialist: {record.specialist}")
    yield _line(f"Recipelab-Surface: {record.surface}")
    yield _line(f"Recipelab-Digest: {record.digest or 'none'}")


def _line(text: str, indent: str = "") -> str:
    return indent + " ".join(plain(text).split())


def _number(value: float | None) -> str:
    """All digits of a number, so that nothing measured is rounded away."""
    return "none" if value is None else repr(value)


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


MAX_PATCH_BYTES = 4_000_000
"""A longer patch is refused: it carries data, not a change of a recipe."""


def edits_of_patch(files: Mapping[str, str], patch: bytes) -> tuple[Edit, ...]:
    """Applies a unified diff to the files of a recipe.

    Git itself applies it, so that whatever ``git diff`` writes is read: several files, new files,
    renames, quoted names, missing newlines at the end. Contexts must fit exactly; line numbers
    need not.

    Args:
        files: The recipe: path to text.
        patch: The diff, with paths as the recipe has them below ``a/`` and ``b/``.

    Returns:
        The whole new content of each file that it changes, in the order of their paths.

    Raises:
        EditError: It does not apply, or says what edits cannot: to delete a file, make a link, or
            write something other than UTF-8 text.
        RecipelabError: Git is missing.
    """
    need_git("to read a patch recipelab")
    if not patch.strip():
        raise EditError("the patch is empty; make one with: git diff --relative")
    if len(patch) > MAX_PATCH_BYTES:
        raise EditError(f"the patch has {len(patch):,} bytes; at most {MAX_PATCH_BYTES:,} are read")
    after = _applied_somehow(files, patch)
    for path in files:
        if path not in after:
            raise EditError(
                f"the patch deletes or renames {path}; a trial can only change and add files, so "
                "leave it (it may be empty)"
            )
    changed = [path for path in sorted(after) if after[path] != files.get(path)]
    if not changed:
        raise EditError("the patch changes the text of no file")
    return tuple(Edit(path, None, after[path]) for path in changed)


def _applied_somehow(files: Mapping[str, str], patch: bytes) -> dict[str, str]:
    """Applies a patch as it is, or as it was before its line ends became those of Windows."""
    # Recipes are read with plain line ends, so a patch of files that had others fits only so.
    plain = patch.replace(b"\r\n", b"\n")
    if patch.count(b"\n") == patch.count(b"\r\n"):
        patch = plain
    try:
        return _applied(files, patch)
    except EditError:
        if patch == plain:
            raise
    return _applied(files, plain)


def _applied(files: Mapping[str, str], patch: bytes) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="recipelab-patch-") as name:
        folder = Path(name)
        for path, text in files.items():
            if not stays_inside(path):
                raise EditError(f"the recipe has a file that cannot be written: {path!r}")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(text.encode("utf-8"))
        try:
            git(folder, "apply", "--whitespace=nowarn", "-", stream=patch)
        except RecipelabError as error:
            known = ", ".join(sorted(files))
            raise EditError(
                f"the patch does not apply: {error}; it must fit the parent's files: {known} "
                "(in a folder of a repository, make it with: git diff --relative)"
            ) from None
        return _read(folder)


def _read(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if file.is_symlink():
            raise EditError(f"the patch makes a link of {path}; only plain files can be tried")
        if file.is_file():
            try:
                found[path] = file.read_bytes().decode("utf-8")
            except UnicodeDecodeError:
                raise EditError(f"the patch makes {path} other than UTF-8 text") from None
    return found
