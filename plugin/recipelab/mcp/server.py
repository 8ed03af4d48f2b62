"""A campaign as a server: what is offered to a client, and its calls as those of a specialist."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from recipelab import __version__
from recipelab.agents.charter import Charter, CharterError
from recipelab.agents.charters import load_charter
from recipelab.campaign.campaign import Campaign
from recipelab.campaign.lineage_desk import LineageDesk
from recipelab.campaign.submitting import check_proposer
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.text import plain
from recipelab.core.trial import Trust
from recipelab.mcp.bench import DriverDesk
from recipelab.mcp.concealing import Concealer
from recipelab.mcp.driver import DriverOptions, OwnDriver
from recipelab.mcp.guide import charter_prompt, instructions, opening, view_of
from recipelab.mcp.resources import Resources
from recipelab.mcp.sdk import INVALID, NotThere, Wire
from recipelab.mcp.session import Allowance, Round, Session, name_of_client
from recipelab.mcp.tools import EXACT, Offered, offered_tools
from recipelab.tools.checks import CheckBook
from recipelab.tools.names import WAITING
from recipelab.tools.workbench import ToolWorkbench

MOST_SESSIONS = 50
"""Names of clients that a server keeps apart; further ones share the last."""

WATCHING = (WAITING, "watch")
"""Tools that a session may call while another call of its own is answered."""


@dataclass(frozen=True)
class ServerOptions:
    """How a campaign is served.

    Attributes:
        may_submit: Whether clients may propose, run code, leave notes and pause.
        name: The name under which every client proposes; ``None`` for what each calls itself.
        budget: What may be spent under a name.
        driver: How trials are run.
    """

    may_submit: bool = False
    name: str | None = None
    budget: Allowance = field(default_factory=Allowance)
    driver: DriverOptions = field(default_factory=DriverOptions)


@dataclass(frozen=True)
class _Client:
    """A client's session with its tools."""

    session: Session
    offered: Mapping[str, Offered]
    workbench: ToolWorkbench


