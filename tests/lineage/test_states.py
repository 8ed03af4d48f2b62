"""The life of a trial, and counters that tell what a plain reading of the trials tells."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recipelab.core.errors import LineageError
from recipelab.core.trial import Failure, FailureKind, Outcome, Phase, Status
from recipelab.lineage import LineageStore, TrialFilter, TrialState
from tests.lineage.helpers import CAMPAIGN, FILES, add_campaign, proposal, propose

S = TrialState
ALLOWED = {
    S.QUEUED: {S.RUNNING, S.JUDGED},
    S.RUNNING: {S.RUNNING, S.QUEUED, S.JUDGED},
    S.JUDGED: set[S](),
}
"""What the store must enforce, written anew so that it can judge the store's own."""

SIGNATURES = ["ValueError: bad step", "MemoryError: out of memory"]


class Life(RuleBasedStateMachine):
    """Moves trials about as a campaign would, and as it must not."""

    @initialize()
    def begin(self) -> None:
        from tempfile import TemporaryDirectory

        self.folder = TemporaryDirectory()
        self.store = LineageStore.open(f"{self.folder.name}/lineage.db", create=True)
        add_campaign(self.store)
        self.states: list[TrialState] = []
        self.ended: dict[int, Outcome] = {}
        self.surfaces: list[str] = []
        self.parents: list[tuple[int, ...]] = []

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    @rule(surface=st.sampled_from(["opt", "arch"]), place=st.integers(0, 40))
    def propose(self, surface: str, place: int) -> None:
        parents = (place % len(self.states),) if self.states else ()
        number = self.store.propose(
            CAMPAIGN,
            proposal(surface=surface),
            parents=parents,
            files=FILES,
            digest=f"d{len(self.states)}",
            diff="",
            round_number=None,
        )
        assert number == len(self.states)
        self.states.append(S.QUEUED)
        self.surfaces.append(surface)
        self.parents.append(parents)

    @precondition(lambda self: self.states)
    @rule(place=st.integers(0, 40), then=st.sampled_from(S), phase=st.sampled_from(Phase))
    def advance(self, place: int, then: TrialState, phase: Phase) -> None:
        number = place % len(self.states)
        stands = self.states[number]
        outcome = self.ended.get(number)
        aborted = outcome is not None and outcome.status is Status.ABORTED
        allowed = {S.QUEUED} if aborted else ALLOWED[stands] - {S.JUDGED}
        runs = phase if then is S.RUNNING else None
        if then in allowed:
            self.store.advance(CAMPAIGN, number, then, runs)
            self.states[number] = then
            self.ended.pop(number, None)
            return
        with pytest.raises(LineageError, match=f"trial {number} of"):
            self.store.advance(CAMPAIGN, number, then, runs)

    @precondition(lambda self: self.states)
    @rule(
        place=st.integers(0, 40),
        status=st.sampled_from(Status),
        delta=st.floats(-5, 5),
        signature=st.sampled_from(SIGNATURES),
    )
    def judge(self, place: int, status: Status, delta: float, signature: str) -> None:
        number = place % len(self.states)
        failure = Failure(Phase.TRAIN, FailureKind.OTHER, signature, signature)
        valid = not status.is_failure
        outcome = Outcome(
            status,
            "because",
            score=delta if valid else None,
            delta=delta if valid else None,
            failure=None if valid else failure,
        )
        before = self.ended.get(number)
        if before is not None and before.status is not Status.ABORTED:
            with pytest.raises(LineageError, match="judged already"):
                self.store.record(CAMPAIGN, number, outcome)
            return
        self.store.record(CAMPAIGN, number, outcome)
        self.states[number], self.ended[number] = S.JUDGED, outcome

    @invariant()
    def states_are_what_they_should_be(self) -> None:
        if not hasattr(self, "states"):
            return
        briefs = self.store.briefs(CAMPAIGN, TrialFilter(order="oldest", limit=200)).items
        assert [brief.state for brief in briefs] == self.states
        assert [brief.status for brief in briefs] == [
            self.ended[n].status if n in self.ended else None for n in range(len(self.states))
        ]
        assert [b.number for b in self.store.in_flight_briefs(CAMPAIGN)] == [
            n for n, state in enumerate(self.states) if state is not S.JUDGED
        ]

    @invariant()
    def counters_tell_what_the_trials_tell(self) -> None:
        if not hasattr(self, "states"):
            return
        statuses = [
            self.ended[n].status if n in self.ended else None for n in range(len(self.states))
        ]
        assert self.store.counts(CAMPAIGN) == Counter(statuses)
        for summary in self.store.surfaces(CAMPAIGN):
            own = [
                s for s, name in zip(statuses, self.surfaces, strict=True) if name == summary.name
            ]
            assert (summary.tried, summary.statuses) == (len(own), Counter(own))
            assert summary.kept == own.count(Status.KEPT)

    @invariant()
    def failures_are_counted(self) -> None:
        if not hasattr(self, "states"):
            return
        found = Counter(
            outcome.failure.signature for outcome in self.ended.values() if outcome.failure
        )
        groups = self.store.failures(CAMPAIGN).items
        assert {group.signature: group.count for group in groups} == found
        assert sorted((g.count for g in groups), reverse=True) == [g.count for g in groups]


Life.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase


def test_a_wrong_move_names_the_valid_ones(store: LineageStore) -> None:
    number = propose(store)
    with pytest.raises(LineageError, match="is queued and cannot become queued; valid: running"):
        store.advance(CAMPAIGN, number, "queued")
    with pytest.raises(LineageError, match="unknown state 'done'"):
        store.advance(CAMPAIGN, number, "done")
    with pytest.raises(LineageError, match="takes a phase: one of draw, preflight, train"):
        store.advance(CAMPAIGN, number, "running")
    store.advance(CAMPAIGN, number, "running", "train")
    assert store.brief(CAMPAIGN, number).phase is Phase.TRAIN
