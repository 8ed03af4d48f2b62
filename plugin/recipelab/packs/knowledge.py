"""The knowledge of a pack: Markdown files that agents search, cite, and are held to.

They lie in ``knowledge/`` beside the recipe, or in the pack's folder where all profiles share them.
A hypothesis cites a file by ``[source: NAME]``. The citation is a part of the hypothesis, which the
lineage keeps word for word with its trial, so that what came of a source can be told at any time.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from recipelab.core.content import leads_inside, read_limited
from recipelab.core.errors import PackError
from recipelab.packs.pack import Pack

FOLDER = "knowledge"

MOST_BYTES, MOST_FILES = 1_000_000, 100
"""Size of a file, and how many files a pack may have."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_CITED = re.compile(
    r"\[source:[ \t]*([A-Za-z0-9][A-Za-z0-9_-]{0,63})(?:\.md)?[ \t]*\]", re.IGNORECASE
)
_HEADING = re.compile(r"#{1,6}[ \t]+(.*\S)")
_FENCE = re.compile(r"[ ]{0,3}(```|~~~)")
_WORD = re.compile(r"\w+")


def sources_of(hypothesis: str) -> tuple[str, ...]:
    """Return the names of the sources that a hypothesis cites, each once, in lower case."""
    return tuple(dict.fromkeys(name.lower() for name in _CITED.findall(hypothesis)))


@dataclass(frozen=True)
class Passage:
    """A section of a source: a heading, and what stands below it up to the next.

    Attributes:
        source: Name of the source.
        heading: Its heading with those that it lies below, as ``Optimizers > Muon``.
        line: Number of its first line in the file, from 1.
        lines: Its lines, the heading's own among them.
    """

    source: str
    heading: str
    line: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """Its lines as one text."""
        return "\n".join(self.lines).strip("\n")


@dataclass(frozen=True)
class Source:
    """A file of knowledge.

    Attributes:
        name: Its name, in lower case and without ``.md``, as it is cited.
        title: Its first heading, or its name.
        passages: Its sections in their order.
    """

    name: str
    title: str
    passages: tuple[Passage, ...]


def load_knowledge(pack: Pack) -> tuple[Source, ...]:
    """Read the knowledge of a pack; one without a folder of it has none.

    Raises:
        PackError: A file cannot be read, is no UTF-8, or has a name that cannot be cited.
    """
    beside = (pack.root / pack.recipe.folder).parent / FOLDER
    folder = beside if beside.is_dir() else pack.root / FOLDER
    if not folder.is_dir():
        return ()
    if not leads_inside(folder, pack.root):
        raise PackError(f"{folder}: it leads out of the pack's folder")
    files = sorted(path for path in folder.iterdir() if path.suffix == ".md")
    if len(files) > MOST_FILES:
        raise PackError(f"{folder}: {len(files):,} files; at most {MOST_FILES} are read")
    found: dict[str, Source] = {}
    for file in files:
        name = file.stem.lower()
        if not _NAME.fullmatch(file.stem):
            raise PackError(f"{file}: it is cited by its name: letters, digits, _ and - alone")
        if name in found:
            raise PackError(f"{file}: another file has that name, but for upper and lower case")
        if not os.path.isfile(file) or not leads_inside(file, pack.root):
            raise PackError(f"{file}: no file of the pack's own")
        try:
            text = read_limited(file, MOST_BYTES).decode("utf-8-sig")
        except OSError as error:
            raise PackError(f"{file}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise PackError(f"{file}: not text in UTF-8: byte {error.start} is invalid") from None
        passages = tuple(passages_of(name, text))
        title = next((one.heading for one in passages if one.heading), name)
        found[name] = Source(name, title, passages)
    return tuple(found.values())


def passages_of(source: str, text: str) -> Iterator[Passage]:
    """Yield the sections of a Markdown text, each line in exactly one of them.

    Args:
        source: Name of the source.
        text: The text.
    """
    above: list[tuple[int, str]] = []
    heading, first, lines = "", 1, list[str]()
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if mark := _FENCE.match(line):
            fence = "" if fence == mark[1] else fence or mark[1]
        found = None if fence else _HEADING.fullmatch(line.rstrip())
        if found is not None:
            if any(map(str.strip, lines)):
                yield Passage(source, heading, first, tuple(lines))
            depth = len(line) - len(line.lstrip("#"))
            above = [one for one in above if one[0] < depth] + [(depth, found[1])]
            heading, first, lines = " > ".join(name for _, name in above), number, []
        lines.append(line)
    if any(map(str.strip, lines)):
        yield Passage(source, heading, first, tuple(lines))


def search(sources: Iterable[Source], words: str) -> list[Passage]:
    """Return the passages in which words stand, those with most of the words first.

    A word is found at the beginning of another one, too: ``regular`` in ``regularization``. Words
    of a heading count twice.

    Args:
        sources: Where to look.
        words: The words, whatever their case.
    """
    wanted = sorted(set(_WORD.findall(words.lower())))
    passages = [passage for source in sources for passage in source.passages]
    ranked = [(_rank(passage, wanted), place) for place, passage in enumerate(passages)]
    best = sorted(
        (one for one in ranked if one[0] > (0, 0)), key=lambda x: (-x[0][0], -x[0][1], x[1])
    )
    return [passages[place] for _, place in best]


def _rank(passage: Passage, wanted: Sequence[str]) -> tuple[int, int]:
    """Return how many of the words are there, and how often."""
    there = Counter(_WORD.findall(passage.text.lower()))
    there.update(_WORD.findall(passage.heading.lower()))
    often = [sum(many for word, many in there.items() if word.startswith(one)) for one in wanted]
    return sum(many > 0 for many in often), sum(often)
