"""A small campaign with a known history, for tests of what is told of it."""

from __future__ import annotations

from typing import NamedTuple

from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Edit,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    Proposal,
    SeedRun,
    Status,
)
from recipelab.lineage import LineageStore

FILES = {
    "recipe/train.py": "RATE = 0.1  # knob opt: 0.01 .. 1 log\n",
    "recipe/model.py": "WIDTH = 8  # knob arch: 4 .. 64\n",
}


class Told(NamedTuple):
    """One step of the history."""

    parent: int
    surface: str
    hypothesis: str
    edit: Edit
    outcome: Outcome | None


def measured(status: Status, score: float, accuracy: float = 0.85) -> Outcome:
    """An outcome with one seed run and one gate, at least 0.8."""
    run = SeedRun(1, (PhaseTiming(Phase.TRAIN, 2.0, score, 100.0),), {"train.cpu_seconds": score})
    gate = GateResult("accuracy", accuracy, 0.8, accuracy - 0.8)
    failure = None
    if accuracy < 0.8:
        failure = Failure(None, FailureKind.GATE, "accuracy below #", f"accuracy {accuracy}")
    delta = None if status is Status.BASELINE else score - 10.0
    return Outcome(status, f"it is {status}", (run,), (gate,), score, delta=delta, failure=failure)


def failed(signature: str, kind: FailureKind, excerpt: str) -> Outcome:
    """A crashed trial."""
    failure = Failure(Phase.TRAIN, kind, signature, excerpt, 1)
    return Outcome(Status.CRASHED, f"train: {signature}", failure=failure)


def rate(old: str, new: str) -> Edit:
    """An edit of the rate."""
    knob = "# knob opt: 0.01 .. 1 log"
    return Edit("recipe/train.py", f"RATE = {old}  {knob}", f"RATE = {new}  {knob}")


WIDER = Edit(
    "recipe/model.py", "WIDTH = 8  # knob arch: 4 .. 64", "WIDTH = 16  # knob arch: 4 .. 64"
)
MEMORY = "MemoryError: out of memory in model.py:build"
HISTORY = (
    Told(
        0, "opt", "a larger rate needs fewer steps", rate("0.1", "0.2"), measured(Status.KEPT, 8.0)
    ),
    Told(
        0, "opt", "a smaller rate is stabler", rate("0.1", "0.05"), measured(Status.DISCARDED, 12.0)
    ),
    Told(
        0,
        "arch",
        "a wider network learns faster",
        WIDER,
        failed(MEMORY, FailureKind.OOM, "MemoryError: out of memory"),
    ),
    Told(
        1,
        "opt",
        "a still larger rate",
        rate("0.2", "0.4"),
        measured(Status.GATE_MISSED, 6.0, accuracy=0.78),
    ),
    Told(1, "opt", "a rate in between", rate("0.2", "0.25"), measured(Status.DISCARDED, 9.0)),
    Told(1, "arch", "a wider network again, on the better rate", WIDER, None),
)
"""Trials 1 to 6; trial 0 is the baseline with a score of 10, and lower is better."""


def add_campaign(store: LineageStore, name: str, pack: str = "toy", goal: str = "minimize") -> None:
    """Adds an empty campaign."""
    store.create_campaign(
        name=name,
        pack=pack,
        profile="mini",
        model="offline",
        sandbox="local",
        seed=0,
        trials=10,
        hours=None,
        settings={"metric": {"name": "loss", "unit": "", "goal": goal}},
    )


def propose(
    store: LineageStore,
    campaign: str,
    parent: int,
    hypothesis: str,
    edit: Edit,
    *,
    surface: str = "opt",
    digest: str | None = None,
) -> int:
    """Proposes one edit of a trial's recipe."""
    before = Recipe(store.files(campaign, parent))
    after = before if digest else before.apply([edit], ["recipe/*.py"])
    return store.propose(
        campaign,
        Proposal(surface, surface, parent, hypothesis, -1.0, (edit,)),
        parents=(parent,),
        files=after.files,
        digest=digest or after.digest,
        diff=before.diff(after),
        round_number=None,
    )


def propose_baseline(store: LineageStore, campaign: str) -> None:
    """Proposes the baseline."""
    baseline = Recipe(FILES)
    store.propose(
        campaign,
        Proposal("campaign", "baseline", -1, "the starting recipe", 0.0, ()),
        parents=(),
        files=baseline.files,
        digest=baseline.digest,
        diff="",
        round_number=None,
    )


def tell(store: LineageStore, campaign: str) -> None:
    """Fills a campaign with the history."""
    propose_baseline(store, campaign)
    store.record(campaign, 0, measured(Status.BASELINE, 10.0))
    for step in HISTORY:
        number = propose(
            store, campaign, step.parent, step.hypothesis, step.edit, surface=step.surface
        )
        if step.outcome is not None:
            store.record(campaign, number, step.outcome)
