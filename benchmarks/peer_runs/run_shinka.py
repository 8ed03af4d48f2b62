"""Runs ShinkaEvolve for a number of generations: ``run_shinka.py TRIALS FOLDER URL``.

Its settings are its defaults, without what asks a model besides the proposal itself: embeddings,
recommendations, and the choice among models. It calls the model over HTTP and starts a process for
each evaluation; neither can be left out.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path

os.environ |= {"SHINKA_PRICING_MODE": "offline", "LOCAL_OPENAI_API_KEY": "none"}

from programs import program
from shinka.core import EvolutionConfig, ShinkaEvolveRunner
from shinka.database import DatabaseConfig
from shinka.launch import LocalJobConfig


def main() -> None:
    """Runs it."""
    trials, folder, url = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    evolution = EvolutionConfig(
        num_generations=trials + 1,  # the first program is one
        results_dir=str(folder),
        llm_models=[f"local/stub@{url}/v1"],
        llm_dynamic_selection=None,
        embedding_model=None,
        meta_rec_interval=None,
        patch_types=["full"],
        patch_type_probs=[1.0],
    )
    runner = ShinkaEvolveRunner(
        evolution,
        LocalJobConfig(eval_program_path=str(Path(__file__).with_name("evaluate.py"))),
        DatabaseConfig(db_path="programs.sqlite"),
        verbose=False,
        max_evaluation_jobs=2,
        max_proposal_jobs=2,
        init_program_str=program(0),
    )
    runner.run()
    (file,) = folder.rglob("programs.sqlite")
    with sqlite3.connect(file) as database:
        # The first program is there once for each island.
        asked = "SELECT count(*) FROM programs WHERE generation > 0"
        (count,) = database.execute(asked).fetchone()
    print(f"trials {count}")


if __name__ == "__main__":
    main()
