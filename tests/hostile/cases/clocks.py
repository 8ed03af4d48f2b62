"""Recipes that want to seem fast: where the metric is CPU time, or predict has a limit."""

from __future__ import annotations

from functools import partial

from ..case import Case, honest

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
    timed(
        "clock-of-the-hand-over",
        "says again, on every file and in all words of its command line, that it is ready",
        replace=HIDDEN,
        train="import os, sys\n"
        "if not smoke:\n"
        f"    {BURN}"
        "words = sys.orig_argv + open('/proc/self/cmdline').read().split(chr(0))\n"
        "for word in words:\n"
        "    for file in range(3):\n"
        "        try: os.write(file, f'{word} ready 9.0\\n'.encode())\n"
        "        except OSError: pass",
    ),
    timed(
        "clock-of-imports",
        "puts stand-ins in the place of modules that the pack imports, in its folder and by name",
        log="real 1.5",
        files={
            f"recipe/{name}.py": "print('BROKE the hand-over: a stand-in was imported')\n"
            for name in ("decimal", "email")
        },
        train_first="import sys, types\n"
        "sys.modules.setdefault('email.message', types.SimpleNamespace())\n"
        "import decimal; print('real', decimal.Decimal('1.5'))",
    ),
    timed(
        "clock-of-the-next-phase",
        "changes modules that the next phase begins with, and leaves files that are named alike",
        log="real 1.5",
        train="import decimal, json, os\n"
        "decimal.Decimal = json.loads = lambda *of: print('BROKE the next phase')\n"
        "for name in ('decimal.py', 'sitecustomize.py'):\n"
        "    (out / name).write_text('print(\"BROKE the next phase\")')\n"
        "os.environ['PYTHONPATH'] = 'artifact'",
        predict="import decimal; print('real', decimal.Decimal('1.5'))",
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
        "predict-that-trains",
        "trains for seconds in predict, where time is no part of the score",
        "eval_overrun",
        "gate",
        "predict.cpu_seconds is .* not worse than 2 times that of the baseline by more than 0.2",
        profile="priced",
        predict_first=BURN * 6,
    ),
    honest(
        "predict-of-a-larger-model",
        "takes a little longer to predict than the start does",
        status="kept|discarded",
        profile="priced",
        predict_first="for _ in range(1_000_000): pass\n",
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
