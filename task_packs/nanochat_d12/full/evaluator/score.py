"""CORE, recomputed from the accuracies that nanochat's evaluation wrote.

    python evaluator/score.py [PREDICTIONS] [ANSWERS]

PREDICTIONS holds log.txt and core.csv; ANSWERS holds the bundle's core.yaml and eval_meta_data.csv.
"""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from pathlib import Path

from core_log import (
    LOG_STEP,
    TABLE_STEP,
    Disagreement,
    Malformed,
    centered,
    demand_agreement,
    demand_arithmetic,
    demand_tasks,
    read_evaluation,
    read_table,
)

MALFORMED, BROKEN_RULE = 3, 4
TASKS = 22
LARGEST = 1_000_000
"""Bytes of a file that is read; nanochat writes some thousands."""

_LABEL = re.compile(
    r"\s*(?:-\s+)?label:\s*(?P<quote>[\"']?)([\w.-]+)(?P=quote)\s*(?:#.*)?", re.ASCII
)


def read_labels(text: str) -> list[str]:
    """The labels in core.yaml, of which nothing else is needed."""
    labels = [row[2] for line in text.splitlines() if (row := _LABEL.fullmatch(line))]
    if len(labels) != TASKS or len(set(labels)) != TASKS:
        sys.exit(f"core.yaml: {len(set(labels))} different labels in {len(labels)}, not {TASKS}")
    return labels


def read_baselines(text: str, labels: list[str]) -> dict[str, float]:
    """Chance in percent, by label, from eval_meta_data.csv."""
    found: dict[str, float] = {}
    for row in csv.DictReader(text.splitlines()):
        label = row["Eval Task"]
        if label in labels:
            if label in found:
                sys.exit(f"eval_meta_data.csv: {label} twice")
            found[label] = float(row["Random baseline"])
    for label in labels:
        if not 0 <= found.get(label, math.nan) < 100:
            sys.exit(f"eval_meta_data.csv: no random baseline for {label}")
    return found


def keys(labels: list[str]) -> dict[str, str]:
    """A key of score.json for each label."""
    found = {label: re.sub(r"\W", "_", label, flags=re.ASCII) for label in labels}
    found = {label: key if key.isidentifier() else f"task_{key}" for label, key in found.items()}
    if len({*found.values(), "core"}) != len(labels) + 1:
        sys.exit("core.yaml: labels that cannot be told apart as keys")
    return found


def read_prediction(path: Path) -> str:
    """The text of a file that a recipe could have written.

    Raises:
        Malformed: It is missing, too long, or no UTF-8.
    """
    try:
        # newline="" keeps a carriage return, which nanochat does not write.
        with path.open(encoding="utf-8", newline="") as file:
            text = file.read(LARGEST + 1)
    except OSError as error:
        raise Malformed(f"{path.name}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Malformed(f"{path.name}: no UTF-8 at byte {error.start}") from error
    if len(text) > LARGEST:
        raise Malformed(f"{path.name}: longer than {LARGEST} characters")
    return text


def score(predictions: Path, labels: list[str], baselines: dict[str, float]) -> dict[str, float]:
    """The centred accuracies by key, and their mean as `core`.

    Raises:
        Malformed: A file is not as nanochat writes it.
        Disagreement: Its numbers do not follow from each other.
    """
    log = read_evaluation(read_prediction(predictions / "log.txt"))
    table = read_table(read_prediction(predictions / "core.csv"))
    demand_tasks(log, labels, "log.txt")
    demand_tasks(table, labels, "core.csv")
    demand_arithmetic(log, baselines, LOG_STEP)
    demand_arithmetic(table, baselines, TABLE_STEP)
    demand_agreement(log, table)
    names = keys(labels)
    found = {
        names[label]: centered(table.tasks[label].accuracy, baselines[label]) for label in labels
    }
    return {"core": math.fsum(found.values()) / TASKS, **found}


def main() -> None:
    """Scores, or says in the exit status why not."""
    given = [Path(name) for name in sys.argv[1:]]
    predictions, answers = [*given, *(Path("predictions"), Path("answers"))[len(given) :]]
    labels = read_labels((answers / "core.yaml").read_text(encoding="utf-8"))
    table = (answers / "eval_meta_data.csv").read_text(encoding="utf-8")
    baselines = read_baselines(table, labels)
    try:
        scores = score(predictions, labels, baselines)
    except Malformed as error:
        print(error, file=sys.stderr)
        sys.exit(MALFORMED)
    except Disagreement as error:
        print(error, file=sys.stderr)
        sys.exit(BROKEN_RULE)
    for name, value in scores.items():
        print(f"{name}: {value:.4f}")
    Path("out/score.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
