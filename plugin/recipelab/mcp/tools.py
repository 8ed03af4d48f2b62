"""The tools of a session: those of specialists, and those that a coding agent needs besides.

Questions to the lineage, recipes, checks and submissions are the tools of the campaign's own
specialists (:mod:`recipelab.tools`). What differs is that a session is no turn of a chat: it is
taught by a tool, its submissions are answered at once, and it may steer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from recipelab.campaign.campaign import Campaign
from recipelab.lineage import prior_campaigns
from recipelab.mcp.bench import DriverDesk, lent_tools
from recipelab.mcp.driver import PREPARE_SECONDS, OwnDriver
from recipelab.mcp.guide import how_to, opening, view_of
from recipelab.mcp.session import Session
from recipelab.packs.knowledge import load_knowledge
from recipelab.packs.load import load_playbook
from recipelab.tools.base import AnyTool, TextTool, ToolArguments, to_json
from recipelab.tools.checks import CheckEditTool, Refused
from recipelab.tools.desk import Desk
from recipelab.tools.lineage import LineageScope, lineage_tools
from recipelab.tools.recipe import ReadRecipeTool
from recipelab.tools.runs import CurveTool, RunLogTool
from recipelab.tools.search import SearchKnowledgeTool, SearchRecipeTool
from recipelab.tools.submit import (
    TURN,
    MoreSeedsArguments,
    MoreSeedsTool,
    SubmitTrialArguments,
    SubmitTrialTool,
    WaitArguments,
    WaitForTool,
)

USUAL_WAIT = 45
"""Seconds that ``wait_for`` waits unless it is told: below the time-outs of clients."""

RUNS = "runs"
"""Key in an answer about a trial in flight that says who runs it."""

EXACT = frozenset({"read_recipe", "search_recipe", "diff_trials"})
"""Tools whose answers are copied from, so that no character of them may be another."""


class NoArguments(ToolArguments):
    """Nothing."""


class NoteArguments(ToolArguments):
    """A note."""

    text: str = Field(min_length=1, max_length=4_000, description="What specialists should know.")
    specialist: str | None = Field(
        default=None, max_length=80, description="For this one alone; all if left out."
    )
    trial: int | None = Field(default=None, ge=0, description="The trial that it is about.")


class SessionWaitArguments(WaitArguments):
    """A trial to wait for."""

    seconds: int = Field(
        default=USUAL_WAIT,
        ge=1,
        le=600,
        description="At most, 1 to 600 s. Many clients give a call up after 60 s.",
    )


class TellTool(TextTool[NoArguments]):
    """Answers a call without arguments.

    Args:
        name: Its name.
        description: Its description, for the model.
        tell: Returns the answer.
    """

    def __init__(self, name: str, description: str, tell: Callable[[], str]) -> None:
        super().__init__(NoArguments, name, description)
        self._tell = tell

    async def answer(self, args: NoArguments) -> str:
        """Return the answer."""
        return await asyncio.to_thread(self._tell)


class ViewTool(TextTool[NoArguments]):
    """Begins a turn, as the campaign's specialists begin theirs: with what is known.

    Args:
        campaign: The campaign.
        desk: Its desk.
        session: The session.
    """

    def __init__(self, campaign: Campaign, desk: Desk, session: Session) -> None:
        super().__init__(
            NoArguments,
            "campaign_view",
            "Begin a turn: the noise, the best trial, what was tried and how it ended, near "
            "misses, failures, notes of people, what runs now.",
        )
        self._parts = campaign, desk, session

    async def answer(self, args: NoArguments) -> str:
        """Return the view."""
        campaign, desk, session = self._parts
        shown = view_of(campaign, desk, session)
        text = opening(campaign, desk, shown)
        session.begin_turn(text)
        session.turn.opened(shown.best, is_whole=shown.is_whole)
        return text


class SessionSubmitTool(SubmitTrialTool):
    """Submits a proposal of a session, whose budget it spends.

    Args:
        desk: The campaign's desk.
        session: The session.
        driver: Runs trials where nobody else does.
    """

    def __init__(self, desk: Desk, session: Session, driver: OwnDriver) -> None:
        super().__init__(desk, session.name, desk.pack.surface_names, session.turn)
        self._description = (
            "Submit a trial by the id of a check: a sandbox trains it, the evaluator measures and "
            f"judges it. Answers at once with its number. Costs one of your "
            f"{session.budget.trials} trials, unless rejected."
        )
        self._session = session
        self._driver = driver

    @property
    def hidden(self) -> frozenset[str]:
        """A session always goes on."""
        return frozenset({"go_on"})

    async def answer(self, args: SubmitTrialArguments) -> str:
        """Return the trial's number, or the reason if it was rejected at once.

        Raises:
            Refused: The session's budget is spent, or as in :class:`SubmitTrialTool`.
            RecipelabError: Nobody can run the trial; nothing is recorded.
        """
        await may_submit(self._session, self._driver)
        answer = json.loads(await super().answer(args))
        return submitted(answer, self._session, self._driver)


class SessionSeedsTool(MoreSeedsTool):
    """Submits a trial of a session that measures an earlier recipe again.

    Args:
        desk: The campaign's desk.
        session: The session.
        driver: Runs trials where nobody else does.
    """

    def __init__(self, desk: Desk, session: Session, driver: OwnDriver) -> None:
        super().__init__(desk, session.name, session.turn)
        self._session = session
        self._driver = driver

    async def answer(self, args: MoreSeedsArguments) -> str:
        """Return the number of the new trial.

        Raises:
            Refused: The session's budget is spent, or as in :class:`MoreSeedsTool`.
            RecipelabError: Nobody can run the trial; nothing is recorded.
        """
        await may_submit(self._session, self._driver)
        answer = json.loads(await super().answer(args))
        return submitted(answer, self._session, self._driver)


async def may_submit(session: Session, driver: OwnDriver) -> None:
    """Check that a session may submit, and that somebody can run its trial.

    Raises:
        Refused: It has spent its budget, or knows nothing of the past.
        RecipelabError: Nobody can run the trial.
    """
    if not session.turn.has_asked:
        raise Refused("look first at what was tried: campaign_view, or lineage_query")
    session.check_budget()
    await driver.prepare(PREPARE_SECONDS)


def submitted(answer: dict[str, Any], session: Session, driver: OwnDriver) -> str:
    """Return the answer to a submission, as a session is told it."""
    answer.pop(TURN, None)
    if answer.get("status") == "rejected":
        return to_json(answer)
    following = f"wait_for(trial={answer['trial']})"
    return to_json(answer | _left(session) | {RUNS: driver.words(), "next": following})


class SessionWaitTool(WaitForTool):
    """Waits until a trial is judged, and says who runs it if it is not.

    Args:
        desk: The campaign's desk.
        session: The session.
        driver: Runs trials where nobody else does; ``None`` if this server runs none.
        closing: Ends the waiting when it is set.
    """

    def __init__(
        self, desk: Desk, session: Session, driver: OwnDriver | None, closing: asyncio.Event
    ) -> None:
        super().__init__(desk, session.turn, closing, SessionWaitArguments)
        self._driver = driver

    async def answer(self, args: WaitArguments) -> str:
        """Return the outcome of the trial, or that it has none yet and who runs it.

        Raises:
            LineageError: No trial has that number.
        """
        answer = await super().answer(args)
        if (
            self._driver is None
            or self._queue.store.brief(self._queue.campaign, args.trial).status is not None
        ):
            return answer
        return to_json(json.loads(answer) | {RUNS: self._driver.words()})


class NoteTool(TextTool[NoteArguments]):
    """Leaves a note for the campaign's specialists.

    Args:
        campaign: The campaign.
        session: The session, whose name is told.
    """

    def __init__(self, campaign: Campaign, session: Session) -> None:
        super().__init__(
            NoteArguments,
            "note",
            "Leave a note that the campaign's specialists see from their next turn on.",
        )
        self._campaign = campaign
        self._author = session.name

    async def answer(self, args: NoteArguments) -> str:
        """Return the number of the note.

        Raises:
            LineageError: The text is blank, or there is no such trial.
        """
        # Notes are otherwise those of people.
        text = f"({self._author}, by MCP) {args.text}"
        note = self._campaign.note(text, specialist=args.specialist, trial=args.trial)
        return to_json({"note": note.number})


@dataclass(frozen=True)
class Offered:
    """A tool as clients are told of it.

    Attributes:
        tool: The tool.
        title: Its name for people.
        reads: Whether it changes nothing.
        repeats: Whether a second call like the first changes nothing more.
    """

    tool: AnyTool
    title: str
    reads: bool = True
    repeats: bool = True

    def wire(self) -> dict[str, Any]:
        """Return it as it goes over the wire."""
        schema = self.tool.schema
        parameters = json.loads(json.dumps(schema["parameters"]))
        return {
            "name": schema["name"],
            "title": self.title,
            "description": schema["description"],
            "inputSchema": parameters | {"additionalProperties": False},
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.reads,
                "destructiveHint": False,
                "idempotentHint": self.repeats,
                "openWorldHint": False,
            },
        }


def offered_tools(
    campaign: Campaign,
    desk: Desk | None,
    session: Session,
    driver: OwnDriver | None,
    closing: asyncio.Event,
) -> list[Offered]:
    """Return the tools of a session.

    Args:
        campaign: The campaign.
        desk: Its desk; ``None`` where its pack is not here.
        session: The session.
        driver: Runs trials where nobody else does; ``None`` lets the session look alone.
        closing: Set when the server ends.
    """
    may = driver is not None

    def told() -> str:
        return how_to(campaign, desk, session, may_submit=may)

    def now() -> str:
        return to_json(
            {"campaign": campaign.name, **campaign.now().facts()} | _own(session, driver)
        )

    teach = (
        "Read this first: how a session goes, what is measured, what may be edited, your budget."
    )
    watch = (
        "What goes on right now: state, phases that run with the newest lines of their logs "
        "(times in s since 1970), queue, budget, next stop."
    )
    scope = LineageScope(campaign.store, campaign.name, None, prior_campaigns(campaign.record))
    offered = [Offered(TellTool("how_to", teach, told), "How to")]
    offered += [Offered(tool, _title(tool)) for tool in lineage_tools(scope)]
    offered.append(Offered(TellTool("watch", watch, now), "Watch"))
    if desk is not None:
        offered += [
            Offered(t, _title(t)) for t in _looking(campaign, desk, session, driver, closing)
        ]
    if driver is None:
        return offered
    if desk is not None:
        submit = SessionSubmitTool(desk, session, driver)
        again = SessionSeedsTool(desk, session, driver)
        lent = lent_tools(desk, session, driver) if isinstance(desk, DriverDesk) else []
        tools: tuple[AnyTool, ...] = (submit, again, *lent)
        offered += [Offered(t, _title(t), reads=False, repeats=False) for t in tools]
    offered.append(Offered(NoteTool(campaign, session), "Note", reads=False, repeats=False))
    return [*offered, *(Offered(t, _title(t), reads=False) for t in _pausing(campaign))]


def _own(session: Session, driver: OwnDriver | None) -> dict[str, Any]:
    if driver is None:
        return {}
    return {"you": session.name, **_left(session), RUNS: driver.words()}


def _left(session: Session) -> dict[str, Any]:
    return {"your_trials_left": session.left, "your_turns_left": session.turns_left}


def _looking(
    campaign: Campaign,
    desk: Desk,
    session: Session,
    driver: OwnDriver | None,
    closing: asyncio.Event,
) -> list[AnyTool]:
    """Return the tools that look at recipes and runs."""
    pack, turn = desk.pack, session.turn
    tools: list[AnyTool] = [
        ViewTool(campaign, desk, session),
        ReadRecipeTool(desk, load_playbook(pack), shown=turn.files),
        SearchRecipeTool(desk),
        CheckEditTool(desk, pack.surface_names, turn),
        RunLogTool(desk),
    ]
    if sources := load_knowledge(pack):
        tools.append(SearchKnowledgeTool(desk, sources))
    if (curve := pack.phases.train.curve) is not None:
        tools.append(CurveTool(desk, curve))
    return [*tools, SessionWaitTool(desk, session, driver, closing)]


def _pausing(campaign: Campaign) -> list[AnyTool]:
    def pause() -> str:
        campaign.pause()
        return to_json({"paused": True, "next": "trials that run go on, none is begun"})

    def resume() -> str:
        return to_json({"resumed": campaign.unpause()})

    return [
        TellTool("pause", "Let the campaign begin no trial until resume; running ones end.", pause),
        TellTool("resume", "Let a paused campaign that still runs go on.", resume),
    ]


def _title(tool: AnyTool) -> str:
    return tool.name.replace("_", " ").capitalize()
