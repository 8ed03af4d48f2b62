"""Honest recipes that look at the machine, or ask much of it."""

from __future__ import annotations

from functools import partial

from ..case import honest

one = partial(honest, batch="honest-machine")

CASES = (
    one(
        "nice-and-cores",
        "looks at its cores and makes room for others",
        train="""
import os
os.nice(5); print(len(os.sched_getaffinity(0)), os.cpu_count())
""",
    ),
    one(
        "machine-facts",
        "reads what the machine has",
        train="""
for name in ("meminfo", "cpuinfo", "stat", "loadavg", "self/status", "self/cgroup", "mounts"):
    print(len(open(f"/proc/{name}").read()))
""",
    ),
    one("sleep", "waits a little", train="import time\ntime.sleep(0.2)"),
    one(
        "recursion",
        "recurses deeply, but not too deeply",
        train="""
import sys
sys.setrecursionlimit(20000)
def down(n): return n and down(n - 1)
print(down(5000))
""",
    ),
    one("big-integers", "counts far", train="print(len(str(7 ** 5000)), (1 << 100000) % 97)"),
    one(
        "unseeded-random",
        "throws dice that nobody can foresee",
        train="""
import random, secrets
print(random.SystemRandom().random(), secrets.token_hex())
""",
    ),
    one(
        "locale",
        "sets the locale and the time zone",
        train="""
import locale, os, time
os.environ["TZ"] = "Asia/Kathmandu"; time.tzset(); print(time.ctime())
for name in ("C", "C.UTF-8", ""):
    locale.setlocale(locale.LC_ALL, name)
""",
    ),
    one(
        "limits",
        "lowers its own limits",
        train="""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
""",
    ),
    one(
        "arguments",
        "reads its command line and environment",
        train="""
import os, sys
print(sys.argv, sorted(os.environ))
""",
    ),
    one(
        "slow-import",
        "a module that takes a while to import",
        files={
            "recipe/slow.py": "import time\ntime.sleep(0.3)\nVALUE = 1\n",
        },
        train="import slow\nprint(slow.VALUE)",
    ),
    # By itself: its pack imports modules before it, and measures it against a baseline like that.
    honest(
        "warm-modules",
        "uses modules that its pack imports before it, has one of its own, and starts processes",
        status="kept|discarded",
        profile="timed",
        measures={"train.cpu_seconds": (0.1, 20.0)},
        log="1.5 21 \\[1, 4\\]",
        files={"recipe/own.py": "import json\nVALUE = json.loads('21')\n"},
        train="""
import decimal, multiprocessing, own
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(decimal.Decimal("1.5"), own.VALUE, pool.map(abs, [-1, 4]))
""",
    ),
)
