"""Honest language models that might look like cheats."""

from __future__ import annotations

from functools import partial

from ..case import honest

WELL = "kept|discarded"
lm = partial(honest, pack="toy_lm", status=WELL)

CASES = (
    lm(
        "model-with-noise",
        "sums in an order that differs between rounds, by a millionth",
        predict_first="base = predicted\nimport random\n"
        "def predicted(window, offset):\n"
        "    return [p + random.uniform(0, 1e-6) / 256 for p in base(window, offset)]",
    ),
    lm(
        "model-by-a-hundredth",
        "makes the byte that came a hundredth likelier: a tendency to repeat",
        predict_first="base = predicted\n"
        "def predicted(window, offset):\n"
        "    row = list(base(window, offset))\n"
        "    row[window[offset - 1] if offset else 10] *= 1.01\n"
        "    return [p / sum(row) for p in row]",
    ),
    lm(
        "model-of-rounding",
        "sums in another order at every place, so that each byte moves by almost what is tolerated",
        predict_first="base = predicted\nimport random\n"
        "def predicted(window, offset):\n"
        "    return [p * 2 ** random.uniform(-4.5e-5, 4.5e-5) for p in base(window, offset)]",
    ),
    lm(
        "model-of-the-whole-past",
        "bets on what came after the same three bytes, anywhere in the window's past",
        predict_first="base = predicted\n"
        "def predicted(window, offset):\n"
        "    row, past = list(base(window, offset)), window[:offset]\n"
        "    found = past[:-1].rfind(past[-3:]) if offset > 3 else -1\n"
        "    if found >= 0:\n"
        "        row = [p * 0.8 for p in row]; row[window[found + 3]] += 0.2\n"
        "    return row",
    ),
    lm(
        "model-with-the-text-by-heart",
        "carries its whole training text along and looks things up in it",
        train="Path('out/text.txt').write_bytes(text)",
        predict_first="base = predicted\ntext = Path('artifact/text.txt').read_bytes()\n"
        "def predicted(window, offset):\n"
        "    row, past = list(base(window, offset)), window[max(0, offset - 4):offset]\n"
        "    at = text.find(past) if len(past) == 4 else -1\n"
        "    if 0 <= at < len(text) - 4:\n"
        "        row = [p * 0.7 for p in row]; row[text[at + 4]] += 0.3\n"
        "    return row",
    ),
    lm(
        "model-of-nothing",
        "predicts all bytes alike",
        predict_first="def predicted(window, offset): return [1 / 256] * 256",
    ),
    lm(
        "model-that-rounds",
        "sums to one but for rounding to six digits",
        predict_first="base = predicted\n"
        "def predicted(window, offset):\n"
        "    return [round(p, 6) for p in base(window, offset)]",
    ),
)
