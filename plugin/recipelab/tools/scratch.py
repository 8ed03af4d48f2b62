"""The tools that run code of a specialist in the campaign's sandbox: no trial, and no score."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from pydantic import Field

from recipelab.core.text import plain
from recipelab.evaluation.proposals import Rejected
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.scratch import SCRATCH, WAIT_SECONDS, training_names
from recipelab.packs.knowledge import load_knowledge
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import PhaseResult
from recipelab.tools.base import AnyTool, Row, TextTool, ToolArguments, to_json
from recipelab.tools.checks import CHECKED, Refused, TurnState
from recipelab.tools.desk import BenchDesk
from recipelab.tools.recipe import MAX_EDITS, EditArguments
from recipelab.tools.runs import bench_of, check_time, ran
from recipelab.tools.search import SearchKnowledgeTool, SearchRecipeTool

CODE_CHARACTERS = 40_000

TOLD_WAIT = 2.0
"""Seconds of waiting from which on the answer tells of them."""

HEAD_CHARACTERS, TAIL_CHARACTERS = 1_500, 2_500
"""Characters of what the code printed in an answer: every call of the turn sends them again."""

CALL_SECONDS = 10.0
"""CPU seconds of a call that names none."""

WALL = 3.0
"""Wall-clock seconds that code may take for each second of its budget, which is CPU time: on a busy
machine it would else get a part of what it was given."""

MOST_PAIRS = 8
"""Pairs of trainings that are compared in one call, at most."""

LEAST_SECONDS = 0.5
"""With less left of a turn's seconds nothing is begun."""


class RunPythonArguments(ToolArguments):
    """The code, and beside which recipe it runs."""

    code: str = Field(min_length=1, max_length=CODE_CHARACTERS)
    seconds: float = Field(default=CALL_SECONDS, gt=0)
    trial: int | None = Field(default=None, ge=0)
    check: str | None = CHECKED
    edits: list[EditArguments] = Field(
        default=[], max_length=MAX_EDITS, description="Beside the recipe so edited; gives a check."
    )


class RunPythonTool(TextTool[RunPythonArguments]):
    """Runs code beside a recipe and the training data, within a turn's budget of seconds.

    Args:
        queue: The campaign's queue of trials, on whose bench it runs.
        turn: The record of the specialist's turn.
        blind: Whether only the recipe that is to be edited is there.
    """

    is_brief = True

    def __init__(self, queue: BenchDesk, turn: TurnState, *, blind: bool = False) -> None:
        self._most = queue.pack.scratch.seconds
        places = sorted({target.split("/")[0] for target in training_names(queue.pack)})
        seen = f"; training data in {', '.join(places)}/" if places else ""
        super().__init__(
            RunPythonArguments,
            "run_python",
            "Run Python where train runs, beside a recipe to import (the best's unless you name a "
            f"trial){seen}. Print a step's time, accuracy held back: "
            f"{HEAD_CHARACTERS + TAIL_CHARACTERS:,} characters show. {self._most:g} CPU s a "
            f"turn, {CALL_SECONDS:g} a call unless you say, and {WALL:g} times that by the clock; "
            f"waits for a slot, {WAIT_SECONDS:g} s at most.",
        )
        self._queue = queue
        self._turn = turn
        self._blind = blind
        self.call_seconds = WALL * self._most + WAIT_SECONDS + 60.0

    async def answer(self, args: RunPythonArguments) -> str:
        """Return what the code printed, and what it took.

        Raises:
            Refused: The seconds of the turn are spent.
            LineageError: There is no such trial, or it has no recipe.
            RecipelabError: The campaign's time is spent, or no slot was free.
        """
        left = seconds_left(self._turn, self._most)
        check_time(self._queue)
        trial, files, check = self._recipe(args)
        labels = {"campaign": self._queue.campaign, "trial": str(trial)}
        seconds = min(args.seconds, left)
        # Reserved before, so that calls of one message cannot spend the same seconds twice.
        self._turn.scratch_seconds += seconds
        spent = wall = 0.0
        bench, began = bench_of(self._queue), time.monotonic()
        try:
            result = await bench.run(files, args.code, WALL * seconds, labels)
            wall = result.wall_seconds
            spent = max(result.cpu_seconds, wall / WALL)
        except asyncio.CancelledError:
            wall = bench.held_seconds
            spent = min(seconds, wall)
            raise
        finally:
            self._turn.scratch_seconds -= seconds - spent
            self._queue.ledger.used_device(SCRATCH, wall)
        row: Row = {} if self._blind else {"trial": trial}
        row |= {"check": check} if check is not None else {}
        if (waited := time.monotonic() - began - wall) >= TOLD_WAIT:
            row["waited_for_a_slot_s"] = round(waited)
        return to_json(
            {
                **row,
                **ran(result, self._queue.pack, deadline=_deadline(seconds)),
                "output": _shown(result.log),
                "seconds_left": round(max(0.0, self._most - self._turn.scratch_seconds), 1),
            }
        )

    def _recipe(self, args: RunPythonArguments) -> tuple[int, Mapping[str, str], str | None]:
        """Return the trial and the recipe that the code runs beside, and the check of new edits.

        The best is that of the turn's opening: searching for a text of it would fail in another.

        Raises:
            Refused: The edits would be rejected.
        """
        best = self._turn.best if self._turn.best is not None else self._queue.best().number
        trial = best if self._blind or args.trial is None else args.trial
        if args.check is None and not args.edits:
            return trial, self._queue.recipe_of(trial), None
        named = args.trial if args.check is not None else trial
        source = self._turn.edits_on(self._queue, named, args.check, args.edits)
        found = self._queue.check(source.parent, source.edits)
        if isinstance(found, Rejected):
            raise Refused(f"the edits do not hold: {found.reason}")
        kept = self._turn.keep(source) if args.edits else None
        return source.parent, found.recipe.files, kept


