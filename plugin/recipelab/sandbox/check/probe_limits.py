"""Run into the limits of a phase, one limit at a time.

`recipelab sandbox check` gives this file to phases as an input, beside a ``config.json``. It runs
under the image's own Python, so it imports the standard library alone (and PyTorch, if that is
installed). It judges nothing: it writes what happened to ``out/report.json``.

Usage: probe_limits.py MODE MARKER
MARKER is in the command lines of its processes, by which the host finds them.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import signal
import sys
import tempfile
import time
from typing import Any

Config = dict[str, Any]
_PIECE = bytes(64 * 1024)
_FILE_PIECES = 16


def memory(config: Config) -> Config:
    """Allocate four times the memory limit."""
    held: list[bytes] = []
    with contextlib.suppress(MemoryError):
        for _ in range(4 * config["memory_mb"]):
            held.append(b"x" * (1 << 20))
    return {"allocated_mb": len(held)}


def processes(config: Config) -> Config:
    """Start more processes than the limit."""
    children: list[int] = []
    refused = False
    for _ in range(config["pids"] + 16):
        try:
            child = os.fork()
        except OSError:
            refused = True
            break
        if child == 0:
            signal.pause()
        children.append(child)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"born": len(children), "refused": refused}


def _fill(folder: str, megabytes: int) -> Config:
    """Write up to so much into a folder, and remove it again."""
    written, reason = 0, ""
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        try:
            for number in range(megabytes):
                with open(os.path.join(inner, str(number)), "wb", buffering=0) as file:
                    for _ in range(_FILE_PIECES):
                        written += file.write(_PIECE)
        except OSError as error:
            reason = errno.errorcode.get(error.errno or 0, str(error))
    return {"written_mb": written / (1 << 20), "error": reason}


def storage(config: Config) -> Config:
    """Write twice as much as fits."""
    return {
        "output": _fill("out", 2 * config["output_mb"]),
        "scratch": _fill(tempfile.gettempdir(), 2 * config["scratch_mb"]),
    }


def overflow(config: Config) -> None:
    """Leave twice as much output as is allowed."""
    with contextlib.suppress(OSError):
        for number in range(2 * config["output_mb"]):
            with open(f"out/{number}", "wb", buffering=0) as file:
                for _ in range(_FILE_PIECES):
                    file.write(_PIECE)


def cores(config: Config) -> Config:
    """Keep two cores busy, and report how many it got."""
    start = time.monotonic()
    for _ in range(2):
        if os.fork() == 0:
            while time.monotonic() < start + 1.5:
                pass
            os._exit(0)
    for _ in range(2):
        os.wait()
    used = os.times()
    return {"cores": (used.children_user + used.children_system) / (time.monotonic() - start)}


def unwaited(config: Config) -> Config:
    """Work in a process that nobody waits for: the kernel leaves it out of its parent's account."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    told, tell = os.pipe()
    if os.fork() == 0:
        while time.process_time() < 0.5:
            pass
        os.write(tell, b"x")
        os._exit(0)
    os.read(told, 1)
    return {"seconds": 0.5}


def stay(config: Config) -> None:
    """Never end: ignore the signals that ask for it, and have a child in another session."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
    time.sleep(60)


def gpu(config: Config) -> Config:
    """Count GPUs, by device nodes and by PyTorch if the image has it."""
    nodes = glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/dri/renderD*")
    try:
        import torch
    except ImportError:
        return {"nodes": nodes, "torch": None}
    return {"nodes": nodes, "torch": torch.cuda.device_count()}


_MODES = (memory, processes, storage, overflow, cores, unwaited, stay, gpu)


def main(mode: str) -> None:
    """Run one mode, and write its report if it has one."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "config.json")) as file:
        config = json.load(file)
    report = {known.__name__: known for known in _MODES}[mode](config)
    if report is not None:
        with open("out/report.json", "w") as file:
            json.dump(report, file)


if __name__ == "__main__":
    main(sys.argv[1])
