"""How many files a reader crosses: a trace of what one submit, one record and one load run.

A hop is a function call that enters another file of the package. The bars are submit <= 12 files,
record <= 8, and pack.toml to a ready evaluator <= 8.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from stubs import StubEvaluator, toy_pack
from trial_desk import CAMPAIGN, open_desk

import recipelab
from recipelab.lineage import LineageStore

PACKAGE = str(Path(recipelab.__file__).parent)


@dataclass
class Trail:
    """The files and functions of the package that a call went through, in the order first met.

    Attributes:
        functions: The functions, each once.
        files: The files, each once.
        moves: Calls from one file into another.
    """

    functions: dict[CodeType, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    moves: int = 0
    _last: str = ""

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take in one event of :func:`sys.setprofile`."""
        code = frame.f_code
        # Generators resume with a call; module bodies and comprehensions are no function to read.
        if event != "call" or not code.co_filename.startswith(PACKAGE):
            return
        if code.co_name.startswith("<"):
            return
        file = code.co_filename.removeprefix(PACKAGE + "/")
        self.functions.setdefault(code, code.co_qualname)
        self.files[file] = self.files.get(file, 0) + 1
        if file != self._last:
            self.moves += 1
            self._last = file


@contextmanager
def traced() -> Iterator[Trail]:
    """Trace all that runs in this thread meanwhile."""
    trail = Trail()
    sys.setprofile(trail.note)
    try:
        yield trail
    finally:
        sys.setprofile(None)


def trace_of(call: Callable[[], object]) -> Trail:
    """Trace one call. Call it once before if what it imports and compiles is not to count."""
    with traced() as trail:
        call()
    return trail


async def submit_and_record(file: Path) -> tuple[Trail, Trail]:
    """Trace a proposal from the agents' tool to its commit, and an outcome to its commit."""
    from recipelab.core.trial import Edit
    from recipelab.tools.recipe import SubmitTrialArguments, SubmitTrialTool, Turn

    evaluator = StubEvaluator(toy_pack())
    with LineageStore.open(file) as store:
        queue = open_desk(store, evaluator)
        queue.propose_baseline()
        await queue.next_ended()

        def submit(value: float) -> Trail:
            turn = Turn(asked_lineage=True)
            tool = SubmitTrialTool(queue, "left", ("left",), turn)
            arguments = SubmitTrialArguments(
                parent=0,
                hypothesis="The bottom may lie there.",
                expected_delta=-1.0,
                edits=[Edit("recipe/train.py", "X = 1.0", f"X = {value}")],
            )
            return trace_of(lambda: tool.answer(arguments))

        submit(2.5)
        await queue.next_ended()
        submitted = submit(3.5)
        await queue.next_ended()
        number = store.propose_for_benchmark()
        record = store.trial(CAMPAIGN, number)
        recorded = trace_of(lambda: store.record(CAMPAIGN, number, record.outcome))
    return submitted, recorded


def load() -> Trail:
    """Trace a pack from its folder to an evaluator that is ready to measure."""
    from recipelab.evaluation.evaluator import Evaluator
    from recipelab.packs.data import ensure_data
    from recipelab.packs.load import load_pack
    from recipelab.sandbox import LocalSandbox

    def ready() -> None:
        pack = load_pack("toy")
        Evaluator(pack, LocalSandbox(), ensure_data(pack, say=lambda text: None))

    ready()
    return trace_of(ready)
