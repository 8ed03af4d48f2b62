"""Runs OpenEvolve for a number of iterations: ``run_openevolve.py TRIALS FOLDER URL``.

Its settings are its defaults, with whole programs in place of diffs and one worker. The model is a
function in its worker, so no HTTP is counted.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from openevolve import OpenEvolve
from openevolve.config import Config, LLMModelConfig
from programs import program, replies


class Stub:
    """A model that answers at once."""

    def __init__(self) -> None:
        self.model = "stub"
        self._reply = replies()

    async def generate_with_context(self, *asked: Any, **more: Any) -> str:
        """The next program."""
        return self._reply()

    generate = generate_with_context


def stub(config: LLMModelConfig) -> Stub:
    """Makes the model in a worker."""
    return Stub()


def main() -> None:
    """Runs it."""
    trials, folder = int(sys.argv[1]), Path(sys.argv[2])
    config = Config(max_iterations=trials, diff_based_evolution=False, log_level="WARNING")
    config.llm.models = [LLMModelConfig(name="stub", init_client=stub)]
    config.llm.evaluator_models = config.llm.models
    config.evaluator.parallel_evaluations = 1
    config.evaluator.cascade_evaluation = False
    first = folder / "initial.py"
    first.write_text(program(0))
    judge = Path(__file__).with_name("evaluate.py")
    run = OpenEvolve(str(first), str(judge), config, output_dir=str(folder / "out"))
    asyncio.run(run.run(iterations=trials))
    print(f"trials {run.database.last_iteration}")


if __name__ == "__main__":
    main()
