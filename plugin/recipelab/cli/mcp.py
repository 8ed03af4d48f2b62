"""``recipelab mcp``: a campaign as a server of the Model Context Protocol, for coding agents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recipelab.cli.common import (
    AnswerLines,
    HomeOption,
    NameArgument,
    clear_errors,
    out,
    run_stoppable,
    say,
    slot_count,
)
from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.mcp.server import CampaignServer
    from recipelab.page.listening import Binding

NO_SLOTS = "0"
"""Word of ``--slots`` that runs no trials here."""


def mcp(
    name: NameArgument = None,
    lineage: Annotated[
        str | None,
        typer.Option("--lineage", help="Path or URL of a lineage; default that of the home."),
    ] = None,
    allow_submit: Annotated[
        bool,
        typer.Option(
            "--allow-submit", help="Let clients submit trials, run code, leave notes and pause."
        ),
    ] = False,
    proposer: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Who proposes; default the client's own name."),
    ] = None,
    budget: Annotated[
        int, typer.Option(min=1, help="Trials that NAME may propose in this campaign.")
    ] = 20,
    turns: Annotated[
        int,
        typer.Option(
            min=1, help="Turns in which NAME may submit trials and run code in this campaign."
        ),
    ] = 100,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="New total of trials of the campaign; default as before."),
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option(
            metavar="auto|N",
            help="Phases at the same time here; 0 leaves all trials to others; default as before.",
        ),
    ] = None,
    sandbox: Annotated[
        str | None, typer.Option(help="auto, docker or local; default as before.")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve by streamable HTTP, with a token; default over standard input and output.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another name of this server, as that of a proxy; repeatable."),
    ] = None,
    install: Annotated[
        str | None,
        typer.Option(
            metavar="claude|codex|cursor|vscode",
            help="Add this server to a client's configuration, once you have seen the change.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Write the configuration unasked.")] = False,
    home: HomeOption = None,
) -> None:
    """Let coding agents ask a campaign, and submit to it with --allow-submit."""
    with clear_errors():
        from recipelab.mcp.sdk import check_sdk

        check_sdk()
        from recipelab.campaign.campaign import Campaign

        with Campaign.open(name, home=home, lineage=lineage, say=say) as campaign:
            from recipelab.budget import BudgetLimits
            from recipelab.mcp.driver import DriverOptions
            from recipelab.mcp.server import CampaignServer, ServerOptions
            from recipelab.mcp.session import Allowance

            driver = DriverOptions(
                lineage=lineage,
                limits=None if trials is None else BudgetLimits(trials=trials),
                slots=_slots(slots),
                sandbox=sandbox,
            )
            allowance = Allowance(budget, turns)
            options = ServerOptions(allow_submit, proposer, allowance, driver)
            server = CampaignServer(campaign, options, say)
            if install is not None:
                if http is not None:
                    raise RecipelabError(
                        "--install is for servers that the client starts; add one by HTTP to its "
                        "configuration by hand, with its address and token (docs/mcp.md)"
                    )
                given = {"as": proposer, "trials": trials, "slots": slots, "sandbox": sandbox}
                bounds = {"budget": budget, "turns": turns}
                words = _words(home, lineage, allow_submit, **bounds, **given)
                _install(install, campaign.name, words, yes=yes)
            elif http is None:
                run_stoppable(_serve_stdio(server))
            else:
                from recipelab.mcp.http import parse_address

                binding = parse_address(http, tuple(allow_host or ()))
                run_stoppable(_serve_http(server, binding))


def _slots(text: str | None) -> int | None:
    """Return the number of slots that ``--slots`` names; ``None`` for what the campaign says."""
    if text is None:
        return None
    return 0 if text == NO_SLOTS else slot_count(text)


async def _serve_stdio(server: CampaignServer) -> None:
    from recipelab.mcp.sdk import serve_stdio

    lines = AnswerLines()

    async def next_line() -> str | None:
        line = await lines.next()
        if line is None:
            server.closing.set()
        return line

    try:
        await serve_stdio(server, next_line)
    finally:
        await server.close()


async def _serve_http(server: CampaignServer, binding: Binding) -> None:
    from recipelab.mcp.http import TOKEN_VARIABLE, HttpServer

    listening = HttpServer(server, binding)
    say(f"campaign by MCP: {listening.url}")
    say(f"send as Authorization: Bearer {listening.token} (kept between starts: ${TOKEN_VARIABLE})")
    say("whoever has the token may do all that this server allows; nothing on the way is encrypted")
    try:
        await listening.run()
    finally:
        listening.stop()
        await server.close()


def _words(
    home: Path | None, lineage: str | None, allow_submit: bool, **given: object
) -> list[str]:
    """Return the options with which a client starts this server.

    Raises:
        RecipelabError: One holds a password, which does not belong in a client's configuration.
    """
    from sqlalchemy.engine import make_url

    from recipelab.campaign.reader import find_home

    # A client may start it anywhere.
    words = ["--home", str(find_home(home).root)]
    if lineage is not None and "://" not in lineage:
        words += ["--lineage", str(Path(lineage).absolute())]
    elif lineage is not None:
        if make_url(lineage).password:
            raise RecipelabError(
                "--lineage: a password does not belong in a client's configuration; give the URL "
                "as $RECIPELAB_LINEAGE where the client is started, and leave the option out"
            )
        words += ["--lineage", lineage]
    words += ["--allow-submit"] * allow_submit
    for option, value in given.items():
        words += [f"--{option}", str(value)] if value is not None else []
    return words


def _install(client_name: str, campaign: str, words: list[str], *, yes: bool) -> None:
    from recipelab.mcp.install import checked_client, planned

    client = checked_client(client_name)
    command = [sys.executable, "-m", "recipelab", "mcp", campaign, *words]
    change = planned(client, command, Path.cwd())
    if not change.diff:
        out.print(f"{change.path} has it already", markup=False, soft_wrap=True)
        return
    out.print(change.diff, markup=False, soft_wrap=True, end="")
    if not yes and not typer.confirm(f"Write {change.path}?"):
        raise typer.Exit(1)
    change.write()
    out.print(f"written: {change.path}", markup=False, soft_wrap=True)
