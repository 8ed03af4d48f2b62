"""Turns a script's own cross-validation into folds that the evaluator makes.

The script keeps its code: its splitter gives the one fold that lies in the table, and the
predictions for the rows that are held out are written down. Their answers are not in the table, so
nothing hangs on how well the script was understood: what is scored, no recipe has seen. Whether it
was understood is tried (:func:`table_of`): other stand-ins for the hidden answers must change
nothing, and other answers of the training rows must change the predictions.
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipelab.adopt.files import DataPlace
from recipelab.core.errors import RecipelabError
from recipelab.packs.pack import MOST_FOLDS

HELPER = "recipelab_fold"
"""The module of a recipe that gives the fold, and takes the predictions."""
DIGEST = f"{HELPER}: predictions "
"""What it prints before the digest of the predictions."""
COUNTS = f"{HELPER}.txt"
"""The file that says how many rows are trained on and held out."""
MOST_BYTES = 100_000_000
"""Size of a table that is dealt into folds, once for each fold."""
MOST_DEALS = 20
_DEALT_BYTES = 200_000_000
"""Size of the folds of all deals together."""
_USUAL = 5
_SPLITTERS = ("split",)
_SCORERS = ("cross_val_score", "cross_val_predict", "cross_validate")
_NO_PREDICTIONS = {
    "cv": "lightgbm.cv and xgboost.cv give no predictions: train in a loop over KFold().split()",
    "TimeSeriesSplit": "TimeSeriesSplit orders rows by time, and folds would train on the future: "
    "hide the last rows, and use --to isolated",
    "GridSearchCV": "GridSearchCV chooses by its own folds: make its values knobs",
    "RandomizedSearchCV": "RandomizedSearchCV chooses by its own folds: make its values knobs",
}
_ANSWERS = re.compile(
    r"(?:[ysY]|targets?|labels?|answers?)(?:_?(?:all|full|train|col(?:umn)?|name))?", re.I
)
SCORES = {
    "rmse": re.compile(r"rmse|root_mean"),
    "mse": re.compile(r"mse|mean_squared|squared_error|brier"),
    "mae": re.compile(r"mae|mean_abs|abs(?:olute)?_error"),
    "r2": re.compile(r"(?:^|_)r2|r_squared"),
    "logloss": re.compile(r"log_?loss|nll|cross_?entropy|bce"),
    "auc": re.compile(r"auc"),
    "accuracy": re.compile(r"acc"),
    "error": re.compile(r"err"),
}
"""What the evaluator can compute itself, by what a metric's name says."""


class NoFolds(RecipelabError):
    """A cross-validation that cannot be rewritten safely; says why, and what would help."""


@dataclass(frozen=True)
class Folds:
    """A cross-validation that the evaluator makes.

    Attributes:
        path: The script that has it.
        text: The script with the evaluator's fold in place of its own.
        count: How many folds of a deal.
        deals: How many times the rows are dealt.
        table: The table that is dealt.
        target: Its column of answers.
        group: Its column of groups that stay together; empty without one.
        probabilities: Whether a model of scikit-learn is asked for probabilities.
        score: What is computed; see :data:`SCORES`.
    """

    path: str
    text: str
    count: int
    deals: int
    table: DataPlace
    target: str
    group: str
    probabilities: bool
    score: str


