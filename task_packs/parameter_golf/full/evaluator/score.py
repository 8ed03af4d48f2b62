"""Scores bits per byte that the protected evaluation printed, if all of it fits together.

How many tokens the text has for each byte is fixed by text and tokenizer, and loss and bits per
byte tell it: bits = nats / ln 2 * tokens / bytes. Bytes that are counted in another way show there.
"""

import argparse
import json
import math
from pathlib import Path

from contest_log import Malformed, evaluations
from recipelab_scoring import PredictionFile, broken_rule, write_score

RATIO = Path("answers/ratio.json")
LIMIT_BYTES = 5_000_000
LABELS = ("quantized_ttt", "quantized_sliding_window")
TOLERANCE = 5e-4
"""A share of the ratio. Windows of another length leave out another bit of the text's end."""
TOKENS_PER_BYTE = (0.15, 0.6)
"""What tokenizers of the contest need, for when the ratio of the text is not known."""


def allowed():
    """Return the least and the most tokens per byte: from arguments, the file, or in general."""
    known = json.loads(RATIO.read_text("utf-8")) if RATIO.is_file() else {}
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens-per-byte", type=float, default=known.get("tokens_per_byte"))
    parser.add_argument("--tolerance", type=float, default=known.get("tolerance", TOLERANCE))
    args = parser.parse_args()
    if args.tokens_per_byte is None:
        return TOKENS_PER_BYTE
    return tuple(args.tokens_per_byte * (1 + sign * args.tolerance) for sign in (-1, 1))


def only_evaluation():
    """Return the one evaluation of the log; a log without one, or with another one, is refused."""
    log = PredictionFile("log.txt")
    try:
        found = evaluations(log.read_bytes(LIMIT_BYTES).decode("utf-8", "replace"))
    except Malformed as error:
        log.malformed(str(error))
    if not found:
        log.malformed("holds no line `<label> val_loss:... val_bpb:... eval_time:...ms`")
    if len(found) > 1:
        labels = ", ".join(one.label for one in found[:8])
        broken_rule(f"the text is scored in one pass; the log has {len(found)}: {labels}")
    return found[0]


def tokens_per_byte(result, least, most):
    """Return how many tokens a byte has by the result, which must be what the text has."""
    ratio = result.bits * math.log(2) / result.nats if result.nats > 0 else math.nan
    if not least <= ratio <= most:
        valid = f"{least:.6f} to {most:.6f}: bytes or tokens are miscounted"
        broken_rule(f"{ratio:.6f} tokens a byte, but the text has {valid}")
    return ratio


if __name__ == "__main__":
    least, most = allowed()
    result = only_evaluation()
    if result.label not in LABELS or result.seconds is None:
        broken_rule(f"{result.label!r} is no final evaluation; valid: {', '.join(LABELS)}")
    write_score(
        {
            "bits_per_byte": result.bits,
            "eval_seconds": result.seconds,
            "nats_per_token": result.nats,
            "tokens_per_byte": tokens_per_byte(result, least, most),
        }
    )
