"""play_search: ranked lists are scored, what is none is refused with its place, tricks fail."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from recipelab.core import content
from recipelab.core.trial import Edit, Outcome, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.data import ensure_data
from recipelab.packs.load import read_pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

from .scripts import items_of, run_evaluator

PACK = content.shipped_root() / content.TASK_PACKS / "play_search"
TRAIN, PREDICT = "recipe/train.py", "recipe/predict.py"
PLAY = "\n\n".join(
    f"SPEAKER.\nThis is speech {name}, and it holds the words {name} and {name * 2}."
    for name in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota")
)


def scored(
    folder: Path, predictions: bytes | Callable[[Path], None] | None
) -> subprocess.CompletedProcess[str]:
    """Runs the scorer on answers to two queries, over thirty passages; 4 and 30 are right."""
    for name in ("predictions/all", "plan", "out"):
        (folder / name).mkdir(parents=True)
    (folder / "plan" / "passages.txt").write_text("30\n")
    (folder / "plan" / "answers.txt").write_text("4\n30\n")
    path = folder / "predictions" / "all" / "predictions.txt"
    if callable(predictions):
        predictions(path)
    elif predictions is not None:
        path.write_bytes(predictions)
    return run_evaluator(PACK / "evaluator" / "score.py", root=folder)


@pytest.mark.parametrize(
    ("predictions", "mrr", "first"),
    [
        (b"4\n30\n", 1.0, 1.0),
        (b"1 4\n30 2 3\n", 0.75, 0.5),
        (b"1 2 3 5 6 7 8 9 10 4\n1\n", 0.05, 0.0),
        (b"5\n6\n", 0.0, 0.0),
    ],
)
def test_the_score_is_the_mean_reciprocal_rank(
    tmp_path: Path, predictions: bytes, mrr: float, first: float
) -> None:
    done = scored(tmp_path, predictions)
    assert done.returncode == 0, done.stderr
    score = json.loads((tmp_path / "out" / "score.json").read_text())
    assert score == pytest.approx({"mrr": mrr, "first": first})
    assert items_of(tmp_path, 2) == pytest.approx(mrr)


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        (None, "all/predictions.txt: is missing"),
        (b"", "has 0 lines, expected 2"),
        (b"4\n", "has 1 lines, expected 2"),
        (b"4\n30", "line 2: must end in a line end"),
        (b"4\n30\n\n", "has 3 lines, expected 2"),
        (b"4\n\n", "line 2: answer 1: not the number of a passage"),
        (b"4\n30 30\n", "line 2: names a passage twice"),
        (b"1 2 3 4 5 6 7 8 9 10 11\n30\n", "line 1: more than 10 passages"),
        (b"4\n3 31\n", "line 2: answer 2: there are only 30 passages"),
        (b"0\n30\n", "line 1: answer 1: not the number"),
        (b"04\n30\n", "line 1: answer 1: not the number"),
        (b"+4\n30\n", "line 1: answer 1: not the number"),
        (b"4  5\n30\n", "line 1: answer 2: not the number"),
        (b"\xd9\xa4\n30\n", "line 1: answer 1: not the number"),
        (b"nan\n30\n", "line 1: answer 1: not the number"),
        (b"9" * 100 + b"\n30\n", "line 1: is longer than 80 bytes"),
        (b"4\n" * 100, "longer than"),
    ],
)
def test_malformed_answers_are_refused_with_their_place(
    tmp_path: Path, predictions: bytes | None, words: str
) -> None:
    done = scored(tmp_path, predictions)
    assert done.returncode == 3
    assert words in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "score.json").exists()


def link(path: Path) -> None:
    path.symlink_to("../../plan/answers.txt")


@pytest.mark.parametrize("make", [link, Path.mkdir, os.mkfifo])
def test_only_a_plain_file_is_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    done = scored(tmp_path, make)
    assert done.returncode == 3
    assert done.stderr.startswith("all/predictions.txt: ")


def prepared(folder: Path, nonce: int) -> tuple[list[str], list[str], list[int]]:
    """Passages, queries and answers, made from a play of nine speeches."""
    (folder / "hidden").mkdir(parents=True)
    (folder / "hidden" / "play.txt").write_text(PLAY)
    assert run_evaluator(PACK / "evaluator" / "prepare.py", str(nonce), root=folder).returncode == 0
    asked, plan = folder / "out" / "rounds" / "all", folder / "out" / "plan"
    answers = [int(line) for line in (plan / "answers.txt").read_text().split()]
    passages = (asked / "passages.txt").read_text().splitlines()
    assert (plan / "passages.txt").read_text() == f"{len(passages)}\n"
    return passages, (asked / "queries.txt").read_text().splitlines(), answers


def test_questions_hang_on_the_secret_number_alone(tmp_path: Path) -> None:
    passages, queries, answers = prepared(tmp_path / "a", 1)
    assert len(passages) == 9 and len(queries) == len(answers)
    assert set(answers) == set(range(1, 10))
    assert all(len(query.split()) >= 3 for query in queries)
    assert prepared(tmp_path / "b", 1) == (passages, queries, answers)
    other = prepared(tmp_path / "c", 2)
    assert sorted(other[0]) == sorted(passages) and other[0] != passages
    assert other[1] != queries


async def measured(*edits: Edit) -> Outcome:
    """One seed run of the recipe, with edits."""
    pack = read_pack(PACK / "pack.toml")
    recipe = pack.baseline()
    if edits:
        recipe = recipe.apply(list(edits), pack.recipe.editable)
    data = ensure_data(pack, say=lambda text: None)
    async with LocalSandbox() as sandbox:
        evaluator = Evaluator(pack, sandbox, data, pool=SlotPool([ANYWHERE]))
        return await evaluator.measure(recipe, (1,))


@pytest.mark.torch
async def test_the_baseline_is_scored() -> None:
    outcome = await measured()
    assert outcome.status is Status.BASELINE, outcome.reason
    assert outcome.score is not None and 0.25 < outcome.score < 0.45


BEST = '" ".join(str(place + 1) for place in index.best(query))'
READ = "index = Index(passages, learned)"
COUNT = "    holding: Counter[str] = Counter()"


@pytest.mark.torch
@pytest.mark.parametrize(
    ("edit", "status", "words"),
    [
        (Edit(PREDICT, BEST, '"1 1"'), "crashed", "names a passage twice"),
        (Edit(PREDICT, BEST, '"999999"'), "crashed", "there are only"),
        (
            Edit(PREDICT, BEST, '" ".join(map(str, range(1, 12)))'),
            "crashed",
            "more than",
        ),
        (Edit(PREDICT, "for query in queries]", "for query in queries[1:]]"), "crashed", "lines"),
        (
            Edit(PREDICT, READ, f"print(Path('plan/answers.txt').read_text())\n{READ}"),
            "crashed",
            "FileNotFoundError",
        ),
        (
            Edit(TRAIN, COUNT, f"    print(Path('hidden/hamlet_gut.txt').read_bytes())\n{COUNT}"),
            "crashed",
            "FileNotFoundError",
        ),
        (
            Edit(
                TRAIN,
                '(args.out / "table")',
                "(args.out / 'b').write_bytes(bytes(60000))\n    (args.out / \"table\")",
            ),
            "oversize",
            "submission size",
        ),
    ],
)
async def test_it_is_not_won_by_a_trick(edit: Edit, status: str, words: str) -> None:
    outcome = await measured(edit)
    assert outcome.status == status, outcome.reason
    assert outcome.failure is not None
    assert words in outcome.failure.excerpt + outcome.failure.signature + outcome.log_tail
