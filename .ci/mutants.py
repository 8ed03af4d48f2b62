"""Changes one small thing at a time in a part of recipelab, and counts the changes no test sees.

mutmut makes the changes and runs the tests, in a tree of its own below ``build/mutants``: it wants
the sources in ``src``, and the checkout stays as it is. A sample is drawn by a seed, so that it can
be drawn again. ``make mutants MODULE=acceptance`` is ``python .ci/mutants.py acceptance``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

TOP = Path(__file__).parents[1]
MODULES = tomllib.loads((TOP / ".ci/mutants.toml").read_text())
COPIED = ("tests", "agents", "sandboxes", "task_packs", "benchmarks", "docs", "examples")
"""Folders that tests read."""

FAST = "not (slow or browser or docker or torch or ray or slurm)"
ARGUMENTS = ("-m", FAST, "-p", "no:cacheprovider", "--hypothesis-profile=ci")
"""Hypothesis draws the same examples for every change, and sets no deadline."""

KILLED = ("killed", "timeout", "segfault", "caught by type check")


def prepare(tree: Path, module: str) -> None:
    """Lay out a tree for mutmut."""
    shutil.rmtree(tree, ignore_errors=True)
    skip = shutil.ignore_patterns("__pycache__", "node_modules", "client")
    shutil.copytree(TOP / "plugin/recipelab", tree / "src/recipelab", ignore=skip)
    for name in COPIED:
        shutil.copytree(TOP / name, tree / name, ignore=skip)
    files = [f"src/recipelab/{name}" for name in MODULES[module]["files"]]
    tests = [f"tests/{name}" for name in MODULES[module]["tests"]]
    # JSON writes lists of plain texts as TOML does.
    table = {
        "source_paths": ["src"],
        "only_mutate": files,
        "also_copy": [*COPIED, "README.md", "Makefile", "CHANGELOG.md"],
        "pytest_add_cli_args": list(ARGUMENTS),
        "pytest_add_cli_args_test_selection": tests,
        "use_git_change_detection": False,
        # A process that has run all tests before would answer from what its caches kept.
        "process_isolation": "forkserver",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    for name in ("README.md", "Makefile", "CHANGELOG.md"):
        shutil.copy2(TOP / name, tree / name)
    project = (TOP / "pyproject.toml").read_text()
    # Python looks at no folder that was not there when it first looked.
    (tree / "mutants/src").mkdir(parents=True)
    (tree / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]))


def mutants_of(tree: Path) -> list[str]:
    """Return the names of all changes that mutmut would make."""
    os.chdir(tree)
    from mutmut.configuration import config
    from mutmut.mutation.file_mutation import mutate_file_contents
    from mutmut.utils.format_utils import get_mutant_name

    found = []
    for path in sorted(Path("src").rglob("*.py")):
        if config().should_mutate(path):
            made = mutate_file_contents(str(path), path.read_text(), None, None)
            found += [get_mutant_name(path, name) for name in made.mutant_names]
    return found


def run(tree: Path, names: list[str], children: int) -> None:
    """Try changes, each against the tests that reach it."""
    command = [Path(sys.executable).with_name("mutmut"), "run", "--max-children", str(children)]
    # Processes that tests begin have the changed sources, too.
    environment = os.environ | {"PYTHONPATH": str(tree / "mutants/src")}
    subprocess.run([*command, *names], cwd=tree, env=environment, check=True)


def results(tree: Path, names: list[str]) -> dict[str, str]:
    """Return how each change ended, by its name."""
    from mutmut.stats import status_by_exit_code

    codes: dict[str, int | None] = {}
    for file in (tree / "mutants").rglob("*.meta"):
        codes |= json.loads(file.read_text())["exit_code_by_key"]
    return {name: status_by_exit_code[codes.get(name)] for name in names}


def report(tree: Path, module: str, ends: dict[str, str]) -> str:
    """Return the score of a module, and each change that no test saw."""
    counts = Counter(ends.values())
    killed = sum(counts[end] for end in KILLED)
    lines = [f"{module}: {killed} of {len(ends)} killed ({killed / len(ends):.1%}), {dict(counts)}"]
    for name, end in sorted(ends.items()):
        if end not in KILLED:
            shown = subprocess.run(
                [Path(sys.executable).with_name("mutmut"), "show", name],
                cwd=tree, capture_output=True, text=True, check=False,
            )  # fmt: skip
            lines += [f"\n{name}: {end}", shown.stdout]
    return "\n".join(lines)


def main() -> None:
    """Try a sample of the changes of a module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", choices=MODULES)
    parser.add_argument("--sample", type=int, default=200, help="changes to try; 0 for all")
    parser.add_argument("--seed", type=int, default=1, help="draws the sample")
    parser.add_argument("--children", type=int, default=1, help="processes at the same time")
    parser.add_argument("--only", nargs="+", default=[], help="names of changes to try instead")
    args = parser.parse_args()
    tree = TOP / "build/mutants" / args.module
    prepare(tree, args.module)
    found = mutants_of(tree)
    some = args.sample and args.sample < len(found)
    names = args.only or (random.Random(args.seed).sample(found, args.sample) if some else found)
    run(tree, names, args.children)
    text = report(tree, args.module, results(tree, names))
    (tree / "report.txt").write_text(f"{len(found)} changes, of which {len(names)} tried\n{text}\n")
    print(text)


if __name__ == "__main__":
    main()
