"""Leaks of a pack: answers or hidden inputs that the recipe could see all the same.

A pack says which phase sees which data; that nothing hidden lies elsewhere under another name,
only the data themselves can tell. Files are compared as a whole, and texts line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from recipelab.core.trial import Phase
from recipelab.packs.data import cached_path, is_here
from recipelab.packs.own_data import content_of, hashes_below, own_path
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import PhaseSpec

JUDGING = (Phase.SCORE, Phase.PREPARE)
"""Phases whose own data are answers."""
MOST_BYTES = 64 << 20
"""Size up to which a file is compared line by line."""
SHORT = 5
"""Characters of a line, without which it says nothing: labels repeat everywhere."""
FEW_LINES = 5
"""Lines in common up to which that is chance."""
MOST_SHARE = 0.2
"""Share of the hidden lines that may be in what the recipe sees: texts repeat themselves."""

_FIELDS = re.compile(r"[,;\t ]+")


@dataclass(frozen=True)
class Leak:
    """Something hidden that the recipe could see.

    Attributes:
        is_answer: Whether it is answers; if not, inputs that are hidden until predict.
        text: Where it is.
    """

    is_answer: bool
    text: str


def find_leaks(pack: Pack) -> Iterator[Leak]:
    """Yield what is hidden and lies in training data or in the recipe; of data that are here."""
    here = {item.file: path for item in pack.data if (path := _place(pack, item.file)) is not None}
    folder = pack.folder()
    code = {path: pack.root / path for path in sorted(folder.texts)} | dict(folder.carried)
    for fold in range(pack.folds or 1):
        # The answers of one fold are training data of the others.
        answers, seen, asked = _names_of_fold(pack, fold)
        visible = {f"training data {name}": here[name] for name in sorted(seen & set(here))}
        hidden = {name: True for name in sorted(answers - seen)}
        hidden |= {name: False for name in sorted(asked - seen - answers)}
        for name, is_answer in hidden.items():
            if name in here:
                yield from _compared(name, here[name], visible | code, is_answer=is_answer)


def _names_of_fold(pack: Pack, fold: int) -> tuple[set[str], set[str], set[str]]:
    """Return the data of a fold: what scorers see, what training sees, what predict is asked."""
    searched, certified = pack.phases, pack.certified().phases

    def named(*specs: PhaseSpec) -> set[str]:
        return {pack.in_fold_of(name, fold) for spec in specs for name in spec.data.values()}

    judging = [phases[phase] for phases in (searched, certified) for phase in JUDGING]
    training = (searched[Phase.PREFLIGHT], searched[Phase.TRAIN])
    asking = (searched[Phase.PREDICT], certified[Phase.PREDICT])
    return named(*judging), named(*training), named(*asking)


def _place(pack: Pack, name: str) -> Path | None:
    item = next(item for item in pack.data if item.file == name)
    if not is_here(item, pack.root):
        return None
    return own_path(item, pack.root) or cached_path(item, pack.root)


def _compared(
    name: str, hidden: Path, visible: Mapping[str, Path], *, is_answer: bool
) -> Iterator[Leak]:
    what = f"{'answers' if is_answer else 'hidden inputs'} {name}"
    own = _hashes(hidden)
    lines = _lines(hidden)
    for place, path in visible.items():
        if same := own & _hashes(path):
            count = f"{len(same)} files of " if hidden.is_dir() else ""
            yield Leak(is_answer, f"{place} is the same as {count}the {what}, byte for byte")
        elif lines and (found := lines & _rows(path, lines)):
            share = len(found) / len(lines)
            if len(found) > FEW_LINES and share > MOST_SHARE:
                text = f"{len(found):,} of {len(lines):,} lines of the {what}"
                yield Leak(is_answer, f"{place} holds {text}, as {sorted(found)[0][:60]!r}")


def _hashes(path: Path) -> set[str]:
    """Return the hashes of the files at a place that are not empty."""
    if path.is_dir():
        return hashes_below(path)
    return {content_of(path).sha256} if path.stat().st_size else set()


def _text(path: Path) -> str:
    """Return the text of a file; empty where it is none, or too long to be compared."""
    if path.is_dir() or path.stat().st_size > MOST_BYTES:
        return ""
    content = path.read_bytes()
    return "" if b"\0" in content[:4096] else content.decode("utf-8", "replace")


def _lines(path: Path) -> set[str]:
    """Return the different lines of a hidden text that are long enough to say something."""
    lines = (_joined(line) for line in _text(path).splitlines())
    return {line for line in lines if len(line) > SHORT}


def _rows(path: Path, wanted: set[str]) -> set[str]:
    """Return the lines of a text, and of each row its first and its last columns.

    So inputs are found beside their answers, and answers behind their inputs.
    """
    widths = {line.count(" ") + 1 for line in wanted}
    found: set[str] = set()
    for line in _text(path).splitlines():
        fields = _joined(line).split(" ")
        for width in widths:
            if width <= len(fields):
                found.add(" ".join(fields[:width]))
                found.add(" ".join(fields[-width:]))
    return found


def _joined(line: str) -> str:
    return " ".join(filter(None, _FIELDS.split(line.strip())))
