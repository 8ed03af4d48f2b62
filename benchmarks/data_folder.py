"""How long a campaign takes to start on a large data folder: many small files, and a sparse one.

    python benchmarks/data_folder.py [--files 200000] [--gigabytes 20] [--folder FOLDER]

It makes the folder, measures the first start (which hashes everything once) and the second one, and
says how many bytes lie in the cache afterwards: nothing is copied. A start is
:func:`recipelab.packs.data.ensure_data`, an evaluator, and its check before the first trial.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import tempfile
import time
from pathlib import Path

from recipelab.core.content import cache_root
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.data import ensure_data
from recipelab.packs.data_sections import DataFile
from recipelab.packs.load import read_pack
from recipelab.sandbox import LocalSandbox

TOY = Path(__file__).parents[1] / "tests/project/task_packs/toy/pack.toml"
IN_A_FOLDER = 1000


def make(folder: Path, files: int, gigabytes: float) -> None:
    """Makes files of a few bytes in folders of a thousand, and a large file that has no blocks."""
    for number in range(files):
        below = folder / f"{number // IN_A_FOLDER:05d}"
        if number % IN_A_FOLDER == 0:
            below.mkdir(parents=True)
        (below / f"{number:07d}.txt").write_bytes(b"%d" % number)
    with (folder / "large.bin").open("wb") as stream:
        stream.truncate(int(gigabytes * 1e9))


async def start(folder: Path) -> float:
    """Returns the seconds that a start takes, up to the end of the first training."""
    pack = read_pack(TOY)
    table = {"folder": "large", "sources": [{"kind": "path", "path": str(folder)}]}
    train = pack.phases.train.model_copy(update={"data": {"data/large": "large"}})
    data = (*pack.data, DataFile.model_validate(table))
    phases = pack.phases.model_copy(update={"train": train})
    pack = pack.model_copy(update={"data": data, "phases": phases})
    async with LocalSandbox() as sandbox:
        began = time.monotonic()
        found = ensure_data(pack, say=print)
        evaluator = Evaluator(pack, sandbox, found)
        outcome = await evaluator.measure(pack.baseline(), (1,))
        took = time.monotonic() - began
    assert outcome.seed_runs, outcome.reason
    return took


def main() -> None:
    """Measures two starts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    words = parser.parse_args()
    top = Path(tempfile.mkdtemp(dir=words.folder))
    os.environ["XDG_CACHE_HOME"] = str(top / "cache")
    try:
        make(top / "data", words.files, words.gigabytes)
        for which in ("first", "second"):
            print(f"{which} start: {asyncio.run(start(top / 'data')):.2f} s")
        kept = [path for path in cache_root().rglob("*") if path.is_file()]
        print(f"cache: {sum(path.stat().st_size for path in kept):,} bytes, {len(kept)} files")
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
