"""The command line: python -m tinyclass.train --config FILE."""

import argparse

import numpy as np
import yaml

from .data import load
from .model import Model


def evaluate(model, inputs, labels):
    """Return the share of the inputs whose class is right."""
    return ((model.forward(inputs) > 0.5) == labels).mean()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    args = parser.parse_args()
    with open(args.config) as file:
        config = yaml.safe_load(file)
    generator = np.random.default_rng(config["seed"])
    inputs, labels = load(config["data_dir"])
    held = np.arange(len(inputs)) % 4 == 0
    model = Model(inputs.shape[1], config["model"]["hidden"], generator)
    settings = config["optimizer"]
    speed = [np.zeros_like(p) for p in model.parameters]
    train_x, train_y = inputs[~held], labels[~held]
    for epoch in range(config["epochs"]):
        order = generator.permutation(len(train_x))
        for begin in range(0, len(order), config["batch_size"]):
            batch = order[begin : begin + config["batch_size"]]
            error = (model.forward(train_x[batch]) - train_y[batch]) / len(batch)
            for parameter, gradient, moving in zip(model.parameters, model.gradients(error), speed):
                moving *= settings["momentum"]
                moving += gradient + settings["weight_decay"] * parameter
                parameter -= settings["lr"] * moving
        accuracy = evaluate(model, inputs[held], labels[held])
        print(f"Epoch {epoch} | val_acc: {accuracy:.4f}")


if __name__ == "__main__":
    main()
