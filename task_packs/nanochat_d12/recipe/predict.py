"""Writes, for the last bytes of each window, a distribution over 256 values from those before."""

from __future__ import annotations

from pathlib import Path

import torch
from gpt import Gpt
from torch import Tensor

LENGTH, LAST = 64, 24  # bytes of a window, and of its end that is asked for
AT_ONCE = 64  # windows
FIRST = ord("\n")  # stands before the first byte of a window


@torch.no_grad()
def probabilities(model: Gpt, windows: Tensor) -> Tensor:
    """Distributions (windows, LAST, 256) of the ends of windows (windows, LENGTH)."""
    before = torch.cat((torch.full_like(windows[:, :1], FIRST), windows[:, :-1]), dim=1)
    return torch.softmax(model(before)[:, -LAST:], dim=-1)


def main() -> None:
    """Reads the artifact and the windows, and writes the distributions as 32-bit floats."""
    torch.set_num_threads(1)
    model = Gpt().eval()
    model.load_state_dict(torch.load("artifact/model.pt", weights_only=True))
    raw = bytearray(Path("inputs/windows.bin").read_bytes())
    windows = torch.frombuffer(raw, dtype=torch.uint8).long().view(-1, LENGTH)
    with Path("out/probabilities.bin").open("wb") as stream:
        for rows in windows.split(AT_ONCE):
            stream.write(probabilities(model, rows).numpy().tobytes())


if __name__ == "__main__":
    main()
