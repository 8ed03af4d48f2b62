"""Runs a campaign for the command line, and says how it ended."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import typer

from recipelab.cli.common import FAILED, STOPPED, err, out, print_json
from recipelab.core.content import Home
from recipelab.core.logs import hide_cancellations
from recipelab.lineage import LineageStore
from recipelab.plan import Plan

if TYPE_CHECKING:
    from recipelab.team import Ended


def finish(plan: Plan, place: Home, store: LineageStore, *, as_json: bool) -> None:
    """Runs the campaign of a plan to its end.

    Args:
        plan: What is asked for; it has a name.
        place: Where its papers go.
        store: The lineage.
        as_json: Whether only JSON is printed.

    Raises:
        RecipelabError: Something the user can mend.
        typer.Exit: It was stopped by hand, or ended before its budget was spent.
    """
    from recipelab.cli.summary import print_summary
    from recipelab.report.trial import campaign_facts

    name = str(plan.name)
    hide_cancellations()
    try:
        ended = asyncio.run(_ran(plan, place, store, quiet=as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        err.print(f"\nStopped. Nothing measured is lost. Go on with: recipelab resume {name}")
        raise typer.Exit(STOPPED) from None
    if as_json:
        facts = campaign_facts(store, store.campaign(name))
        print_json(facts | {"folder": str(place.campaign(name))})
    else:
        print_summary(out, store, place, name)
    if not ended.finished:
        told = f"The campaign stopped early: {ended.reason}."
        err.print(told, style="yellow", markup=False, soft_wrap=True)
        err.print(f"Go on with: recipelab resume {name}", markup=False)
        raise typer.Exit(FAILED)


async def _ran(plan: Plan, place: Home, store: LineageStore, *, quiet: bool) -> Ended:
    from recipelab.cli.approving import approver
    from recipelab.cli.progress import Progress
    from recipelab.evaluation.session import Overrides
    from recipelab.report.figures import write_papers
    from recipelab.team import Ended, ResearchGroupChat

    # SIGTERM ends a campaign as cleanly as Ctrl-C does.
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with Progress(err if quiet else out, plan.limits.trials) as progress:
        approve = approver(progress, task.cancel) if plan.approve and task else None
        overrides = Overrides(store=store, approve=approve)
        team = ResearchGroupChat(plan, home=place, overrides=overrides, listener=progress)
        progress.note(
            f"Campaign {plan.name}: {plan.pack}, model {plan.model_name}, sandbox {plan.sandbox}"
        )
        try:
            async for _ in team.run_stream():
                pass
        finally:
            await team.close()
            if plan.name in {campaign.name for campaign in store.campaigns()}:
                write_papers(place.campaign(str(plan.name)), store, str(plan.name))
        return team.ended or Ended(False, "it was stopped")