class TimeBesideArguments(ToolArguments):
    """Which recipe trains beside the best, and how often."""

    trial: int | None = Field(default=None, ge=0)
    check: str | None = CHECKED
    pairs: int = Field(default=3, ge=1, le=MOST_PAIRS)


class TimeBesideTool(TextTool[TimeBesideArguments]):
    """Trains a recipe and the best in turns on one slot, and compares the times; nothing is scored.

    Args:
        queue: The campaign's queue of trials, on whose bench they train.
        turn: The record of the specialist's turn, whose seconds are spent.
    """

    is_brief = True

    def __init__(self, queue: BenchDesk, turn: TurnState) -> None:
        super().__init__(
            TimeBesideArguments,
            "time_beside",
            "Train a trial's or a check's recipe and the best's in turns, and compare their "
            f"seconds. 1 to {MOST_PAIRS} pairs, of run_python's seconds.",
        )
        self._queue = queue
        self._turn = turn
        self._most = queue.pack.scratch.seconds
        self.call_seconds = WALL * self._most + WAIT_SECONDS + 60.0

    async def answer(self, args: TimeBesideArguments) -> str:
        """Return the seconds of each pair, and the mean change with its standard error.

        Raises:
            Refused: The seconds of the turn are spent, or there is no such check.
            LineageError: There is no such trial, or it has no recipe.
            RecipelabError: The campaign's time is spent, or no slot was free.
        """
        queue, turn = self._queue, self._turn
        left = seconds_left(turn, self._most)
        check_time(queue)
        best = turn.best if turn.best is not None else queue.best().number
        number, files = self._recipe(args)
        labels = {"campaign": queue.campaign, "trial": str(number)}
        turn.scratch_seconds += left
        spent = wall = 0.0
        bench = bench_of(queue)
        try:
            found, failed = await bench.beside(
                files,
                queue.recipe_of(best),
                pairs=args.pairs,
                seconds=left,
                wall=WALL * left,
                labels=labels,
            )
            runs = [run for pair in found for run in pair] + ([failed] if failed else [])
            wall = sum(run.wall_seconds for run in runs)
            spent = max(sum(run.cpu_seconds for run in runs), wall / WALL)
        except asyncio.CancelledError:
            wall = bench.held_seconds
            spent = min(left, wall)
            raise
        finally:
            turn.scratch_seconds -= left - spent
            queue.ledger.used_device(SCRATCH, wall)
        row: Row = {"of": args.check or number, "beside": best, **_compared(found, queue.pack)}
        if failed is not None:
            told = ran(failed, queue.pack, deadline=_deadline(left))
            row["failed"] = told | {"output": _shown(failed.log)}
        row["seconds_left"] = round(max(0.0, self._most - turn.scratch_seconds), 1)
        return to_json(row)

    def _recipe(self, args: TimeBesideArguments) -> tuple[int, Mapping[str, str]]:
        if args.check is None:
            if args.trial is None:
                raise Refused("name a trial, or the id of a check")
            return args.trial, self._queue.recipe_of(args.trial)
        source = self._turn.named(args.check)
        found = self._queue.check(source.parent, source.edits)
        if isinstance(found, Rejected):
            raise Refused(f"the edits do not hold: {found.reason}")
        return source.parent, found.recipe.files


