"""``recipelab ablate-best``: which edit gave what share of the gain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipelab.cli.common import AsJson, HomeOption, clear_errors, err, opened, out, print_json
from recipelab.cli.options import SandboxOption, Slots, slot_count
from recipelab.errors import RecipelabError
from recipelab.home import Home

if TYPE_CHECKING:
    from recipelab.attribution import Chain
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
    sandbox: SandboxOption = "auto",
    slots: Slots = "auto",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Measure the best recipe without each of its edits, and say what each gave of the gain.

    What was measured is kept: stopped and started again, it goes on.
    """
    from recipelab.exchange.mark import metric_of
    from recipelab.report.attribution import attribution_parts

    with clear_errors(), opened(home, name) as (store, campaign):
        records = _steps(store, campaign)
        plan = _plan(campaign, sandbox, slots)
        facts = asyncio.run(
            _attributed(store, campaign, records, plan, Home.find(home), seeds, pairs)
        )
        if as_json:
            print_json({"campaign": campaign.name, "seeds": seeds, **facts})
            return
        for part in attribution_parts(facts, metric=metric_of(campaign).name):
            out.print(part)


def _steps(store: LineageStore, campaign: CampaignRecord) -> tuple[TrialRecord, ...]:
    """The trials from the baseline to the best."""
    records = store.chain(campaign.name, store.best_brief(campaign.name).number)
    if len(records) < 2:
        raise RecipelabError(
            f"campaign {campaign.name} has kept no trial, so there is no gain to divide; go on "
            f"with: recipelab resume {campaign.name} --trials N"
        )
    return records


def _plan(campaign: CampaignRecord, sandbox: str, slots: str) -> Plan:
    from recipelab.exchange.mark import mark_of
    from recipelab.plan import plan_of

    if mark_of(campaign) is not None:
        raise RecipelabError(f"campaign {campaign.name} was imported: its pack is not here")
    given = {"sandbox": sandbox, "slots": slot_count(slots)}
    return plan_of(campaign).model_copy(update=given)


async def _attributed(
    store: LineageStore,
    campaign: CampaignRecord,
    records: tuple[TrialRecord, ...],
    plan: Plan,
    home: Home,
    count: int,
    pairs: int,
) -> dict[str, Any]:
    from recipelab.attribution.facts import attribution_facts
    from recipelab.attribution.measuring import Kept, measure_removals
    from recipelab.attribution.running import attribute
    from recipelab.evaluation.seeds import fresh_seeds
    from recipelab.lab import Lab

    chain = _chain(store, campaign, records)
    lab = Lab(plan, home, say=_say)
    seeds = fresh_seeds(f"{lab.pack.name}/{campaign.name}/ablate", count, taken=lab.pack.seeds)
    key = f"{chain.best.digest} {plan.sandbox} {' '.join(map(str, seeds))}"
    kept = Kept(home.campaign(campaign.name) / FILE, key)
    async with lab.measuring() as evaluator:
        labels = {"campaign": campaign.name, "purpose": "ablate-best"}
        measure = await measure_removals(evaluator, chain.best, seeds, kept, labels)
        found = await attribute(chain, measure, lab.pack.metric.goal, pairs=pairs, say=_say)
    return attribution_facts(found, {record.number: record for record in records})


def _chain(
    store: LineageStore, campaign: CampaignRecord, records: tuple[TrialRecord, ...]
) -> Chain:
    from recipelab.attribution import Chain
    from recipelab.recipe import Recipe

    numbers = tuple(record.number for record in records)
    return Chain(numbers, tuple(Recipe(store.files(campaign.name, one)) for one in numbers))


def _say(text: str) -> None:
    err.print(text, markup=False, soft_wrap=True)
