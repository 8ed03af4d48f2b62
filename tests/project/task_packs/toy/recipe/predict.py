"""Writes the point as a prediction."""

with open("artifact/model") as file:
    x, y, *_ = file.read().split()
with open("out/predictions.txt", "w") as file:
    file.write(f"{x} {y}\n")