def score_of(metric: str) -> str:
    """Return what the evaluator computes for a metric of a name.

    Raises:
        NoFolds: It can compute nothing of that name.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", metric.lower())
    for score, pattern in SCORES.items():
        if pattern.search(plain):
            return score
    raise NoFolds(
        f"the evaluator cannot compute {metric!r} itself; print one of {', '.join(SCORES)}"
    )


def folds_of(
    path: str, text: str, data: list[DataPlace], metric: str, target: str | None = None
) -> Folds:
    """Rewrite a script that cross-validates.

    Args:
        path: The script, below the repository's root.
        text: Its text.
        data: What it reads.
        metric: The name under which it prints its score.
        target: The column of answers; ``None`` for what the script says.

    Raises:
        NoFolds: It cannot be rewritten safely.
    """
    tables = [item for item in data if not item.folder and item.path.suffix in (".csv", ".tsv")]
    if len(tables) != 1:
        found = ", ".join(item.target for item in tables) or "(none)"
        raise NoFolds(f"rows are dealt from one table, a .csv or .tsv file; found: {found}")
    (table,) = tables
    if table.bytes > MOST_BYTES:
        raise NoFolds(f"{table.target} is larger than {MOST_BYTES // 10**6} MB; deal it yourself")
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise NoFolds(f"{path} is no Python that can be read: {error}") from None
    for name, why in _NO_PREDICTIONS.items():
        if any(_called(node) == name for node in ast.walk(tree)):
            raise NoFolds(why)
    head = read_table(table.path)[0]
    if target is not None and target not in head:
        raise NoFolds(
            f"--target: {table.target} has no column {target!r}; valid: {', '.join(head)}"
        )
    rewriting = _Rewriting(text)
    rewriting.rewrite(tree)
    group = _group(tree, head) if rewriting.grouped else ""
    count = rewriting.count or _USUAL
    if count > MOST_FOLDS:
        raise NoFolds(f"{count} folds are too many: at most {MOST_FOLDS}")
    return Folds(
        path,
        rewriting.result(),
        count,
        max(1, min(MOST_DEALS, MOST_FOLDS // count, _DEALT_BYTES // max(1, table.bytes * count))),
        table,
        target or _target(tree, head),
        group,
        rewriting.probabilities,
        score_of(metric),
    )


class _Rewriting:
    """Changes of a script's text, by places; the rest of it stays as it is."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.count: int | None = None
        self.grouped = self.probabilities = False
        self._changes: list[tuple[int, int, int, int, str]] = []
        self._behind: dict[int, str] = {}

    def rewrite(self, tree: ast.Module) -> None:
        """Find the cross-validation and change it.

        Raises:
            NoFolds: There is none, more than one, or one whose predictions cannot be found.
        """
        self.count = _split_count(tree)
        self.grouped = any(
            _called(node) in ("GroupKFold", "StratifiedGroupKFold") for node in ast.walk(tree)
        )
        loops = [
            node for node in ast.walk(tree) if isinstance(node, ast.For) and self._indices(node)
        ]
        calls = [node for node in ast.walk(tree) if _called(node) in _SCORERS]
        if len(loops) + len(calls) != 1:
            raise NoFolds(
                "one loop over folds is needed, as 'for rest, held in KFold(5).split(rows):', or "
                f"one cross_val_score; found {len(loops) + len(calls)}"
            )
        for call in calls:
            assert isinstance(call, ast.Call)
            if len(call.args) < 3:
                raise NoFolds(f"line {call.lineno}: give model, inputs and answers by position")
            scoring = " ".join(_words(call))
            self.probabilities = re.search("auc|log_loss|predict_proba", scoring) is not None
            self._replace(call.func, f"{HELPER}.cross_val")
        for loop in loops:
            self._loop(loop)
        self._import(tree)

    def result(self) -> str:
        """Return the changed text."""
        for line, begin, last, end, new in sorted(self._changes, reverse=True):
            tail = self.lines[last - 1].encode()[end:].decode()
            head = self.lines[line - 1].encode()[:begin].decode()
            self.lines[line - 1 : last] = [head + new + tail, *[""] * (last - line)]
        for number in sorted(self._behind, reverse=True):
            self.lines.insert(number, self._behind[number])
        return "\n".join(self.lines)

    def _replace(self, node: ast.expr, new: str) -> None:
        assert node.end_lineno is not None and node.end_col_offset is not None
        place = node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
        self._changes.append((*place, new))

    def _indices(self, loop: ast.For) -> tuple[str, str] | None:
        """Return the names of the rows to train on and of those held out, in a loop over folds."""
        call = _unwrapped(loop.iter)
        if _called(call) in _SPLITTERS:
            target = loop.target
            pairs = [node for node in ast.walk(target) if isinstance(node, ast.Tuple)]
            names = (
                [node.id for node in pairs[-1].elts if isinstance(node, ast.Name)] if pairs else []
            )
            return (names[0], names[1]) if len(names) == 2 else None
        own = _own_split(loop)
        return (own[0].targets[0].id, own[1].targets[0].id) if own else None  # type: ignore[attr-defined]

    def _loop(self, loop: ast.For) -> None:
        names = self._indices(loop)
        assert names is not None
        call = _unwrapped(loop.iter)
        if _called(call) in _SPLITTERS:
            self._replace(call, f"{HELPER}.split()")
        else:
            own = _own_split(loop)
            assert own is not None and isinstance(loop.iter, ast.Call)
            self.count = self.count or _number(loop.iter.args[-1])
            self._replace(loop.iter, "range(1)")
            for statement, function in zip(own, ("rest", "held"), strict=True):
                self._replace(statement.value, f"{HELPER}.{function}()")
        self._take_predictions(loop, names[1])

    def _take_predictions(self, loop: ast.For, held: str) -> None:
        """Write down what is predicted for the rows that are held out, where it is made."""
        tables, found = {held}, None
        for statement in (node for part in loop.body for node in ast.walk(part)):
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                continue
            target = statement.targets[0]
            if _predicts(statement.value, tables):
                found = found or (statement, target)
            elif isinstance(target, ast.Name) and _names(statement.value) & tables:
                tables.add(target.id)
            elif isinstance(target, ast.Tuple):
                for name, value in zip(
                    target.elts, getattr(statement.value, "elts", ()), strict=False
                ):
                    if isinstance(name, ast.Name) and _names(value) & tables:
                        tables.add(name.id)
        if found is None:
            raise NoFolds(
                f"line {loop.lineno}: no line of the loop assigns what is predicted for {held!r}, "
                f"as 'guess = model.predict(inputs[{held}])'"
            )
        statement, target = found
        line = self.lines[statement.lineno - 1]
        space = line[: len(line) - len(line.lstrip())]
        assert statement.end_lineno is not None
        self._behind[statement.end_lineno] = f"{space}{HELPER}.predicted({ast.unparse(target)})"

    def _import(self, tree: ast.Module) -> None:
        imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        last = imports[-1] if imports else None
        number = (last.end_lineno or 0) if last is not None else 0
        self._behind[number] = f"import {HELPER}"


