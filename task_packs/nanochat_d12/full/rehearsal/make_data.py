"""Makes texts, a tokenizer and a bundle of CORE in nanochat's formats, out of made-up words.

nanochat's own class trains the tokenizer. The bundle has all 22 tasks, each of its type, with few
items and few examples before each.
"""

import csv
import io
import json
import pickle
import random
import sys
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import torch

sys.path.insert(0, "full/recipe")
from nanochat.tokenizer import RustBPETokenizer

VOCABULARY, DOCUMENTS, GROUP, ITEMS, EXAMPLES = 1024, 512, 64, 4, 2
SHARDS = ("shard_00000.parquet", "shard_00001.parquet", "shard_06542.parquet")
CHOICES = {
    "hellaswag_zeroshot": 4,
    "arc_easy": 4,
    "arc_challenge": 4,
    "copa": 2,
    "commonsense_qa": 5,
    "piqa": 2,
    "openbook_qa": 4,
    "hellaswag": 4,
    "agi_eval_lsat_ar": 4,
    "boolq": 2,
    "bigbench_language_identification": 10,
}
SCHEMAS = ("winograd", "winogrande")
CONTINUED = (
    "jeopardy",
    "bigbench_qa_wikidata",
    "lambada_openai",
    "bigbench_dyck_languages",
    "bigbench_cs_algorithms",
    "bigbench_operators",
    "bigbench_repeat_copy_logic",
    "squad",
    "coqa",
)
COLUMNS = ("Eval Task", "Task Category", "Task Type", "#shots", "#datapoints", "Random baseline")


class Words:
    """Texts of made-up words, some of which are common."""

    def __init__(self, rng):
        """Take the source of chance."""
        self.rng = rng
        letters = "abcdefghijklmnopqrstuvwxyz"
        self.words = ["".join(rng.choices(letters, k=rng.randint(2, 7))) for _ in range(3000)]
        self.weights = [1 / rank for rank in range(1, len(self.words) + 1)]

    def text(self, count):
        """Return a sentence."""
        return " ".join(self.rng.choices(self.words, self.weights, k=count)).capitalize() + "."


def token_bytes(tokenizer):
    """Return how many bytes each token stands for; special tokens stand for none."""
    special = {tokenizer.encode_special(name) for name in tokenizer.get_special_tokens()}
    counts = [
        0 if token in special else len(tokenizer.enc.decode_single_token_bytes(token))
        for token in range(tokenizer.get_vocab_size())
    ]
    return torch.tensor(counts, dtype=torch.int32)


def item(words, kind, choices):
    """Return an item of a type of task."""
    if kind == "multiple_choice":
        options = [words.text(3) for _ in range(choices)]
        return {"query": words.text(8), "choices": options, "gold": words.rng.randrange(choices)}
    if kind == "schema":
        options = [words.text(5) for _ in range(2)]
        return {"context_options": options, "continuation": words.text(4), "gold": 0}
    return {"context": words.text(8), "continuation": words.text(2)}


def tasks():
    """Return label, type and number of choices of each task."""
    found = [(label, "multiple_choice", count) for label, count in CHOICES.items()]
    found += [(label, "schema", 2) for label in SCHEMAS]
    return found + [(label, "language_modeling", 0) for label in CONTINUED]


def bundle(words):
    """Return the bytes of the bundle."""
    archive, table, settings = io.BytesIO(), io.StringIO(newline=""), ["icl_tasks:"]
    rows = csv.DictWriter(table, COLUMNS)
    rows.writeheader()
    with zipfile.ZipFile(archive, "w") as opened:
        for label, kind, choices in tasks():
            lines = [json.dumps(item(words, kind, choices)) for _ in range(ITEMS)]
            opened.writestr(f"eval_bundle/eval_data/made/{label}.jsonl", "\n".join(lines))
            settings += [
                "-",
                f"  label: {label}",
                f"  dataset_uri: made/{label}.jsonl",
                f"  num_fewshot: [{EXAMPLES}]",
                f"  icl_task_type: {kind}",
            ]
            chance = 100 / choices if choices else 0
            values = (label, "made up", kind, EXAMPLES, ITEMS, chance)
            rows.writerow(dict(zip(COLUMNS, values, strict=True)))
        opened.writestr("eval_bundle/core.yaml", "\n".join([*settings, ""]))
        opened.writestr("eval_bundle/eval_meta_data.csv", table.getvalue())
    return archive.getvalue()


if __name__ == "__main__":
    words, out = Words(random.Random(22)), Path("out")
    texts = [[words.text(60) for _ in range(DOCUMENTS)] for _ in SHARDS]
    for name, documents in zip(SHARDS, texts, strict=True):
        table = pyarrow.table({"text": documents})
        pyarrow.parquet.write_table(table, out / name, row_group_size=GROUP, compression="zstd")
    tokenizer = RustBPETokenizer.train_from_iterator(iter(texts[0]), VOCABULARY)
    (out / "tokenizer.pkl").write_bytes(pickle.dumps(tokenizer.enc))
    torch.save(token_bytes(tokenizer), out / "token_bytes.pt")
    (out / "eval_bundle.zip").write_bytes(bundle(words))
