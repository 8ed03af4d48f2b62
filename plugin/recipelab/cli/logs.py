"""The options of ``recipelab`` that say how logs are shown."""

from __future__ import annotations

from typing import Annotated

import typer

from recipelab.cli.common import clear_errors
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.logs import LEVELS, configure_logs

FORMATS = ("auto", "console", "json")
"""For people, with colors on a terminal; for people, without colors; one JSON object a line."""

LogLevel = Annotated[
    str,
    typer.Option(
        "--log-level",
        envvar="RECIPELAB_LOG_LEVEL",
        metavar="|".join(LEVELS),
        help="Show logs from this level up, on standard error.",
    ),
]
LogFormat = Annotated[
    str,
    typer.Option(
        "--log-format",
        envvar="RECIPELAB_LOG_FORMAT",
        metavar="|".join(FORMATS),
        help="Logs for people, or one JSON object a line.",
    ),
]


def show_logs(level: str, format_name: str) -> None:
    """Sets up the logs of this command; a bad value ends it with exit code 2."""
    with clear_errors():
        _check("--log-level (or RECIPELAB_LOG_LEVEL)", "log level", level, LEVELS)
        _check("--log-format (or RECIPELAB_LOG_FORMAT)", "log format", format_name, FORMATS)
        colors = False if format_name == "console" else None
        configure_logs(json=format_name == "json", level=level, colors=colors)


def _check(where: str, what: str, given: str, valid: tuple[str, ...]) -> None:
    if given not in valid:
        raise RecipelabError(f"{where}: {unknown_name(what, given, valid)}")
