"""Predict spend from a table by kernel ridge regression; 5-fold cross-validation."""

import argparse
import csv

import numpy as np


def read(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    regions = sorted({row["region"] for row in rows})
    inputs = [
        [float(row["tenure"]), float(row["calls"]) / 3, float(row["fee"]) / 10]
        + [float(row["region"] == region) for region in regions]
        for row in rows
    ]
    return np.array(inputs), np.array([float(row["spend"]) for row in rows])


def predict(train_x, train_y, x, ridge, gamma):
    def kernel(a, b):
        return np.exp(-gamma * ((a[:, None, :] - b[None, :, :]) ** 2).sum(-1))

    mean = train_y.mean()
    weights = np.linalg.solve(
        kernel(train_x, train_x) + ridge * np.eye(len(train_x)), train_y - mean
    )
    return mean + kernel(x, train_x) @ weights


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="churn.csv")
    parser.add_argument("--ridge", type=float, default=5.0)
    parser.add_argument("--gamma", type=float, default=0.2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    inputs, answers = read(args.data)
    order = np.random.default_rng(args.seed).permutation(len(inputs))
    squares = np.zeros(len(inputs))
    for fold in range(args.folds):
        held = order[fold :: args.folds]
        rest = np.setdiff1d(order, held)
        guess = predict(inputs[rest], answers[rest], inputs[held], args.ridge, args.gamma)
        squares[held] = (guess - answers[held]) ** 2
        print(f"fold {fold}: rmse {squares[held].mean() ** 0.5:.4f}")
    print(f"cv_rmse = {squares.mean() ** 0.5:.5f}")


if __name__ == "__main__":
    main()
