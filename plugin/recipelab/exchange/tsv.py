"""Reads tables whose free text may have broken rows: by what a row must begin with.

A released run is a text file with tabs between columns and a line for each row, and text from
agents stood in it as it was. A tab in that text shifts all columns after it, and a line end tears
the row in two. So a row is taken to begin where its first columns look like the beginning of a
row, and all lines up to the next such place belong to it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recipelab.errors import RecipelabError


@dataclass(frozen=True)
class RawRow:
    """A row as it stands in the file.

    Attributes:
        line: Its first line, counted from 1.
        text: All of its text, line ends inside it included.
        cells: Its cells.
        whole: Whether they are as many as the header has, and no stray line end is in them.
    """

    line: int
    text: str
    cells: tuple[str, ...]
    whole: bool


@dataclass(frozen=True)
class RawTable:
    """A file of rows.

    Attributes:
        header: Names of the columns.
        rows: Its rows in order.
        strays: Text before the first row that begins like one, if there is any.
    """

    header: tuple[str, ...]
    rows: tuple[RawRow, ...]
    strays: tuple[RawRow, ...]


def read_table(file: Path, begins: re.Pattern[str]) -> RawTable:
    """Reads a file.

    Args:
        file: The file; bytes that are no UTF-8 are replaced.
        begins: What the text of a row must begin with.

    Raises:
        RecipelabError: The file cannot be read, or is empty.
    """
    try:
        text = file.read_bytes().decode("utf-8", "replace").removeprefix("\ufeff")
    except OSError as error:
        raise RecipelabError(f"cannot read {file}: {error.strerror}") from None
    lines = text.replace("\r\n", "\n").split("\n")
    header = tuple(cell.strip() for cell in lines[0].split("\t"))
    if len(header) < 2:
        raise RecipelabError(f"{file} has no header with tabs between its columns")
    rows: list[RawRow] = []
    starts = [i for i in range(1, len(lines)) if begins.match(lines[i])]
    first = starts[0] if starts else len(lines)
    strays = [RawRow(i + 1, lines[i], (), False) for i in range(1, first) if lines[i].strip()]
    for start, end in zip(starts, [*starts[1:], len(lines)][: len(starts)], strict=True):
        own = "\n".join(lines[start:end]).rstrip("\n")
        cells, whole = _cells(own, len(header))
        rows.append(RawRow(start + 1, own, cells, whole))
    return RawTable(header, tuple(rows), tuple(strays))


def _cells(text: str, columns: int) -> tuple[tuple[str, ...], bool]:
    """The cells of a row, and whether it is whole; quotes count where they make it so."""
    plain = text.split("\t")
    if len(plain) == columns and "\n" not in text:
        return tuple(unquoted(cell) for cell in plain), True
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t"))
    except csv.Error:
        rows = []
    if len(rows) == 1 and len(rows[0]) == columns:
        return tuple(rows[0]), True
    return tuple(plain), False


def unquoted(cell: str) -> str:
    """The text of a cell that was quoted as CSV quotes it, or the cell as it is."""
    inner = cell[1:-1]
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"'
    return inner.replace('""', '"') if quoted and '"' not in inner.replace('""', "") else cell


def joined(cells: Sequence[str]) -> str:
    """Cells that were one text before tabs broke it, with the tabs put back."""
    return unquoted("\t".join(cells).strip("\t"))
