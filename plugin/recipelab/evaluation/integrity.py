"""Integrity: what a recipe may not touch, may not break, and may not say."""

from __future__ import annotations

import builtins
import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Self

from recipelab.core.trial import Failure, FailureKind, Phase
from recipelab.evaluation.causes import first_cause
from recipelab.evaluation.failures import (
    EXCERPT_CHARACTERS,
    SIGNATURE_CHARACTERS,
    EvaluatorFault,
    signature_of,
)
from recipelab.packs.own_data import in_place, stand_of, stand_seen
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import OUTPUT_DIRECTORY, Input, PhaseResult

SCORE_FILE = "score.json"
"""Where the scorer writes; a recipe that leaves such a file wants it read as a score."""

REDACTED = "(this phase sees hidden text, so what it printed is withheld)"
"""Takes the place of a redacted log."""

_HASH_CHARACTERS = 12
_GONE = "(gone)"
_NO_FILE = "(no regular file)"

_FRAME = re.compile(r'^\s*File "(?P<path>[^"\n]+)", line (?P<line>\d{1,6})\b')
_NAMED = ("torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "torch.AcceleratorError")
"""Exceptions that may be named besides the built-in ones: a closed list, which carries no text."""

_Touched = tuple[int, int, int, int]
"""What the kernel changes when a file is touched."""


class FileHashes:
    """The tamper check: hashes of files as they were, to tell which of them have changed since.

    A file is read again only if the kernel says that it was touched: its size, its inode or the
    time of its last change, which no unprivileged program can set. So a check is cheap, and data of
    many gigabytes is hashed once.
    """

    def __init__(self) -> None:
        self._expected: dict[Path, str] = {}
        self._cache: dict[Path, tuple[_Touched, str]] = {}

    def copy(self) -> Self:
        """Return the same hashes, to add others to; no file that was hashed is hashed again."""
        other = type(self)()
        other._expected, other._cache = dict(self._expected), self._cache
        return other

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._expected)

    def add(self, *places: Path) -> None:
        """Add files, and every file below folders, as they are now."""
        for path in _files_below(places):
            self._expected[path] = self._hash(path)

    def drop(self, folder: Path) -> None:
        """Forget every file below a folder."""
        self._expected = {
            path: expected
            for path, expected in self._expected.items()
            if folder not in path.parents
        }

    def digest(self, folder: Path) -> str:
        """Return the SHA-256 over the names and hashes of all files below a folder."""
        total = hashlib.sha256()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = os.fsencode(path.relative_to(folder).as_posix())
            total.update(hashlib.sha256(name).digest() + self._hash(path).encode())
        return total.hexdigest()

    def changed(self) -> tuple[Path, str, str] | None:
        """Return the first file that has changed, with its hash before and now, if there is one."""
        for path, before in self._expected.items():
            now = self._hash(path)
            if now != before:
                return path, before, now
        return None

    def _hash(self, path: Path) -> str:
        try:
            found = path.stat()
            touched = (found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
            known = self._cache.get(path)
            if known is None or known[0] != touched:
                known = self._cache[path] = (touched, _sha256(path))
        except OSError:
            return _GONE
        return known[1]


class InputFiles:
    """Data and evaluator of a campaign, which have to stay what they were when it began.

    Args:
        data: Paths of the data. What is read where it lies cannot be changed by a recipe, as its
            mount is read-only, but by its owner: it is told by size and times, not by its bytes.
        evaluator: Folder of the pack's evaluator.

    Attributes:
        hashes: Hashes of the other files, filled by the first check; more may be added.
    """

    def __init__(self, data: Iterable[Path], evaluator: Path) -> None:
        self.hashes = FileHashes()
        self._data = tuple(data)
        self._evaluator = evaluator
        self._stands: dict[Path, str] = {}

    def check(self) -> None:
        """Check that nothing has changed since the first check.

        Raises:
            EvaluatorFault: Something has, so no trial can be compared any more.
        """
        if not self.hashes:
            self._stands = {path: stand_seen(path) for path in filter(in_place, self._data)}
            copies = [path for path in self._data if path not in self._stands]
            self.hashes.add(*copies, self._evaluator)
            return
        if changed := self.hashes.changed():
            path, before, now = changed
            raise EvaluatorFault(
                f"{path} has changed since the campaign began "
                f"(sha256 {before[:12]} became {now[:12]}); put it back and resume"
            )
        for place, before in self._stands.items():
            if stand_of(place) != before:
                raise EvaluatorFault(
                    f"the data in {place} have changed since the campaign began; put them back and "
                    "resume"
                )


def _sha256(path: Path) -> str:
    # Without O_NONBLOCK, a named pipe that has taken the place of a file would block for ever.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return _NO_FILE
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files_below(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            below = sorted(path for path in place.rglob("*") if path.is_file())
            yield from (path for path in below if "__pycache__" not in path.parts)
        else:
            yield place


def tripwires(pack: Pack, inputs: Sequence[Input]) -> tuple[str, ...]:
    """Return folders that only the evaluator's phases have, to be watched in the recipe's phases.

    Args:
        pack: The pack.
        inputs: What the phase sees; a folder that it has anyway is no tripwire.
    """
    trusted = [phase for phase in Phase if not phase.runs_recipe]
    targets = [target for phase in trusted for target in pack.phases[phase].data]
    watched = {PurePosixPath(path).parts[0] for path in (pack.evaluator.folder, *targets)}
    seen = {PurePosixPath(entry.target).parts[0] for entry in inputs} | {OUTPUT_DIRECTORY}
    return tuple(sorted(watched - seen))


def tampering(
    phase: Phase, result: PhaseResult, output: Path, hashes: FileHashes, *, seed: int
) -> Failure | None:
    """Return the evidence that a recipe's phase touched what it may not, if there is any.

    Args:
        phase: The phase that ran.
        result: What the sandbox saw.
        output: What the phase left.
        hashes: Files that must be as they were.
        seed: The seed of the run.
    """
    if result.tampered:
        lines = [
            f"{phase} left {name}, where only the evaluator writes" for name in result.tampered
        ]
    elif (output / SCORE_FILE).exists():
        lines = [f"{phase} left {OUTPUT_DIRECTORY}/{SCORE_FILE}, which only the evaluator writes"]
    elif changed := hashes.changed():
        path, before, now = changed
        lines = [
            f"{phase} changed {path.name}, which it may not: "
            f"sha256 {before[:_HASH_CHARACTERS]} became {now[:_HASH_CHARACTERS]}"
        ]
    else:
        return None
    text = "\n".join(lines)[:EXCERPT_CHARACTERS]
    # Names of files tell these failures apart, so they stay in the signature.
    return Failure(phase, FailureKind.TAMPERING, lines[0][:SIGNATURE_CHARACTERS], text, seed)


def rule_failure(log: str, *, seed: int, phase: Phase = Phase.SCORE) -> Failure:
    """Return the failure of a recipe that breaks a rule, from the end of the evaluator's log."""
    lines = log.strip().splitlines() or ["the evaluator found that a rule is broken"]
    text = "\n".join(lines[-6:])[:EXCERPT_CHARACTERS]
    return Failure(phase, FailureKind.RULE, signature_of(lines[-1]), text, seed)


def redacted(result: PhaseResult, files: Collection[str]) -> PhaseResult:
    """Return the result of a phase that saw hidden text, without anything that could carry it.

    Left of the log are the name of a built-in exception and the innermost line of the recipe's own
    files; left of the names in tripwires are the watched folders, which the recipe cannot choose.

    Args:
        result: What the sandbox saw.
        files: Paths of the recipe's files.
    """
    count = len(result.refused)
    refused = (f"{count} outputs were not taken; their names are withheld",) if count else ()
    tampered = tuple(sorted({name.split("/", 1)[0] for name in result.tampered}))
    log = _redacted_log(result, files)
    return replace(result, log=log, error_file="", refused=refused, tampered=tampered)


def _redacted_log(result: PhaseResult, files: Collection[str]) -> str:
    cause = first_cause(result.log, error_file=result.error_file)
    name = cause.error.partition(":")[0]
    if name not in _NAMED and not _is_exception(name):
        return REDACTED
    frames = [
        (file, match["line"])
        for line in cause.lines
        if (match := _FRAME.match(line))
        and (file := next((f for f in files if f"/{match['path']}".endswith(f"/{f}")), None))
    ]
    # The innermost frame alone: a made-up traceback could spell a text in many line numbers.
    lines = [f'  File "{file}", line {line}, in predict' for file, line in frames[-1:]]
    return "\n".join([REDACTED, *lines, f"{name}: the message is withheld"])


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)
