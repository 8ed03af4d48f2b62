"""What a code block asks for: which program runs it, and the name of its file."""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass

from autogen_core.code_executor import CodeBlock

from recipelab.errors import unknown_name
from recipelab.sandbox.outputs import name_fault, shown

_PROGRAMS = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "bash": "bash",
    "sh": "sh",
    "shell": "sh",
}
LANGUAGES = tuple(_PROGRAMS)
"""The languages of code blocks, in any case."""

_MARK = "# filename:"


class BlockError(ValueError):
    """A code block cannot be run; the message is for the agent that wrote it."""


@dataclass(frozen=True)
class Program:
    """A code block that can be run.

    Attributes:
        interpreter: ``python``, ``bash`` or ``sh``.
        file: Where its code lies, below the work folder.
        code: The code as it is stored.
        named: Whether the block itself names its file.
    """

    interpreter: str
    file: str
    code: bytes
    named: bool


def program_of(block: CodeBlock) -> Program:
    """Reads a code block.

    Raises:
        BlockError: Its language is not known, or its file would lie outside of the work folder.
    """
    interpreter = _PROGRAMS.get(block.language.strip().lower())
    if interpreter is None:
        raise BlockError(unknown_name("language", block.language, LANGUAGES))
    code = block.code.encode("utf-8", errors="replace")
    named = _file_name(block.code)
    return Program(interpreter, named or _temporary_name(interpreter, code), code, bool(named))


def _file_name(code: str) -> str | None:
    """The name in the first line, as ``# filename: train.py``, or ``None``."""
    line = code.partition("\n")[0]
    if not line.startswith(_MARK):
        return None
    asked = line.removeprefix(_MARK).strip()
    name = posixpath.normpath(asked)
    if not asked or asked.endswith("/") or name == "." or posixpath.isabs(name):
        raise _bad_name(asked, "it is not the relative path of a file")
    if fault := name_fault(name):
        raise _bad_name(asked, fault)
    return name


def _bad_name(name: str, reason: str) -> BlockError:
    return BlockError(f"Filename is not in the workspace: {shown(name)!r} is refused, {reason}")


def _temporary_name(interpreter: str, code: bytes) -> str:
    """The name of a block that asks for none: the same one for the same code."""
    end = "py" if interpreter == "python" else interpreter
    return f"tmp_code_{hashlib.sha256(code).hexdigest()}.{end}"
