"""The network: a stem and two blocks of convolutions, and a linear head."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 10

WIDTH = 8  # knob arch: 3 .. 24
STEM_KERNEL = 5  # knob arch: 3 | 5 | 7
STEM_STRIDE = 2  # knob arch: 1 | 2 | 4
HEAD_GRID = 7  # knob arch: 1 .. 7
ACTIVATION = "relu"  # knob arch: "relu" | "gelu" | "silu"
DROPOUT = 0.0  # knob reg: 0.0 .. 0.5

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class Block(nn.Module):
    """Convolution, batch normalization, activation, and optionally a halving of the image."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, pool: bool = False
    ) -> None:
        """Makes the layers.

        Args:
            inputs: Channels in.
            outputs: Channels out.
            kernel: Side of the convolution, in pixels.
            stride: Step of the convolution, in pixels.
            pool: Whether to halve height and width at the end.
        """
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = ACTIVATIONS[ACTIVATION]()
        self.pool = nn.AvgPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, inputs, height, width) to (batch, outputs, new height, new width)."""
        return self.pool(self.act(self.norm(self.conv(x))))


class Head(nn.Sequential):
    """Averages over a coarse grid of the image, then maps linearly to logits."""

    def __init__(self, inputs: int) -> None:
        """Makes the layers for this many channels."""
        features = inputs * HEAD_GRID**2
        pool = nn.AdaptiveAvgPool2d(HEAD_GRID)
        super().__init__(pool, nn.Flatten(), nn.Linear(features, CLASSES))


class Network(nn.Module):
    """The classifier; in training it may have a second head halfway up, for the auxiliary loss."""

    def __init__(self, *, aux: bool = False) -> None:
        """Makes the layers, with PyTorch's default initial weights.

        Args:
            aux: Whether to make the auxiliary head.
        """
        super().__init__()
        self.stem = Block(1, WIDTH, kernel=STEM_KERNEL, stride=STEM_STRIDE)
        self.middle = Block(WIDTH, 2 * WIDTH, pool=True)
        self.top = Block(2 * WIDTH, 4 * WIDTH)
        self.head = Head(4 * WIDTH)
        self.aux = nn.Sequential(Block(2 * WIDTH, WIDTH), Head(WIDTH)) if aux else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Classifies normalized images, (batch, 1, height, width).

        Returns:
            Logits, (batch, 10), and the auxiliary logits if there is such a head.
        """
        low = F.dropout(self.stem(images), DROPOUT, self.training and DROPOUT > 0)
        middle = self.middle(low)
        logits = self.head(self.top(middle))
        return logits, None if self.aux is None else self.aux(middle)
