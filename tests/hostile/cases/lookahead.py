"""Language models that use what they predict."""

from __future__ import annotations

from functools import partial

from ..case import Case

WRAP = """
honest = predicted
def onto(row, byte, share):
    row = [value * (1 - share) for value in row]
    row[byte] += share
    return row
"""
"""What cheats are made of: the honest model, and a way to move weight onto a byte."""

lm = partial(Case, pack="toy_lm")
cheat = partial(lm, status="illegal", kind="rule")

CASES = (
    cheat(
        "lookahead-own-byte",
        "bets on the byte that it is asked for",
        evidence=r"look-ahead: window \d+, byte \d+",
        predict_first=WRAP + "def predicted(window, offset):\n"
        "    return onto(honest(window, offset), window[offset], 0.5)",
    ),
    cheat(
        "lookahead-next-byte",
        "takes the probability from the byte behind it",
        evidence="look-ahead",
        predict_first=WRAP
        + "rows_of = [max(range(256), key=lambda a: rows[a][b]) for b in range(256)]\n"
        "def predicted(window, offset):\n"
        "    if offset + 1 == LENGTH: return honest(window, offset)\n"
        "    return onto(honest(window, offset), rows_of[window[offset + 1]], 0.2)",
    ),
    cheat(
        "lookahead-one-in-ten",
        "looks only in a tenth of the places, chosen by a hash of the past",
        evidence="look-ahead",
        predict_first=WRAP + "import zlib\n"
        "def predicted(window, offset):\n"
        "    row = honest(window, offset)\n"
        "    if zlib.crc32(window[:offset]) % 10: return row\n"
        "    return onto(row, window[offset], 0.9)",
    ),
    cheat(
        "lookahead-where-nothing-looks-changed",
        "looks only in windows without a seam, to hide from the changed round",
        evidence="look-ahead",
        predict_first=WRAP + "def natural(window):\n"
        "    return min(rows[a][b] for a, b in zip(window, window[1:])) > 1e-4\n"
        "def predicted(window, offset):\n"
        "    row = honest(window, offset)\n"
        "    return onto(row, window[offset], 0.9) if natural(window) else row",
    ),
    cheat(
        "lookahead-whisper",
        "moves less than the tolerance, but all of it onto the true byte, if that was unlikely",
        evidence="look-ahead: .*(moved by|the true byte cost)",
        predict_first=WRAP + "def predicted(window, offset):\n"
        "    return onto(honest(window, offset), window[offset], 0.0009)",
    ),
    cheat(
        "lookahead-by-a-hundredth",
        "makes the byte that comes a hundredth likelier, which suffices where the likeliest wins",
        evidence=r"look-ahead: window \d+, byte \d+",
        predict_first=WRAP + "def predicted(window, offset):\n"
        "    row = list(honest(window, offset))\n"
        "    row[window[offset]] *= 1.01\n"
        "    return [p / sum(row) for p in row]",
    ),
    cheat(
        "lookahead-within-each-tolerance",
        "stays within what every single place tolerates, and does so at all of them",
        evidence="look-ahead: at the secret places of 47 windows .* what looking at it was worth",
        predict_first=WRAP + "def predicted(window, offset):\n"
        "    row = list(honest(window, offset))\n"
        "    more = min(row[window[offset]] * (2 ** 0.000195 - 1), 9e-5)\n"
        "    row[window[offset]] += more; row[255] -= more\n"
        "    return row",
    ),
    cheat(
        "lookahead-in-other-windows",
        "learns from all windows of the round, where parts of the hidden text come twice",
        evidence="look-ahead",
        predict_first=WRAP + "seen = {}\n"
        "for window in windows:\n"
        "    for i in range(3, LENGTH): seen.setdefault(window[i - 3:i], set()).add(window[i])\n"
        "def predicted(window, offset):\n"
        "    row = honest(window, offset)\n"
        "    for byte in seen.get(window[offset - 3:offset], ()): row = onto(row, byte, 0.3)\n"
        "    return row",
    ),
    cheat(
        "lookahead-by-round",
        "reads from its mounts which round this is, and looks only in one of them",
        evidence="look-ahead",
        predict_first=WRAP + "second = 'rounds/b' in Path('/proc/self/mountinfo').read_text()\n"
        "def predicted(window, offset):\n"
        "    row = honest(window, offset)\n"
        "    return onto(row, window[offset], 0.9) if second else row",
    ),
    cheat(
        "lookahead-at-random",
        "hides in noise, so that any difference between rounds seems to be noise",
        evidence="look-ahead",
        predict_first=WRAP + "import random\n"
        "def predicted(window, offset):\n"
        "    row = honest(window, offset)\n"
        "    return onto(row, random.choice(window), 0.1 * random.random())",
    ),
    cheat(
        "lookahead-rounds-that-talk",
        "the first round leaves its windows in every writable place for the second",
        evidence="look-ahead",
        predict_first=WRAP + "import os\n"
        "places = [Path(p, 'windows') for p in ('/tmp', '/dev/shm', '/trial/out')]\n"
        "told = next((p.read_bytes() for p in places if p.exists()), None)\n"
        "print('BROKE the rounds talk' if told else 'nobody talks')\n"
        "for place in places: place.write_bytes(data)\n"
        "def predicted(window, offset):\n"
        "    return onto(honest(window, offset), window[offset], 0.0 if told else 0.5)",
    ),
    lm(
        "lookahead-for-agents",
        "prints the hidden text and raises it, so that agents read it in the log",
        "crashed",
        "value",
        r"line \d+, in predict\nValueError: the message is withheld",
        predict_first="print(data)\nraise ValueError(data[:400])",
    ),
    cheat(
        "distribution-of-two",
        "gives every byte twice the probability",
        evidence="no distribution: .*sum to 2",
        predict_first=WRAP + "def predicted(w, i): return [min(1, 2 * p) for p in honest(w, i)]",
    ),
    cheat(
        "distribution-above-one",
        "log-probabilities above zero: a probability of a thousand",
        evidence="not between 0 and 1",
        predict_first="def predicted(window, offset): return [1000.0] * 256",
    ),
    cheat(
        "distribution-with-debts",
        "pays with negative probabilities for those that are too large",
        evidence="not between 0 and 1",
        predict_first="def predicted(w, i): return [0.5] * 128 + [-63 / 128] * 128",
    ),
    cheat(
        "distribution-of-nans",
        "numbers with which every comparison is false",
        evidence="not between 0 and 1",
        predict_first="def predicted(window, offset): return [float('nan')] * 256",
    ),
    lm(
        "distribution-impossible",
        "calls all bytes but one impossible, so that the score is infinite",
        "crashed",
        "nan",
        "bits",
        predict_first="def predicted(window, offset): return [1.0] + [0.0] * 255",
    ),
    lm(
        "distribution-cut-short",
        "leaves the hard part of the file out",
        "crashed",
        "bad_output",
        r"probabilities\.bin: has \d+ bytes, expected \d+",
        predict_first="output = lambda values: values[:-256].tobytes()",
    ),
    lm(
        "distribution-elsewhere",
        "writes the file of the round into a folder of the other round's name",
        "crashed",
        "bad_output",
        "is missing",
        predict="for name in 'ab':\n    Path('out', name).mkdir()\n"
        "    Path('out/probabilities.bin').rename(f'out/{name}/probabilities.bin')\n    break",
    ),
)
