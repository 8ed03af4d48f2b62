"""``recipelab ablate-best``: which edit gave what share of the gain."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

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
    from recipelab.ablation.measure import Chain, Measuring
    from recipelab.evaluation.evaluator import Evaluator
    from recipelab.evaluation.session import CampaignSession
    from recipelab.lineage import CampaignRecord, LineageStore, TrialRecord
    from recipelab.plan import Plan

FILE = "ablation.json"
"""Where measurements are kept, in the campaign's folder."""


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
    from recipelab.report.evidence import attribution_parts

    with clear_errors(), opened(home, name) as (store, campaign):
        records = _steps(store, campaign)
        plan = _plan(campaign, sandbox, slots)
        try:
            facts = asyncio.run(
                _attributed(store, campaign, records, plan, Home.find(home), seeds, pairs)
            )
        except (KeyboardInterrupt, asyncio.CancelledError):
            told = f"recipelab ablate-best {campaign.name} --seeds {seeds}"
            err.print("\nStopped. What was measured is kept. Go on with:", told, markup=False)
            raise typer.Exit(STOPPED) from None
        if as_json:
            print_json({"campaign": campaign.name, "seeds": seeds, **facts})
            return
        metric = metric_of(campaign)
        for part in attribution_parts(facts, metric=metric.name, unit=metric.unit):
            out.print(part)


def _steps(store: LineageStore, campaign: CampaignRecord) -> tuple[TrialRecord, ...]:
    """The trials from the baseline to the best."""
    from recipelab.exchange.metric import mark_of

    if mark_of(campaign) is not None:
        raise RecipelabError(f"campaign {campaign.name} was imported: its pack is not here")
    records = store.chain(campaign.name, store.best_brief(campaign.name).number)
    if len(records) < 2:
        raise RecipelabError(
            f"campaign {campaign.name} has kept no trial, so there is no gain to divide; go on "
            f"with: recipelab resume {campaign.name} --trials N"
        )
    return records


def _plan(campaign: CampaignRecord, sandbox: str | None, slots: str) -> Plan:
    from recipelab.plan import plan_of

    plan = plan_of(campaign)
    given = {"sandbox": sandbox or plan.sandbox, "slots": slot_count(slots)}
    return plan.model_copy(update=given)


async def _attributed(
    store: LineageStore,
    campaign: CampaignRecord,
    records: tuple[TrialRecord, ...],
    plan: Plan,
    home: Home,
    count: int,
    pairs: int,
) -> dict[str, Any]:
    from recipelab.ablation.run import Attributing, attribution_facts
    from recipelab.evaluation.session import CampaignSession

    # SIGTERM ends it as cleanly as Ctrl-C does.
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    chain = _chain(store, campaign, records)
    lab = CampaignSession(plan, home, say=_say)
    goal = lab.pack.metric.goal
    async with lab.measuring() as evaluator:
        measuring = _measuring(lab, evaluator, campaign.name, records, chain, count)
        recorded = _recorded(records, goal.sign)
        measure = await measuring.prepared()
        found = await Attributing(chain, measure, goal, recorded=recorded, say=_say).run(pairs)
    return attribution_facts(found, {record.number: record for record in records})


def _measuring(
    lab: CampaignSession,
    evaluator: Evaluator,
    campaign: str,
    records: tuple[TrialRecord, ...],
    chain: Chain,
    count: int,
) -> Measuring:
    from recipelab.ablation.measure import Kept, Measuring, reference_of
    from recipelab.evaluation.seed_runs import fresh_seeds

    pack = lab.pack
    baseline, best = records[0].outcome, records[-1].outcome
    if baseline is None or best is None:
        raise AssertionError("unreachable: the trials that led to the best are judged")
    # Fresh seeds: on those that it was chosen by, the best looks better than it is.
    seeds = fresh_seeds(f"{pack.name}/{campaign}/ablate", count, taken=pack.seeds)
    key = f"{chain.best.digest} {evaluator.sandbox_name} {pack.profile}"
    return Measuring(
        evaluator,
        reference_of(chain.numbers[-1], chain.best, best, baseline),
        seeds,
        Kept(lab.home.campaign(campaign) / FILE, key),
        {"campaign": campaign, "purpose": "ablate-best"},
    )


def _chain(
    store: LineageStore, campaign: CampaignRecord, records: tuple[TrialRecord, ...]
) -> Chain:
    from recipelab.ablation.measure import Chain
    from recipelab.core.recipe import Recipe

    numbers = tuple(record.number for record in records)
    return Chain(numbers, tuple(Recipe(store.files(campaign.name, one)) for one in numbers))


def _recorded(records: tuple[TrialRecord, ...], sign: int) -> dict[int, float]:
    """By step, how much better its score was than that of the step before."""
    scores = [record.outcome.score if record.outcome else None for record in records]
    pairs = enumerate(pairwise(scores), start=1)
    return {
        step: sign * (after - before)
        for step, (before, after) in pairs
        if before is not None and after is not None
    }


def _say(text: str) -> None:
    err.print(text, markup=False, soft_wrap=True)
