"""The mean centred accuracy over the tasks, from the distributions of every candidate."""

import json
import math
import sys
from collections import defaultdict
from pathlib import Path

from items import TASKS, centred
from recipelab_scoring import causal

MALFORMED, BROKEN_RULE = 3, 4


def losses(plan, key):
    """For each item its candidates' mean bits, and whether each byte of the first was likeliest."""
    found = defaultdict(dict)
    rows = causal.checked(plan, Path("predictions"))
    for number, (ends, (item, candidate, size)) in enumerate(
        zip(rows, key["windows"], strict=True)
    ):
        pairs = list(zip(ends, plan.window(number)[-plan.last :], strict=True))[-size:]
        mean = math.fsum(causal.bits(row, byte) for row, byte in pairs) / size
        greedy = all(row[byte] == max(row) and row.count(row[byte]) == 1 for row, byte in pairs)
        found[item][candidate] = (mean, greedy)
    return found


def right(candidates):
    """Whether an item is answered: the first candidate alone is the best, or all of it foreseen."""
    first, *others = (candidates[number] for number in sorted(candidates))
    return all(first[0] < other[0] for other in others) if others else first[1]


def main():
    """Scores, or says in the exit status why not."""
    key = json.loads(Path("plan/key.json").read_text())
    try:
        found = losses(causal.Plan.load(Path("plan")), key)
    except causal.MalformedPredictions as error:
        print(error, file=sys.stderr)
        sys.exit(MALFORMED)
    except causal.BrokenRule as error:
        print(error, file=sys.stderr)
        sys.exit(BROKEN_RULE)
    answers = defaultdict(list)
    for item, task in enumerate(key["tasks"]):
        answers[task].append(right(found[item]))
    scores = {}
    for task in TASKS:
        accuracy = sum(answers[task.name]) / len(answers[task.name])
        scores[task.name] = centred(accuracy, task.chance)
        print(f"{task.name}: accuracy {accuracy:.4f}, centred {scores[task.name]:.4f}")
    scores["core"] = math.fsum(scores.values()) / len(scores)
    Path("out/score.json").write_text(json.dumps(scores))


if __name__ == "__main__":
    main()
