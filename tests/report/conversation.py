"""A campaign in which two specialists think at the same time, as AutoGen's own messages."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    TextMessage,
    ToolCallExecutionEvent,
    ToolCallRequestEvent,
)
from autogen_core import FunctionCall
from autogen_core.models import FunctionExecutionResult, RequestUsage

from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Edit,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    Proposal,
    Status,
)
from recipelab.lineage import LineageStore

CAMPAIGN = "c"
EVIL = "\x1b[2J\x9b31m\u202e```\n</pre><script>alert(1)</script> ![x](http://e.vil) # no\n# Round 9"

CRASH = Outcome(
    Status.CRASHED,
    "train: ValueError",
    failure=Failure(Phase.TRAIN, FailureKind.VALUE, "ValueError", "Traceback:\nValueError: 3"),
)
KEPT = Outcome(
    Status.KEPT,
    "gain +2 is more than twice its standard error",
    gates=(GateResult("fit", 0.9, 0.2, 0.7),),
    score=31.5,
    score_se=0.25,
    delta=-2.0,
    delta_se=0.125,
)
REJECTED = Outcome(Status.REJECTED, "the text to replace is not there")


@dataclass
class Chat:
    """Says things in a campaign, as :class:`recipelab.campaign.Campaign` notes them."""

    store: LineageStore
    round_number: int = 1
    _calls: dict[str, str] = field(default_factory=dict[str, str])

    def say(self, message: BaseAgentEvent | BaseChatMessage, trial: int | None = None) -> int:
        return self.store.add_message(
            CAMPAIGN,
            round_number=self.round_number,
            source=message.source,
            type=type(message).__name__,
            payload=message.dump(),
            trial=trial,
        )

    def asks(self, source: str, tool: str, **arguments: Any) -> None:
        self._calls[source] = tool
        call = FunctionCall(id=f"{source}-{tool}", name=tool, arguments=json.dumps(arguments))
        usage = RequestUsage(prompt_tokens=1_000, completion_tokens=20)
        self.say(ToolCallRequestEvent(source=source, content=[call], models_usage=usage))

    def hears(self, source: str, answer: Any, *, is_error: bool = False) -> None:
        tool = self._calls[source]
        text = answer if isinstance(answer, str) else json.dumps(answer)
        result = FunctionExecutionResult(
            content=text, name=tool, call_id=f"{source}-{tool}", is_error=is_error
        )
        trial = answer.get("trial") if tool == "submit_trial" and isinstance(answer, dict) else None
        self.say(ToolCallExecutionEvent(source=source, content=[result]), trial)

    def tells(self, source: str, text: str, *trials: int) -> None:
        metadata = {"trials": ",".join(map(str, trials))} if trials else {}
        message = TextMessage(source=source, content=text, metadata=metadata)
        self.say(message, trials[0] if trials else None)


def propose(
    store: LineageStore,
    specialist: str,
    hypothesis: str,
    round_number: int | None,
    turn: int | None = None,
) -> int:
    """Adds a trial in flight that sets X to its own number."""
    before = Recipe({"recipe/train.py": "X = 1\n"})
    edit = Edit("recipe/train.py", "X = 1", f"X = {store.trial_count(CAMPAIGN) + 1}")
    after = before.apply([edit], ["recipe/*.py"])
    first = round_number is None
    return store.propose(
        CAMPAIGN,
        Proposal(specialist, specialist, -1 if first else 0, hypothesis, -1.5, (edit,)),
        parents=() if first else (0,),
        files=after.files,
        digest=after.digest,
        diff=before.diff(after),
        round_number=round_number,
        turn=turn,
    )


def two_at_once(store: LineageStore) -> None:
    """One round: left and right propose trials 1 and 2, their messages mixed; 3 is rejected."""
    baseline = propose(store, "campaign", "the start", None)
    store.record(CAMPAIGN, baseline, replace(KEPT, status=Status.BASELINE, delta=None))
    chat = Chat(store)
    chat.tells("user", "Round 1: improve loss of toy.")
    chat.asks("left", "lineage_query", surface=["left"], text="")
    chat.asks("right", "near_misses")
    rows = [{"trial": 0, "status": "baseline"}]
    chat.hears("left", {"counts": {}, "best": {}, "total": 1, "trials": rows})
    chat.hears("right", "LineageError: the lineage is locked", is_error=True)
    chat.asks("right", "read_recipe", trial=0)
    chat.asks("left", "submit_trial", hypothesis="left's words", edits=[])
    chat.hears("left", {"trial": propose(store, "left", "left's words", 1), "status": "in_flight"})
    chat.hears(
        "right", {"trial": 0, "files": {"recipe/train.py": "X = 1\n"}, "knobs": {"left": {"X": 1}}}
    )
    chat.asks("right", "submit_trial", hypothesis=EVIL, edits=[])
    chat.tells("left", "I submitted one.")
    chat.hears("right", {"trial": propose(store, "right", EVIL, 1), "status": "in_flight"})
    chat.tells("right", f"So did I. {EVIL}")
    store.record(CAMPAIGN, 1, KEPT)
    store.record(CAMPAIGN, 2, CRASH)
    chat.tells("evaluator", "Trials 1 and 2 have ended.", 1, 2)
    chat.asks("left", "submit_trial", hypothesis="no such line", edits=[])
    rejected = propose(store, "left", "no such line", 1)
    store.record(CAMPAIGN, rejected, REJECTED)
    chat.hears("left", {"trial": rejected, "status": "rejected", "reason": "not there"})
    chat.tells("left", "It was rejected.")
