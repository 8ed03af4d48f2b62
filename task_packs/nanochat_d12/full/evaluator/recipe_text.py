"""A file of a recipe as a syntax tree, with what rules ask of it."""

from __future__ import annotations

import ast
from functools import cached_property

ROOT = "recipe/"


def within(path: str) -> str:
    """Return the path of a file in the recipe, whatever folder the recipe itself is in."""
    return path.rpartition(ROOT)[2]


class Source:
    """A file of a recipe.

    Attributes:
        path: Where it is in the recipe.
        nodes: Everything in its syntax tree.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = within(path)
        # As bytes, so that a comment that names an encoding is heeded as Python heeds it.
        self.nodes = list(ast.walk(ast.parse(text.encode())))

    @cached_property
    def _imported(self) -> list[tuple[ast.AST, str, str, str]]:
        found: list[tuple[ast.AST, str, str, str]] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for at in node.names:
                    # Without `as`, only the first part gets a name.
                    bound = at.name if at.asname else at.name.partition(".")[0]
                    found.append((node, at.name, at.asname or bound, bound))
            elif isinstance(node, ast.ImportFrom):
                home = f"{self.path.partition('/')[0]}." if node.level else ""
                module = f"{home}{node.module or ''}".rstrip(".")
                for at in node.names:
                    full = f"{module}.{at.name}"
                    found.append((node, full, at.asname or at.name, full))
        return found

    @cached_property
    def imports(self) -> list[tuple[ast.AST, str, str]]:
        """Import statements: node, full name of what is imported, and its name in the file."""
        return [(node, full, local) for node, full, local, _ in self._imported]

    @cached_property
    def aliases(self) -> dict[str, str]:
        """What a name that was imported stands for."""
        return {local: bound for _, _, local, bound in self._imported}

    def dotted(self, node: ast.AST) -> str:
        """Return the full path of a name with attributes; an empty text for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.aliases.get(node.id, node.id), *reversed(parts)])

    @cached_property
    def literals(self) -> list[ast.Constant]:
        """All constants but docstrings."""
        bare = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        return [n for n in self.nodes if isinstance(n, ast.Constant) and id(n) not in bare]

    @cached_property
    def strings(self) -> list[tuple[ast.Constant, str]]:
        """The constants that are text or bytes, as text."""
        found = [(node, node.value) for node in self.literals]
        raw = [(node, v.decode("latin-1")) for node, v in found if isinstance(v, bytes)]
        return raw + [(node, value) for node, value in found if isinstance(value, str)]

    @cached_property
    def calls(self) -> list[tuple[ast.Call, str]]:
        """Calls, each with the last part of what is called."""
        found = [node for node in self.nodes if isinstance(node, ast.Call)]
        return [(node, last(node.func)) for node in found]

    @cached_property
    def stores(self) -> list[ast.Attribute | ast.Name | ast.Subscript]:
        """What is assigned to."""
        kinds = (ast.Attribute, ast.Name, ast.Subscript)
        return [n for n in self.nodes if isinstance(n, kinds) and isinstance(n.ctx, ast.Store)]


def last(node: ast.AST) -> str:
    """Return the last part of a name; an empty text for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def constant(node: ast.AST | None) -> object:
    """Return the value of a constant; None for anything else."""
    return node.value if isinstance(node, ast.Constant) else None
