"""Bits per byte that the protected evaluation printed, if all of it fits together."""

import json
import math
import sys
from pathlib import Path

from contest_log import Malformed, evaluations

MALFORMED, BROKEN_RULE = 3, 4
LOG = Path("predictions/log.txt")
LIMIT_BYTES = 5_000_000
LABELS = ("quantized_ttt", "quantized_sliding_window")
TOKENS_PER_BYTE = (0.15, 0.6)
"""What tokenizers of the contest need; a count of bytes outside of it is wrong."""


def ended(status, words):
    """Ends with the reason."""
    print(words, file=sys.stderr)
    sys.exit(status)


if LOG.is_symlink() or not LOG.is_file() or LOG.stat().st_size > LIMIT_BYTES:
    ended(MALFORMED, f"{LOG} is missing, or over {LIMIT_BYTES} bytes")
try:
    found = evaluations(LOG.read_text("utf-8", "replace"))
except Malformed as error:
    ended(MALFORMED, f"{LOG}: {error}")
if not found:
    ended(MALFORMED, f"{LOG} holds no line `<label> val_loss:... val_bpb:... eval_time:...ms`")
if len(found) > 1:
    told = ", ".join(one.label for one in found)
    ended(BROKEN_RULE, f"the text is scored once, in one pass; the log has {len(found)}: {told}")
result = found[0]
if result.label not in LABELS or result.seconds is None:
    ended(BROKEN_RULE, f"{result.label!r} is no final evaluation; valid: {', '.join(LABELS)}")
ratio = result.bits * math.log(2) / result.nats if result.nats > 0 else math.nan
if not TOKENS_PER_BYTE[0] <= ratio <= TOKENS_PER_BYTE[1]:
    ended(BROKEN_RULE, f"{ratio:.4f} tokens a byte: bytes or tokens are counted wrong")
score = {"bits_per_byte": result.bits, "nats": result.nats, "tokens_per_byte": ratio}
Path("out/score.json").write_text(json.dumps({**score, "eval_seconds": result.seconds}))
