"""Bits per byte that the protected evaluation printed, if all of it fits together.

How many tokens the text has for each byte is fixed by text and tokenizer, and loss and bits per
byte tell it: bits = nats / ln 2 * tokens / bytes. Bytes that are counted in another way show there.
"""

import argparse
import json
import math
import sys
from pathlib import Path

from contest_log import Malformed, evaluations

MALFORMED, BROKEN_RULE = 3, 4
LOG = Path("predictions/log.txt")
RATIO = Path("answers/ratio.json")
LIMIT_BYTES = 5_000_000
LABELS = ("quantized_ttt", "quantized_sliding_window")
TOLERANCE = 5e-4
"""A share of the ratio. Windows of another length leave out another bit of the text's end."""
TOKENS_PER_BYTE = (0.15, 0.6)
"""What tokenizers of the contest need, for when the ratio of the text is not known."""


def ended(status, words):
    """Ends with the reason."""
    print(words, file=sys.stderr)
    sys.exit(status)


def allowed():
    """The least and the most tokens per byte: by arguments, by the file of the ratio, or at all."""
    told = json.loads(RATIO.read_text("utf-8")) if RATIO.is_file() else {}
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens-per-byte", type=float, default=told.get("tokens_per_byte"))
    parser.add_argument("--tolerance", type=float, default=told.get("tolerance", TOLERANCE))
    args = parser.parse_args()
    if args.tokens_per_byte is None:
        return TOKENS_PER_BYTE
    return tuple(args.tokens_per_byte * (1 + sign * args.tolerance) for sign in (-1, 1))


def only_evaluation():
    """The one evaluation of the log; ends if there is none, or another one too."""
    if LOG.is_symlink() or not LOG.is_file() or LOG.stat().st_size > LIMIT_BYTES:
        ended(MALFORMED, f"{LOG} is missing, or over {LIMIT_BYTES} bytes")
    try:
        found = evaluations(LOG.read_bytes().decode("utf-8", "replace"))
    except Malformed as error:
        ended(MALFORMED, f"{LOG}: {error}")
    if not found:
        ended(MALFORMED, f"{LOG} holds no line `<label> val_loss:... val_bpb:... eval_time:...ms`")
    if len(found) > 1:
        told = ", ".join(one.label for one in found[:8])
        ended(BROKEN_RULE, f"the text is scored in one pass; the log has {len(found)}: {told}")
    return found[0]


def tokens_per_byte(result, least, most):
    """How many tokens a byte has, by the result; ends if the text has another number."""
    ratio = result.bits * math.log(2) / result.nats if result.nats > 0 else math.nan
    if not least <= ratio <= most:
        valid = f"{least:.6f} to {most:.6f}: bytes or tokens are miscounted"
        ended(BROKEN_RULE, f"{ratio:.6f} tokens a byte, but the text has {valid}")
    return ratio


if __name__ == "__main__":
    least, most = allowed()
    result = only_evaluation()
    if result.label not in LABELS or result.seconds is None:
        ended(BROKEN_RULE, f"{result.label!r} is no final evaluation; valid: {', '.join(LABELS)}")
    score = {
        "bits_per_byte": result.bits,
        "eval_seconds": result.seconds,
        "nats_per_token": result.nats,
        "tokens_per_byte": tokens_per_byte(result, least, most),
    }
    Path("out/score.json").write_text(json.dumps(score))
