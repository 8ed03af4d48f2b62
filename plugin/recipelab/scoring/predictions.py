"""How a scorer reads what a recipe left, and how it ends.

A recipe may leave anything where its predictions belong: nothing, a link to the answers, a pipe
that never ends, a terabyte of zeros. :class:`PredictionFile` reads such a file safely.

A scorer ends in one of four ways, which its exit status tells: the score is written (0), the
predictions are malformed (3), they break a rule of the task (4), or the scorer itself is broken
(anything else). :func:`write_score`, :func:`malformed` and :func:`broken_rule` stand for the first
three. An exception that nobody catches is the fourth, and is never blamed on the recipe.
"""

from __future__ import annotations

import json
import math
import os
import stat
import sys
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

MALFORMED, BROKEN_RULE = 3, 4
"""Exit statuses of a scorer that refuses the predictions."""

PREDICTIONS = Path("predictions")
"""The folder in which the score phase finds what the predict phase left."""

_QUOTED_BYTES = 20
_FLOAT_BYTES = 4


class MalformedPredictions(SystemExit):
    """Ends the scorer with exit status 3: the trial is ``crashed``, and the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = MALFORMED


class BrokenRule(SystemExit):
    """Ends the scorer with exit status 4: the trial is ``illegal``, and the message is evidence."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = BROKEN_RULE


def malformed(message: str) -> NoReturn:
    """End the scorer because the predictions cannot be read.

    Args:
        message: One line that says where and how they are wrong; the proposing agent is shown it.

    Raises:
        MalformedPredictions: Always.
    """
    sys.stderr.write(f"{message}\n")
    raise MalformedPredictions(message)


def broken_rule(evidence: str) -> NoReturn:
    """End the scorer because the predictions break a rule of the task.

    Args:
        evidence: One line that says which rule, and what shows it.

    Raises:
        BrokenRule: Always.
    """
    sys.stderr.write(f"{evidence}\n")
    raise BrokenRule(evidence)


def write_score(scores: Mapping[str, float]) -> None:
    """Write ``out/score.json``.

    A score that is not finite is written as it is: the predictions led there, so the trial crashes
    with the failure ``nan``, and the scorer is not to blame.

    Args:
        scores: Each measurement by its name. A pack's ``measure = "score.NAME"`` refers to it.
    """
    Path("out/score.json").write_text(json.dumps(dict(scores)), "utf-8")


def write_items(items: Iterable[float]) -> None:
    """Write ``out/items.f32``: a number for each item of the hidden set.

    The pack names the score that is their mean: ``[evaluator] items = "score.NAME"``.

    Args:
        items: The numbers, in the same order whatever the run: a scorer whose ``prepare`` shuffles
            puts them back. They are rounded to 32-bit floats, little-endian.

    Raises:
        MalformedPredictions: One is no finite 32-bit float: the predictions led there.
    """
    values = array("f", items)
    if not math.isfinite(sum(values)):
        place = next(i for i, value in enumerate(values) if not math.isfinite(value))
        malformed(f"item {place} is too large, or not a number: it cannot be scored")
    if sys.byteorder == "big":
        values.byteswap()
    Path("out/items.f32").write_bytes(values.tobytes())


