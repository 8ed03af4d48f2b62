"""Writes the point as a prediction."""

import json

with open("artifact/model.json") as file:
    model = json.load(file)
with open("out/predictions.txt", "w") as file:
    file.write(f"{model['x']} {model['y']}\n")
