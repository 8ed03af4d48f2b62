"""``recipelab agents``: the charters that make specialists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from recipelab.cli.common import BAD_INPUT, AsJson, clear_errors, err, out, print_json
from recipelab.core.text import plain, shorten

if TYPE_CHECKING:
    from recipelab.agents.charter import Charter
    from recipelab.agents.charters import FoundCharter

agents_app = typer.Typer(help="The charters that make specialists.", no_args_is_help=True)

PackOption = Annotated[
    str | None, typer.Option("--pack", help="Name of a task pack, or its folder.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Profile of the pack; default the pack's own.")
]

_COLUMNS = ("name", "title", "surfaces", "model", "tools", "from")
_CELL = 200
"""Characters of a cell at most."""


@agents_app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the charters that can be found from here."""
    from recipelab.agents.charters import found_charters

    with clear_errors():
        found = found_charters()
        if as_json:
            print_json([_facts(item) for item in found])
            return
        table = Table(box=None, pad_edge=False)
        for title in _COLUMNS:
            table.add_column(title, overflow="fold")
        for item in found:
            table.add_row(*_row(item))
        out.print(table)


@agents_app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Name of a charter, or a path of its file.")],
    pack: PackOption = None,
    profile: ProfileOption = None,
    as_json: AsJson = False,
) -> None:
    """Show a charter; with --pack, the whole prompt of this specialist on it."""
    from recipelab.agents.charters import charter_of
    from recipelab.agents.prompt import charter_message, system_message
    from recipelab.packs.load import load_pack

    with clear_errors():
        charter = charter_of(name)
        message = None
        if pack is not None:
            loaded = load_pack(pack, profile)
            charter = charter.on(loaded.surface_names)
            message = f"{system_message(loaded)}\n\n{charter_message(loaded, charter)}"
        if as_json:
            prompt = {} if message is None else {"system_message": message}
            print_json(charter.model_dump() | prompt)
        else:
            typer.echo(plain(message or _as_text(charter)))


@agents_app.command("check")
def check(
    charters: Annotated[
        list[str] | None, typer.Argument(help="Names or files of charters; default all.")
    ] = None,
    pack: PackOption = None,
    profile: ProfileOption = None,
    as_json: AsJson = False,
) -> None:
    """Say all that is wrong with charters, and with a pack's specialists; exit code 2 if any."""
    from recipelab.agents.charters import charter_names, charter_problems, pack_problems
    from recipelab.packs.load import load_pack

    with clear_errors():
        names = charters or list(charter_names())
        problems = charter_problems(names)
        if pack is not None:
            loaded = load_pack(pack, profile)
            problems += pack_problems(loaded)
        problems = list(dict.fromkeys(problems))
    if as_json:
        print_json({"ok": not problems, "charters": names, "problems": problems})
    else:
        for problem in problems:
            err.print(Text(plain(problem), style="red"), soft_wrap=True)
        if not problems:
            out.print(f"{len(names)} charters are valid", markup=False)
    if problems:
        raise typer.Exit(BAD_INPUT)


def _facts(item: FoundCharter) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": item.name, "from": item.origin, "replaces": item.replaces}
    facts["file"] = str(item.file)
    if item.charter is None:
        return facts | {"problem": item.problem}
    return facts | item.charter.model_dump(exclude={"name", "body"})


def _row(item: FoundCharter) -> tuple[Text, ...]:
    origin = f"{item.origin}, in place of the shipped one" if item.replaces else item.origin
    charter = item.charter
    if charter is None:
        cells = (f"not valid: {item.problem}", "", "", "")
    else:
        tools = ", ".join(charter.tools) if charter.tools else "all"
        cells = (charter.title, ", ".join(charter.surfaces), charter.model or "", tools)
    style = "red" if charter is None else ""
    return tuple(Text(shorten(word, _CELL), style=style) for word in (item.name, *cells, origin))


def _as_text(charter: Charter) -> str:
    """Return a charter as text: the keys that are set, then the body."""
    lines = [f"{charter.name}: {charter.title}", f"surfaces: {', '.join(charter.surfaces)}"]
    if charter.model is not None:
        lines.append(f"model: {charter.model}")
    if charter.tools is not None:
        lines.append(f"tools: {', '.join(charter.tools)}")
    if charter.temperature is not None:
        lines.append(f"temperature: {charter.temperature:g}")
    if charter.guided:
        lines.append("guided: true")
    return "\n".join([*lines, "", charter.body])
