"""Measures what an installation takes: sizes, packages, and the time until something can be used.

The wheel is built and installed into an empty environment, without extras, with what the package
index has now. Times are medians of several processes, after one that warms the disk's cache; a
bare ``python -c pass`` is beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
MIB = 1 << 20


def size_of(folder: Path) -> int:
    """Return the size of all files below a folder in bytes."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def timed(command: list[str], times: int) -> tuple[float, float]:
    """Return the medians of wall-clock and CPU seconds of a command."""
    taken: list[tuple[float, float]] = []
    for _ in range(times + 1):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd="/", env=clean())
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        taken.append((wall, cpu))
    walls, cpus = zip(*taken[1:], strict=True)
    return statistics.median(walls), statistics.median(cpus)


def clean() -> dict[str, str]:
    """Return the environment without what would lead imports elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def slowest(python: Path, module: str, count: int) -> list[tuple[str, float]]:
    """Return what the import of a module spends most time in itself, in milliseconds."""
    command = [str(python), "-X", "importtime", "-c", f"import {module}"]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=clean()).stderr
    rows = [line.removeprefix("import time:").split("|") for line in told.splitlines()[1:]]
    own = [(row[2].strip(), int(row[0]) / 1000) for row in rows]
    return sorted(own, key=lambda pair: -pair[1])[:count]


def install(folder: Path) -> tuple[Path, Path]:
    """Build the wheel, and install it into an environment; return both."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    dist = folder / "dist"
    subprocess.run([*pip, "wheel", "--no-deps", "-w", dist, ROOT], check=True)
    (wheel,) = dist.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    subprocess.run([*pip, "--python", python, "install", wheel], check=True)
    return wheel, python


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=9, help="processes for each time")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        wheel, python = install(Path(made))
        (packages,) = python.parents[1].glob("lib/python*/site-packages")
        figures: dict[str, float] = {
            "wheel, MiB": wheel.stat().st_size / MIB,
            "environment, MiB": size_of(packages) / MIB,
            "of it recipelab, MiB": size_of(packages / "recipelab") / MIB,
            "packages": len(list(packages.glob("*.dist-info"))),
        }
        commands = {
            "python -c pass": [str(python), "-c", "pass"],
            "import recipelab": [str(python), "-c", "import recipelab"],
            "from recipelab import Campaign": [str(python), "-c", "from recipelab import Campaign"],
            "recipelab --help": [str(python.parent / "recipelab"), "--help"],
            "recipelab --version": [str(python.parent / "recipelab"), "--version"],
        }
        for name, command in commands.items():
            figures[f"{name}, s"], figures[f"{name}, CPU s"] = timed(command, asked.times)
        for name, value in figures.items():
            print(f"{name:40} {value:8.3f}")
        for name, own in slowest(python, "recipelab.cli.app", 5):
            print(f"  {name:38} {own:8.1f} ms of its own")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
