"""What is told of a predict phase that saw hidden text: where it failed, never what it printed.

A pack with a prepare phase shows the recipe hidden text piece by piece. A recipe could print it,
and agents read logs: the next recipe would know the text by heart. So of its log only what holds no
text remains: the kind of the exception, and a line of the recipe's own files.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Collection
from dataclasses import replace

from recipelab.sandbox.base import PhaseResult

NOTICE = "(this phase sees hidden text, so what it printed is withheld)"

_FRAME = re.compile(r'^\s*File "(?P<path>[^"\n]+)", line (?P<line>\d{1,6})\b', re.MULTILINE)
_EXCEPTION = re.compile(r"^(?P<name>[A-Za-z_]\w*)(?::.*)?$", re.MULTILINE)


def withheld(result: PhaseResult, files: Collection[str]) -> PhaseResult:
    """The result without anything that the recipe chose to say.

    Args:
        result: What the sandbox saw.
        files: Paths of the recipe's files.
    """
    count = len(result.refused)
    refused = (f"{count} outputs were not taken; their names are withheld",) if count else ()
    # Names in tripwires are the recipe's choice too; the watched folders are not.
    tampered = tuple(sorted({name.split("/", 1)[0] for name in result.tampered}))
    log = _readable(result.log, files)
    return replace(result, log=log, refused=refused, tampered=tampered)


def _readable(log: str, files: Collection[str]) -> str:
    names = [match["name"] for match in _EXCEPTION.finditer(log) if _is_exception(match["name"])]
    if not names:
        return NOTICE
    # The innermost frame alone: a made-up traceback could spell a text in many line numbers.
    frames = [match for match in _FRAME.finditer(log) if _own(match["path"], files)]
    lines = [
        f'  File "{_own(frame["path"], files)}", line {frame["line"]}, in predict'
        for frame in frames[-1:]
    ]
    return "\n".join([NOTICE, *lines, f"{names[-1]}: the message is withheld"])


def _own(path: str, files: Collection[str]) -> str | None:
    """The recipe's file that a path of a traceback means."""
    return next((file for file in files if path == file or path.endswith(f"/{file}")), None)


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)
