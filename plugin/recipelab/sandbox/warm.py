"""Warm starts: modules are imported before a command, and its time counts from the hand-over.

The host starts :mod:`recipelab.sandbox.starter`, which imports, says that it is ready and waits.
The host then reads what was used so far, and gives the word to go; from this moment on nothing that
the process says is heard any more. A module that cannot be imported is the fault of the pack or of
the environment, never of the command.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from pathlib import Path

from recipelab.core.errors import SandboxError
from recipelab.sandbox.base import PhaseRequest

GO = b"g"
"""The word to go."""

IMPORT_SECONDS = 120.0
"""How long the imports of a phase may take, beside its own deadline."""

MAX_LINE = 1 << 16
"""Bytes of output before the hand-over; more is a fault."""


class Handover:
    """One hand-over: how to start the process, and how to understand what it says.

    Args:
        request: A checked request with modules.
        ready: The file descriptor of the process that is heard.

    Attributes:
        token: The word before what the starter says.
    """

    def __init__(self, request: PhaseRequest, *, ready: int) -> None:
        self._request = request
        self._ready = ready
        # What a module prints while it is imported cannot be taken for the starter's line.
        self.token = secrets.token_hex(16)

    @property
    def command(self) -> tuple[str, ...]:
        """The command line of the starter, with ``python`` as its program."""
        modules = ",".join(self._request.warm)
        source = _starter_source()
        return ("python", "-c", source, str(self._ready), self.token, modules, *self.words)

    @property
    def words(self) -> tuple[str, ...]:
        """The script and its arguments."""
        return self._request.command[1:]

    def split(self, said: bytes) -> tuple[bytes, float | None]:
        """Part what a process has said so far into its modules' output and the starter's line.

        Returns:
            The output of the modules; and, if the process is ready, its CPU seconds so far.

        Raises:
            SandboxError: A module cannot be imported, or the output does not end.
        """
        before, found, rest = said.partition(self.token.encode())
        line, end, _ = rest.partition(b"\n")
        if not found or not end:
            if len(said) > MAX_LINE:
                raise self.fault("the modules print without end")
            return before, None
        word, _, told = line.strip().decode(errors="replace").partition(" ")
        if word != "ready":
            raise self.fault(told)
        return before, float(told)

    def fault(self, reason: str) -> SandboxError:
        """Return the error of imports that failed, which names the modules and the pack's key."""
        modules = ", ".join(self._request.warm)
        return SandboxError(
            f"phase {self._request.phase}: what the pack's key `warm` lists ({modules}) cannot be "
            f"imported in this sandbox: {reason}"
        )


@lru_cache(maxsize=1)
def _starter_source() -> str:
    return Path(__file__).with_name("starter.py").read_text("utf-8")
