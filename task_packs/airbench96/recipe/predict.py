"""Predicts the class of each test image from the saved weights."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from images import load_images
from model import Network

CHUNK = 250


@torch.inference_mode()
def main() -> None:
    """Reads the command line and writes one class number a line."""
    parser = argparse.ArgumentParser(description="Predict with the network.")
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--inputs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Network().eval()
    model.load_state_dict(torch.load(args.artifact / "model.pt", weights_only=True))
    images = load_images(args.inputs / "t10k-images-idx3-ubyte.gz")
    classes = torch.cat([model(chunk)[0].argmax(1) for chunk in images.split(CHUNK)]).tolist()
    (args.out / "predictions.txt").write_text("".join(f"{k}\n" for k in classes), "utf-8")


if __name__ == "__main__":
    main()
