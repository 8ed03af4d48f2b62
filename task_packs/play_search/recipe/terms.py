"""Cuts texts into terms: what a query and a passage are compared by."""

import re
from collections import Counter

UNIT = "words"  # knob terms: "words" | "grams" | "both"
GRAM = 5  # knob terms: 2 .. 6
EDGES = "bare"  # knob terms: "bare" | "marked"
CASE = "folded"  # knob terms: "kept" | "folded"
STEM = 0  # knob terms: 0 .. 8
GRAM_WEIGHT = 1.0  # knob terms: 0.1 .. 4.0 log

WORD = re.compile("[A-Za-z]+(?:'[A-Za-z]+)*")


def words(text: str) -> list[str]:
    """The words of a text, in order."""
    found = WORD.findall(text if CASE == "kept" else text.lower())
    # A stem is what a word starts with: "lovers" and "loved" share their first four letters.
    return [word[:STEM] for word in found] if STEM else found


def grams(word: str) -> list[str]:
    """All runs of GRAM letters of a word; a shorter word is a run of its own."""
    if EDGES == "marked":
        word = f"<{word}>"
    if len(word) <= GRAM:
        return ["~" + word]
    return ["~" + word[start : start + GRAM] for start in range(len(word) - GRAM + 1)]


def terms(text: str) -> Counter[str]:
    """How often each term occurs in a text."""
    counts: Counter[str] = Counter()
    for word in words(text):
        if UNIT != "grams":
            counts[word] += 1
        if UNIT != "words":
            counts.update(grams(word))
    return counts


def weight_of(term: str) -> float:
    """What a term counts beside others; runs of letters start with a tilde."""
    return GRAM_WEIGHT if term.startswith("~") else 1.0
