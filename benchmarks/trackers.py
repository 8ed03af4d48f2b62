"""What it takes to send a campaign of many trials to a tracker of experiments, and to ask it again.

The tracker is named as after ``--track``; its library has to be installed. The second line is of
sending the same campaign once more, when the tracker has all of it.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

from lineage_fill import CAMPAIGN, fill

from recipelab.lineage import LineageStore
from recipelab.trackers import Sender, opened_tracker


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracker", help="As mlflow:http://127.0.0.1:5000, or tensorboard.")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--knobs", type=int, default=30, help="Knobs of the recipe.")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder / "lineage.db", args.trials, knobs=args.knobs)
        with LineageStore.open(folder / "lineage.db") as store:
            for _ in range(2):
                wall, cpu = time.monotonic(), time.process_time()
                tracker = opened_tracker(args.tracker, folder / "campaign")
                sender = Sender(store, CAMPAIGN, tracker)
                sender.finish({})
                tracker.close()
                wall, cpu = time.monotonic() - wall, time.process_time() - cpu
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(
                    f"{args.tracker}: {sender.sent} trials sent, {wall:.1f} s wall, {cpu:.1f} s "
                    f"CPU, {1000 * wall / max(1, sender.sent):.1f} ms a trial, {memory:.0f} MB"
                )


if __name__ == "__main__":
    main()
