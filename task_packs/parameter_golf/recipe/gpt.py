"""A small transformer over bytes: rotary positions, pre-norm, causal attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIM = 64  # knob arch: 32 .. 160
LAYERS = 2  # knob arch: 1 .. 6
HEADS = 4  # knob arch: 1 | 2 | 4 | 8
MLP_RATIO = 4.0  # knob arch: 1.0 .. 6.0
ACTIVATION = "gelu"  # knob arch: "gelu" | "relu2" | "silu"
TIED = False  # knob arch: True | False
ROTARY_BASE = 10000.0  # knob arch: 50.0 .. 50000.0 log
INIT_STD = 0.08  # knob reg: 0.01 .. 0.3 log
DROPOUT = 0.05  # knob reg: 0.0 .. 0.3
LOGIT_CAP = 0.0  # knob loss: 0.0 .. 30.0

BYTES = 256


def activation(x: Tensor) -> Tensor:
    """The nonlinearity of the MLP."""
    if ACTIVATION == "relu2":
        return F.relu(x).square()
    return F.silu(x) if ACTIVATION == "silu" else F.gelu(x)


def norm(x: Tensor) -> Tensor:
    """Root-mean-square normalization without weights."""
    return F.rms_norm(x, (x.shape[-1],))


class Attention(nn.Module):
    """Causal self-attention with rotary positions and normalized queries and keys."""

    def __init__(self) -> None:
        """Makes the two matrices."""
        super().__init__()
        self.qkv = nn.Linear(DIM, 3 * DIM, bias=False)
        self.out = nn.Linear(DIM, DIM, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Maps (batch, length, DIM) to the same shape."""
        batch, length, _ = x.shape
        parts = self.qkv(x).view(batch, length, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = (
            rotate(norm(parts[0]), rotation),
            rotate(norm(parts[1]), rotation),
            parts[2],
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, DIM))


class Block(nn.Module):
    """Attention and MLP, each added to the stream."""

    def __init__(self) -> None:
        """Makes both."""
        super().__init__()
        hidden = int(MLP_RATIO * DIM)
        self.attention = Attention()
        self.up = nn.Linear(DIM, hidden, bias=False)
        self.down = nn.Linear(hidden, DIM, bias=False)

    def forward(self, x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Maps (batch, length, DIM) to the same shape."""
        x = x + F.dropout(self.attention(norm(x), rotation), DROPOUT, self.training)
        return x + F.dropout(self.down(activation(self.up(norm(x)))), DROPOUT, self.training)


class Gpt(nn.Module):
    """From bytes to the logits of what comes next."""

    def __init__(self) -> None:
        """Makes and initializes all weights."""
        super().__init__()
        self.embedding = nn.Embedding(BYTES, DIM)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head = nn.Linear(DIM, BYTES, bias=False)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=INIT_STD)
        for block in self.blocks:
            nn.init.zeros_(block.attention.out.weight)
            nn.init.zeros_(block.down.weight)
        if TIED:
            self.head.weight = self.embedding.weight

    def forward(self, data: Tensor) -> Tensor:
        """Maps bytes (batch, length) to logits (batch, length, 256)."""
        rotation = angles(data.shape[1])
        x = norm(self.embedding(data))
        for block in self.blocks:
            x = block(x, rotation)
        logits = self.head(norm(x))
        return LOGIT_CAP * torch.tanh(logits / LOGIT_CAP) if LOGIT_CAP > 0.0 else logits


def angles(length: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each place's rotation, (length, half of a head)."""
    half = DIM // HEADS // 2
    speeds = ROTARY_BASE ** (-torch.arange(half) / half)
    turned = torch.arange(length)[:, None] * speeds
    return turned.cos(), turned.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turns pairs of features by their place."""
    cos, sin = rotation
    one, other = x.chunk(2, dim=-1)
    return torch.cat((one * cos - other * sin, one * sin + other * cos), dim=-1)
