"""Images: reading the IDX files, normalizing, and augmenting batches."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 28
MEAN, STD = 0.286, 0.353

CROP = 0  # knob aug: 0 .. 6
FLIP = False  # knob aug: True | False
ROTATE_DEGREES = 0.0  # knob aug: 0.0 .. 30.0
SHIFT_PIXELS = 0.0  # knob aug: 0.0 .. 4.0


def read_idx(path: Path, *, header: int, item: int, count: int | None) -> Tensor:
    """Reads the first items of a gzipped IDX file, without unzipping the rest.

    Args:
        path: The file.
        header: Bytes before the first item.
        item: Bytes an item.
        count: Items to read; None reads all.

    Returns:
        Bytes, of shape (count, item).
    """
    with gzip.open(path, "rb") as stream:
        stream.read(header)
        raw = stream.read() if count is None else stream.read(count * item)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, item)


def load_images(path: Path, count: int | None = None) -> Tensor:
    """Reads images as normalized floats, (count, 1, side, side), less CROP pixels all around."""
    pixels = read_idx(path, header=16, item=SIDE * SIDE, count=count)
    images = pixels.view(-1, 1, SIDE, SIDE)[..., CROP : SIDE - CROP, CROP : SIDE - CROP]
    return (images.float() / 255 - MEAN) / STD


def load_labels(path: Path, count: int | None = None) -> Tensor:
    """Reads labels as class numbers, (count,)."""
    return read_idx(path, header=8, item=1, count=count).view(-1).long()


def augment(images: Tensor) -> Tensor:
    """Randomly changes each image of a batch, (batch, 1, side, side)."""
    if FLIP:
        mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
        images = torch.where(mirrored, images.flip(-1), images)
    if ROTATE_DEGREES or SHIFT_PIXELS:
        images = rotate_and_shift(images)
    return images


def rotate_and_shift(images: Tensor) -> Tensor:
    """Turns and moves each image by its own angle and offset, with bilinear sampling."""
    count, side = len(images), images.shape[-1]
    angle = (torch.rand(count) * 2 - 1) * math.radians(ROTATE_DEGREES)
    # affine_grid measures offsets in half sides.
    offset = (torch.rand(2, count) * 2 - 1) * SHIFT_PIXELS * 2 / side
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([cos, -sin, offset[0], sin, cos, offset[1]], 1).view(count, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
