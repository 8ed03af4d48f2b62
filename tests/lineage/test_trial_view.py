"""The view of a trial, and the words for a test of the line: nothing recorded is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from recipelab.core.trial import Checkpoint, Failure, FailureKind, GateResult, Phase, Status
from recipelab.lineage import LineageStore
from recipelab.lineage.trial_view import FULL_REPORT, TrialView, checkpoint_words
from tests.lineage.helpers import CAMPAIGN, outcome, propose


def test_the_view_of_a_trial_holds_all_of_its_outcome(store: LineageStore) -> None:
    number = propose(store)
    assert TrialView.of_record(store.trial(CAMPAIGN, number)).facts(("status", "log_tail")) == {
        "status": None,
        "log_tail": None,
    }
    came = replace(
        outcome(Status.GATE_MISSED, 3.0),
        score_se=0.25,
        delta=-0.5,
        delta_se=0.125,
        failure=Failure(Phase.TRAIN, FailureKind.GATE, "accuracy below #", "accuracy"),
        log_tail="step 7",
        environment="a machine",
    )
    store.record(CAMPAIGN, number, came)
    told = TrialView.of_record(store.trial(CAMPAIGN, number)).facts(FULL_REPORT)
    assert [told[name] for name in ("score", "score_se", "delta", "delta_se")] == [
        *(3.0, 0.25, -0.5, 0.125)
    ]
    assert (told["status"], told["reason"]) == ("gate_missed", came.reason)
    assert (told["log_tail"], told["environment"]) == ("step 7", "a machine")
    assert (told["failure"]["phase"], told["failure"]["kind"]) == ("train", "gate")
    assert told["gates"][0]["name"] == "accuracy"
    assert told["seed_runs"][0]["measures"] == {"train.cpu_seconds": 2.5}
    assert told["cpu_seconds"] == 2.5


PLAIN = Checkpoint(5, 0, False, False, "too little is known", 8)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            replace(
                PLAIN, held=True, delta=-0.5, delta_se=0.125, delta_low=-0.75, delta_high=-0.25
            ),
            "Checkpoint: the line up to trial 5 against trial 0 holds. Trial 5 is certified.\n"
            "loss -0.5 +- 0.12 (95 %: -0.75 to -0.25) s.\n",
        ),
        (
            replace(PLAIN, fell_back=True, delta=0.5),
            "Checkpoint: the line up to trial 5 against trial 0 does not hold. "
            "The line falls back to the baseline.\nloss +0.5 s.\n",
        ),
        (
            replace(PLAIN, against=3, fell_back=True),
            "Checkpoint: the line up to trial 5 against trial 3 does not hold. "
            "The line falls back to trial 3.\n",
        ),
        (
            PLAIN,
            "Checkpoint: the line up to trial 5 against trial 0 is not proven yet. "
            "The line goes on.\n",
        ),
    ],
)
def test_people_and_agents_read_what_a_test_of_the_line_found(
    found: Checkpoint, words: str
) -> None:
    assert checkpoint_words(found, "loss", "s") == words + "Reason: too little is known."
    gate = GateResult("accuracy", 0.9, 0.8, 0.1)
    with_gate = checkpoint_words(replace(found, gates=(gate,)), "loss", "s")
    assert with_gate == f"{words}Gate accuracy: {gate.figures}.\nReason: too little is known."
