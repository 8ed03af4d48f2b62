"""Scores the mean centered accuracy over the tasks, from the distributions of every candidate."""

import json
import math
from collections import defaultdict
from pathlib import Path

from items import TASKS, centered
from recipelab_scoring import causal, write_items, write_score


def losses(plan, key):
    """Return, per item and candidate, the mean bits and whether each byte was the likeliest."""
    found = defaultdict(dict)
    rows = causal.checked_windows(plan)
    for number, (ends, (item, candidate, size)) in enumerate(
        zip(rows, key["windows"], strict=True)
    ):
        pairs = list(zip(ends, plan.window(number)[-plan.last :], strict=True))[-size:]
        mean = math.fsum(causal.bits(row, byte) for row, byte in pairs) / size
        greedy = all(causal.likeliest(row, byte) for row, byte in pairs)
        found[item][candidate] = (mean, greedy)
    return found


def right(candidates):
    """Return whether the first candidate alone is the best or, if it is the only one, foreseen.

    It is the best by a lead that the tolerance of the probes cannot make.
    """
    first, *others = (candidates[number] for number in sorted(candidates))
    return all(causal.cheaper(first[0], other[0]) for other in others) if others else first[1]


def main():
    """Score the answers of every item."""
    key = json.loads(Path("plan/key.json").read_text())
    found = losses(causal.ProbePlan.load(), key)
    answers = defaultdict(list)
    for item, task in enumerate(key["tasks"]):
        answers[task].append(right(found[item]))
    scores = {}
    for task in TASKS:
        accuracy = sum(answers[task.name]) / len(answers[task.name])
        scores[task.name] = centered(accuracy, task.chance)
        print(f"{task.name}: accuracy {accuracy:.4f}, centered {scores[task.name]:.4f}")
    scores["core"] = math.fsum(scores.values()) / len(scores)
    write_score(scores)
    write_items(items_of_core(answers))


def items_of_core(answers):
    """Yield each answer's part in the score, so that their mean is the mean over the tasks."""
    count = sum(map(len, answers.values()))
    for task in TASKS:
        weight = count / (len(TASKS) * len(answers[task.name]))
        yield from (weight * centered(answer, task.chance) for answer in answers[task.name])


if __name__ == "__main__":
    main()
