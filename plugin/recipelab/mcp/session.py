"""A coding agent's session as a specialist: its name, its budget, its turns, its words."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autogen_agentchat.messages import (
    BaseAgentEvent,
    BaseChatMessage,
    TextMessage,
    ToolCallExecutionEvent,
    ToolCallRequestEvent,
)
from autogen_core import FunctionCall
from autogen_core.models import FunctionExecutionResult

from recipelab.agents.lineage_view import IN_TURN, SUBMITTED
from recipelab.agents.specialist import HYPOTHESIS_CHARACTERS
from recipelab.campaign.campaign import Campaign
from recipelab.campaign.submitting import check_proposer
from recipelab.core.errors import RecipelabError
from recipelab.core.text import read_table, shorten
from recipelab.lineage import NewMessage
from recipelab.tools.checks import CheckBook, Refused, TurnState
from recipelab.tools.names import SUBMITTING

NAMELESS = "mcp"
"""The name of a client that tells none, and the end of one whose name is taken."""

NAME_CHARACTERS = 36

_OTHERS = re.compile(r"[^A-Za-z0-9._-]+")


def name_of_client(campaign: Campaign, client: str) -> str:
    """Return the name under which a client proposes: its own, as far as that is a name.

    Args:
        campaign: The campaign.
        client: What the client calls itself.
    """
    name = _OTHERS.sub("-", client).strip("-.")[:NAME_CHARACTERS] or NAMELESS
    try:
        check_proposer(campaign, name)
    except RecipelabError:
        return f"{name}-{NAMELESS}"
    return name


class Round:
    """The round of the campaign that the sessions of a server speak in, begun with the first word.

    Args:
        campaign: The campaign.
    """

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._number: int | None = None

    @property
    def number(self) -> int:
        """Its number in the campaign."""
        if self._number is None:
            # A chat of specialists may be in a round of its own meanwhile.
            self._number = self._campaign.store.start_round(self._campaign.name, beside=True)
        return self._number


@dataclass(frozen=True)
class Allowance:
    """What may be spent under a name in a campaign, by earlier sessions too.

    Attributes:
        trials: Trials that may be proposed.
        turns: Turns in which trials may be proposed and code may run.
    """

    trials: int = 20
    turns: int = 100


class Session:
    """A coding agent at work on a campaign.

    Args:
        campaign: The campaign.
        name: Its name in the lineage.
        budget: What may be spent under its name.
        book: The checks of all sessions of the server.
        round: Where its calls are written; ``None`` writes nothing.

    Attributes:
        name: Its name in the lineage.
        budget: What may be spent under its name.
        turn: The record of its turn, which its tools share.
        in_order: Held by a call that others of the session may not overtake.
    """

    def __init__(
        self,
        campaign: Campaign,
        name: str,
        budget: Allowance,
        book: CheckBook,
        round: Round | None,
    ) -> None:
        self.name = name
        self.budget = budget
        self.turn = TurnState(None, book=book)
        self.in_order = asyncio.Lock()
        self._campaign = campaign
        self._round = round
        self._calls = itertools.count(1)

    @property
    def used(self) -> int:
        """Trials that were proposed under its name and cost budget, those in flight too."""
        for one in self._campaign.store.specialists(self._campaign.name):
            if one.name == self.name:
                tallies = one.statuses.items()
                return sum(count for status, count in tallies if status is None or status.counts)
        return 0

    @property
    def left(self) -> int:
        """Trials that may still be proposed under its name."""
        return max(0, self.budget.trials - self.used)

    @property
    def turns_left(self) -> int:
        """Turns that may still begin under its name, and spend something."""
        return max(0, self.budget.turns - self._turns_taken)

    @property
    def is_in_view(self) -> bool:
        """Whether its turn began with a view of the campaign."""
        return self.turn.best is not None

    @property
    def _turns_taken(self) -> int:
        return self._campaign.store.taken_turns(self._campaign.name, self.name)

    def check_budget(self) -> None:
        """Check that it may spend anything now.

        Raises:
            Refused: The trials or turns of its name are spent; it may go on to ask.
        """
        more = "questions are answered all the same; a person can give more: recipelab mcp"
        if not self.left:
            raise Refused(
                f"the {self.budget.trials} trials of {self.name} in this campaign are spent or in "
                f"flight; {more} --budget N"
            )
        # A turn without a view counts from its trial on.
        if self._turns_taken + (not self.is_in_view) > self.budget.turns:
            raise Refused(
                f"the {self.budget.turns} turns of {self.name} in this campaign are spent; {more} "
                "--turns N"
            )

    def begin_turn(self, view: str = "") -> None:
        """Begin a turn.

        Args:
            view: What the session is shown; empty if that is nothing.
        """
        knew = self.turn.has_asked or bool(view)
        self.turn.begin()
        self.turn.has_asked = knew
        if self._round is not None:
            store, campaign = self._campaign.store, self._campaign.name
            self.turn.round_number = number = self._round.number
            self.turn.number = store.add_turn(campaign, self.name, view=view, round_number=number)

    def ensure_turn(self) -> None:
        """Begin a turn if none is open."""
        if self._round is not None and self.turn.number is None:
            self.begin_turn()

    def write(self, tool: str, arguments: Mapping[str, Any], text: str, *, is_error: bool) -> None:
        """Write a call and its answer to the campaign's transcript; a submission ends the turn.

        Args:
            tool: Name of the tool.
            arguments: The arguments of the call.
            text: The answer.
            is_error: Whether it is an error.
        """
        if self._round is None:
            return
        call_id = f"{NAMELESS}-{self.turn.number}-{next(self._calls)}"
        call = FunctionCall(call_id, json.dumps(arguments, ensure_ascii=False), tool)
        result = FunctionExecutionResult(
            content=text, name=tool, call_id=call_id, is_error=is_error
        )
        said: list[BaseAgentEvent | BaseChatMessage] = [
            ToolCallRequestEvent(content=[call], source=self.name),
            ToolCallExecutionEvent(content=[result], source=self.name),
        ]
        trial = self.turn.submitted[-1] if self.turn.submitted else None
        about = None if is_error or tool not in SUBMITTING else read_table(text).get("trial")
        if trial is not None:
            why = shorten(str(arguments.get("hypothesis", "")), HYPOTHESIS_CHARACTERS)
            said.append(TextMessage(content=f"{SUBMITTED} {trial}: {why}", source=self.name))
        self._add(said, about)
        if trial is not None:
            knew = self.turn.has_asked
            self.turn.begin()
            self.turn.has_asked = knew  # Unlike an agent of the chat it remembers its turns.

    def _add(self, said: list[BaseAgentEvent | BaseChatMessage], about: int | None) -> None:
        messages = []
        for message in said:
            message.metadata[IN_TURN] = str(self.turn.number)
            kind = type(message).__name__
            dump = message.dump()
            messages.append(NewMessage(self.name, kind, dump, about, turn=self.turn.number))
        self._campaign.store.add_messages(
            self._campaign.name, messages, round_number=self.turn.round_number
        )
