"""The tour of the code and the pointers for contributors name what is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "plugin/recipelab"
NAMED = re.compile(r"`([\w/.-]+\.py)`(?:\s+`([\w.]+)`)?")
"""A file in backticks, and a name in it if one follows at once."""


def _file(path: str) -> Path | None:
    return next((base / path for base in (PACKAGE, ROOT) if (base / path).is_file()), None)


def _names(file: Path) -> set[str]:
    """Names of functions, classes and constants of a module, and of the methods of its classes."""
    found: set[str] = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {
                f"{node.name}.{item.name}"
                for item in node.body
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("page", ["docs/code-tour.md", "CONTRIBUTING.md"])
def test_every_place_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    places = NAMED.findall(text)
    assert places
    for path, name in places:
        file = _file(path)
        assert file is not None, path
        assert not name or name in _names(file), f"{path}: {name}"


def test_names_of_the_tour_without_a_file_are_there() -> None:
    everything = set().union(*(_names(file) for file in PACKAGE.rglob("*.py")))
    text = (ROOT / "docs/code-tour.md").read_text("utf-8")
    for name in re.findall(r"`([A-Z]\w+(?:\.\w+)?)`", text):
        assert name in everything, name


def test_the_house_lists_every_package() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    packages = [file.parent.name for file in PACKAGE.glob("*/__init__.py")]
    assert [name for name in packages if f"{name}/" not in text] == []
