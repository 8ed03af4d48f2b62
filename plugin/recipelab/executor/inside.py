"""Run one code block inside of a sandbox. Run by its path, with the standard library alone.

The files of earlier blocks lie read-only in ``work``, the code in ``code``, the functions in
``modules``, data in ``data``. All files but those are copied to ``out``, where the code runs and
from where they come back.

Usage: inside.py INTERPRETER FILE [COMMAND]

The command, one of ``sh``, runs before the code; if it fails, the code does not run.
"""

from __future__ import annotations

import os
import signal
import sys

NOT_PLACED = "recipelab: the files could not be put in place:"
"""Start of the only line if the code did not run at all."""

PLACEHOLDER = ".recipelab-folder"
"""Name of a file that stands for its empty folder: folders alone do not come back."""

_PIECE = 1 << 20


def _place(source: str, target: str) -> None:
    """Copy the regular files below a folder; links and the like would not come back either."""
    with os.scandir(source) as entries:
        for entry in entries:
            path = f"{target}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                os.makedirs(path, exist_ok=True)
                _place(entry.path, path)
            elif entry.is_file(follow_symlinks=False):
                _copy(entry, path)


def _copy(entry: os.DirEntry[str], target: str) -> None:
    with open(entry.path, "rb") as reader, open(target, "wb") as writer:
        while piece := reader.read(_PIECE):
            writer.write(piece)
    # Build tools compare times.
    times = entry.stat().st_mtime_ns
    os.utime(target, ns=(times, times))


def _environment(root: str) -> dict[str, str]:
    """Return the environment of the code: with the functions module, and this Python first."""
    variables = dict(os.environ)
    search = (f"{root}/modules", variables.get("PYTHONPATH", ""))
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, search))
    path = (os.path.dirname(sys.executable), variables.get("PATH", os.defpath))
    variables["PATH"] = os.pathsep.join(path)
    variables.setdefault("DATA", f"{root}/data")
    return variables


def _run(words: list[str], environment: dict[str, str]) -> int:
    """Run a program to its end.

    Returns:
        Its exit code; 128 + n if signal n ended it, as in a shell.
    """
    # Python ignores these signals, and a program that it starts would too.
    default = [signal.SIGPIPE, signal.SIGXFSZ]
    try:
        pid = os.posix_spawnp(words[0], words, environment, setsigdef=default)
    except OSError as error:
        sys.stdout.write(f"{os.path.basename(words[0])}: {error.strerror}\n")
        return 127
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def _mark_empty_folders(top: str) -> None:
    for folder, folders, files in os.walk(top):
        if not folders and not files and folder != top:
            try:
                open(os.path.join(folder, PLACEHOLDER), "x").close()
            except OSError:
                continue  # The code has made it read-only, or the disk is full.


def main(interpreter: str, file: str, command: str = "") -> int:
    """Run the code; see the top of this file."""
    root = os.getcwd()
    try:
        _place("work", "out")
        _place("code", "out")
    except OSError as error:
        sys.stdout.write(f"{NOT_PLACED} {error.filename}: {error.strerror}\n")
        return 1
    os.chdir("out")
    program = sys.executable if interpreter == "python" else interpreter
    environment = _environment(root)
    code = _run(["sh", "-c", command], environment) if command else 0
    if code == 0:
        code = _run([program, f"./{file}" if file.startswith("-") else file], environment)
    _mark_empty_folders(os.path.join(root, "out"))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
