"""Makes small tasks for language models out of a play that no recipe has seen.

They have the formats of CORE (DataComp-LM, Li et al., 2024): of several continuations of one
context the least surprising byte for byte is taken; or of several contexts of one continuation; or
every byte of a continuation has to be the likeliest one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

LENGTH = 64
"""Bytes of a window; a continuation ends where its window ends."""
SPAN = 24
"""Bytes of the longest continuation."""
EACH = 80
"""Items of a task."""

SMALL_WORDS = ("of", "to", "in", "by", "on", "as", "at", "or")
LINE_ENDS = (",\n", ".\n", "?\n", ";\n")

Candidates = tuple[tuple[bytes, bytes], ...]
Maker = Callable[[str, "re.Match[str]", random.Random], Candidates | None]


@dataclass(frozen=True)
class Item:
    """One question.

    Attributes:
        task: Name of its task.
        candidates: Pairs of context and continuation, the right one first.
    """

    task: str
    candidates: Candidates


@dataclass(frozen=True)
class Task:
    """A kind of question.

    Attributes:
        name: Its name.
        chance: Share of right answers that guessing gives.
        places: What in a play it can be made of.
        make: Makes the candidates of a place; ``None`` if the place does not serve.
    """

    name: str
    chance: float
    places: re.Pattern[str]
    make: Maker


def centered(accuracy: float, chance: float) -> float:
    """Return an accuracy on the scale where guessing is 0 and perfection 1, as CORE has it."""
    return (accuracy - chance) / (1.0 - chance)


def continued(text: str, start: int, choices: list[str], after: int = 0) -> Candidates | None:
    """Return choices in the place of the first of them, each with the same bytes behind it."""
    end = start + len(choices[0])
    tail = text[end : end + after]
    if len(set(choices)) < len(choices) or any(len(choice + tail) > SPAN for choice in choices):
        return None
    context = text[start - LENGTH : start].encode()
    return tuple((context, (choice + tail).encode()) for choice in choices)


def word_order(text: str, place: re.Match[str], chance: random.Random) -> Candidates | None:
    """Make candidates: words as they stand, or shuffled."""
    words = place[0].split(" ")
    mixed = " ".join(chance.sample(words, len(words)))
    return continued(text, place.start(), [place[0], mixed])


def spelling(text: str, place: re.Match[str], chance: random.Random) -> Candidates | None:
    """Make candidates: a word, or the word with two inner letters swapped."""
    word = place[0]
    swaps = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, len(word) - 2)}
    wrong = sorted(swaps - {word})
    return continued(text, place.start(), [word, *sampled(wrong, chance)], 2) if wrong[2:] else None


def small_word(text: str, place: re.Match[str], chance: random.Random) -> Candidates | None:
    """Make candidates: a word of two letters, or others in its place."""
    others = [word for word in SMALL_WORDS if word != place[0]]
    return continued(text, place.start(), [place[0], *sampled(others, chance)], 12)


def next_word(text: str, place: re.Match[str], chance: random.Random) -> Candidates | None:
    """Make candidates: a word, or words of its length from elsewhere in the play."""
    word = place[0]
    others = sorted(set(re.findall(rf"\b[a-z]{{{len(word)}}}\b", text)) - {word})
    return (
        continued(text, place.start(), [word, *sampled(others, chance)], 4) if others[2:] else None
    )


def line_end(text: str, place: re.Match[str], _: random.Random) -> Candidates | None:
    """Make candidates: the mark at the end of a line, or others."""
    others = [mark for mark in LINE_ENDS if mark != place[0]]
    return continued(text, place.start(), [place[0], *others], 8)


def capital(text: str, place: re.Match[str], _: random.Random) -> Candidates | None:
    """Make candidates: a word with and without a capital."""
    return continued(text, place.start(), [place[0], place[0].swapcase()], 8)


def context(text: str, place: re.Match[str], chance: random.Random) -> Candidates | None:
    """Make candidates: the context of a continuation, or another one."""
    start = place.start()
    other = text.find(" ", chance.randrange(LENGTH, len(text) - LENGTH)) + 1
    if other < LENGTH:
        return None
    continuation = text[start : start + SPAN].encode()
    befores = (text[at - LENGTH : at].encode() for at in (start, other))
    return tuple((before, continuation) for before in befores)


def word_end(text: str, place: re.Match[str], _: random.Random) -> Candidates | None:
    """Make one candidate: the last two letters of a word."""
    return continued(text, place.end() - 2, [place[0][-2:]])


def last_letter(text: str, place: re.Match[str], _: random.Random) -> Candidates | None:
    """Make one candidate: the last letter of a word, and its end."""
    return continued(text, place.end() - 1, [place[0][-1:]], 1)


def sampled(others: list[str], chance: random.Random) -> list[str]:
    """Return three of the wrong choices."""
    return chance.sample(others, 3)


def pattern(text: str) -> re.Pattern[str]:
    """Return a compiled pattern."""
    return re.compile(text)


TASKS = (
    Task("word_order", 0.5, pattern(r"(?<= )\w+(?: \w+){3,4}(?=\W)"), word_order),
    Task("spelling", 0.25, pattern(r"\b[a-z]{5,9}\b"), spelling),
    Task("small_word", 0.25, pattern(rf"(?<= )(?:{'|'.join(SMALL_WORDS)})(?= )"), small_word),
    Task("next_word", 0.25, pattern(r"(?<= )[a-z]{4,8}\b"), next_word),
    Task("line_end", 0.25, pattern(r"[,.?;]\n(?=[A-Z])"), line_end),
    Task("capital", 0.5, pattern(r"(?<=[ \n])[A-Za-z](?=[a-z]{2})"), capital),
    Task("context", 0.5, pattern(r"(?<= )[a-z]+ [a-z]"), context),
    Task("word_end", 0.0, pattern(r"\b[a-z]{5,9}\b"), word_end),
    Task("last_letter", 0.0, pattern(r"\b[a-z]{4,9}\b"), last_letter),
)


def items_of(text: str) -> Iterator[Item]:
    """Yield the items of all tasks, from places all over a play; the same each time."""
    for task in TASKS:
        chance = random.Random(task.name)
        places = list(task.places.finditer(text, LENGTH, len(text) - LENGTH))
        shuffled = chance.sample(places, len(places))
        made = (task.make(text, place, chance) for place in shuffled)
        found = (Item(task.name, candidates) for candidates in made if candidates is not None)
        yield from islice(found, EACH)
