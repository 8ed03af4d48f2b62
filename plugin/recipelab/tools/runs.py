"""The tools that show what a run did: its logs, its training curve, profiles of its phases."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from recipelab.core.errors import LineageError, RecipelabError
from recipelab.core.matching import matching_lines
from recipelab.core.trial import Phase, SeedRun
from recipelab.evaluation.curves import curve_of
from recipelab.evaluation.log_book import PhaseLog
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.scratch import PROFILE, WAIT_SECONDS, ScratchBench
from recipelab.lineage import TrialRecord
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import CurveSpec
from recipelab.sandbox.base import Ending, PhaseResult
from recipelab.tools.base import AnyTool, Row, TextTool, ToolArguments, to_json, without_empty
from recipelab.tools.desk import BenchDesk, Desk
from recipelab.tools.rows import rounded

_PROFILED = re.compile(r"function calls[^\n]* in ([0-9.]+) seconds")
"""What a profile says of itself: how long the profiled code took."""

SHOWN_CHARACTERS = 4_000
"""Characters of a log in one answer."""

LINE_CHARACTERS = 400
"""Characters of one line of a log, or of a file, in an answer."""

MOST_LINES = 80
"""Lines that a search returns at most."""

ENDS = 40
"""Lines of head and tail of a log, where no others are asked for."""


class RunLogArguments(ToolArguments):
    """Which log, and which part of it."""

    trial: int = Field(ge=0)
    phase: str | None = Field(default=None, max_length=20)
    seed: int | None = None
    regex: str | None = Field(default=None, max_length=500)
    from_line: int | None = Field(default=None, ge=1)


class RunLogTool(TextTool[RunLogArguments]):
    """Shows what the phases of a trial printed.

    Args:
        queue: The campaign's queue of trials.
    """

    def __init__(self, queue: Desk) -> None:
        super().__init__(
            RunLogArguments,
            "run_log",
            "Read what a trial's phases printed, by phase (train), seed, regex or line. Trial "
            "alone: which logs there are, and seconds by phase and seed.",
        )
        self._queue = queue

    async def answer(self, args: RunLogArguments) -> str:
        """Return the logs that there are with their seconds, or a part of one.

        Raises:
            LineageError: There is no such trial.
            RecipelabError: There is no such log, or the pattern is not valid or takes too long.
        """
        return await asyncio.to_thread(self._answer, args)

    def _answer(self, args: RunLogArguments) -> str:
        record = self._queue.store.trial(self._queue.campaign, args.trial)
        logs = self._queue.logs.logs(args.trial) if self._queue.logs is not None else ()
        if args.phase is None and args.seed is None and args.regex is None:
            return to_json({"trial": args.trial, "phases": phase_rows(record, logs)})
        found = _chosen(logs, args)
        if args.regex is not None:
            return to_json({"trial": args.trial, **_matches(found, args.regex)})
        return to_json({"trial": args.trial, **_part(found[0], args.from_line)})


def phase_rows(record: TrialRecord, logs: Sequence[PhaseLog]) -> list[Row]:
    """Return a row for each phase of a trial: seconds, memory, lines of its log."""
    rows: dict[tuple[str, int | None], Row] = {}
    for run in record.outcome.seed_runs if record.outcome is not None else ():
        for timing in run.timings:
            rows[timing.phase.value, run.seed] = {
                "wall_s": rounded(round(timing.wall_seconds, 3)),
                "cpu_s": rounded(round(timing.cpu_seconds, 3)),
                "mib": timing.peak_memory_mb and round(timing.peak_memory_mb),
            }
    for log in logs:
        rows.setdefault((log.phase, log.seed), {})["log_lines"] = len(log.lines) or None
    return [
        without_empty({"phase": phase, "seed": seed} | row) for (phase, seed), row in rows.items()
    ]


def _chosen(logs: Sequence[PhaseLog], args: RunLogArguments) -> list[PhaseLog]:
    """Return the logs that are asked for; the first of them is of the train phase if one is.

    Raises:
        RecipelabError: There is none.
    """
    found = [
        log for log in logs if args.phase in (None, log.phase) and args.seed in (None, log.seed)
    ]
    if not found:
        there = ", ".join(_name(log) for log in logs) or "none is kept"
        raise RecipelabError(f"trial {args.trial} has no such log; there are: {there}")
    return sorted(found, key=lambda log: log.phase != "train")


def _name(log: PhaseLog) -> str:
    return log.phase if log.seed is None else f"{log.phase} seed {log.seed}"


def _matches(logs: Iterable[PhaseLog], pattern: str) -> Row:
    texts = {_name(log): log.text for log in logs}
    found, total = matching_lines(texts, pattern, most=MOST_LINES)
    return match_rows([(one.name, one.line, one.text) for one in found], total)


def match_rows(found: Iterable[tuple[str, int, str]], total: int) -> Row:
    """Return lines that matched, by the text that they are in, up to the size of an answer."""
    shown: dict[str, list[str]] = {}
    size = count = 0
    for name, number, text in found:
        line = f"{number}: {text[:LINE_CHARACTERS]}"
        size += len(line) + 4
        if size > SHOWN_CHARACTERS:
            break
        shown.setdefault(name, []).append(line)
        count += 1
    more = {"more": f"{total - count} more; a narrower pattern shows them"}
    return {"matches": total, "lines": shown} | (more if count < total else {})


def _part(log: PhaseLog, from_line: int | None) -> Row:
    """Return head and tail of a log, or what begins at a line."""
    lines = [line[:LINE_CHARACTERS] for line in log.lines]
    head: Row = {"log": _name(log), "lines": len(lines)}
    if from_line is not None:
        if from_line > max(1, len(lines)):
            raise RecipelabError(f"the log has {len(lines)} lines; from_line is {from_line}")
        text, end = _fitting(lines[from_line - 1 :])
        more = {"next_line": from_line + end} if from_line - 1 + end < len(lines) else {}
        return head | {"from_line": from_line, "text": text} | more
    if len(lines) <= 2 * ENDS and sum(map(len, lines)) <= SHOWN_CHARACTERS:
        return head | {"text": "\n".join(lines)}
    first, count = _fitting(lines[:ENDS], SHOWN_CHARACTERS // 2)
    last, many = _fitting(lines[max(count, len(lines) - ENDS) :][::-1], SHOWN_CHARACTERS // 2)
    tail = "\n".join(last.split("\n")[::-1])
    return head | {"head": first, "tail": tail, "left_out": len(lines) - count - many}


def _fitting(lines: Sequence[str], characters: int = SHOWN_CHARACTERS) -> tuple[str, int]:
    """Return the first lines that fit, as text, and how many they are."""
    size = count = 0
    for line in lines:
        size += len(line) + 1
        if size > characters:
            break
        count += 1
    return "\n".join(lines[:count]), count


class CurveArguments(ToolArguments):
    """Whose curve."""

    trial: int = Field(ge=0)


class CurveTool(TextTool[CurveArguments]):
    """Shows the training curve of a trial, beside that of the best.

    Args:
        queue: The campaign's queue of trials.
        spec: What the pack says of its curves.
    """

    def __init__(self, queue: Desk, spec: CurveSpec) -> None:
        super().__init__(
            CurveArguments,
            "curve",
            f"Show a trial's training curve ([step, value], {spec.goal}) by seed, and the best's.",
        )
        self._queue = queue

    async def answer(self, args: CurveArguments) -> str:
        """Return the points by seed.

        Raises:
            LineageError: There is no such trial, or it has no curve.
        """
        record = self._queue.store.trial(self._queue.campaign, args.trial)
        best = self._queue.best()
        own, others = _curves(record), _curves(best)
        if not own:
            raise LineageError(
                f"trial {args.trial} left no curve: no seed of it trained to its end; trial_detail "
                "shows with its failure how far it came"
            )
        beside = {"best": best.number, "curves_of_best": others}
        return to_json(
            {"trial": record.number, "curves": own}
            | (beside if best.number != record.number else {})
        )


def _curves(record: TrialRecord) -> dict[str, list[list[float | None]]]:
    runs: tuple[SeedRun, ...] = record.outcome.seed_runs if record.outcome is not None else ()
    return {
        f"seed {run.seed}": [[rounded(step), rounded(value)] for step, value in points]
        for run in runs
        if (points := curve_of(run))
    }


class ProfileArguments(ToolArguments):
    """Which phase of which trial."""

    trial: int = Field(ge=0)
    phase: Literal["train", "predict"] = "train"


class ProfileTool(TextTool[ProfileArguments]):
    """Runs a phase of a trial's recipe under a profiler, in a run of its own that is not scored.

    A phase is profiled once: what was found is kept with the logs of the trial.

    Args:
        queue: The campaign's queue of trials, on whose bench it runs.
    """

    def __init__(self, queue: BenchDesk) -> None:
        metric = queue.pack.metric
        counts = " (which counts in the score)" if metric.is_clock and metric.charge_predict else ""
        super().__init__(
            ProfileArguments,
            "profile_trial",
            f"Train a trial's recipe under cProfile, or train and predict{counts}: functions by "
            "own seconds, and outside_s, start and exit of the process. Not scored; takes a slot.",
        )
        self._queue = queue
        every = sum(queue.pack.seconds(phase) for phase in Phase if phase is not Phase.SCORE)
        self.call_seconds = every + WAIT_SECONDS + 60.0

    async def answer(self, args: ProfileArguments) -> str:
        """Return the functions that took most.

        Raises:
            LineageError: There is no such trial, or it has no recipe.
            RecipelabError: No time is left, no slot was free, or a phase is no script.
        """
        queue, phase = self._queue, Phase(args.phase)
        name = PROFILE if phase is Phase.TRAIN else f"{phase}_{PROFILE}"
        head: Row = {"trial": args.trial, "phase": args.phase}
        logs = queue.logs.logs(args.trial) if queue.logs is not None else ()
        for log in logs:
            if log.phase == name:
                return to_json({**head, "kept": True, "profile": log.text})
        files = queue.recipe_of(args.trial)
        check_time(queue)
        labels = {"campaign": queue.campaign, "trial": str(args.trial)}
        bench = bench_of(queue)
        run = bench.profile if phase is Phase.TRAIN else bench.profile_predict
        try:
            found = await run(files, labels)
        except asyncio.CancelledError:
            queue.ledger.used_device(PROFILE, bench.held_seconds)
            raise
        queue.ledger.used_device(PROFILE, found.held_seconds)
        table, result = found.table[-SHOWN_CHARACTERS:], found.result
        if result.ok and found.failed is None and queue.logs is not None:
            queue.logs.keep(args.trial, name, None, table)
        deadline = f"{queue.pack.seconds(found.phase):g} s"
        row = {**head, **ran(result, queue.pack, deadline=deadline)}
        if found.failed is not None:
            row["failed"] = f"{found.phase}: {found.failed}"
        if (inside := _PROFILED.search(table)) is not None:
            row["outside_s"] = round(result.wall_seconds - float(inside[1]), 3)
        return to_json({**row, "profile": table})


def bench_of(queue: BenchDesk) -> ScratchBench:
    """Return the scratch bench of a campaign.

    Raises:
        RecipelabError: It has none.
    """
    if (bench := queue.bench) is None:
        raise RecipelabError("the campaign has no scratch bench; go on without")
    return bench


def check_time(queue: BenchDesk) -> None:
    """Refuse what would take a slot when nothing may begin any more.

    Raises:
        RecipelabError: The budget is spent, or the campaign is paused.
    """
    if not queue.ledger.has_time:
        raise RecipelabError("the campaign's time is spent; go on without")
    if queue.paused:
        raise RecipelabError("the campaign is paused; go on without")


def ran(result: PhaseResult, pack: Pack, *, deadline: str) -> Row:
    """Return how a run on the scratch bench ended, and what it took.

    Args:
        result: What the sandbox saw.
        pack: The pack, whose limits it was held to.
        deadline: Its limit by the clock, in words.
    """
    limits = pack.limits
    row: Row = {
        "seconds": round(result.wall_seconds, 3),
        "cpu_seconds": round(result.cpu_seconds, 3),
        "mib": result.peak_memory_mb and round(result.peak_memory_mb),
    }
    match result.ending:
        case Ending.EXITED:
            return without_empty(row | {"exit_code": result.exit_code})
        case Ending.DEADLINE:
            return without_empty(row | {"ended": f"killed by the clock at {deadline}"})
        case Ending.MEMORY:
            words = f"killed: over {limits.memory_mb:,} MiB of memory"
            return without_empty(row | {"ended": words})
        case Ending.OUTPUT:
            words = (
                f"killed: over {limits.output_mb:,} MiB or {limits.output_files:,} files in out/"
            )
            return without_empty(row | {"ended": words})
        case _:
            return without_empty(row | {"ended": f"killed: {result.ending}"})


def run_tools(queue: TrialQueue) -> list[AnyTool]:
    """Return the tools that show what the runs of a campaign's trials did."""
    spec = queue.pack.phases.train.curve
    tools: list[AnyTool] = [RunLogTool(queue)]
    if spec is not None:
        tools.append(CurveTool(queue, spec))
    if queue.bench is not None:
        tools.append(ProfileTool(queue))
    return tools
