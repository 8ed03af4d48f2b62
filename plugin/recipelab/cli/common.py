"""What the commands share: output, errors, options, and the answers of a person."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.logs import LEVELS, configure_logs

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign

T = TypeVar("T")

BAD_INPUT = 2
"""Exit code for anything that the user can correct."""

FAILED = 1
"""Exit code of a campaign that stopped before its budget was spent, or of a check that failed."""

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""

WIDTH = 140
"""Columns of a table that goes to a file or a pipe."""


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    wide = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(stderr=stderr, highlight=False, width=WIDTH) if wide else console


out = _console()
err = _console(stderr=True)


def say(text: str) -> None:
    """Print a text that a person should read, on standard error."""
    # Markup off: the text may hold words of agents, or brackets of TOML.
    err.print(text, markup=False, soft_wrap=True)


def print_what_can_be_printed() -> None:
    """Let characters that a terminal's encoding has not be question marks, and no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not _is_unicode(stream.encoding):
            stream.reconfigure(errors="replace")


def _is_unicode(encoding: str) -> bool:
    return encoding.lower().replace("-", "").startswith("utf")


def check_working_directory() -> None:
    """Check that there is a working directory, from which paths are.

    Raises:
        RecipelabError: It was removed.
    """
    try:
        os.getcwd()
    except OSError:
        raise RecipelabError("the working directory is gone; go to one that exists") from None


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an error that the user can correct into one message and exit code 2."""
    try:
        yield
    except RecipelabError as error:
        err.print(f"recipelab: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None


@contextmanager
def opened_campaign(home: Path | None, name: str | None) -> Iterator[Campaign]:
    """Open a campaign of the lineage; an error that the user can correct ends the command.

    Args:
        home: The folder that ``--home`` names.
        name: Name of the campaign; ``None`` for the newest.
    """
    from recipelab.campaign.campaign import Campaign

    with clear_errors(), Campaign.open(name, home=home, say=say) as campaign:
        yield campaign


_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

IMPATIENT_SECONDS = 10.0
"""After so long a command that does not end when it is asked to ends at the next signal."""


def run_stoppable(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that SIGTERM, or a terminal that is closed, ends as cleanly as Ctrl-C does.

    Raises:
        KeyboardInterrupt: It was stopped by one of them.
    """
    asked: list[float] = []

    def stop(task: asyncio.Task[Any]) -> None:
        if not asked:
            task.cancel()
        elif time.monotonic() - asked[0] > IMPATIENT_SECONDS:
            os._exit(STOPPED)  # What is left behind, the next start removes.
        asked.append(time.monotonic())

    async def stoppable() -> T:
        if (task := asyncio.current_task()) is not None:
            for number in _STOPS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
                    asyncio.get_running_loop().add_signal_handler(number, stop, task)
        return await work

    try:
        return asyncio.run(stoppable())
    except (asyncio.CancelledError, KeyboardInterrupt):
        if asked:
            # It has stopped: who asks once more has the command end no sooner, and less cleanly.
            for number in _STOPS:
                # A handler of ours would not outlive the interpreter, whose end takes a while.
                signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt from None


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    typer.echo(_json(value))


def print_json_rows(rows: Iterable[Any], head: Mapping[str, Any] | None = None) -> None:
    """Print rows as :func:`print_json` would, one at a time, so that they may be many.

    Args:
        rows: The rows.
        head: What stands before them in an object, as its last key ``rows``; ``None`` prints a
            list of the rows alone.
    """
    indent = "  "
    if head is not None:
        typer.echo(_json(head).removesuffix("\n}"), nl=False)
        typer.echo(',\n  "rows": ', nl=False)
        indent = "    "
    before = "[\n"
    for row in rows:
        text = _json(row).replace("\n", f"\n{indent}")
        typer.echo(f"{before}{indent}{text}", nl=False)
        before = ",\n"
    end = "[]" if before == "[\n" else f"\n{indent[2:]}]"
    typer.echo(end if head is None else f"{end}\n}}")


