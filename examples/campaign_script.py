"""Searches with a script in place of agents: its proposals are judged like those of specialists.

``python examples/campaign_script.py [FOLDER]`` works in a folder of its own unless you name one. It
writes the small pack that ``recipelab packs new`` makes, proposes changes of its own, certifies the
best recipe, and exports the campaign. It takes less than a minute, in the local sandbox.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from recipelab import BudgetLimits, Campaign, Edit, Plan
from recipelab.lineage import TrialRecord
from recipelab.packs.template import PackDraft, write_pack

TRAIN = "recipe/train.py"

IDEAS = (
    ("Four epochs end far from the bottom.", Edit(TRAIN, "EPOCHS = 4 ", "EPOCHS = 12 ")),
    ("The pull to zero flattens the curve.", Edit(TRAIN, "DECAY = 0.01 ", "DECAY = 0.0 ")),
    ("Larger steps get there sooner.", Edit(TRAIN, "RATE = 0.02 ", "RATE = 0.06 ")),
)


def show(trial: TrialRecord) -> None:
    """Prints how a trial ended, and why."""
    if trial.outcome is not None:
        print(f"trial {trial.number}: {trial.outcome.status}, {trial.outcome.reason}")


async def main() -> None:
    """Tries each idea on top of the best recipe so far, and certifies what was kept."""
    write_pack(PackDraft("curve", "Fit a hidden curve", "error"), Path("task_packs/curve"))
    plan = Plan(pack="curve", sandbox="local", limits=BudgetLimits(trials=len(IDEAS)))
    with Campaign.create(plan, say=print) as campaign:
        async with campaign.opened():  # the sandbox is there, and the baseline was measured
            for hypothesis, edit in IDEAS:
                proposal = campaign.proposal(hypothesis, edits=[edit], surface="opt")
                show(await campaign.evaluate(proposal))
        best = campaign.best
        print(f"the best is trial {best.number}: {best.hypothesis}")
        certificate = await campaign.certify()
        print(f"{certificate.status}: {certificate.reason}")
        print(campaign.patch(best.number))
        campaign.export("curve.jsonl")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        os.chdir(sys.argv[1])
        asyncio.run(main())
    else:
        with tempfile.TemporaryDirectory() as project:
            os.chdir(project)
            asyncio.run(main())