class PredictionFile:
    """One file that the recipe left, read as hostile data.

    The file must be a regular file. No link is followed, in its name or in the folders above it,
    no pipe is waited for, and no more bytes are read than a limit allows. A file that is not as it
    must be ends the scorer through :func:`malformed`, with a message that begins with its name.

    Args:
        name: Its path below ``folder``, with forward slashes, as ``predictions.txt``, or
            ``ROUND/predictions.txt`` in a pack whose evaluator prepares rounds.
        folder: The folder of the predictions.

    Examples:
        .. code-block:: python

            file = PredictionFile("predictions.txt")
            numbers = file.read_numbers(count=len(answers))
            if min(numbers) < 0:
                file.malformed("must not be negative", line=numbers.index(min(numbers)) + 1)
            write_score({"error": error(numbers, answers)})
    """

    def __init__(self, name: str, folder: Path = PREDICTIONS) -> None:
        self.name = name
        self.folder = folder

    def malformed(self, reason: str, *, line: int | None = None) -> NoReturn:
        """End the scorer because of this file.

        Args:
            reason: What is wrong with it.
            line: The line in which, counted from 1.

        Raises:
            MalformedPredictions: Always.
        """
        place = "" if line is None else f"line {line}: "
        malformed(f"{self.name}: {place}{reason}")

    def read_bytes(self, limit: int) -> bytes:
        """Return the content of the file, which has at most ``limit`` bytes.

        Raises:
            MalformedPredictions: It is missing, not a regular file, or longer.
        """
        with os.fdopen(self._open(), "rb") as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            self.malformed(f"is longer than {limit} bytes")
        return content

    def read_text(self, limit: int) -> str:
        """Return the content of the file as UTF-8, with its line ends as they are.

        Raises:
            MalformedPredictions: It cannot be read (see :meth:`read_bytes`), or is not UTF-8.
        """
        try:
            return self.read_bytes(limit).decode("utf-8")
        except UnicodeDecodeError as error:
            self.malformed(f"is not UTF-8 at byte {error.start}")

    def read_lines(
        self, *, count: int, longest: int, final_newline: bool = True
    ) -> tuple[bytes, ...]:
        r"""Return the lines of the file without their line ends, ``\n`` or ``\r\n``.

        Args:
            count: How many lines it must have.
            longest: How many bytes a line has at most.
            final_newline: Whether the last line must end in a line end too.

        Raises:
            MalformedPredictions: It cannot be read (see :meth:`read_bytes`), or has another number
                of lines, or a longer line.
        """
        content = self.read_bytes(count * (longest + 2)).replace(b"\r\n", b"\n")
        *lines, rest = content.split(b"\n")
        if rest:
            lines.append(rest)
        if len(lines) != count:
            self.malformed(f"has {len(lines)} lines, expected {count}")
        if rest and final_newline:
            self.malformed("must end in a line end", line=count)
        for number, line in enumerate(lines, start=1):
            if len(line) > longest:
                self.malformed(f"is longer than {longest} bytes", line=number)
        return tuple(lines)

    def read_numbers(self, *, count: int) -> list[float]:
        """Return the numbers of a text file that holds one finite number a line.

        Raises:
            MalformedPredictions: It has other lines, or another number of them.
        """
        numbers = []
        for place, line in enumerate(self.read_lines(count=count, longest=40), start=1):
            try:
                number = float(line)
            except ValueError:
                self.malformed(f"expected a number, found {quoted(line)}", line=place)
            if not math.isfinite(number):
                self.malformed(f"expected a finite number, found {quoted(line)}", line=place)
            numbers.append(number)
        return numbers

    def read_floats(self, *, count: int, finite: bool = True) -> array[float]:
        """Return the numbers of a binary file of native 32-bit floats, as numpy writes.

        Args:
            count: How many it must have.
            finite: Whether an infinity or a NaN is refused. Without it the scorer has to do so.

        Raises:
            MalformedPredictions: The file has another size, or holds what is refused.
        """
        expected = count * _FLOAT_BYTES
        with os.fdopen(self._open(), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != expected:
                self.malformed(f"has {size} bytes, expected {expected}")
            values = array("f", stream.read(expected))
        # No sum of 32-bit floats overflows 64 bits, so the sum is finite if each of them is.
        if finite and not math.isfinite(sum(values)):
            place = next(i for i, value in enumerate(values) if not math.isfinite(value))
            self.malformed(f"value {place} is {values[place]}, not a finite number")
        return values

    def _open(self) -> int:
        """Return a descriptor of the file, walking down from the folder without following links."""
        *folders, name = self.name.split("/")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        above = -1
        try:
            above = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
            for part in folders:
                below = os.open(part, flags | os.O_DIRECTORY, dir_fd=above)
                os.close(above)
                above = below
            found = os.open(name, flags, dir_fd=above)
        except FileNotFoundError:
            self.malformed("is missing")
        except OSError as error:
            self.malformed(f"cannot be opened as a regular file: {error.strerror}")
        finally:
            if above >= 0:
                os.close(above)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            os.close(found)
            self.malformed("is not a regular file")
        return found


def quoted(content: bytes) -> str:
    """Return the beginning of some bytes in a form that is safe to print."""
    return ascii(content[:_QUOTED_BYTES])[1:]