def _json(value: Any) -> str:
    # Data must come through whole: where the output is not Unicode, JSON spells characters out.
    ascii_only = not _is_unicode(getattr(sys.stdout, "encoding", None) or "utf-8")
    return json.dumps(value, ensure_ascii=ascii_only, indent=2)


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the lineage; default $RECIPELAB_HOME or .recipelab."),
]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the campaign; default the newest.")
]
NameArgument = Annotated[str | None, typer.Argument(help="Campaign; default the newest.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the file that is there.")]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="offline, openai:NAME, anthropic:NAME, ollama:NAME, azure:NAME or a component's "
        "FILE.json; SPECIALIST=... for one of them alone; repeatable.",
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option("--base-url", help="Address of an OpenAI-compatible server.")
]
SandboxOption = Annotated[
    str, typer.Option(help="auto, docker, or local (not isolated).", show_default=True)
]
Slots = Annotated[
    str,
    typer.Option(
        metavar="auto|N", help="Phases at the same time, each on a GPU or cores of its own."
    ),
]
ShareDevices = Annotated[
    bool, typer.Option("--share-devices", help="Let slots and campaigns share devices.")
]


PlaceOption = Annotated[
    str | None,
    typer.Option("--place", help="Where phases run: local (this machine), ray, slurm, ..."),
]
PlaceSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--place-option",
        metavar="KEY=VALUE",
        help="What the place is told besides, as address=auto; repeatable.",
    ),
]


def place_options(given: list[str] | None) -> dict[str, str]:
    """Return the options of a place by name.

    Raises:
        RecipelabError: One is not ``KEY=VALUE``, or is given twice.
    """
    options: dict[str, str] = {}
    for text in given or ():
        key, mark, value = text.partition("=")
        if not mark or not key:
            raise RecipelabError(f"--place-option {text!r} is not valid; valid: KEY=VALUE")
        if key in options:
            raise RecipelabError(f"--place-option {key} is given twice")
        options[key] = value
    return options


def slot_count(text: str) -> int | None:
    """Return the number of slots that ``--slots`` names; ``None`` for what the machine has.

    Raises:
        RecipelabError: It is neither ``auto`` nor a number from 1 up.
    """
    if text == "auto":
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise RecipelabError(f"--slots: {text!r} is not valid; valid: auto, or a number from 1 up")
    return int(text)


LOG_FORMATS = ("auto", "console", "json")
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
        metavar="|".join(LOG_FORMATS),
        help="Logs for people, or one JSON object a line.",
    ),
]


def show_logs(level: str, format_name: str) -> None:
    """Set up the logs of this command; a bad value ends it with exit code 2."""
    with clear_errors():
        for where, what, given, valid in (
            ("--log-level (or RECIPELAB_LOG_LEVEL)", "log level", level, LEVELS),
            ("--log-format (or RECIPELAB_LOG_FORMAT)", "log format", format_name, LOG_FORMATS),
        ):
            if given not in valid:
                raise RecipelabError(f"{where}: {unknown_name(what, given, valid)}")
        colors = False if format_name == "console" else None
        configure_logs(json=format_name == "json", level=level, colors=colors)


_STDIN = 0
_CHUNK = 65_536


class AnswerLines:
    """Reads the lines that a person types, in a thread that does not outlive the command.

    A thread of the usual pool would hold up Ctrl-C until a line was typed. A thread that waits in
    ``sys.stdin`` holds a lock that the interpreter wants at its end, so this one reads the bytes
    of the file descriptor itself.
    """

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._reading = False
        self._ended = False

    async def next(self) -> str | None:
        """Return the next line without its end; ``None`` at the end of the input."""
        if self._ended and self._lines.empty():
            return None
        if not self._reading:
            self._reading = True
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        return await self._lines.get()

    def forget(self) -> None:
        """Drop what was typed on a terminal before the question; a pipe answers ahead of time."""
        if not os.isatty(_STDIN):
            return
        termios.tcflush(_STDIN, termios.TCIFLUSH)
        while not self._lines.empty():
            self._lines.get_nowait()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        rest = b""
        with suppress(OSError):  # a terminal that was closed brings no more
            while chunk := os.read(_STDIN, _CHUNK):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    self._hand_over(loop, line.decode("utf-8", "replace"))
        if rest:
            self._hand_over(loop, rest.decode("utf-8", "replace"))
        self._hand_over(loop, None)

    def _hand_over(self, loop: asyncio.AbstractEventLoop, line: str | None) -> None:
        def put() -> None:
            self._ended = self._ended or line is None
            self._lines.put_nowait(line)

        try:
            loop.call_soon_threadsafe(put)
        except RuntimeError:
            raise SystemExit from None  # the command has ended meanwhile
