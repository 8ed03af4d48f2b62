"""A script's own cross-validation becomes folds that the evaluator makes, or it is said why not."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.adopt.files import DataPlace
from recipelab.adopt.folds import SCORES, Folds, NoFolds, folds_of, score_of
from recipelab.adopt.writing import TEMPLATES
from recipelab.packs.load import load_pack

from .conftest import LOCAL, Cli

HEAD = "import csv\n\nimport numpy as np\nfrom sklearn.model_selection import KFold\n\n"
LOOP = """
rows = read()
y = rows["spend"]
for fold, (tr, va) in enumerate(KFold(n_splits=4, shuffle=True).split(rows, y)):
    x_train, x_valid = rows[tr], rows[va]
    model.fit(x_train, y[tr])
    guess = model.predict(
        x_valid
    )
    print(score(y[va], guess))
print("cv_rmse", 1.0)
"""
TAKEN = """
rows = read()
y = rows["spend"]
for fold, (tr, va) in enumerate(recipelab_fold.split()):
    x_train, x_valid = rows[tr], rows[va]
    model.fit(x_train, y[tr])
    guess = model.predict(
        x_valid
    )
    recipelab_fold.predicted(guess)
    print(score(y[va], guess))
print("cv_rmse", 1.0)
"""


@pytest.fixture
def table(tmp_path: Path) -> DataPlace:
    """A table of a hundred rows with answers in the middle, and a group."""
    draw = random.Random(0)
    lines = ["size,spend,shop,age"]
    lines += [f"{place},{draw.random():.3f},{place % 9},{place % 7}" for place in range(100)]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    return DataPlace(path, "data/rows.csv", False, 1, path.stat().st_size)


def rewritten(table: DataPlace, text: str, target: str | None = None) -> Folds:
    return folds_of("train.py", text, [table], "cv_rmse", target)


def test_a_splitter_gives_the_one_fold_and_predictions_are_taken(table: DataPlace) -> None:
    found = rewritten(table, HEAD + LOOP)
    assert found.text == HEAD.rstrip() + "\nimport recipelab_fold\n\n" + TAKEN
    assert (found.count, found.target, found.group, found.score) == (4, "spend", "", "rmse")
    assert found.deals == 20


def test_predictions_out_of_fold_are_taken_where_they_are_assigned(table: DataPlace) -> None:
    text = LOOP.replace("guess = model", "oof[va] = model").replace(
        "y[va], guess", "y[va], oof[va]"
    )
    assert "    )\n    recipelab_fold.predicted(oof[va])\n" in rewritten(table, HEAD + text).text


def test_groups_stay_together_and_are_named(table: DataPlace) -> None:
    grouped = HEAD + LOOP.replace("KFold(", "GroupKFold(")
    named = grouped.replace("split(rows, y)", 'split(rows, y, groups=rows["shop"])')
    assert rewritten(table, named).group == "shop"
    with pytest.raises(NoFolds, match="no column is named as groups="):
        rewritten(table, grouped)


def test_cross_val_score_trains_one_fold(table: DataPlace) -> None:
    text = HEAD + 'scores = cross_val_score(SVC(), x, y, cv=3, scoring="roc_auc")\n'
    found = rewritten(table, text, "age")
    assert 'scores = recipelab_fold.cross_val(SVC(), x, y, cv=3, scoring="roc_auc")' in found.text
    assert (found.count, found.target, found.probabilities) == (3, "age", True)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("KFold(", "TimeSeriesSplit(", "folds would train on the future"),
        ("model.fit(", "lgb.cv(", "lightgbm.cv and xgboost.cv give no predictions"),
        ("model.fit(", "GridSearchCV(", "chooses by its own folds"),
        (
            "guess = model.predict",
            "guess = model.told",
            "no line of the loop assigns what is predicted",
        ),
        ("for fold", "for tr, va in KFold(3).split(rows):\n    pass\nfor fold", "found 2"),
        (".split(", ".parts(", "found 0"),
        ("rows = read()", "rows = read(", "no Python that can be read"),
    ],
)
def test_what_cannot_be_rewritten_says_why(table: DataPlace, old: str, new: str, why: str) -> None:
    with pytest.raises(NoFolds, match=why):
        rewritten(table, HEAD + LOOP.replace(old, new))


def test_what_cannot_be_dealt_says_why(table: DataPlace, tmp_path: Path) -> None:
    with pytest.raises(NoFolds, match="valid: size, spend, shop, age"):
        rewritten(table, HEAD + LOOP, "price")
    with pytest.raises(NoFolds, match="from one table"):
        folds_of("train.py", HEAD + LOOP, [], "cv_rmse")
    with pytest.raises(NoFolds, match="cannot compute 'gini' itself; print one of rmse, mse"):
        folds_of("train.py", HEAD + LOOP, [table], "gini")
    table.path.write_text("size,spend\n1,2\n")
    with pytest.raises(NoFolds, match="at least twenty rows"):
        rewritten(table, HEAD + LOOP)


def test_what_a_metric_is_called_says_what_is_computed() -> None:
    names = {
        "CV RMSE": "rmse",
        "val_acc": "accuracy",
        "mean_squared_error": "mse",
        "roc-auc": "auc",
    }
    names |= {"oof_logloss": "logloss", "error": "error", "test_mae": "mae", "r2": "r2"}
    assert {name: score_of(name) for name in names} == names
    assert set(names.values()) == set(SCORES)


# What the evaluator's scripts make of a table.


def ran(folder: Path, script: str, *words: str) -> None:
    subprocess.run([sys.executable, script, *words], cwd=folder, check=True, capture_output=True)


def test_rows_are_dealt_by_the_secret(table: DataPlace, tmp_path: Path) -> None:
    """Every row is hidden once in each deal, the hold-out never; no hidden answer is in a table."""
    shape = repr((3, 2, "spend", "shop"))
    text = (TEMPLATES / "folds/draw.py.in").read_text().replace("TABLE_SHAPE", shape)
    made: list[list[bytes]] = []
    for number, secret in enumerate(("5", "5", "6")):
        work = tmp_path / str(number)
        for folder in ("pool", "out"):
            (work / folder).mkdir(parents=True)
        (work / "pool/rows.csv").write_bytes(table.path.read_bytes())
        (work / "draw.py").write_text(text)
        ran(work, "draw.py", secret)
        made.append([path.read_bytes() for path in sorted((work / "out").iterdir())])
    assert made[0] == made[1] != made[2]
    with open(table.path) as file:
        _, *rows = csv.reader(file)
    true = {row[0]: row[1] for row in rows}
    out = tmp_path / "0/out"
    hidden: dict[int, list[str]] = {0: [], 1: []}
    held_out: set[tuple[str, ...]] = set()
    for fold in range(6):
        with open(out / f"table-{fold}.csv") as file:
            _, *found = csv.reader(file)
        count, asked = map(int, (out / f"fold-{fold}.txt").read_text().split())
        assert count + asked == len(found) == 100
        shown, told = found[:count], found[count:]
        assert all(row[1] == true[row[0]] for row in shown)
        assert not {row[2] for row in shown} & {row[2] for row in told}, "a group was torn"
        for name in ("holdout", "answers"):
            facts = json.loads((out / f"{name}-{fold}.json").read_text())
            mine = told[facts["begin"] : facts["begin"] + len(facts["answers"])]
            assert [true[row[0]] for row in mine] == facts["answers"]
            assert facts["asked"] == asked
            if name == "answers":
                hidden[fold // 3] += [row[0] for row in mine]
            else:
                held_out.add(tuple(row[0] for row in mine))
        assert sum(row[1] == true[row[0]] for row in told) < 3, "by chance alone"
    assert len(held_out) == 1
    apart = set(held_out.pop())
    for deal in hidden.values():
        assert len(deal) == len(set(deal)) and set(deal) == set(true) - apart


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2))
def test_auc_counts_pairs(pairs: list[tuple[float, bool]]) -> None:
    """As its definition has it: the share of pairs in the right order, ties half."""
    text = (TEMPLATES / "folds/score.py.in").read_text().partition("write_score({")[0]
    begin = text.index("def auc")
    space: dict[str, object] = {"numbers": lambda: zip(*pairs, strict=True)}
    exec(text[begin : text.index("def accuracy")], space)
    auc = space["auc"]
    assert callable(auc)
    ones = [guess for guess, answer in pairs if answer]
    others = [guess for guess, answer in pairs if not answer]
    wins = sum((one > other) + (one == other) / 2 for one in ones for other in others)
    wanted = wins / (len(ones) * len(others)) if ones and others else 0.5
    assert auc() == pytest.approx(wanted)


LEAKS = """
import csv
import numpy as np

