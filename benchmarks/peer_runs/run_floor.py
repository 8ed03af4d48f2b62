"""What ShinkaEvolve needs at least: one call by the ``openai`` client and one process a trial.

``run_floor.py TRIALS FOLDER URL`` runs in the environment of ShinkaEvolve, as a floor of its row.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from openai import OpenAI
from programs import program


def main() -> None:
    """Runs it."""
    trials, folder, url = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    judge = Path(__file__).with_name("evaluate.py")
    file = folder / "main.py"
    done = 0
    for number in range(trials):
        asked = f"Improve this program.\n{program(number)}"
        client.chat.completions.create(model="stub", messages=[{"role": "user", "content": asked}])
        file.write_text(program(number))
        command = [sys.executable, judge, "--program_path", file, "--results_dir", folder]
        subprocess.run(command, check=True)
        done += 1
    print(f"trials {done}")


if __name__ == "__main__":
    main()
