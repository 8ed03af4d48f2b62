"""Writes, for each byte of each window, a distribution over what it may be."""

import json
from array import array
from pathlib import Path

LENGTH = 24
SMOOTHING = 0.02

rows = [[SMOOTHING] * 256 for _ in range(256)]
for before, after, number in json.loads(Path("artifact/counts.json").read_text()):
    rows[before][after] += number
rows = [[value / sum(row) for value in row] for row in rows]
data = Path("inputs/windows.bin").read_bytes()
windows = [data[start : start + LENGTH] for start in range(0, len(data), LENGTH)]


def predicted(window, offset):
    """What comes at an offset of a window, from what lies before it."""
    return rows[window[offset - 1] if offset else 10]


def output(values):
    """The file's bytes."""
    return values.tobytes()


# first
values = array("f")
for window in windows:
    for offset in range(LENGTH):
        values.extend(predicted(window, offset))
Path("out/probabilities.bin").write_bytes(output(values))
# last