rows = list(csv.DictReader(open("rows.csv")))
x, y = (np.array([float(row[name]) for row in rows]) for name in ("a", "b"))
order = np.random.default_rng(3).permutation(len(y))


class Mean:
    def predict(self, x):
        return x * 0 + y.mean()


model = Mean()
if __name__ == "__main__":
    for fold in range(5):
        held = order[fold::5]
        rest = np.setdiff1d(order, held)
        guess = model.predict(x[held])
    print("rmse:", ((y - y.mean()) ** 2).mean() ** 0.5)
"""


@pytest.mark.slow
@pytest.mark.campaign
def test_a_script_that_looks_at_hidden_answers_keeps_its_folds(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    draw = random.Random(1)
    rows = "".join(f"{draw.random():.4f},{draw.gauss(0, 1):.4f}\n" for _ in range(60))
    (folder / "rows.csv").write_text(f"a,b\n{rows}")
    (folder / "train.py").write_text(LEAKS)
    done = cli("packs", "adopt", folder, "--yes", "--json", *LOCAL)
    assert done.stdout, done.output
    facts = json.loads(done.stdout)
    assert (facts["trust"], facts["folds"]) == ("self-reported", None), done.output
    assert load_pack("repository").folds is None
    (note,) = [note for note in facts["notes"] if note.startswith("Folds")]
    assert "its predictions hang on the hidden answers, if those are column b" in note
