"""Weights as few bytes: rounded to a grid for each row, packed, and compressed."""

from __future__ import annotations

import lzma
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor, nn

BITS = 8  # knob quant: 3 .. 8
EMBEDDING_BITS = 8  # knob quant: 4 .. 8
CLIP_QUANTILE = 1.0  # knob quant: 0.95 .. 1.0
COMPRESSION = "zlib"  # knob quant: "zlib" | "lzma"


def bits_of(name: str) -> int:
    """How many bits a weight of a tensor has."""
    return EMBEDDING_BITS if name.startswith(("embedding", "head")) else BITS


def compress(raw: bytes) -> bytes:
    """Compresses bytes."""
    return lzma.compress(raw, preset=9) if COMPRESSION == "lzma" else zlib.compress(raw, 9)


def decompress(raw: bytes) -> bytes:
    """Undoes :func:`compress`."""
    return lzma.decompress(raw) if COMPRESSION == "lzma" else zlib.decompress(raw)


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights by name, each once."""
    return {name: parameter.data for name, parameter in model.named_parameters()}


def save(model: nn.Module, path: Path) -> None:
    """Writes the quantized weights."""
    pieces = []
    for name, weight in tensors(model).items():
        top = 2 ** (bits_of(name) - 1) - 1
        rows = weight.reshape(len(weight), -1)
        reach = rows.abs().quantile(CLIP_QUANTILE, dim=1).clamp_min(1e-8).half()
        grid = (rows / reach.float()[:, None] * top).round().clamp(-top, top)
        numbers = grid.to(torch.int8).flatten().tolist()
        pieces.append(reach.numpy().tobytes() + struct.pack(f"{len(numbers)}b", *numbers))
    path.write_bytes(compress(b"".join(pieces)))


def load(model: nn.Module, path: Path) -> None:
    """Reads weights that were saved into a model of the same shape."""
    raw, start = decompress(path.read_bytes()), 0
    for name, weight in tensors(model).items():
        top = 2 ** (bits_of(name) - 1) - 1
        rows, size = len(weight), weight.numel()
        reach = torch.frombuffer(bytearray(raw[start : start + 2 * rows]), dtype=torch.float16)
        start += 2 * rows
        grid = torch.frombuffer(bytearray(raw[start : start + size]), dtype=torch.int8)
        start += size
        values = grid.float().view(rows, -1) * reach.float()[:, None] / top
        weight.copy_(values.view_as(weight))
