"""What the stub model proposes to a peer, and how the stub evaluator judges it.

Plain Python of the standard library: it runs in the environment of each peer.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

_MARK = "# EVOLVE-BLOCK"


def program(number: int) -> str:
    """A program that nobody has proposed, of 60 to 460 characters as real ones differ, too."""
    filling = "." * (number * 37 % 400)
    return f"{_MARK}-START\nVALUE = {number}\n# {filling}\n{_MARK}-END\n"


def score(text: str) -> float:
    """A score from 0 to 1 that depends on the program's number and nothing else."""
    found = re.search(r"VALUE = (\d+)", text)
    return random.Random(int(found[1])).random() if found else 0.0


def replies(template: str = "```python\n{}```") -> Callable[[], str]:
    """Gives the model's replies, each with a new program."""
    numbers = itertools.count(1)
    return lambda: template.format(program(next(numbers)))
