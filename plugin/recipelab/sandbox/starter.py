"""Import modules, wait for the word to go, and then be ``python SCRIPT ARGS...``.

What a pack lists as ``warm`` is imported here, before any code of the recipe runs, and whoever
measures the command begins with the word to go. The sandboxes run this file as a small program of
its own, by ``python -c``, so it imports the standard library alone; the fork server of the local
sandbox imports it.

Arguments: READY TOKEN MODULES SCRIPT ARGS... READY is the file descriptor that hears of the end of
the imports: a line of TOKEN, ``ready`` and the CPU seconds used so far, or of TOKEN, ``failed`` and
the reason. MODULES are names with commas between them. The word to go is a byte on standard input,
which is empty from then on.

The recipe cannot move the hand-over. None of its files is on the import path or opened before the
word to go; after that this program neither says nor hears anything any more.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.path[:1] == [""]:
    # The working directory, put there by ``-c``: a file of the recipe may not be imported yet.
    del sys.path[0]

import gc
import os

# Imported anyway when Python starts, and under these names without a search.
from _frozen_importlib_external import SourceFileLoader

NO_SCRIPT = 2
"""The exit code of Python for a script that cannot be opened."""

LONGEST_REASON = 1000
"""Characters of the reason why a module cannot be imported."""


def import_all(modules: list[str]) -> str:
    """Import modules.

    Their objects are taken out of the garbage collector's sight: it would go through all of them
    again and again, and at the end of the script most of all (0.4 s of CPU time for PyTorch).

    Returns:
        Why one of them cannot be imported; empty if all can.
    """
    for name in modules:
        try:
            __import__(name)
        except BaseException as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return f"module {name!r}: {reason}"[:LONGEST_REASON]
    gc.freeze()
    return ""


def run_script(script: str, *arguments: str) -> None:
    """Run a script as ``python SCRIPT ARGS...`` would in the working directory.

    Raises:
        SystemExit: The script raised it, failed (1) or cannot be opened (2).
    """
    path = os.path.abspath(script)
    sys.argv[:] = [script, *arguments]
    sys.orig_argv[:] = ["python", script, *arguments]
    # torch and others have imported it, and it notes where it was imported.
    if process := sys.modules.get("multiprocessing.process"):
        process.ORIGINAL_DIR = os.getcwd()  # type: ignore[attr-defined]
    sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        problem = f"[Errno {error.errno}] {error.strerror}"
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: {problem}\n")
        raise SystemExit(NO_SCRIPT) from None
    main = type(sys)("__main__")
    main.__dict__.update(
        __file__=path,
        __annotations__={},
        __cached__=None,
        __loader__=SourceFileLoader("__main__", path),
        __builtins__=sys.modules["builtins"],
    )
    sys.modules["__main__"] = main
    if "__mp_main__" in sys.modules:
        sys.modules["__mp_main__"] = main
    _execute(source, path, main.__dict__)


def _execute(source: bytes, path: str, names: dict[str, object]) -> None:
    """Execute a program; of one that fails, print the traceback without the frames of this file."""
    code = None
    try:
        code = compile(source, path, "exec", dont_inherit=True)
        exec(code, names)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        trace = error.__traceback__
        # The frame of this function; an error of the compiler itself has no other.
        error.__traceback__ = trace.tb_next if trace is not None and code is not None else None
        sys.excepthook(type(error), error, error.__traceback__)
    else:
        return
    raise SystemExit(1)


def hand_over(ready: int, token: str, problem: str = "") -> None:
    """Say that the modules are imported, and wait for the word to go.

    Args:
        ready: Who hears it; see the top of this file.
        token: The word before it.
        problem: Why a module cannot be imported; this process ends then.
    """
    word = f"failed {problem}" if problem else f"ready {sum(os.times()[:4])}"
    os.write(ready, f"{token} {word}\n".encode())
    if not os.read(0, 1) or problem:
        os._exit(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)


def _main(ready: int, token: str, modules: list[str], command: list[str]) -> None:
    """Import, say so, wait, and run the command; see the top of this file."""
    root = os.getcwd()
    os.chdir("/")  # Some libraries read settings from the working directory.
    hand_over(ready, token, import_all(modules))
    os.chdir(root)
    run_script(*command)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3].split(","), sys.argv[4:])
