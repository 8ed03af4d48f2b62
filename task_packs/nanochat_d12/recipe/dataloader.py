"""Which text is trained on, and how it is cut into rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

PLAYS = 4  # knob data: 1 .. 10
ROW = 64  # knob data: 16 .. 128
ROW_START = "anywhere"  # knob data: "anywhere" | "line" | "word"
SKIP_HEAD = 0  # knob data: 0 .. 8000
ORDER = "random"  # knob data: "random" | "epochs"

STARTS = {"line": ord("\n"), "word": ord(" ")}


def read(folder: Path) -> Tensor:
    """The bytes of the plays, one after the other."""
    plays = [path.read_bytes()[SKIP_HEAD:] for path in sorted(folder.glob("*.txt"))[:PLAYS]]
    return torch.frombuffer(bytearray(b"\n\n".join(plays)), dtype=torch.uint8)


def starts_of(text: Tensor) -> Tensor:
    """Where a row may begin."""
    usable = text[: len(text) - ROW - 1]
    if ROW_START == "anywhere":
        return torch.arange(len(usable))
    return (usable == STARTS[ROW_START]).nonzero()[:, 0]


def batches(text: Tensor, size: int, chance: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows (size, ROW) and what comes after each of their bytes, without end."""
    starts, reach = starts_of(text), torch.arange(ROW + 1)
    queue = torch.empty(0, dtype=torch.long)
    while True:
        if ORDER == "random":
            chosen = starts[torch.randint(len(starts), (size,), generator=chance)]
        else:
            if len(queue) < size:
                queue = starts[torch.randperm(len(starts), generator=chance)]
            chosen, queue = queue[:size], queue[size:]
        rows = text[chosen[:, None] + reach].long()
        yield rows[:, :-1], rows[:, 1:]