def _called(node: ast.AST) -> str:
    """Return the last name of what is called; empty for what is no call."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _unwrapped(node: ast.expr) -> ast.expr:
    """Return what ``enumerate``, ``tqdm`` or ``list`` go through."""
    while (
        isinstance(node, ast.Call) and _called(node) in ("enumerate", "tqdm", "list") and node.args
    ):
        node = node.args[0]
    return node


def _names(node: ast.AST) -> set[str]:
    return {item.id for item in ast.walk(node) if isinstance(item, ast.Name)}


def _words(node: ast.AST) -> Iterator[str]:
    for item in ast.walk(node):
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value


def _number(node: ast.expr) -> int | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else None


def _own_split(loop: ast.For) -> tuple[ast.Assign, ast.Assign] | None:
    """Return where a loop over ``range`` says which rows train, and which are held out."""
    if _called(loop.iter) != "range" or not isinstance(loop.target, ast.Name):
        return None
    made: dict[str, ast.Assign] = {}
    for statement in loop.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        if _called(statement.value) == "setdiff1d" and isinstance(statement.value, ast.Call):
            taken = statement.value.args[1]
            if isinstance(taken, ast.Name) and taken.id in made:
                return statement, made[taken.id]
        elif isinstance(statement.value, ast.Subscript) and loop.target.id in _names(
            statement.value
        ):
            made[statement.targets[0].id] = statement
    return None


def _predicts(value: ast.expr, tables: set[str]) -> bool:
    """Return whether a value is what a model says of the rows that are held out."""
    calls = [node for node in ast.walk(value) if isinstance(node, ast.Call)]
    return any(
        re.search("predict|infer|forward|decision_function", _called(call)) is not None
        and any(_names(argument) & tables for argument in call.args)
        for call in calls
    )


def _split_count(tree: ast.Module) -> int | None:
    """Return how many folds a script makes, by its splitter, ``cv``, or an option."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        keys = {word.arg: word.value for word in node.keywords}
        if "KFold" in _called(node):
            found = keys.get("n_splits") or (node.args[0] if node.args else None)
        elif _called(node) in _SCORERS:
            found = keys.get("cv")
        elif _called(node) == "add_argument" and re.search("fold|split", " ".join(_words(node))):
            found = keys.get("default")
        else:
            continue
        if found is not None and (number := _number(found)) is not None and number >= 2:
            return number
    return None