def _deadline(seconds: float) -> str:
    """Return the limit by the clock of code that was given CPU seconds, in words."""
    return f"{WALL * seconds:.3g} s, {WALL:g} for each of its {seconds:.3g} CPU s"


def _compared(found: Sequence[tuple[PhaseResult, PhaseResult]], pack: Pack) -> Row:
    """Return the times of pairs of trainings in the order own, best's, and how they differ."""
    name = "wall_seconds" if pack.metric.measure.endswith("wall_seconds") else "cpu_seconds"
    pairs = [(getattr(one, name), getattr(other, name)) for one, other in found]
    if not pairs:
        return {}
    changes = [one - other for one, other in pairs]
    row: Row = {
        f"train_{name}": [[round(one, 4), round(other, 4)] for one, other in pairs],
        "change": round(fmean(changes), 4),
        "change_share": round(fmean(one / other - 1.0 for one, other in pairs if other > 0.0), 4),
    }
    if len(pairs) > 1:
        row["change_se"] = round(stdev(changes) / math.sqrt(len(pairs)), 4)
    return row


def seconds_left(turn: TurnState, most: float) -> float:
    """Return what is left of a turn's seconds on the scratch bench.

    Raises:
        Refused: So little that nothing is begun with it.
    """
    left = most - turn.scratch_seconds
    if left < LEAST_SECONDS:
        raise Refused(f"the {most:g} seconds of run_python are spent in this turn")
    return left


def _shown(log: str) -> str:
    text = plain(log).rstrip("\n")
    left = len(text) - HEAD_CHARACTERS - TAIL_CHARACTERS
    if left <= 0:
        return text
    head, tail = text[:HEAD_CHARACTERS], text[-TAIL_CHARACTERS:]
    return f"{head}\n... {left:,} characters left out ...\n{tail}"


def searching_tools(queue: TrialQueue, turn: TurnState, *, blind: bool = False) -> list[AnyTool]:
    """Return the tools that look at recipes, data and knowledge, and at no past trial.

    Args:
        queue: The campaign's queue of trials.
        turn: The record of the specialist's turn.
        blind: Whether it is told nothing of past trials.
    """
    tools: list[AnyTool] = [SearchRecipeTool(queue, blind=blind)]
    if sources := load_knowledge(queue.pack):
        tools.append(SearchKnowledgeTool(queue, sources, blind=blind))
    if queue.bench is not None:
        tools += bench_tools(queue, turn, blind=blind)
    return tools


def bench_tools(queue: BenchDesk, turn: TurnState, *, blind: bool = False) -> list[TextTool[Any]]:
    """Return the tools that spend seconds of a turn on the bench, where the pack gives any.

    Args:
        queue: The campaign's queue of trials, on whose bench they run.
        turn: The record of the turn.
        blind: Whether it is told nothing of past trials.
    """
    if queue.pack.scratch.seconds <= 0:
        return []
    tools: list[TextTool[Any]] = [RunPythonTool(queue, turn, blind=blind)]
    if queue.pack.metric.is_clock and not blind:
        tools.append(TimeBesideTool(queue, turn))
    return tools
