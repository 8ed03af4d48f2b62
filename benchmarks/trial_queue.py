"""Trials at the queue without a group chat: the part of a trial's cost that is recipelab's own.

A specialist's turn, with no AutoGen in it: the lineage view is rendered, a proposal is handed in,
and the queue records it, has a stub judge it, and gives the judged trial out.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from stubs import StubEvaluator, toy_pack

from recipelab.agents.lineage_view import ViewContext, render_lineage_view
from recipelab.core.trial import Edit, Proposal
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore
from recipelab.packs.pack import Pack

CAMPAIGN, SPECIALIST = "toy-1", "left"


Seconds = Mapping[str, float]
"""CPU seconds of a trial by stage."""


class Stages:
    """CPU seconds of this process by stage of a trial."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._mark = time.process_time()

    def ended(self, stage: str) -> None:
        """Books what was used since the last stage ended."""
        now = time.process_time()
        self.seconds[stage] += now - self._mark
        self._mark = now


async def queue_trials(
    file: Path, trials: int, *, one_knob: bool, pack: Pack | None = None
) -> AsyncIterator[Seconds]:
    """Runs trials at a queue, and gives the CPU seconds of each by stage.

    Args:
        file: The lineage.
        trials: How many.
        one_knob: Whether each trial turns the same knob; otherwise each adds a line of code.
        pack: Whose recipe is edited, by lines that are added; the toy pack by default.
    """
    evaluator = StubEvaluator(pack or toy_pack())
    added = added_lines(evaluator.pack) if pack else None
    with LineageStore.open(file, create=True) as store:
        queue = open_queue(store, evaluator)
        context = _view_context(store, evaluator.pack)
        queue.propose_baseline()
        await queue.next_ended()
        for number in range(1, trials + 1):
            stages = Stages()
            render_lineage_view(context)
            stages.ended("view")
            submitted = queue.submit(
                added(number) if added else proposal(number, one_knob), round_number=None
            )
            assert submitted.rejection is None, submitted.rejection
            stages.ended("submit")
            await queue.next_ended()
            stages.ended("run and record")
            yield stages.seconds


def open_queue(store: LineageStore, evaluator: StubEvaluator) -> TrialQueue:
    """A queue of a new campaign."""
    pack = evaluator.pack
    store.create_campaign(
        name=CAMPAIGN,
        pack="toy",
        profile=pack.profile,
        model="stub",
        sandbox="stub",
        seed=1,
        trials=None,
        hours=None,
        settings={},
    )
    return TrialQueue(store, CAMPAIGN, evaluator)  # type: ignore[arg-type]


def _view_context(store: LineageStore, pack: Pack) -> ViewContext:
    name = pack.specialists[0]
    return ViewContext(store, CAMPAIGN, pack, name, (name,))


def added_lines(pack: Pack) -> Callable[[int], Proposal]:
    """Proposals that each add a line before the first import of a pack's training script."""
    path = "recipe/train.py"
    lines = pack.baseline().files[path].splitlines()
    line = next(line for line in lines if line.startswith("import ") and lines.count(line) == 1)
    surface = pack.surfaces[0].name

    def made(number: int) -> Proposal:
        edits = (Edit(path, f"\n{line}\n", f"\nUNUSED = {number}\n{line}\n"),)
        text = "The bottom may lie there."
        return Proposal(pack.specialists[0], surface, 0, text, -1.0, edits)

    return made


def proposal(number: int, one_knob: bool) -> Proposal:
    """An edit that nobody has made."""
    knob = Edit("recipe/train.py", "X = 1.0", f"X = {number}.5")
    line = Edit("recipe/train.py", "X = 1.0", f"UNUSED = {number}\nX = 1.0")
    return Proposal(
        SPECIALIST,
        SPECIALIST,
        0,
        "The bottom may lie there.",
        -1.0,
        (knob if one_knob else line,),
    )
