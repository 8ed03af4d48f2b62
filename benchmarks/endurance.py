"""Campaigns that are disturbed at random moments until they end, held against one that was not.

    python benchmarks/endurance.py --strikes 100
    python benchmarks/endurance.py --kinds driver,launcher,disk driver,daemon,database driver,node \
        --lineage URL

Kinds: ``driver`` is killed by SIGKILL and resumed; ``launcher`` kills a process of the sandbox
that holds a phase; ``daemon`` cuts every connection to the Docker daemon for a moment; ``database``
has the server end every connection of the campaign; ``disk`` takes the last byte of the disk that
the lineage lies on, for a moment; ``node`` kills a node of a Ray cluster, for which another one
comes. Campaigns take turns through the sets of kinds: with ``daemon`` their phases run in Docker,
with ``node`` on the cluster, else in the local sandbox. After every strike the lineage is compared
with what it held before, and what lives on is looked for. At last the trials have to be those of a
campaign that nobody disturbed, in the same sandbox: same edits, statuses and scores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from itertools import cycle
from pathlib import Path

from endurance_campaign import Campaign, Proposed, Tally
from endurance_strikes import Strike, chosen

from recipelab.core.errors import RecipelabError

WHOLE_SECONDS = 900.0
"""How long a campaign may take that is disturbed no more."""
SLOWER = {"daemon": 3.0, "node": 4.0}
"""How many times as long it takes to begin, so that strikes still leave it a way forward."""


def endure(
    campaign: Campaign,
    strikes: Mapping[str, Strike],
    chance: random.Random,
    within: float,
    most: int,
    tally: Tally,
) -> None:
    """Disturbs a campaign until it ends, or enough has struck and it is left to come to its end."""
    struck, driver = False, campaign.begin()
    while True:
        last = sum(tally.strikes.values()) >= most
        try:
            driver.wait(WHOLE_SECONDS if last else chance.uniform(0.0, within))
        except subprocess.TimeoutExpired:
            if last:
                driver.kill()
                tally.faults.append(f"{campaign.name} did not end: {campaign.said}")
                return
            kind = chance.choice(sorted(strikes))
            tally.strikes[kind] = tally.strikes.get(kind, 0) + 1
            strikes[kind].strike(campaign, driver, tally)
            struck = True
            for record in campaign.look(tally):
                if record.outcome is None:
                    state = record.state.value
                    tally.in_flight[state] = tally.in_flight.get(state, 0) + 1
        if driver.poll() is None:
            continue
        if driver.returncode == 0:
            return
        if driver.returncode != -signal.SIGKILL:
            tally.resumed += 1
            if not struck or "Traceback" in campaign.said:
                tally.faults.append(f"{campaign.name} exit {driver.returncode}: {campaign.said}")
                return
        struck, driver = False, campaign.begin()


def play(args: argparse.Namespace) -> Tally:
    """Plays campaigns, set by set of kinds, until enough has struck.

    Raises:
        RecipelabError: A kind is unknown, or a campaign fails that nothing disturbs.
    """
    tally, chance = Tally(), random.Random(args.seed)
    words = ["--trials", str(args.trials), "--slots", str(args.slots)]
    words += ["--seed", "5", *(["--ahead", "0"] if args.slots == 1 else [])]
    undisturbed: dict[str, list[Proposed]] = {}
    for names in cycle(args.kinds):
        if sum(tally.strikes.values()) >= args.strikes and len(undisturbed) == len(set(args.kinds)):
            break
        kinds = names.split(",")
        where = ["--sandbox", "docker" if "daemon" in kinds else "local"]
        where += [] if "node" in kinds else ["--share-devices"]
        # The first campaign of each set is left alone.
        for alone in [True, False][names in undisturbed :]:
            with tempfile.TemporaryDirectory(prefix="endurance-") as folder, ExitStack() as stack:
                # One name for all, as seeds follow from it, too.
                own = f"endurance-{os.getpid()}"
                campaign = Campaign(Path(folder), own, [*words, *where])
                strikes = chosen(kinds, chance, args.lineage)
                for strike in strikes.values():
                    strike.prepare(campaign, stack)
                if alone:
                    if campaign.begin().wait(WHOLE_SECONDS):
                        raise RecipelabError(f"the undisturbed campaign fails: {campaign.said}")
                    undisturbed[names] = campaign.proposed()
                    continue
                within = args.within * max(SLOWER.get(name, 1.0) for name in kinds)
                endure(campaign, strikes, chance, within, args.strikes, tally)
                same = undisturbed[names] if args.slots == 1 else None
                campaign.audit(tally, args.trials, same)
            told = f"{sum(tally.strikes.values())} strikes, {tally.campaigns} campaigns"
            print(told, file=sys.stderr, flush=True)
    return tally


def main() -> int:
    """Prints the tally."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strikes", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", default=["driver"], help="sets of kinds; see above")
    parser.add_argument("--lineage", help="URL of a PostgreSQL server, for the kind database")
    parser.add_argument("--trials", type=int, default=12, help="budget of each campaign")
    parser.add_argument("--slots", type=int, default=1, help="with more, trials differ by chance")
    parser.add_argument(
        "--within",
        type=float,
        default=5.0,
        help="latest moment, in seconds; a multiple of it in Docker and on nodes",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    began = time.monotonic()
    try:
        tally = play(args)
    except RecipelabError as error:
        parser.error(str(error))
    figures = {**asdict(tally), "seconds": round(time.monotonic() - began)}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    for key, value in figures.items():
        print(f"{key.replace('_', ' ')}: {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
