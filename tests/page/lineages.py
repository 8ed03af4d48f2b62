"""Lineages to be shown: a campaign with a trial of each kind, a turn, a chat and a test."""

from __future__ import annotations

from typing import Any

from recipelab.core.trial import (
    Checkpoint,
    Edit,
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
)
from recipelab.lineage import LineageStore, NewMessage
from recipelab.lineage.lookup import METRIC

CAMPAIGN = "night-1"

HOSTILE = "</script><!--<img src=x onerror=alert(1)>\x1b[2J\u202e\r&amp;'\"\\u001b \\\\r"
"""Text that would end the element that it stands in, clear a terminal, or turn its line around."""

SHOWN = "</script><!--<img src=x onerror=alert(1)>\ufffd[2J\ufffd\ufffd&amp;'\"\\u001b \\\\r"
"""The same as people see it: what steers is replaced, what only looks like it is kept."""

VIEW = "Trials so far: 1."


def new_campaign(store: LineageStore, name: str = CAMPAIGN, goal: str = "minimize") -> None:
    """Add a campaign without a trial."""
    store.create_campaign(
        name=name, pack="gone", profile="mini", model="offline", sandbox="local", seed=0,
        trials=10, hours=None, settings={METRIC: {"name": "loss", "unit": "s", "goal": goal}},
    )  # fmt: skip


def run(seed: int, metric: float, **measures: float) -> SeedRun:
    """A seed run with one timing."""
    timing = PhaseTiming(Phase.TRAIN, 2.0, 3.0, 100.0)
    return SeedRun(seed, (timing,), {"metric": metric, **measures})


def propose(
    store: LineageStore,
    parent: int | None = 0,
    *,
    hypothesis: str = "smaller is better",
    name: str = CAMPAIGN,
    value: int = 2,
    turn: int | None = None,
) -> int:
    """Add a trial in flight that sets ``x``; without a parent it is the baseline."""
    edit = Edit("recipe/train.py", "x = 1  # knob opt: 0 .. 9", f"x = {value}  # knob opt: 0 .. 9")
    is_first = parent is None
    proposal = Proposal(
        "campaign" if is_first else "left", "baseline" if is_first else "opt", parent or 0,
        hypothesis, -0.5, () if is_first else (edit,),
    )  # fmt: skip
    text = f"x = {1 if is_first else value}\ny = 2\n"
    return store.propose(
        name, proposal, parents=() if parent is None else (parent,),
        files={"recipe/train.py": text}, digest=f"digest {value} {is_first}",
        diff="" if is_first else f"-x = 1\n+x = {value}\n", round_number=None, turn=turn,
    )  # fmt: skip


def judge(
    store: LineageStore,
    number: int,
    status: Status,
    *,
    score: float | None = None,
    delta: float | None = None,
    name: str = CAMPAIGN,
    **more: Any,
) -> None:
    """Record how a trial ended."""
    runs = (run(0, score), run(1, score + 1.0)) if score is not None else ()
    found = {"reason": f"it is {status}", "seed_runs": runs, **more}
    store.record(name, number, Outcome(status, score=score, delta=delta, **found))


def fill(store: LineageStore, name: str = CAMPAIGN, hypothesis: str = "smaller is better") -> None:
    """Add a campaign with a kept, a failed, a mended, a near missed and a flying trial."""
    new_campaign(store, name)
    gates = (GateResult("size", 70.0, 80.0, 10.0), GateResult("fit", 0.99, 0.9, 0.09, 0.01))
    judge(
        store, propose(store, None, name=name), Status.BASELINE, score=10.0, name=name, gates=gates
    )
    turn = store.add_turn(name, "left", view=VIEW, round_number=None)
    kept = propose(store, 0, name=name, hypothesis=hypothesis, turn=turn)
    call = {"id": "1", "name": "submit_trial", "arguments": '{"parent": 0}'}
    answer = {"call_id": "1", "name": "submit_trial", "content": f'{{"trial": {kept}}}'}
    store.add_messages(
        name,
        [
            NewMessage("campaign", "TextMessage", {"content": "begin"}),
            NewMessage("left", "ToolCallRequestEvent", {"content": [call]}, turn=turn),
            NewMessage("right", "TextMessage", {"content": hypothesis}),
            NewMessage("left", "ToolCallExecutionEvent", {"content": [answer]}, kept, turn=turn),
            NewMessage("left", "TextMessage", {"content": "submitted"}, turn=turn),
        ],
        round_number=None,
    )
    evidence = Evidence(0, 2, 2, standing=Standing.PROVISIONAL)
    judge(
        store, kept, Status.KEPT, score=8.0, delta=-2.0, name=name, evidence=evidence, gates=gates
    )  # fmt: skip
    broken = propose(store, kept, name=name, value=3, hypothesis=hypothesis)
    failure = Failure(Phase.TRAIN, FailureKind.VALUE, hypothesis, hypothesis, 0)
    judge(store, broken, Status.CRASHED, name=name, failure=failure, log_tail=hypothesis)
    mended = propose(store, broken, name=name, value=4)
    judge(store, mended, Status.DISCARDED, score=7.5, delta=-0.5, name=name)
    near = propose(store, kept, name=name, value=5)
    judge(store, near, Status.OVERSIZE, score=7.0, delta=-1.0, name=name)
    propose(store, kept, name=name, value=6)
    store.add_checkpoint(
        name, Checkpoint(kept, 0, False, False, "too few", 4, -2.0, 1.0, -4.0, 0.1, 0.2, 0.002)
    )
    store.add_note(name, hypothesis, specialist="left")
