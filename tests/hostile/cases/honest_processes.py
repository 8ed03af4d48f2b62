"""Honest recipes with odd ways to run and to end."""

from __future__ import annotations

from functools import partial

from ..case import honest

one = partial(honest, batch="honest-processes")

CASES = (
    one(
        "threads",
        "a pool of threads",
        train="""
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool: print(sum(pool.map(abs, range(100))))
""",
    ),
    one(
        "forks-that-end",
        "forks twenty times, one after the other",
        train="""
import os
for _ in range(20):
    if not os.fork(): os._exit(0)
    os.wait()
""",
    ),
    one(
        "pool-of-forks",
        "multiprocessing with fork",
        train="""
import multiprocessing
with multiprocessing.get_context("fork").Pool(3) as pool: print(sum(pool.map(abs, range(100))))
""",
    ),
    one(
        "subprocesses",
        "runs other programs, one of which fails",
        train="""
import subprocess
print(subprocess.run(["sh", "-c", "echo hello; exit 3"], capture_output=True).returncode)
""",
    ),
    one(
        "zombies",
        "children that nobody waits for",
        train="""
import os
for _ in range(5):
    if not os.fork(): os._exit(0)
""",
    ),
    one(
        "daemon-threads",
        "threads that still run at the end",
        train="""
import threading, time
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
""",
    ),
    one(
        "asyncio",
        "an event loop with a subprocess",
        train="""
import asyncio
async def work():
    made = await asyncio.create_subprocess_exec("true")
    await asyncio.gather(made.wait(), *(asyncio.sleep(0.01) for _ in range(100)))
asyncio.run(work())
""",
    ),
    one(
        "handlers",
        "handlers for signals and for the end",
        train="""
import atexit, os, signal
signal.signal(signal.SIGTERM, lambda number, frame: print("asked to end"))
os.kill(os.getpid(), signal.SIGTERM)
atexit.register(print, "good bye")
""",
    ),
    one(
        "child-at-the-end",
        "a child that outlives it by a moment",
        train="""
import os, time
if not os.fork():
    time.sleep(0.3); os._exit(0)
""",
    ),
    honest(
        "pool-of-spawns",
        "multiprocessing with spawn, which imports the recipe again",
        train="import multiprocessing\nif __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        "        print(sum(pool.map(abs, range(10))))",
    ),
    honest(
        "end-at-once",
        "ends without cleaning up, in train, and by an exception that is none, in predict",
        train="import os, sys\nsys.stdout.flush(); os._exit(0)",
        predict="import sys\nsys.exit(0)",
    ),
    honest(
        "exit-124",
        "ends with the code by which others tell a timeout",
        status="crashed",
        kind="other",
        train="raise SystemExit(124)",
    ),
    honest(
        "exit-137",
        "ends with the code of a killed process; Docker tells no difference",
        status="crashed",
        kind="signal",
        train="raise SystemExit(137)",
    ),
    honest(
        "broken-pipe",
        "is ended by a signal of its own making",
        status="crashed",
        kind="signal|other",
        train="import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    ),
    honest(
        "no-artifact",
        "ends well but leaves nothing",
        status="crashed",
        kind="missing_output",
        evidence="left no artifact in out/",
        train="(out / 'model.json').unlink()",
    ),
)
