"""Recipes that want to seem fast. The metric is CPU time, and predict is charged."""

from __future__ import annotations

from functools import partial

from ..case import Case

BURN = "for _ in range(12_000_000): pass\n"
SPENT = {"train.cpu_seconds": (0.1, 20.0)}
HIDDEN = ("STEPS = 0", "STEPS = 0  # the work is elsewhere")

timed = partial(Case, status="kept|discarded", profile="timed", measures=SPENT)

CASES = (
    timed(
        "clock-is-faked",
        "replaces the clocks of Python, sets the time zone, and lies about time in the log",
        log="took 0.0 s",
        train_first="import os, time\nos.environ['TZ'] = 'UTC+12'; time.tzset()\n"
        "for name in ('time', 'monotonic', 'perf_counter', 'process_time'):\n"
        "    setattr(time, name, lambda: 0.0)\n"
        "try: time.clock_settime(time.CLOCK_REALTIME, 0.0); print('BROKE the clock')\n"
        "except OSError as error: print(error)",
        train="print('took', time.process_time(), 's; train.cpu_seconds 0.0')",
    ),
    timed(
        "clock-in-children",
        "works in children and in children of children that nobody waits for",
        replace=HIDDEN,
        train="import os, time\n"
        "if not smoke and not os.fork():\n"
        "    os.setsid()\n"
        "    if not os.fork():\n"
        f"        {BURN}        (out / 'done').touch(); os._exit(0)\n"
        "    os._exit(0)\n"
        "while not smoke and not (out / 'done').exists(): time.sleep(0.05)",
    ),
    Case(
        "clock-of-predict",
        "trains at predict time, where the metric's clock does not run",
        "discarded",
        profile="timed",
        replace=HIDDEN,
        predict_first=BURN * 2,
        measures={"predict.cpu_seconds": (0.2, 20.0), "metric": (0.1, 20.0)},
    ),
    Case(
        "clock-of-preflight",
        "trains in the preflight, and looks for what it left there",
        "kept|discarded",
        profile="timed",
        replace=HIDDEN,
        train_first="if smoke:\n    "
        + BURN
        + "    Path('/tmp/model').touch(); (out / 'model').touch()\n"
        "elif Path('/tmp/model').exists() or (out / 'model').exists(): print('BROKE stash')",
        # It does less work, and may be kept for it: what the preflight did is of no use to it.
        measures={"train.cpu_seconds": (0.0, 20.0)},
    ),
)
