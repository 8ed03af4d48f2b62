"""Runs recipelab for a number of trials: ``run_recipelab.py TRIALS FOLDER URL [--no-chat]``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from trial_cpu import chat_trials, queue_trials


async def count() -> int:
    """Runs the trials and counts them."""
    trials, folder = int(sys.argv[1]), Path(sys.argv[2])
    if "--no-chat" in sys.argv:
        running = queue_trials(folder / "lineage.db", trials, one_knob=False)
    else:
        running = chat_trials(folder, trials, one_knob=False)
    return len([used async for used in running])


if __name__ == "__main__":
    print(f"trials {asyncio.run(count())}")
