"""The ``recipelab`` command: what there is to type."""

from __future__ import annotations

from typing import Annotated

import typer

from recipelab import __version__
from recipelab.cli import certify, exchange, look, publish, resume, run, sandbox, steer
from recipelab.cli.adopt import adopt
from recipelab.cli.agents import agents_app
from recipelab.cli.common import (
    LogFormat,
    LogLevel,
    check_working_directory,
    clear_errors,
    print_what_can_be_printed,
    show_logs,
)
from recipelab.cli.mcp import mcp
from recipelab.cli.packs import packs_app
from recipelab.cli.page import replay, report, ui

app = typer.Typer(
    name="recipelab",
    help="Specialist agents improve a training recipe; an evaluator nobody can touch measures it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    run.run,
    resume.resume,
    resume.join,
    look.trials,
    look.show,
    look.watch,
    ui,
    report,
    replay,
    mcp,
    look.lineage,
    look.transcript,
    exchange.export,
    look.campaigns,
    certify.ablate,
    certify.ablate_best,
    look.stats,
    publish.plot,
    publish.track,
    certify.checkpoint,
    certify.verify,
    certify.leaderboard,
    steer.note,
    steer.pause,
    steer.stop,
    steer.kill,
    steer.submit,
    sandbox.doctor,
):
    app.command()(command)
app.command("import")(exchange.import_)
packs_app.command("adopt")(adopt)
app.add_typer(sandbox.sandbox_app, name="sandbox")
app.add_typer(agents_app, name="agents")
app.add_typer(packs_app, name="packs")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    log_level: LogLevel = "warning",
    log_format: LogFormat = "auto",
) -> None:
    """Specialist agents improve a training recipe; an evaluator nobody can touch measures it."""
    print_what_can_be_printed()
    with clear_errors():
        check_working_directory()
    show_logs(log_level, log_format)
