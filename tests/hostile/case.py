"""One case: edits of a toy recipe, and what must come of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit
from recipelab.packs.pack import Pack

TRAIN, PREDICT = "recipe/train.py", "recipe/predict.py"

ATTEMPT = """
def attempt(what, action):
    try:
        got = action()
    except BaseException as error:
        print("refused", what, type(error).__name__, error)
    else:
        print("BROKE", what, ascii(got)[:300])
"""
"""Tries what must be refused. ``BROKE`` in a log fails the test, whichever case it is."""

NO_HOLE = "discarded"
"""The status of a hostile recipe that was let run and gained nothing."""


@dataclass(frozen=True)
class Case:
    """A recipe that tries something, or is merely odd.

    Attributes:
        name: Its id.
        why: What it tries, or what is odd.
        status: The status that it must get; several with bars between where each is right.
        kind: The kind of its failure, likewise; empty for none.
        evidence: Regular expression that the failure's excerpt or the reason must hold.
        log: Regular expression that the logs of the recipe's phases must hold.
        train: Code at the end of train.py; ``train_first`` is code before it trains.
        predict: Code at the end of predict.py; ``predict_first`` is code before it predicts.
        files: Whole files of the recipe.
        replace: Search and replace in train.py.
        pack: Which toy pack.
        profile: Which of its profiles.
        measures: Bounds on measurements of the seed runs.
        batch: Cases of the same batch run in one trial, as one recipe, because trials take long.
        repeat: How many trials of it run, one after the other; the last one is judged.
    """

    name: str
    why: str
    status: str
    kind: str = ""
    evidence: str = ""
    log: str = ""
    train: str = ""
    train_first: str = ""
    predict: str = ""
    predict_first: str = ""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    replace: tuple[str, str] | None = None
    pack: str = "toy"
    profile: str = "calm"
    measures: Mapping[str, tuple[float, float]] = field(
        default_factory=dict[str, tuple[float, float]]
    )
    batch: str = ""
    repeat: int = 1
    hostile: bool = True

    def recipe(self, pack: Pack, words: Mapping[str, str]) -> Recipe:
        """The edited recipe; ``words`` stand in its code as ``@WORD@``."""
        edits = [Edit(path, None, text) for path, text in self.files.items()]
        if self.replace is not None:
            edits.append(Edit(TRAIN, *self.replace))
        for path, mark, code in (
            (TRAIN, "# first\n", self.train_first),
            (TRAIN, "# last\n", self.train),
            (PREDICT, "# first\n", self.predict_first),
            (PREDICT, "# last\n", self.predict),
        ):
            if code:
                edits.append(Edit(path, mark, f"{_filled(code, words)}\n"))
        return pack.baseline().apply(edits, pack.recipe.editable) if edits else pack.baseline()


def _filled(code: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        code = code.replace(f"@{word}@", value)
    return code


def honest(name: str, why: str, *, status: str = "discarded", **rest: object) -> Case:
    """A case that must never be flagged."""
    return Case(name, why, status, hostile=False, **rest)  # type: ignore[arg-type]
