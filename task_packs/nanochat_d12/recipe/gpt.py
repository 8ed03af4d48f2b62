"""A small chat-shaped transformer over bytes: rotary positions, normalized queries and keys."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 64  # knob arch: 32 .. 128
DEPTH = 2  # knob arch: 1 .. 5
HEADS = 2  # knob arch: 1 | 2 | 4 | 8
HIDDEN = 4.0  # knob arch: 1.0 .. 6.0
NONLINEARITY = "relu2"  # knob arch: "relu2" | "gelu" | "swiglu"
ROTARY_BASE = 10000.0  # knob arch: 50.0 .. 50000.0 log
VALUE_EMBEDDING = False  # knob arch: True | False
SOFTCAP = 15.0  # knob arch: 0.0 .. 40.0
ATTENTION = "plain"  # knob sys: "plain" | "fused"

VOCABULARY = 256


def rms(x: Tensor) -> Tensor:
    """Root-mean-square normalization over the last axis, without weights."""
    return F.rms_norm(x, (x.shape[-1],))


def matrix(rows: int, columns: int, gain: float = 1.0) -> nn.Parameter:
    """A weight whose products keep their scale times ``gain``."""
    return nn.Parameter(torch.randn(rows, columns) * gain / math.sqrt(columns))


class Layer(nn.Module):
    """Attention, then MLP, each added to the residual stream."""

    def __init__(self) -> None:
        """Makes the weights; what writes into the stream starts at zero."""
        super().__init__()
        hidden = int(HIDDEN * WIDTH)
        self.read = matrix(3 * WIDTH, WIDTH)
        self.write = matrix(WIDTH, WIDTH, 0.0)
        self.up = matrix(2 * hidden if NONLINEARITY == "swiglu" else hidden, WIDTH)
        self.down = matrix(WIDTH, hidden, 0.0)

    def forward(self, x: Tensor, places: Tensor, extra: Tensor | None) -> Tensor:
        """Maps (batch, length, WIDTH) to the same shape; ``extra`` is added to the values."""
        x = x + F.linear(self.attended(rms(x), places, extra), self.write)
        return x + F.linear(self.bent(F.linear(rms(x), self.up)), self.down)

    def attended(self, x: Tensor, places: Tensor, extra: Tensor | None) -> Tensor:
        """What each place reads from those up to itself."""
        batch, length, _ = x.shape
        query, key, value = F.linear(x, self.read).chunk(3, dim=-1)
        if extra is not None:
            value = value + extra
        shape = (batch, length, HEADS, WIDTH // HEADS)
        query, key, value = (part.view(shape).transpose(1, 2) for part in (query, key, value))
        query, key = turned(rms(query), places), turned(rms(key), places)
        if ATTENTION == "fused":
            found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        else:
            scores = query @ key.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
            future = torch.ones(length, length, dtype=torch.bool).triu(1)
            found = scores.masked_fill(future, -math.inf).softmax(-1) @ value
        return found.transpose(1, 2).reshape(batch, length, WIDTH)

    def bent(self, x: Tensor) -> Tensor:
        """The nonlinearity of the MLP."""
        if NONLINEARITY == "swiglu":
            gate, x = x.chunk(2, dim=-1)
            return F.silu(gate) * x
        return F.gelu(x) if NONLINEARITY == "gelu" else F.relu(x).square()


class Gpt(nn.Module):
    """From bytes to logits of the next byte."""

    def __init__(self) -> None:
        """Makes all weights."""
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(VOCABULARY, WIDTH))
        self.values = nn.Parameter(torch.zeros(VOCABULARY, WIDTH)) if VALUE_EMBEDDING else None
        self.layers = nn.ModuleList(Layer() for _ in range(DEPTH))
        self.head = matrix(VOCABULARY, WIDTH, 0.1)

    def forward(self, data: Tensor) -> Tensor:
        """Maps bytes (batch, length) to logits (batch, length, 256)."""
        half = WIDTH // HEADS // 2
        speeds = ROTARY_BASE ** (-torch.arange(half) / half)
        angles = torch.arange(data.shape[1])[:, None] * speeds
        places = torch.polar(torch.ones_like(angles), angles)
        extra = None if self.values is None else F.embedding(data, self.values)
        x = rms(F.embedding(data, self.embedding))
        for layer in self.layers:
            x = layer(x, places, extra)
        logits = F.linear(rms(x), self.head)
        return SOFTCAP * torch.tanh(logits / SOFTCAP) if SOFTCAP > 0.0 else logits


def turned(x: Tensor, places: Tensor) -> Tensor:
    """Turns pairs of features (batch, heads, length, size) by the angles of their places."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(pairs * places).flatten(-2)
