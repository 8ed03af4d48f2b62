"""Runs GEPA for a number of proposals: ``run_gepa.py TRIALS FOLDER URL [--memory]``.

It keeps its state in the folder, as a run that can be resumed does; with ``--memory`` nowhere.
"""

from __future__ import annotations

import sys

from gepa.optimize_anything import EngineConfig, GEPAConfig, ReflectionConfig, optimize_anything
from programs import program, replies, score


class Silent:
    """A log that goes nowhere."""

    def log(self, message: str) -> None:
        """Drops a message."""


def main() -> None:
    """Runs it."""
    trials, folder = int(sys.argv[1]), sys.argv[2]
    reply, judged = replies(), set()

    def judge(candidate: str) -> tuple[float, dict[str, str]]:
        judged.add(candidate)
        return score(candidate), {}

    config = GEPAConfig(
        engine=EngineConfig(
            max_candidate_proposals=trials,
            run_dir=None if "--memory" in sys.argv else folder,
            parallel=False,
            use_cloudpickle=False,  # it is an extra; the standard pickle is faster
        ),
        reflection=ReflectionConfig(reflection_lm=lambda prompt: reply()),
    )
    config.tracking.logger = Silent()
    optimize_anything(program(0), evaluator=judge, objective="A high score.", config=config)
    print(f"trials {len(judged) - 1}")


if __name__ == "__main__":
    main()
