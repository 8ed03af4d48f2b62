"""Honest recipes that print or write odd text."""

from __future__ import annotations

from functools import partial

from ..case import TRAIN, honest

one = partial(honest, batch="honest-words")

CASES = (
    one(
        "log-of-five-megabytes",
        "talks a lot",
        train="""
for step in range(50_000): print(f"step {step} loss {1 / (step + 1):.8f}", "." * 70)
""",
    ),
    one(
        "log-of-nan",
        "a loss of nan on the way to a fine result",
        train="print('loss nan inf -inf')",
    ),
    one(
        "log-of-fear",
        "prints what others print when they fail",
        train="""
for line in ("CUDA error: out of memory", "Killed", "MemoryError", "Segmentation fault",
             "Traceback (most recent call last):", "ValueError: not really", "timeout",
             "No space left on device", "illegal", "look-ahead: none"): print(line)
""",
    ),
    one(
        "log-in-unicode", "prints in many scripts", train="print('Größe 重み вес 🙂 \\u202e', 'é')"
    ),
    one(
        "log-of-bytes",
        "prints bytes that are no text, and the codes of a progress bar",
        train="""
import sys
sys.stdout.buffer.write(b"\\xff\\xfe\\r10%\\r100%\\x1b[32mdone\\x1b[0m\\n"); sys.stdout.flush()
""",
    ),
    one(
        "warnings",
        "warns on standard error",
        train="""
import sys, warnings
warnings.warn("this is old", DeprecationWarning, stacklevel=1); print("hm", file=sys.stderr)
""",
    ),
    one(
        "logging",
        "uses a logger for everything",
        train="""
import logging
logging.basicConfig(level="DEBUG"); logging.critical("score 0.0"); logging.error("exit 4")
""",
    ),
    one("no-newline", "ends its log within a line", train="print('almost done', end='')"),
    honest(
        "silence",
        "closes its output and prints nothing",
        train_first="import os, sys\n"
        "null = os.open(os.devnull, os.O_WRONLY)\nos.dup2(null, 1); os.dup2(null, 2)",
    ),
    honest(
        "predictions-of-windows",
        "lines that end as on Windows, spaces, and numbers in powers of ten",
        predict="Path('out/predictions.txt').write_bytes(\n"
        '    f\'  {model["x"]:.17e}\\r\\n{model["y"]:.17E}  \\r\\n\\r\\n\'.encode())',
    ),
    honest(
        "source-of-windows",
        "a recipe with the line ends of Windows and a byte order mark",
        files={
            "recipe/predict.py": "\ufeff"
            + '"""Größe 🙂"""\r\nimport json\r\n\r\nfrom pathlib import Path\r\n'
            + "model = json.loads(Path('artifact/model.json').read_text())\r\n"
            + "größe = f\"{model['x']} {model['y']}\"\r\n"
            + "Path('out/predictions.txt').write_text(größe)\r\n"
        },
    ),
    honest(
        "rewritten",
        "a train.py of a few lines that shares nothing with the first",
        status="kept",
        files={TRAIN: "open('out/model.json', 'w').write('{\"x\": 3.9, \"y\": 7}')\n"},
    ),
    honest(
        "predictions-of-nobody",
        "predictions that are no numbers, by mistake",
        status="crashed",
        kind="bad_output",
        evidence="could not convert",
        predict="Path('out/predictions.txt').write_text('None None')",
    ),
)
