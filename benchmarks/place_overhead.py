"""What a phase on a node costs beside the same phase here: ``python benchmarks/place_overhead.py``.

The node is a worker on this machine, over a pipe. A phase has a recipe of 20 files and 32 MiB of
data; it leaves 1 KiB or 8 MiB, which the next phase sees. Local sandbox, medians in milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from recipelab.places.base import PlaceRequest
from recipelab.places.placed import PlacedSandbox, node_slots
from recipelab.places.setup import node_setup
from recipelab.places.stream import StreamLink
from recipelab.sandbox import Input, LocalSandbox, PhaseLimits, PhaseRequest, Sandbox
from recipelab.sandbox.spec import load_image_spec

ROUNDS = 20
CODE = "import sys; open('out/model', 'wb').write(open('data', 'rb').read(int(sys.argv[1])))"
SIZES = {"1 KiB": 1 << 10, "8 MiB": 8 << 20}
WORKER = (sys.executable, "-m", "recipelab.places.stream")


async def measure(
    sandbox: Sandbox, folder: Path, slot: str, left: int
) -> tuple[float, list[float]]:
    """Return the seconds of the first phase, and those of the others around their commands."""
    recipe, data = folder / "recipe", folder / "data"
    recipe.mkdir(parents=True)
    for number in range(20):
        (recipe / f"part_{number}.py").write_text(f"NUMBER = {number}\n" * 50)
    (recipe / "train.py").write_text(CODE)
    data.write_bytes(os.urandom(32 << 20))
    before, taken = recipe, list[float]()
    for number in range(ROUNDS + 1):
        (output := folder / f"out-{number}").mkdir()
        # One file of the recipe is new in each trial.
        (recipe / "part_0.py").write_text(f"NUMBER = {number}\n")
        request = PhaseRequest(
            phase="train",
            command=("python", "recipe/train.py", str(left)),
            inputs=(Input(recipe, "recipe"), Input(data, "data"), Input(before, "before")),
            output=output,
            limits=PhaseLimits(seconds=60),
            slot=slot,
        )
        began = time.monotonic()
        result = await sandbox.run(request)
        whole = time.monotonic() - began
        if not result.ok:
            raise SystemExit(result.log)
        taken.append(whole if number == 0 else whole - result.wall_seconds)
        before = output
    return taken[0], taken[1:]


async def main() -> None:
    """Measure both, and print a line for each."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        async with LocalSandbox() as local:
            for name, size in SIZES.items():
                show("here", name, *await measure(local, folder / f"here-{size}", "", size))
        request = PlaceRequest(
            load_image_spec("cpu"), sandbox="local", options={"store": str(folder / "store")}
        )
        placed = PlacedSandbox(request)
        link = await StreamLink.begin(WORKER, await node_setup(request))
        (link.slot, *_) = node_slots(await link.facts(), cpus=1, gpus=0)
        link.slot = replace(link.slot, cores=None)
        async with placed:
            await placed.join(link)
            for name, size in SIZES.items():
                where = folder / f"there-{size}"
                show("on a node", name, *await measure(placed, where, link.slot.name, size))
        await link.close()


def show(where: str, size: str, first: float, others: list[float]) -> None:
    """Print what was measured."""
    middle, worst = statistics.median(others) * 1000, max(others) * 1000
    print(
        f"{where:10} {size} left: first phase {first * 1000:6.0f} ms; "
        f"later ones, around the command: median {middle:5.0f} ms, largest {worst:5.0f} ms"
    )


if __name__ == "__main__":
    asyncio.run(main())
