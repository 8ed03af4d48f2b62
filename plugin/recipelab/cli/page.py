"""Commands that show campaigns in a browser: ui, report, replay."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from recipelab.cli.common import Force, HomeOption, clear_errors, out, say
from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.page.export import Mode

_NEEDED = ("fastapi", "uvicorn")
"""The distributions of the extra ``ui``."""

LineageOption = Annotated[
    str | None,
    typer.Option("--lineage", help="Path or URL of a lineage; default that of the home."),
]


def ui(
    host: Annotated[
        str, typer.Option(help="Address to listen on; elsewhere than here it asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 takes any that is free.")
    ] = 8642,
    token: Annotated[
        bool, typer.Option("--token", help="Ask for a token on this machine, too.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Another name of this server, as that of a proxy; repeatable."),
    ] = None,
    no_open: Annotated[bool, typer.Option("--no-open", help="Open no browser.")] = False,
    lineage: LineageOption = None,
    home: HomeOption = None,
) -> None:
    """Show the campaigns of this lineage live in a browser, and steer them; Ctrl-C ends it."""
    from recipelab.campaign.reader import find_home

    with clear_errors():
        _check_extra()
        from recipelab.page.listening import Binding
        from recipelab.page.server import serve
        from recipelab.page.source import PageLineage

        binding = Binding(host, port, token, tuple(allow_host or ()))
        source = PageLineage(find_home(home), lineage)
        serve(source, binding, _print_address, open_browser=not no_open)


def _print_address(text: str) -> None:
    out.print(Text(text), soft_wrap=True)


def _check_extra() -> None:
    """Check that the packages of the extra are installed.

    Raises:
        RecipelabError: One is missing; the message says how to install it.
    """
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise RecipelabError(
            f"recipelab ui needs {' and '.join(missing)}: pip install 'recipelab[ui]' (recipelab "
            "report and recipelab replay need nothing)"
        )


NamesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CAMPAIGN]...", help="Campaigns; default the newest."),
]


def report(
    names: NamesArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The FILE to write; default CAMPAIGN.html."),
    ] = None,
    force: Force = False,
    lineage: LineageOption = None,
    home: HomeOption = None,
) -> None:
    """Write campaigns as one HTML file that opens anywhere, offline."""
    from recipelab.page.export import Mode

    written, name = _write(names, output, Mode.REPORT, lineage, home, force=force)
    out.print(Text(f"report of {name}: {written}"), soft_wrap=True)


def replay(
    names: NamesArgument = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Keep the file here, and open no browser."),
    ] = None,
    force: Force = False,
    lineage: LineageOption = None,
    home: HomeOption = None,
) -> None:
    """Play a campaign in a browser as it went, at any speed, from one HTML file."""
    from recipelab.page.export import Mode

    if output is not None:
        written, name = _write(names, output, Mode.REPLAY, lineage, home, force=force)
        out.print(Text(f"replay of {name}: {written}"), soft_wrap=True)
        return
    folder = Path(tempfile.mkdtemp(prefix="recipelab-replay-"))
    written, name = _write(names, folder / "replay.html", Mode.REPLAY, lineage, home, force=True)
    out.print(Text(f"replay of {name}: {written.as_uri()}"), soft_wrap=True)
    from recipelab.page.export import open_in_browser

    if not open_in_browser(written.as_uri()):
        say("no browser can be opened here; open the address, or keep the file: -o FILE")


def _write(
    names: list[str] | None,
    output: Path | None,
    mode: Mode,
    lineage: str | None,
    home: Path | None,
    *,
    force: bool,
) -> tuple[Path, str]:
    """Write the file; return its path and the names of its campaigns."""
    from contextlib import ExitStack

    from recipelab.campaign.reader import CampaignReader
    from recipelab.exchange.replacing import replacing
    from recipelab.page.data import CampaignData
    from recipelab.page.export import write_page

    with clear_errors(), ExitStack() as stack:
        first = stack.enter_context(
            CampaignReader.open(names[0] if names else None, home=home, lineage=lineage)
        )
        others = [
            CampaignReader(first.store, first.store.campaign(name).name, home=first.home)
            for name in dict.fromkeys((names or [])[1:])
            if name != first.name
        ]
        readers = [first, *others]
        place = output or Path(f"{first.name}.html")
        with replacing(place, force=force) as new:
            write_page(new, [CampaignData(reader) for reader in readers], mode)
        return place.absolute(), ", ".join(reader.name for reader in readers)
