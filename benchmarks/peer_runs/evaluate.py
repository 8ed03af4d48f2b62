"""The stub evaluator of OpenEvolve (a function) and of ShinkaEvolve (a process)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from programs import score


def evaluate(program_path: str) -> dict[str, float]:
    """What OpenEvolve calls."""
    return {"combined_score": score(Path(program_path).read_text())}


def main() -> None:
    """What ShinkaEvolve starts: ``--program_path FILE --results_dir FOLDER``."""
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    folder = Path(given["--results_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    metrics = {**evaluate(given["--program_path"]), "public": {}, "private": {}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "correct.json").write_text(json.dumps({"correct": True, "error": None}))


if __name__ == "__main__":
    main()
