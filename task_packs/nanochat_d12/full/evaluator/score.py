"""Scores CORE, recomputed from the accuracies that nanochat's evaluation wrote.

    python evaluator/score.py [PREDICTIONS] [ANSWERS]

PREDICTIONS holds log.txt and core.csv; ANSWERS holds the bundle's core.yaml and eval_meta_data.csv.
"""

from __future__ import annotations

import csv
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
from recipelab_scoring import PredictionFile, broken_rule, malformed, write_score

TASKS = 22
LARGEST = 1_000_000
"""Bytes of a file that is read; nanochat writes some thousands."""

_LABEL = re.compile(
    r"\s*(?:-\s+)?label:\s*(?P<quote>[\"']?)([\w.-]+)(?P=quote)\s*(?:#.*)?", re.ASCII
)


def read_labels(text: str) -> list[str]:
    """Return the labels in core.yaml, of which nothing else is needed."""
    labels = [row[2] for line in text.splitlines() if (row := _LABEL.fullmatch(line))]
    if len(labels) != TASKS or len(set(labels)) != TASKS:
        sys.exit(f"core.yaml: {len(set(labels))} different labels in {len(labels)}, not {TASKS}")
    return labels


def read_baselines(text: str, labels: list[str]) -> dict[str, float]:
    """Return the accuracy of guessing in percent, by label, from eval_meta_data.csv."""
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
    """Return a key of score.json for each label."""
    found = {label: re.sub(r"\W", "_", label, flags=re.ASCII) for label in labels}
    found = {label: key if key.isidentifier() else f"task_{key}" for label, key in found.items()}
    if len({*found.values(), "core"}) != len(labels) + 1:
        sys.exit("core.yaml: labels that make the same keys")
    return found


def score(predictions: Path, labels: list[str], baselines: dict[str, float]) -> dict[str, float]:
    """Return the centered accuracies by key, and their mean as `core`.

    Raises:
        Malformed: A file is not as nanochat writes it.
        Disagreement: Its numbers do not follow from each other.
    """
    log = read_evaluation(PredictionFile("log.txt", predictions).read_text(LARGEST))
    table = read_table(PredictionFile("core.csv", predictions).read_text(LARGEST))
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
    """Score the logs of an evaluation, or refuse them."""
    given = [Path(name) for name in sys.argv[1:]]
    predictions, answers = [*given, *(Path("predictions"), Path("answers"))[len(given) :]]
    labels = read_labels((answers / "core.yaml").read_text(encoding="utf-8"))
    table = (answers / "eval_meta_data.csv").read_text(encoding="utf-8")
    baselines = read_baselines(table, labels)
    try:
        scores = score(predictions, labels, baselines)
    except Malformed as error:
        malformed(str(error))
    except Disagreement as error:
        broken_rule(str(error))
    for name, value in scores.items():
        print(f"{name}: {value:.4f}")
    write_score(scores)


if __name__ == "__main__":
    main()
