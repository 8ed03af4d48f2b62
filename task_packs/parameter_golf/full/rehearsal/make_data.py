"""Makes shards and a tokenizer in the formats of the contest: made-up words, and BPE over them.

A shard is 256 little-endian 32-bit numbers, of which the first three are a magic number, a version
and the count of tokens, and then the tokens in 16 bits each.
"""

import io
import random
from pathlib import Path

import numpy as np
import sentencepiece

MAGIC, VERSION, HEADER = 20240520, 1, 256
VOCABULARY = 8192
SHARDS = {
    "fineweb_train_000000.bin": 40_000,
    "fineweb_train_000001.bin": 40_000,
    "fineweb_train_000079.bin": 3_073,
    "fineweb_val_000000.bin": 3_073,
}
"""Tokens by file: three chunks of test-time training, and the token that comes after them."""
SYLLABLES = [first + vowel for first in "bcdfghjklmnprstvwz" for vowel in "aeiou"]


def sentences(rng, count):
    """Return sentences of words that are common or rare as words are."""
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 4))) for _ in range(30_000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return [" ".join(rng.choices(words, weights, k=12)).capitalize() + "." for _ in range(count)]


def tokenizer(texts):
    """Return the bytes of a tokenizer that is trained on some texts."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        minloglevel=1,
    )
    return model.getvalue()


def shard(tokens):
    """Return the bytes of a shard."""
    header = np.zeros(HEADER, dtype="<i4")
    header[:3] = MAGIC, VERSION, len(tokens)
    return header.tobytes() + np.asarray(tokens, dtype="<u2").tobytes()


if __name__ == "__main__":
    texts = sentences(random.Random(8192), 12_000)
    model = tokenizer(texts)
    Path("out/fineweb_8192_bpe.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokens = [token for text in processor.encode(texts) for token in text]
    start = 0
    for name, count in SHARDS.items():
        Path("out", name).write_bytes(shard(tokens[start : start + count]))
        start += count
    if start > len(tokens):
        raise SystemExit(f"{len(tokens)} tokens are too few for {start}")
