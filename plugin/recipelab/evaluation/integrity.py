"""Hashes of files that nobody may change while a trial runs."""

from __future__ import annotations

import builtins
import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from recipelab.core.trial import Failure, FailureKind, Phase
from recipelab.evaluation.failures import EXCERPT_CHARACTERS, signature_of
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Input, PhaseResult

_Signature = tuple[int, int, int, int]
_GONE = "(gone)"
_NO_FILE = "(no regular file)"
_PIECE = 1 << 20


class FileHashes:
    """Remembers what files were, and tells which of them have changed since.

    A file is read again only if the kernel says that it was touched: its size, its inode or the
    time of its last change, which no unprivileged program can set. So looking is cheap, and data of
    many gigabytes is hashed once.
    """

    def __init__(self) -> None:
        self._sealed: dict[Path, str] = {}
        self._hashed: dict[Path, tuple[_Signature, str]] = {}

    def copy(self) -> FileHashes:
        """The same seals, to add others to. What was hashed once is not hashed again."""
        other = FileHashes()
        other._sealed, other._hashed = dict(self._sealed), self._hashed
        return other

    def __len__(self) -> int:
        return len(self._sealed)

    def add(self, *places: Path) -> None:
        """Seals files, and every file below folders, as they are now."""
        for path in _files(places):
            self._sealed[path] = self._hash(path)

    def drop(self, folder: Path) -> None:
        """Forgets the seals of every file below a folder."""
        self._sealed = {
            path: before for path, before in self._sealed.items() if folder not in path.parents
        }

    def broken(self) -> tuple[Path, str, str] | None:
        """The first sealed file that is not what it was, with both hashes; ``None`` if all are."""
        for path, before in self._sealed.items():
            after = self._hash(path)
            if after != before:
                return path, before, after
        return None

    def _hash(self, path: Path) -> str:
        try:
            found = path.stat()
            signature = (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
            known = self._hashed.get(path)
            if known is None or known[0] != signature:
                known = self._hashed[path] = (signature, _sha256(path))
        except OSError:
            return _GONE
        return known[1]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    # Not blocking matters where a named pipe has taken the place of a file.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return _NO_FILE
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _files(places: Iterable[Path]) -> Iterable[Path]:
    for place in places:
        if place.is_dir():
            below = sorted(path for path in place.rglob("*") if path.is_file())
            yield from (path for path in below if "__pycache__" not in path.parts)
        else:
            yield place


SCORE_FILE = "score.json"
"""Where the scorer writes; a recipe that leaves such a file wants it read as a score."""

_SHOWN_HASH = 12


def tripwires(pack: Pack, inputs: Sequence[Input]) -> tuple[str, ...]:
    """Folders that only the evaluator's own phases have, to be watched in the recipe's phases.

    Args:
        pack: The pack.
        inputs: What the phase sees; a folder that it has anyway is no tripwire.
    """
    trusted = [phase for phase in Phase if not phase.runs_recipe]
    targets = [target for phase in trusted for target in pack.phases[phase].data]
    wanted = {PurePosixPath(path).parts[0] for path in (pack.evaluator.folder, *targets)}
    taken = {PurePosixPath(entry.target).parts[0] for entry in inputs} | {OUTPUT_DIRECTORY}
    return tuple(sorted(wanted - taken))


def tampering(
    phase: Phase, result: PhaseResult, output: Path, seals: FileHashes, *, seed: int
) -> Failure | None:
    """Evidence that a recipe's phase touched what it may not, or ``None``.

    Args:
        phase: Which phase ran.
        result: What the sandbox saw.
        output: What the phase left.
        seals: Files that must be as they were.
        seed: The seed of the run.
    """
    if result.tampered:
        lines = [
            f"{phase} left {name}, where only the evaluator writes" for name in result.tampered
        ]
        return _failure(phase, lines, seed)
    if (output / SCORE_FILE).exists():
        line = f"{phase} left {OUTPUT_DIRECTORY}/{SCORE_FILE}, which only the evaluator writes"
        return _failure(phase, [line], seed)
    if broken := seals.broken():
        path, before, after = broken
        line = (
            f"{phase} changed {path.name}, which it may not: "
            f"sha256 {before[:_SHOWN_HASH]} became {after[:_SHOWN_HASH]}"
        )
        return _failure(phase, [line], seed)
    return None


def broken_rule(log: str, *, seed: int, phase: Phase = Phase.SCORE) -> Failure:
    """The failure of what breaks a rule, from the last line of the evaluator's log."""
    lines = log.strip().splitlines() or ["the evaluator found that a rule is broken"]
    text = "\n".join(lines[-6:])[:EXCERPT_CHARACTERS]
    return Failure(phase, FailureKind.RULE, signature_of(lines[-1]), text, seed)


def _failure(phase: Phase, lines: list[str], seed: int) -> Failure:
    text = "\n".join(lines)[:EXCERPT_CHARACTERS]
    # Names of files tell these failures apart, so they stay.
    return Failure(phase, FailureKind.TAMPERING, lines[0][:200], text, seed)


NOTICE = "(this phase sees hidden text, so what it printed is withheld)"

_FRAME = re.compile(r'^\s*File "(?P<path>[^"\n]+)", line (?P<line>\d{1,6})\b', re.MULTILINE)
_EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_]\w*)(?::.*)?$", re.MULTILINE)


def withheld(result: PhaseResult, files: Collection[str]) -> PhaseResult:
    """The result without anything that the recipe chose to say.

    Args:
        result: What the sandbox saw.
        files: Paths of the recipe's files.
    """
    count = len(result.refused)
    refused = (f"{count} outputs were not taken; their names are withheld",) if count else ()
    # Names in tripwires are the recipe's choice too; the watched folders are not.
    tampered = tuple(sorted({name.split("/", 1)[0] for name in result.tampered}))
    log = _readable(result.log, files)
    return replace(result, log=log, refused=refused, tampered=tampered)


def _readable(log: str, files: Collection[str]) -> str:
    names = [match["name"] for match in _EXCEPTION.finditer(log) if _is_exception(match["name"])]
    if not names:
        return NOTICE
    # The innermost frame alone: a made-up traceback could spell a text in many line numbers.
    frames = [match for match in _FRAME.finditer(log) if _own(match["path"], files)]
    lines = [
        f'  File "{_own(frame["path"], files)}", line {frame["line"]}, in predict'
        for frame in frames[-1:]
    ]
    return "\n".join([NOTICE, *lines, f"{names[-1]}: the message is withheld"])


def _own(path: str, files: Collection[str]) -> str | None:
    """The recipe's file that a path of a traceback means."""
    return next((file for file in files if path == file or path.endswith(f"/{file}")), None)


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)
