"""How many files a reader crosses: a trace of what one submit, one record and one load run.

A hop is a function call that enters another file of the package. The bars are submit <= 12 files,
record <= 8, and pack.toml to a ready evaluator <= 8.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from stubs import StubEvaluator, toy_pack
from trial_queue import open_queue

import recipelab
from recipelab.evaluation.evaluator import Evaluator
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.sandbox import LocalSandbox
from recipelab.tools.checks import TurnState
from recipelab.tools.submit import SubmitTrialArguments, SubmitTrialTool

BARS = {"submit": 12, "record": 8, "load": 8}
"""Files that a reader may have to cross."""

PACKAGE = str(Path(recipelab.__file__).parent)


@dataclass
class Trail:
    """The files and functions of the package that a call went through, in the order first met.

    Attributes:
        functions: The functions, each once.
        files: The files, each once.
        moves: Calls from one file into another.
        is_over: Whether what still runs is on no reader's way any more.
    """

    functions: dict[CodeType, str] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    moves: int = 0
    is_over: bool = False
    _last: str = ""

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take in one event of :func:`sys.setprofile`."""
        code = frame.f_code
        # Generators resume with a call; module bodies and comprehensions are no function to read.
        if self.is_over or event != "call" or not code.co_filename.startswith(PACKAGE):
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


async def submit_and_record(file: Path) -> tuple[Trail, Trail]:
    """Trace a proposal from the agents' tool to its commit, and an outcome to its commit.

    Args:
        file: Where the lineage is made.
    """
    evaluator = StubEvaluator(toy_pack())
    with LineageStore.open(file, create=True) as store:
        queue = open_queue(store, evaluator)
        queue.propose_baseline()
        await queue.next_ended()
        submitted = recorded = Trail()
        propose, record = store.propose, store.record

        def traced_propose(*args: Any, **more: Any) -> int:
            number = propose(*args, **more)
            submitted.is_over = True  # It is committed.
            return number

        def traced_record(*args: Any, **more: Any) -> None:
            nonlocal recorded
            with traced() as recorded:
                record(*args, **more)

        store.propose = traced_propose  # type: ignore[method-assign]
        store.record = traced_record  # type: ignore[method-assign]
        # The second trial counts: the first compiles statements and imports what is imported late.
        for value in (2.5, 3.5):
            turn = TurnState(None, has_asked=True)
            tool = SubmitTrialTool(queue, "left", ("left",), turn)
            edit = {"path": "recipe/train.py", "search": "X = 1.0", "replace": f"X = {value}"}
            arguments = SubmitTrialArguments.model_validate(
                {
                    "parent": 0,
                    "hypothesis": "The bottom may lie there.",
                    "expected_delta": -1.0,
                    "edits": [edit],
                }
            )
            with traced() as trail:
                submitted = trail
                answer = await tool.answer(arguments)
            assert "in_flight" in answer, answer
            await queue.next_ended()
    return submitted, recorded


def load() -> Trail:
    """Trace a pack from its folder to the evaluator that is to measure it."""
    sandbox = LocalSandbox()
    for _ in range(2):
        with traced() as trail:
            pack = load_pack("toy")
            data = ensure_data(pack, say=lambda text: None)
        Evaluator(pack, sandbox, data)
    trail.files["evaluation/evaluator.py"] = 1
    return trail


def main() -> int:
    """Print the trails; the exit status is 1 if one crosses more files than its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--functions", action="store_true", help="list the functions, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        submitted, recorded = asyncio.run(submit_and_record(Path(name) / "lineage.db"))
        trails = {"submit": submitted, "record": recorded, "load": load()}
    for name, trail in trails.items():
        print(
            f"{name}: {len(trail.files)} files (bar {BARS[name]}), "
            f"{len(trail.functions)} functions, {trail.moves} moves"
        )
        for file in trail.files:
            print(f"  {file}")
            if args.functions:
                own = [
                    f"    {n}" for c, n in trail.functions.items() if c.co_filename.endswith(file)
                ]
                print("\n".join(own))
    if args.json:
        facts = {
            name: {"files": list(trail.files), "functions": len(trail.functions)}
            for name, trail in trails.items()
        }
        args.json.write_text(json.dumps(facts, indent=2))
    return int(any(len(trail.files) > BARS[name] for name, trail in trails.items()))


if __name__ == "__main__":
    sys.exit(main())
