"""Draws: what a campaign's secret chose from the pool of data, kept for all its seed runs.

Whoever knows the pool by heart does not know which of it is hidden. The certified answers are
drawn, too, from what is neither hidden nor trained on.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

from recipelab.core.errors import SandboxError
from recipelab.evaluation.failures import EvaluatorFault
from recipelab.packs.phase_sections import DRAWN, DrawSpec
from recipelab.sandbox.files import new_folder, remove_tree


class Draws:
    """Keeps what was drawn, by the secret number, in a folder that is removed with it.

    The same number draws the same, so another process that goes on with the campaign draws anew.
    """

    def __init__(self) -> None:
        self._found: dict[int, dict[str, Path]] = {}
        self._root: Path | None = None
        self._lock = asyncio.Lock()

    def __getitem__(self, number: int) -> dict[str, Path]:
        """Return the drawn files, by the names that phases call them; empty if nothing is drawn."""
        return self._found.get(number, {})

    async def ensure(
        self, number: int, spec: DrawSpec, draw: Callable[[], Awaitable[Path]]
    ) -> tuple[Path, ...]:
        """Draw, unless that was done before.

        Args:
            number: The campaign's secret number.
            spec: Says which files are to come of it.
            draw: Runs the phase, and returns the folder that it left.

        Returns:
            The files, if they are new.

        Raises:
            EvaluatorFault: The phase left a file out.
            SandboxError: The host cannot keep them.
        """
        async with self._lock:
            if number in self._found:
                return ()
            left = await draw()
            if missing := [name for name in spec.files if not (left / name).is_file()]:
                raise EvaluatorFault(f"the evaluator's draw left no file out/{missing[0]}")
            try:
                if self._root is None:
                    self._root = new_folder(Path(tempfile.gettempdir()), what="draws")
                    weakref.finalize(self, remove_tree, self._root)
                folder = self._root / str(len(self._found))
                shutil.move(left, folder)
                folder.chmod(0o755)
            except OSError as error:
                raise SandboxError(f"cannot keep what was drawn: {error}") from error
            found = {f"{DRAWN}{name}": folder / name for name in spec.files}
            self._found[number] = found
            return tuple(found.values())
