"""Makes what predict sees: passages of hidden plays, shuffled, and garbled queries for some.

All is drawn with a secret number, so that nobody can foresee a query or work back from its noise.
With ``--control`` the answers are others than the passages that queries were made from.
"""

import random
import re
import sys
from pathlib import Path

QUERIES = 2500
FEWEST_WORDS = 6  # of a passage: shorter ones, as "Exeunt.", are in a play more than once
WINDOW = 14  # words of a passage that a query is made from
KEPT = 0.4  # chance of a word of the window to be in the query
FEWEST_KEPT = 3
MISSPELLED = 0.7  # chance of a word that stays
STRANGERS = 3  # at most so many words of another passage are mixed in
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORD = re.compile("[A-Za-z]+(?:'[A-Za-z]+)*")


def passages_of(play: str) -> list[str]:
    """Return the speeches and stage directions that are long enough, each in one line."""
    parts = (" ".join(part.split()) for part in re.split(r"\n\s*\n", play))
    return [part for part in parts if len(WORD.findall(part)) >= FEWEST_WORDS]


def misspelled(word: str, chance: random.Random) -> str:
    """Return the word with one letter left out, doubled, changed, or swapped with the next."""
    place = chance.randrange(len(word) - 1)
    before, letter, after = word[:place], word[place], word[place + 1 :]
    kind = chance.choice(("drop", "double", "change", "swap"))
    if kind == "drop":
        return before + after
    if kind == "double":
        return before + letter + letter + after
    if kind == "change":
        return before + chance.choice(LETTERS) + after
    return before + after[0] + letter + after[1:]


def garbled(passage: str, other: str, chance: random.Random) -> str:
    """Return a half-remembered passage: some words, in any order, few of them right."""
    all_words = WORD.findall(passage)
    start = chance.randrange(max(1, len(all_words) - WINDOW + 1))
    window = all_words[start : start + WINDOW]
    kept = [word for word in window if chance.random() < KEPT]
    if len(kept) < FEWEST_KEPT:
        kept = chance.sample(window, FEWEST_KEPT)
    kept += chance.sample(WORD.findall(other), chance.randint(0, STRANGERS))
    chance.shuffle(kept)
    noisy = (
        misspelled(word, chance) if len(word) > 3 and chance.random() < MISSPELLED else word
        for word in kept
    )
    return " ".join(noisy).lower()


def main() -> None:
    """Write one round of questions about the hidden plays, and the plan with its answers."""
    chance = random.Random(int(sys.argv[1]))
    plays = sorted(Path("hidden").glob("*.txt"))
    passages = [part for play in plays for part in passages_of(play.read_text(encoding="latin-1"))]
    chance.shuffle(passages)
    targets = [chance.randrange(len(passages)) for _ in range(QUERIES)]
    queries = [garbled(passages[target], chance.choice(passages), chance) for target in targets]
    asked, plan = Path("out/rounds/all"), Path("out/plan")
    asked.mkdir(parents=True)
    plan.mkdir(parents=True)
    (asked / "passages.txt").write_text("".join(f"{passage}\n" for passage in passages))
    (asked / "queries.txt").write_text("".join(f"{query}\n" for query in queries))
    if "--control" in sys.argv:
        targets = [chance.randrange(len(passages)) for _ in targets]
    (plan / "passages.txt").write_text(f"{len(passages)}\n")
    (plan / "answers.txt").write_text("".join(f"{target + 1}\n" for target in targets))


if __name__ == "__main__":
    main()
