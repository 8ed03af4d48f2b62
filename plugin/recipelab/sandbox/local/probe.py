"""Finds out whether this machine lets the local sandbox make namespaces, by making some."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from recipelab.errors import SandboxError
from recipelab.sandbox.base import Limits, PhaseRequest
from recipelab.sandbox.local.phase import LocalPhase

# Not only that Python starts: root's command is another user, who may not read all of root's files.
_PROGRAM = """
import os, sys
for folder in sys.path:
    if os.path.lexists(folder):
        os.stat(folder)
        os.path.isdir(folder) and os.listdir(folder)
"""
_LIMITS = Limits(seconds=10, output_mb=1, scratch_mb=1, output_files=1, log_kb=4)


_OLDEST_LINUX = (5, 14)
"""Older ones count all processes of the user in the bound on processes inside."""


@lru_cache(maxsize=8)
def namespaces_fault(temporary: Path) -> str | None:
    """Why namespaces cannot be made here, or ``None`` if a trivial phase ran in some.

    The answer is kept: it does not change while this process lives.

    Args:
        temporary: Where phases have their folders.
    """
    if not sys.platform.startswith("linux"):
        return "only Linux has them"
    if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < _OLDEST_LINUX:
        return f"this is Linux {os.uname().release}; 5.14 or newer is needed"
    with tempfile.TemporaryDirectory() as output:
        request = PhaseRequest(
            phase="probe",
            command=("python", "-I", "-c", _PROGRAM),
            inputs=(),
            output=Path(output),
            limits=_LIMITS,
        )
        try:
            result = LocalPhase(request, temporary=temporary, namespaces=True).run()
        except SandboxError as error:
            return str(error).strip().splitlines()[-1]
    if result.ok:
        return None
    last = (result.log.strip().splitlines() or ["it did not end"])[-1]
    return f"a Python in them ended with {result.ending} {result.exit_code}: {last}"
