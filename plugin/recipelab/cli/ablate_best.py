"""``recipelab ablate-best``: which edit gave what share of the gain."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from recipelab.cli.common import (
    STOPPED,
    AsJson,
    HomeOption,
    clear_errors,
    err,
    opened,
    out,
    print_json,
)
from recipelab.cli.options import Slots, slot_count
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.ablation import AblationReport
    from recipelab.lineage import CampaignRecord, LineageStore
    from recipelab.plan import Plan


def ablate_best(
    name: Annotated[str | None, typer.Argument(help="Campaign; default the newest.")] = None,
    seeds: Annotated[int, typer.Option(min=2, max=1000, help="Seeds of each recipe.")] = 4,
    pairs: Annotated[
        int, typer.Option(min=0, max=1000, help="Pairs to measure if steps interact.")
    ] = 6,
    sandbox: Annotated[
        str | None, typer.Option(help="auto, docker or local; default as the campaign's.")
    ] = None,
    slots: Slots = "auto",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Measure the best recipe without each of its edits, and say what each gave of the gain.

    What was measured is kept: stopped and started again, or with more seeds, it goes on.
    """
    from recipelab.exchange.metric import metric_of
    from recipelab.report.evidence import ablation_parts

    with clear_errors(), opened(home, name) as (store, campaign):
        plan = _plan(campaign, sandbox, slots)
        try:
            report = asyncio.run(
                _ablated(store, campaign.name, plan, Home.find(home), seeds, pairs)
            )
        except (KeyboardInterrupt, asyncio.CancelledError):
            command = f"recipelab ablate-best {campaign.name} --seeds {seeds}"
            err.print("\nStopped. What was measured is kept. Go on with:", command, markup=False)
            raise typer.Exit(STOPPED) from None
        if as_json:
            print_json({"campaign": campaign.name, "seeds": seeds, **asdict(report)})
            return
        metric = metric_of(campaign)
        for part in ablation_parts(report, metric=metric.name, unit=metric.unit):
            out.print(part)


def _plan(campaign: CampaignRecord, sandbox: str | None, slots: str) -> Plan:
    from recipelab.exchange.metric import mark_of
    from recipelab.plan import plan_of

    if mark_of(campaign) is not None:
        raise RecipelabError(f"campaign {campaign.name} was imported: its pack is not here")
    plan = plan_of(campaign)
    given = {"sandbox": sandbox or plan.sandbox, "slots": slot_count(slots)}
    return plan.model_copy(update=given)


async def _ablated(
    store: LineageStore, campaign: str, plan: Plan, home: Home, seeds: int, pairs: int
) -> AblationReport:
    from recipelab import ablation
    from recipelab.evaluation.session import CampaignSession

    # SIGTERM ends it as cleanly as Ctrl-C does.
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    ablation.records_of_chain(store, campaign)  # before data is fetched and a sandbox opened
    session = CampaignSession(plan, home, say=_say)
    async with session.measuring() as evaluator:
        file = home.campaign(campaign) / ablation.ABLATION_FILE
        return await ablation.ablate_campaign(
            store, campaign, evaluator, file, seeds=seeds, pairs=pairs, say=_say
        )


def _say(text: str) -> None:
    err.print(text, markup=False, soft_wrap=True)
