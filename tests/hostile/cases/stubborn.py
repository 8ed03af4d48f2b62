"""Recipes that do not end, end badly, or shout."""

from __future__ import annotations

from functools import partial

from ..case import NO_HOLE, Case

quick = partial(Case, profile="quick")

CASES = (
    quick(
        "sleep-in-preflight",
        "sleeps forever before any budget is spent",
        "crashed",
        "timeout",
        "preflight was killed at its budget of 3 s",
        train="import time\ntime.sleep(1e6)",
    ),
    quick(
        "sleep-in-train",
        "sleeps forever and ignores every signal that can be ignored",
        "train_overrun",
        "timeout",
        "train was killed at its budget of 3 s",
        train="import signal, time\nfor number in set(signal.Signals) - {9, 19}:\n"
        "    signal.signal(number, signal.SIG_IGN)\nsmoke or time.sleep(1e6)",
    ),
    quick(
        "sleep-in-predict",
        "the same in predict",
        "eval_overrun",
        "timeout",
        "predict was killed at its budget of 3 s",
        predict="import time\nwhile True: time.sleep(1)",
    ),
    quick(
        "sleep-of-a-child",
        "ends well, but a child in a session of its own holds the output open",
        NO_HOLE,
        train="import os, time\nif not smoke and not os.fork():\n    os.setsid(); time.sleep(1e6)",
    ),
    quick(
        "stop-everybody",
        "stops its own processes and the shell above them instead of ending",
        "train_overrun",
        "timeout",
        train="import os, signal\nsmoke or os.kill(-1, signal.SIGSTOP)",
    ),
    quick(
        "stop-the-shell",
        "stops the shell above it and ends well",
        "train_overrun",
        "timeout",
        train="import os, signal\nsmoke or os.kill(os.getppid(), signal.SIGSTOP)",
    ),
    quick(
        "outlive-as-a-daemon",
        "forks twice, starts a session, closes everything, and waits for the trial to end",
        NO_HOLE,
        log="loss",
        train="import os, time\n"
        "if not os.fork():\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
        "    for number in range(256):\n"
        "        try: os.close(number)\n        except OSError: pass\n"
        "    while True: time.sleep(0.01)",
    ),
    quick(
        "outlive-by-writing",
        "a daemon that goes on to write the artifact after the clock has stopped",
        "crashed",
        "signal|other|processes",
        train="import os, time\nif not smoke:\n    if not os.fork():\n"
        "        os.setsid(); [os.close(n) for n in range(3)]\n        os.kill(os.getppid(), 19)\n"
        "        while True: (out / 'model.json').write_text('{\"x\": 4, \"y\": 7}')\n"
        "    os.kill(os.getppid(), 9); time.sleep(60)",
    ),
    quick(
        "log-of-a-gigabyte",
        "shouts as fast as it can",
        "discarded|train_overrun",
        "|timeout",
        train="import sys\nline = b'x' * 65535 + b'\\n'\n"
        "for _ in range(0 if smoke else 16384): sys.stdout.buffer.write(line)",
    ),
    Case(
        "log-of-one-line",
        "eight megabytes without an end of line, then fails",
        "crashed",
        "other",
        "x{100}",
        train="print('x' * (8 << 20), end='', flush=True); raise SystemExit(1)",
    ),
    Case(
        "log-of-escapes",
        "bytes that steer a terminal, end a text, or are no text at all, then fails",
        "crashed",
        "value",
        "no luck",
        train="import sys\nif not smoke:\n"
        "    sys.stdout.buffer.write(b'\\x1b[2J\\x1b]0;x\\x07\\0\\xff\\xfe' * 99 + b'\\n')\n"
        "    raise ValueError('no luck')",
    ),
    Case(
        "log-of-false-traceback",
        "an error message that takes long to read: one word of 60,000 letters",
        "crashed",
        "other|name|shape|nan",
        train="print('A.' * 15000 + 'A' * 30000 + 'Err', flush=True); exit(1)",
    ),
    Case(
        "crash-hard",
        "ends by a fault of the machine instead of an exception",
        "crashed",
        "signal|other",
        "exit code 139|signal 11|Segmentation",
        train="import ctypes\nctypes.string_at(0)",
    ),
    Case(
        "crash-of-the-stack",
        "recurses until the stack is full",
        "crashed",
        "other|signal",
        "RecursionError|139",
        train="def f(n): return f(n + 1)\nf(0)",
    ),
)
