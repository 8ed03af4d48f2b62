"""The file to edit: a bigram model, trained by gradient descent."""

import numpy as np
from prepare import MAX_STEPS, VOCABULARY, evaluate_bpb, load

# ---- hyperparameters
LEARNING_RATE = 20.0
BATCH_SIZE = 256
WARMUP_STEPS = 20
INIT_SCALE = 0.1
SEED = 42

generator = np.random.default_rng(SEED)
text = load("train.bin")
table = generator.normal(0, INIT_SCALE, (VOCABULARY, VOCABULARY))


def log_softmax(rows):
    rows = rows - rows.max(-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


for step in range(MAX_STEPS):
    at = generator.integers(0, len(text) - 1, BATCH_SIZE)
    here, then = text[at], text[at + 1]
    gradient = np.exp(log_softmax(table[here]))
    gradient[np.arange(BATCH_SIZE), then] -= 1
    rate = LEARNING_RATE * min(1.0, (step + 1) / WARMUP_STEPS)
    np.add.at(table, here, -rate * gradient / BATCH_SIZE)
    if step % 100 == 0:
        print(f"step {step:05d} | rate {rate:.3f}")

val_bpb = evaluate_bpb(log_softmax(table))
print("---")
print(f"val_bpb:          {val_bpb:.6f}")
print(f"num_steps:        {MAX_STEPS}")