def _target(tree: ast.Module, head: list[str]) -> str:
    """Return the column of answers: what is assigned to ``y`` and the like, else the last."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and _ANSWERS.fullmatch(name.id) for name in node.targets
        ):
            named = [word for word in _words(node.value) if word in head]
            if len(named) == 1:
                return named[0]
    return head[-1]


def _group(tree: ast.Module, head: list[str]) -> str:
    """Return the column of groups, by what ``groups`` is."""
    named = [
        word
        for node in ast.walk(tree)
        for value in (
            [key.value for key in node.keywords if key.arg == "groups"]
            if isinstance(node, ast.Call)
            else [node.value]
            if isinstance(node, ast.Assign) and "group" in ast.unparse(node.targets[0]).lower()
            else []
        )
        for word in _words(value)
        if word in head
    ]
    if not named:
        raise NoFolds(
            "rows of a group stay together, and no column is named as groups=rows['NAME']"
        )
    return named[0]


def read_table(path: Path) -> list[list[str]]:
    """Return the rows of a table, its head first.

    Raises:
        NoFolds: It is no table with a head in UTF-8.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            dialect = csv.Sniffer().sniff(file.readline(), ",;\t|")
            file.seek(0)
            rows = [row for row in csv.reader(file, dialect) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NoFolds(f"{path.name}: no table that can be read: {error}") from None
    if len(rows) < 20 or len({len(row) for row in rows}) > 1:
        raise NoFolds(f"{path.name}: a head and at least twenty rows of the same length are needed")
    return rows


StandIn = Callable[[list[str], int], str]


def table_of(
    folds: Folds, folder: Path, *, told: StandIn, known: StandIn | None = None
) -> list[DataPlace]:
    """Write one fold as the evaluator would, to try the script on it.

    Args:
        folds: The folds.
        folder: Where the files are written.
        told: Gives the answer that stands in for a hidden one, by all answers and its place.
        known: Gives the answer of a training row in place of its own; ``None`` leaves that.

    Returns:
        The table and its counts, at the places where the script looks for them.
    """
    head, *rows = read_table(folds.table.path)
    target = head.index(folds.target)
    size = len(rows) // folds.count
    shown, held = [row[:] for row in rows[size:]], [row[:] for row in rows[:size]]
    answers = [row[target] for row in shown]
    for place, row in enumerate(held):
        row[target] = told(answers, place)
    if known is not None:
        for place, row in enumerate(shown):
            row[target] = known(answers, place)
    folder.mkdir(parents=True, exist_ok=True)
    path, counts = folder / folds.table.path.name, folder / COUNTS
    with open(folds.table.path, newline="", encoding="utf-8-sig") as file:
        dialect = csv.Sniffer().sniff(file.readline(), ",;\t|")
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, dialect, lineterminator="\n").writerows([head, *shown, *held])
    counts.write_text(f"{len(shown)} {len(held)}\n", "utf-8")
    return [
        DataPlace(path, folds.table.target, False, 1, path.stat().st_size),
        DataPlace(counts, COUNTS, False, 1, counts.stat().st_size),
    ]
