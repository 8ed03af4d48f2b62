"""What slots on several nodes are worth: trials that train for ten seconds, on a real cluster.

    python benchmarks/places.py slurm
    python benchmarks/places.py ray

A real cluster of two nodes is begun on this machine. Trials run on one slot, and then on two slots
of each node: their number a minute is compared. A trial has two seeds, whose trainings sleep five
seconds each, so that a small machine will do; all else of a trial is what it always is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.places.base import Place, PlaceRequest, open_place
from recipelab.sandbox.spec import load_image_spec

ROOT = Path(__file__).parents[1]
NODES, SLOTS = 2, 2
SEEDS = (1, 2)
TRAIN = "recipe/train.py"


@contextmanager
def slurm(folder: Path) -> Iterator[Mapping[str, str]]:
    """A controller and two nodes with two devices each."""
    from tests.places.slurm_cluster import slurm_cluster

    with slurm_cluster(NODES, SLOTS) as cluster:
        os.environ.update(cluster.environment)
        yield {"gres": "slot:1", "folder": str(folder / "spool"), "store": str(folder / "store")}


@contextmanager
def ray(folder: Path) -> Iterator[Mapping[str, str]]:
    """A head that gives no slots, and two nodes with two CPUs each."""
    from tests.places.ray_cluster import ray_cluster

    with ray_cluster() as cluster:
        for _ in range(NODES):
            cluster.add(num_cpus=SLOTS)
        yield {"address": cluster.address, "store": str(folder / "store")}


CLUSTERS: Mapping[str, Callable[[Path], AbstractContextManager[Mapping[str, str]]]] = {
    "slurm": slurm,
    "ray": ray,
}
"""For each place, what begins a cluster and returns the options with which the place finds it."""


def sleeping(pack: Pack, number: int, seconds: float) -> Recipe:
    """A recipe of its own whose training sleeps."""
    code = f"    if not args.smoke:\n        import time; time.sleep({seconds})\n"
    line = "    blur = random"
    edits = [Edit(TRAIN, line, code + line), Edit(TRAIN, "X = 1.0", f"X = {1 + number / 100}")]
    return pack.baseline().apply(edits, pack.recipe.editable)


async def trials_a_minute(place: Place, pack: Pack, trials: int, seconds: float) -> float:
    """Run trials, as many at a time as there are slots."""
    data = ensure_data(pack, say=lambda text: None)
    evaluator = Evaluator(pack, place.sandbox, data, pool=place.pool)
    waiting = iter(range(trials))

    async def work() -> None:
        for number in waiting:
            outcome = await evaluator.evaluate(sleeping(pack, number, seconds / len(SEEDS)), None)
            assert outcome.status is Status.BASELINE, outcome

    begin = time.monotonic()
    await asyncio.gather(*(work() for _ in range(place.pool.width)))
    return 60 * trials / (time.monotonic() - begin)


async def measured(name: str, options: Mapping[str, str], slots: int, args: object) -> float:
    """Open a place with some slots, and measure it."""
    assert isinstance(args, argparse.Namespace)
    pack = load_pack("toy")
    request = PlaceRequest(
        load_image_spec("cpu"), sandbox="local", slots=slots, options=options, say=print
    )
    async with open_place(name, request) as place:
        assert place.pool.width == slots
        rate = await trials_a_minute(place, pack, args.each * slots, args.seconds)
    print(f"{name}: {slots} slots: {rate:.2f} trials a minute", flush=True)
    return rate


def main() -> None:
    """Measures a place."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("place", choices=list(CLUSTERS))
    parser.add_argument("--each", type=int, default=3, help="trials of each slot")
    parser.add_argument("--seconds", type=float, default=10.0, help="of trainings, each trial")
    args = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "tests/project", folder / "project")
        toml = folder / "project/task_packs/toy/pack.toml"
        text = toml.read_text().replace("seeds = [1, 2, 3]", f"seeds = {list(SEEDS)}", 1)
        toml.write_text(text.replace("train = 10", f"train = {10 * args.seconds:g}", 1))
        os.chdir(folder / "project")
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        with CLUSTERS[args.place](folder) as options:
            one = asyncio.run(measured(args.place, options, 1, args))
            four = asyncio.run(measured(args.place, options, NODES * SLOTS, args))
    print(f"{NODES} nodes with {SLOTS} slots each do {four / one:.2f} x one slot")


if __name__ == "__main__":
    main()
