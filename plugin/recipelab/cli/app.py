"""The ``recipelab`` command."""

from __future__ import annotations

from typing import Annotated

import typer

from recipelab import __version__
from recipelab.cli import (
    ablate,
    ablate_best,
    exchange,
    export,
    look,
    machine,
    notes,
    people,
    run,
    stats,
    transcript,
    verify,
)
from recipelab.cli.agents import agents_app
from recipelab.cli.logs import LogFormat, LogLevel, show_logs
from recipelab.cli.packs import packs_app
from recipelab.cli.sandbox import sandbox_app

app = typer.Typer(
    name="recipelab",
    help="Specialist agents improve a training recipe; an evaluator nobody can touch measures it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    run.run,
    run.resume,
    look.trials,
    look.show,
    look.lineage,
    transcript.transcript,
    export.export,
    look.campaigns,
    ablate.ablate,
    ablate_best.ablate_best,
    stats.stats,
    verify.verify,
    verify.leaderboard,
    notes.note,
    people.pause,
    people.submit,
    machine.doctor,
):
    app.command()(command)
app.command("import")(exchange.import_)
app.add_typer(sandbox_app, name="sandbox")
app.add_typer(agents_app, name="agents")
app.add_typer(packs_app, name="packs")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "auto",
) -> None:
    """Specialist agents improve a training recipe; an evaluator nobody can touch measures it."""
    show_logs(log_level, log_format)
