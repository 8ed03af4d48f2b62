"""Campaigns of any length in a lineage, as a search leaves them, without a sandbox."""

from __future__ import annotations

import random
from collections.abc import Sequence
from statistics import fmean, stdev

from recipelab.budget import DEVICE
from recipelab.core.trial import (
    Checkpoint,
    Evidence,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    Proposal,
    SeedRun,
    Standing,
    Status,
    Trust,
)
from recipelab.evaluation.metric import METRIC
from recipelab.lineage import LineageStore
from recipelab.lineage.campaigns import TRUST

SURFACES = ("opt", "arch", "aug", "loss")


def run(seed: int, value: float) -> SeedRun:
    """A seed run that measured a value."""
    return SeedRun(seed, (PhaseTiming(Phase.TRAIN, 2.0, 4.0, 100.0),), {METRIC: value})


def measured(status: Status, values: Sequence[float], best: float | None) -> Outcome:
    """An outcome of some seed runs, with a gate that is held or, by its status, missed."""
    score = fmean(values)
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    margin = -0.5 if status is Status.GATE_MISSED else 2.0 + values[0] % 1
    gate = GateResult("accuracy $x^2$ <b>", 94.0 + margin, 94.0, margin, 0.1)
    failure = None
    if status is Status.GATE_MISSED:
        failure = Failure(None, FailureKind.GATE, "accuracy below #", "accuracy 93.5")
    kept = Standing.PROVISIONAL if status is Status.KEPT else None
    return Outcome(
        status,
        f"it is {status}",
        tuple(run(seed, value) for seed, value in enumerate(values)),
        (gate,),
        score,
        score_se=error,
        delta=None if best is None else score - best,
        delta_se=None if best is None else error,
        failure=failure,
        evidence=None if best is None else Evidence(0, 3, 3, standing=kept),
    )


def search(
    store: LineageStore,
    name: str,
    trials: int,
    *,
    goal: str = "minimize",
    surfaces: Sequence[str] = SURFACES,
    seed: int = 3,
    unit: str = "s",
    plan: dict[str, object] | None = None,
    keep: bool = True,
    tokens: int = 900,
    heading: bool = False,
) -> None:
    """Adds a campaign: every fifth trial or so is kept, and a line of three is tested.

    The second test fails, and the line falls back.
    """
    sign = 1.0 if goal == "maximize" else -1.0
    store.create_campaign(
        name=name, pack="toy", profile="mini", model="offline", sandbox="local", seed=seed,
        trials=trials, hours=None,
        settings={
            "metric": {"name": "time", "unit": unit, "goal": goal},
            "plan": plan or {},
            **({TRUST: str(Trust.SELF_REPORTED)} if heading else {}),
        },
    )  # fmt: skip
    rng = random.Random(seed)
    rest = {"files": {"r.py": "x = 1\n"}, "diff": "", "round_number": None}
    store.propose(
        name, Proposal("s", "start", -1, "start", 0.0, ()), parents=(), digest="d", **rest
    )
    level = 10.0

    def values(center: float, many: int = 3) -> list[float]:
        return [rng.gauss(center, 0.15) for _ in range(many)]

    store.record(name, 0, measured(Status.BASELINE, values(level), None))
    head = certified = 0
    line = tests = 0
    for number in range(1, trials + 1):
        surface = surfaces[number % len(surfaces)]
        parent = head if rng.random() < 0.9 else certified
        proposal = Proposal(f"{surface} agent", surface, parent, "an idea", -0.1, ())
        store.propose(name, proposal, parents=(parent,), digest=f"d{number}", **rest)
        draw = rng.random()
        if draw < 0.2 and keep:
            level += sign * level * 0.6 / (9 + number)
            store.record(name, number, measured(Status.KEPT, values(level), level - sign * 0.2))
            head, line = number, line + 1
        elif draw < 0.6 or not keep:
            center = level - sign * rng.expovariate(1.0)
            store.record(name, number, measured(Status.DISCARDED, values(center), level))
        elif draw < 0.75:
            store.record(name, number, measured(Status.GATE_MISSED, values(level), level))
        else:
            failure = Failure(Phase.TRAIN, FailureKind.OOM, "out of memory", "oom", 1)
            status = Status.CRASHED if draw < 0.9 else Status.TRAIN_OVERRUN
            store.record(name, number, Outcome(status, "it failed", failure=failure))
        entry = {"specialist": surface, "completion_tokens": 0, "round_number": None}
        store.add_usage(name, model=DEVICE, prompt_tokens=0, seconds=6.0, **entry)
        if tokens:
            store.add_usage(name, model="m", prompt_tokens=tokens, seconds=1.0, cost=0.01, **entry)
        if line == 3:
            held = tests != 1
            fresh = tuple(run(100 + place, value) for place, value in enumerate(values(level, 6)))
            found = Checkpoint(head, certified, held, not held, "tested", 6, runs=fresh)
            store.add_checkpoint(name, found)
            certified = head if held else certified
            head, line, tests = certified, 0, tests + 1
