"""What a recipe would come to, as a function of its knobs: valleys, cliffs, plateaus and noise.

Every seed draws a terrain of its own, so that nothing hangs on one. Each knob has a valley at a
random place within a factor of three of where it stands, and a random depth; a third of the knobs
lies on a plateau, where it changes nothing. Cliffs stand close to the starting recipe, as for
recipes that were tuned against a limit: memory (crash), a rate that diverges (crash), time
(overrun), size and calibration (gates). In the runs that the paper released 9, 46 and 91 percent
of the trials failed; here a proposer that looks at nothing fails in some third. Failures depend on
the recipe alone, so what failed once fails again. Nothing here knows who proposes.
"""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

Value = int | float | bool | str | None

RANGED = (
    "WIDTH",
    "DEPTH",
    "RATE",
    "MOMENTUM",
    "BATCH",
    "CROP",
    "CUTOUT",
    "DECAY",
    "DROPOUT",
    "SMOOTHING",
)
CHOICES = {
    "ACTIVATION": ("relu", "gelu", "tanh", "silu"),
    "FLIP": (False, True),
    "NORM": ("batch", "layer"),
    "SCHEDULE": ("constant", "cosine"),
    "POLICY": ("none", "mixup"),
    "AVERAGE": (None, 0.99),
}
PLATEAU = 1 / 3
"""Share of the knobs that change nothing."""
REACH = math.log(3.0)
"""How far a valley lies from where a knob stands at most, as the logarithm of a factor."""
NEAR = (1.05, 1.8)
"""How far cliffs are from the starting recipe, as factors."""
NOISE = 0.006
"""Standard deviation of the loss of one seed that its neighbor does not share, in nats."""


@dataclass(frozen=True)
class Measured:
    """What came of training with one seed.

    Attributes:
        loss: The score, in nats.
        calibration: Share of answers that are as sure as they should be.
        size: Bytes of the weights.
    """

    loss: float
    calibration: float
    size: float


class Diverged(Exception):
    """Training ended with an error; the text is its last line."""


class Overran(Exception):
    """Training took longer than its budget."""


class Terrain:
    """One terrain.

    Args:
        seed: Which.
        start: The knobs of the starting recipe.
    """

    def __init__(self, seed: int, start: Mapping[str, Value]) -> None:
        rng = random.Random(f"terrain {seed}")
        self._start = dict(start)
        self._valleys = {
            name: (
                rng.uniform(-REACH, REACH),
                0.0 if rng.random() < PLATEAU else rng.uniform(0.02, 0.15),
            )
            for name in RANGED
        }
        self._choices = {
            name: {value: rng.gauss(0.0, 0.04) for value in values}
            for name, values in CHOICES.items()
        }
        # A cliff lies between a small step and two large ones away.
        self._memory, self._time, self._size, self._rate = (rng.uniform(*NEAR) for _ in range(4))
        self._calibration = math.log(rng.uniform(*NEAR))
        self._broken = rng.choice(("tanh", "gelu", "silu", None))

    def run(self, knobs: Mapping[str, Value], seed: int) -> Measured:
        """Trains, so to speak.

        Raises:
            Diverged: The recipe crashes.
            Overran: It takes too long.
        """
        off = {name: self._away(name, knobs) for name in RANGED}
        self._crash(knobs, off)
        if off["WIDTH"] + off["DEPTH"] - 0.5 * off["BATCH"] > math.log(self._time):
            raise Overran
        noise = random.Random(f"{sorted(knobs.items(), key=str)}/{seed}").gauss(0.0, NOISE)
        worse = abs(off["SMOOTHING"]) + max(0.0, off["DROPOUT"]) + max(0.0, off["CUTOUT"])
        return Measured(
            loss=self._loss(knobs, off) + random.Random(seed).gauss(0.0, 0.02) + noise,
            calibration=0.8 + 0.1 * (self._calibration - worse),
            size=16e6 / self._size * math.exp(2 * off["WIDTH"] + off["DEPTH"]),
        )

    def _away(self, name: str, knobs: Mapping[str, Value]) -> float:
        """How far a knob is from where it stood, as the logarithm of a factor."""
        now, start = _number(knobs[name]), _number(self._start[name])
        return math.log(max(now, start / 16) / start)

    def _crash(self, knobs: Mapping[str, Value], off: Mapping[str, float]) -> None:
        if off["WIDTH"] + off["DEPTH"] + off["BATCH"] > math.log(self._memory):
            raise Diverged("RuntimeError: CUDA out of memory")
        if off["RATE"] + max(0.0, off["MOMENTUM"]) * 4 > math.log(self._rate):
            raise Diverged("ValueError: loss is nan after warm-up")
        if knobs["ACTIVATION"] == self._broken:
            raise Diverged(f"NotImplementedError: no kernel for {self._broken}")
        if _number(knobs["CROP"]) > 12:
            raise Diverged("ValueError: crop is larger than the padding")

    def _loss(self, knobs: Mapping[str, Value], off: Mapping[str, float]) -> float:
        loss = 2.0
        for name, (bottom, depth) in self._valleys.items():
            loss += depth * (off[name] - bottom) ** 2
        return loss + sum(self._choices[name][knobs[name]] for name in CHOICES)


def knobs_of(files: Mapping[str, str]) -> dict[str, Value]:
    """The constants of a recipe by name."""
    body = ast.parse(files["recipe/train.py"]).body
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def _number(value: Value) -> float:
    assert isinstance(value, int | float), value
    return float(value)
