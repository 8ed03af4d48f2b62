"""Trials to store, arbitrary ones and plain ones, and what the store makes of their text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from recipelab.core.trial import (
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
from recipelab.lineage import LineageStore

CAMPAIGN = "night-1"
FILES = {"recipe/train.py": "x = 1\n", "recipe/model.py": "y = 2\n"}

NASTY = st.sampled_from(
    ["\x00", "\ud800", "\udfff", "%", "_", "/", "\\", "'", '"', "\r\n", "Σς", "İ", "🙂", "\ufeff"]
)
TEXT = st.lists(st.text(max_size=6) | NASTY, max_size=6).map("".join)
# Sums of a few stay finite, as the store demands of them.
NUMBER = st.floats(min_value=-1e300, max_value=1e300)
SEED = st.integers(-(2**63), 2**63 - 1)

EDITS = st.builds(Edit, TEXT, st.none() | TEXT, TEXT)
PROPOSALS = st.builds(
    Proposal,
    specialist=TEXT,
    surface=TEXT,
    parent=st.just(0),
    hypothesis=TEXT,
    expected_delta=NUMBER,
    edits=st.lists(EDITS, max_size=3).map(tuple),
)
TIMINGS = st.builds(PhaseTiming, st.sampled_from(Phase), NUMBER, NUMBER, st.none() | NUMBER)
RUNS = st.builds(
    SeedRun,
    SEED,
    st.lists(TIMINGS, max_size=3).map(tuple),
    st.dictionaries(st.text(st.characters(codec="ascii", exclude_characters="\0")), NUMBER),
)
COUNT = st.integers(0, 1000)
EVIDENCE = st.builds(
    Evidence,
    COUNT,
    COUNT,
    COUNT,
    COUNT,
    NUMBER,
    st.none() | NUMBER,
    st.none() | NUMBER,
    st.none() | COUNT,
    st.none() | st.sampled_from(Standing),
    st.none() | COUNT,
    st.none() | NUMBER,
    st.none() | NUMBER,
    st.booleans(),
    COUNT,
)
GATES = st.lists(
    st.builds(GateResult, TEXT, NUMBER, NUMBER, NUMBER, st.none() | NUMBER), max_size=3
).map(tuple)
OUTCOMES = st.builds(
    Outcome,
    status=st.sampled_from(Status),
    reason=TEXT,
    seed_runs=st.lists(RUNS, max_size=3).map(tuple),
    gates=GATES,
    score=st.none() | NUMBER,
    score_se=st.none() | NUMBER,
    delta=st.none() | NUMBER,
    delta_se=st.none() | NUMBER,
    failure=st.none()
    | st.builds(
        Failure,
        st.none() | st.sampled_from(Phase),
        st.sampled_from(FailureKind),
        TEXT,
        TEXT,
        st.none() | SEED,
    ),
    log_tail=TEXT,
    environment=TEXT,
    evidence=st.none() | EVIDENCE,
)


def cleaned(text: str) -> str:
    """What the store keeps of a text: written anew, so that it can judge the store's own."""
    return "".join(
        "\ufffd" if letter == "\0" or 0xD800 <= ord(letter) <= 0xDFFF else letter for letter in text
    )


def cleaned_edits(edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
    """The edits as the store keeps them."""
    return tuple(
        Edit(cleaned(e.path), None if e.search is None else cleaned(e.search), cleaned(e.replace))
        for e in edits
    )


def cleaned_outcome(outcome: Outcome) -> Outcome:
    """The outcome as the store keeps it."""
    failure = outcome.failure
    if failure is not None:
        failure = replace(
            failure, signature=cleaned(failure.signature), excerpt=cleaned(failure.excerpt)
        )
    return replace(
        outcome,
        reason=cleaned(outcome.reason),
        gates=tuple(replace(gate, name=cleaned(gate.name)) for gate in outcome.gates),
        failure=failure,
        log_tail=cleaned(outcome.log_tail),
        environment=cleaned(outcome.environment),
    )


def proposal(hypothesis: str = "a smaller step helps", *, surface: str = "opt") -> Proposal:
    """A plain proposal."""
    edit = Edit("recipe/train.py", "x = 1", "x = 2")
    return Proposal("optimizer", surface, 0, hypothesis, -0.1, (edit,))


def outcome(status: Status = Status.DISCARDED, score: float | None = 1.0) -> Outcome:
    """A plain outcome."""
    run = SeedRun(0, (PhaseTiming(Phase.TRAIN, 1.5, 2.5, 100.0),), {"train.cpu_seconds": 2.5})
    gates = (GateResult("accuracy", 0.9, 0.8, 0.1),)
    return Outcome(status, f"it is {status}", (run,), gates, score)


def with_campaign(path: Path | str, name: str = CAMPAIGN) -> LineageStore:
    """An open lineage with one campaign."""
    store = LineageStore.open(path, create=True)
    add_campaign(store, name)
    return store


def add_campaign(store: LineageStore, name: str = CAMPAIGN) -> None:
    """Adds a plain campaign."""
    store.create_campaign(
        name=name,
        pack="toy",
        profile="quick",
        model="offline",
        sandbox="local",
        seed=7,
        trials=12,
        hours=None,
        settings={"slots": 2},
    )


def propose(
    store: LineageStore,
    *parents: int,
    digest: str = "",
    campaign: str = CAMPAIGN,
    turn: int | None = None,
) -> int:
    """Adds a plain trial in flight."""
    return store.propose(
        campaign,
        proposal(),
        parents=parents,
        files=FILES,
        digest=digest,
        diff="-x\n+y\n",
        round_number=None,
        turn=turn,
    )


def judged(
    store: LineageStore, status: Status, *parents: int, digest: str = "", score: float = 1.0
) -> int:
    """Adds a plain judged trial."""
    number = propose(store, *parents, digest=digest)
    store.record(CAMPAIGN, number, outcome(status, score))
    return number
