"""Writes, for each byte of each window, a distribution over its 256 values from those before it."""

from __future__ import annotations

from pathlib import Path

import torch
from gpt import BYTES, Gpt
from quantize import load
from torch import Tensor

CHUNK = 64  # knob eval: 16 .. 128
OVERLAP = 0  # knob eval: 0 .. 96
TEMPERATURE = 1.0  # knob eval: 0.8 .. 1.2
UNIFORM = 0.0  # knob eval: 0.0 .. 0.01

LENGTH = 128  # bytes of a window, as the evaluator cuts them
FIRST = ord("\n")  # stands before the first byte of a window
AT_ONCE = 32  # windows


@torch.no_grad()
def probabilities(model: Gpt, windows: Tensor) -> Tensor:
    """Distributions (windows, LENGTH, 256) of bytes (windows, LENGTH).

    A window is read in chunks, each with some of the bytes before it.
    """
    before = torch.cat((torch.full_like(windows[:, :1], FIRST), windows[:, :-1]), dim=1)
    found = []
    for start in range(0, LENGTH, CHUNK):
        first = max(0, start - OVERLAP)
        logits = model(before[:, first : start + CHUNK])[:, start - first :]
        found.append(torch.softmax(logits / TEMPERATURE, dim=-1))
    known = torch.cat(found, dim=1)
    return (1 - UNIFORM) * known + UNIFORM / BYTES


def main() -> None:
    """Reads the artifact and the windows, and writes the distributions as 32-bit floats."""
    torch.set_num_threads(1)
    model = Gpt().eval()
    with torch.no_grad():
        load(model, Path("artifact/model.bin"))
    raw = bytearray(Path("inputs/windows.bin").read_bytes())
    windows = torch.frombuffer(raw, dtype=torch.uint8).long().view(-1, LENGTH)
    with Path("out/probabilities.bin").open("wb") as stream:
        for rows in windows.split(AT_ONCE):
            stream.write(probabilities(model, rows).numpy().tobytes())


if __name__ == "__main__":
    main()
