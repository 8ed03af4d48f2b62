"""``recipelab agents``: the charters that make specialists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from recipelab.cli.common import BAD_INPUT, AsJson, clear_errors, err, out, print_json
from recipelab.errors import RecipelabError
from recipelab.shown import plain

if TYPE_CHECKING:
    from recipelab.agents.charter import Charter

agents_app = typer.Typer(help="List, show and check charters.", no_args_is_help=True)

PackOption = Annotated[
    str | None, typer.Option("--pack", help="Name or folder of a task pack to see them in.")
]


@agents_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the charters that can be found from here; those of the working folder come first."""
    from recipelab.agents.charter import charter_names, load_charter

    with clear_errors():
        rows = [_facts(load_charter(name)) for name in charter_names()]
    if as_json:
        print_json(rows)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("name", "title", "surfaces", "model", "tools", "from"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        tools = ", ".join(row["tools"]) if row["tools"] else "all"
        told = (row["name"], row["title"], ", ".join(row["surfaces"]), row["model"] or "")
        table.add_row(*(plain(cell) for cell in (*told, tools, row["from"])))
    out.print(table)


@agents_app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a charter.")], pack: PackOption = None
) -> None:
    """Show a charter; with --pack, all that its specialist is told before anything else."""
    from recipelab.agents.charter import load_charter
    from recipelab.agents.prompt import system_message
    from recipelab.packs import load_pack

    with clear_errors():
        charter = load_charter(name)
        if pack is None:
            typer.echo(plain(charter.body))
            return
        found = load_pack(pack)
        typer.echo(plain(system_message(found, charter.on(found.surface_names))))


@agents_app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Names or files; default all.")] = None,
    pack: PackOption = None,
) -> None:
    """Check charters, and with --pack that its specialists own every surface between them."""
    from recipelab.agents.charter import charter_names

    problems = [fault for name in names or charter_names() for fault in _faults(name)]
    if pack is not None:
        with clear_errors():
            problems += _pack_faults(pack)
    for problem in problems:
        err.print(problem, style="red", markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(BAD_INPUT)
    out.print("all is well", markup=False)


def _faults(name: str) -> list[str]:
    from recipelab.agents.charter import load_charter, read_charter

    try:
        read_charter(Path(name)) if name.endswith(".md") else load_charter(name)
    except RecipelabError as error:
        return str(error).splitlines()
    except OSError as error:
        return [f"{name}: cannot be read: {error.strerror}"]
    return []


def _pack_faults(name: str) -> list[str]:
    from recipelab.agents.charter import load_charter
    from recipelab.packs import load_pack

    pack = load_pack(name)
    faults: list[str] = []
    owned: set[str] = set()
    for specialist in pack.specialists:
        try:
            owned |= set(load_charter(specialist).on(pack.surface_names).surfaces)
        except RecipelabError as error:
            faults.append(f"{pack.name}: specialists: {error}")
    orphans = [surface for surface in pack.surface_names if surface not in owned]
    return [*faults, *(f"{pack.name}: no specialist owns the surface {one}" for one in orphans)]


def _facts(charter: Charter) -> dict[str, Any]:
    from recipelab import content
    from recipelab.agents.charter import MARKER

    file = content.find(content.AGENTS, charter.name, marker=MARKER, what="charter")
    own = file.is_relative_to(Path.cwd())
    facts = charter.model_dump(exclude={"body"})
    return {**facts, "from": str(file.relative_to(Path.cwd())) if own else "recipelab"}
