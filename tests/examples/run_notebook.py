"""Runs the code cells of a notebook as Jupyter does: ``python run_notebook.py NOTEBOOK``."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from pathlib import Path
from typing import Any


async def run(cells: list[dict[str, Any]]) -> None:
    """Runs the cells in one namespace and one event loop; the last value of each is printed."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body[-1]
        if isinstance(last, ast.Expr):
            tree.body[-1] = ast.copy_location(
                ast.Assign([ast.Name("_", ast.Store())], last.value), last
            )
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(ast.fix_missing_locations(tree), cell["id"], "exec", flags=flags)
        names["_"] = None
        waiting = eval(code, names)
        if inspect.iscoroutine(waiting):
            await waiting
        if names["_"] is not None:
            sys.stdout.write(f"{names['_']}\n")


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text("utf-8"))["cells"]))