class CampaignServer:
    """Answers the clients of a campaign.

    Args:
        campaign: The campaign.
        options: How it is served.
        say: Called with what a person should read.

    Attributes:
        name: What the server calls itself.
        version: Its version.
        instructions: What clients are told when they come.
        closing: Set when it ends, so that nobody waits for a trial any more.

    Raises:
        RecipelabError: Nothing can be proposed to the campaign, or the name is not valid.
    """

    name = "recipelab"
    version = __version__

    def __init__(
        self,
        campaign: Campaign,
        options: ServerOptions = ServerOptions(),
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._campaign = campaign
        self._options = options
        self.closing = asyncio.Event()
        self.instructions = instructions(campaign, may_submit=options.may_submit)
        has_pack = _has_pack(campaign)
        if options.may_submit:
            _check_open(campaign, options)
        elif options.name is not None and has_pack:
            check_proposer(campaign, options.name)
        self._driver = OwnDriver(campaign, options.driver, say) if options.may_submit else None
        self._desk: LineageDesk | None = None
        if self._driver is not None:
            self._desk = DriverDesk(campaign, self._driver)
        elif has_pack:
            self._desk = LineageDesk(campaign)
        folders = [("pack", campaign.pack.root)] if has_pack else []
        self._conceal = Concealer.of(campaign, folders)
        self._book = CheckBook()
        self._round = Round(campaign) if options.may_submit else None
        self._clients: dict[str, _Client] = {}

    async def close(self) -> None:
        """End all waiting, and stop the trials that run here."""
        self.closing.set()
        if self._driver is not None:
            await self._driver.close()

    # What a client asks.

    async def list_tools(self, client: str) -> list[Wire]:
        """Return the tools."""
        return [offered.wire() for offered in self._client(client).offered.values()]

    async def call_tool(self, client: str, name: str, arguments: Mapping[str, object]) -> Wire:
        """Return the result of a call; what goes wrong is told in it."""
        known = self._client(client)
        try:
            if name in WATCHING:
                text, is_error = await self._called(known, name, arguments)
            else:
                async with known.session.in_order:
                    text, is_error = await self._called(known, name, arguments)
        except RecipelabError as error:  # as where the lineage is away, so nothing can be written
            text, is_error = self._conceal(f"{name}: {error}"), True
        return {"content": [{"type": "text", "text": text}], "isError": is_error}

    async def _called(
        self, client: _Client, name: str, arguments: Mapping[str, object]
    ) -> tuple[str, bool]:
        session = client.session
        session.turn.files.clear()  # Whether a file is still in a client's context nobody knows.
        if name not in client.offered:
            text = unknown_name("tool", name, client.offered)
            if not self._options.may_submit:
                text += "; the server was started without --allow-submit, so it only reads"
            return text, True
        session.ensure_turn()
        result = await client.workbench.call_tool(name, arguments)
        text = result.to_text()
        if result.is_error or name not in EXACT:
            text = self._conceal(text)
        if not result.is_error and name not in ("how_to", *WATCHING):
            session.turn.has_asked = True
        session.write(name, arguments, text, is_error=result.is_error)
        return text, result.is_error

    async def list_resources(self, client: str) -> list[Wire]:
        """Return the resources that have an address of their own."""
        return self._resources(client).listed()

    async def list_templates(self, client: str) -> list[Wire]:
        """Return how the addresses of the other resources are made."""
        return self._resources(client).templates()

    async def read_resource(self, client: str, address: str) -> Wire:
        """Return what is in a resource.

        Raises:
            NotThere: There is none at that address.
        """
        return self._resources(client).read(address)

    async def list_prompts(self, client: str) -> list[Wire]:
        """Return the charters of the campaign's specialists."""
        return [
            {"name": name, "title": charter.title, "description": f"Work as {charter.title}."}
            for name, charter in self._charters().items()
        ]

    async def get_prompt(self, client: str, name: str) -> Wire:
        """Return a charter as a person's words.

        Raises:
            NotThere: The campaign has no such specialist.
        """
        charters = self._charters()
        if name not in charters or self._desk is None:
            raise NotThere(unknown_name("prompt", plain(name), charters), INVALID)
        text = charter_prompt(self._campaign, self._desk, charters[name])
        content = {"type": "text", "text": self._conceal(text)}
        return {
            "description": charters[name].title,
            "messages": [{"role": "user", "content": content}],
        }

    def _charters(self) -> dict[str, Charter]:
        """Return the charters of the campaign, as far as they are here."""
        if self._desk is None:
            return {}
        found = {}
        for name in self._campaign.plan.specialists or self._desk.pack.specialists:
            try:
                found[name] = load_charter(name)
            except (CharterError, RecipelabError):
                continue  # The campaign began where it was.
        return found

    def _resources(self, client: str) -> Resources:
        desk = self._desk
        if desk is None:
            return Resources(self._campaign, None, self._conceal)
        session = self._client(client).session

        def view() -> str:
            shown = view_of(self._campaign, desk, session)
            return opening(self._campaign, desk, shown)

        return Resources(self._campaign, view, self._conceal)

    def _client(self, client: str) -> _Client:
        """Return the session of a client, begun with its first request."""
        name = self._options.name or self._name_of(client)
        if name not in self._clients:
            if len(self._clients) >= MOST_SESSIONS:
                name = next(reversed(self._clients))
                return self._clients[name]
            budget = self._options.budget
            session = Session(self._campaign, name, budget, self._book, self._round)
            offered = offered_tools(self._campaign, self._desk, session, self._driver, self.closing)
            tools = {one.tool.name: one for one in offered}
            bench = ToolWorkbench([one.tool for one in offered])
            self._clients[name] = _Client(session, tools, bench)
        return self._clients[name]

    def _name_of(self, client: str) -> str:
        return name_of_client(self._campaign, client) if self._desk is not None else client


def _has_pack(campaign: Campaign) -> bool:
    """Return whether the campaign's pack is here: an imported one has none."""
    try:
        _ = campaign.pack
    except RecipelabError:
        return False
    return True


def _check_open(campaign: Campaign, options: ServerOptions) -> None:
    """Check that proposals may come from outside.

    Raises:
        RecipelabError: The campaign was imported, its pack is not here, its agents are told nothing
            of the past, it believes what the recipe prints, or the name is not valid.
    """
    if campaign.is_imported:
        raise RecipelabError(
            f"campaign {campaign.name} was imported, so nothing can be submitted to it; leave out "
            "--allow-submit to ask it"
        )
    trust = campaign.pack.trust  # raises for a pack that cannot be read
    if trust is Trust.SELF_REPORTED and not campaign.plan.accept_self_reported:
        raise RecipelabError(
            f"the pack of campaign {campaign.name} is self-reported: code that a session may "
            "change prints the score, so nothing can be submitted to it. If you mean it, resume it "
            "with --accept-self-reported first"
        )
    if campaign.plan.blind:
        raise RecipelabError(
            f"campaign {campaign.name} is a control, whose agents are told nothing of past trials; "
            "a session could tell them, so nothing can be submitted to it: leave out --allow-submit"
        )
    if options.name is not None:
        check_proposer(campaign, options.name)
