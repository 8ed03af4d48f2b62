"""``recipelab verify`` and ``recipelab leaderboard``: what holds on data that no trial has seen."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipelab.cli.common import (
    FAILED,
    AsJson,
    HomeOption,
    NameOption,
    clear_errors,
    err,
    opened,
    out,
    print_json,
)
from recipelab.cli.options import SandboxOption, Slots, slot_count
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.core.trial import Certificate
    from recipelab.lineage import CampaignRecord, LineageStore

BEST = "best"


def verify(
    trial: Annotated[str, typer.Argument(help="Number of a trial, or best.")] = BEST,
    seeds: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Seed runs; default the pack's.")
    ] = None,
    sandbox: SandboxOption = "auto",
    slots: Slots = "auto",
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Certify a trial on held-out answers and on seeds that no trial had, against the baseline.

    Exit code 1 if the gain does not hold. What is found is kept in the lineage.
    """
    from recipelab.report.evidence import certificate_words

    with clear_errors(), opened(home, name) as (store, campaign):
        number = _number(store, campaign, trial)
        plan = {"sandbox": sandbox, "slots": slot_count(slots)}
        found = _certified(store, campaign, Home.find(home), number, seeds, plan)
        store.add_certificate(campaign.name, number, asdict(found))
        if as_json:
            print_json({"campaign": campaign.name, "trial": number, **asdict(found)})
        else:
            record = store.trial(campaign.name, number)
            out.print(certificate_words(record, found), markup=False, soft_wrap=True)
        if not found.certified:
            raise typer.Exit(FAILED)


def leaderboard(name: NameOption = None, home: HomeOption = None, as_json: AsJson = False) -> None:
    """List certified trials, best certified score first, with their search scores beside."""
    from recipelab.exchange.metric import metric_of
    from recipelab.report.evidence import leaderboard_rows, leaderboard_table

    with clear_errors(), opened(home, name) as (store, campaign):
        metric = metric_of(campaign)
        rows = leaderboard_rows(store, campaign.name, metric.goal)
        if as_json:
            print_json({"campaign": campaign.name, "rows": [row.as_json() for row in rows]})
        elif rows:
            out.print(leaderboard_table(rows, title=f"Certified trials of {campaign.name}"))
        else:
            told = "no trial is certified yet; certify the best with: recipelab verify best"
            out.print(f"{campaign.name}: {told}", markup=False)


def _number(store: LineageStore, campaign: CampaignRecord, trial: str) -> int:
    if trial == BEST:
        return store.best_brief(campaign.name).number
    if not trial.isascii() or not trial.isdigit():
        raise RecipelabError(f"{trial!r} is no trial; valid: best, or the number of a trial")
    return int(trial)


def _certified(
    store: LineageStore,
    campaign: CampaignRecord,
    home: Home,
    number: int,
    seeds: int | None,
    options: dict[str, Any],
) -> Certificate:
    from recipelab.core.recipe import Recipe
    from recipelab.evaluation.certify import certification_seeds, certify
    from recipelab.evaluation.proposals import ProposalChecker
    from recipelab.evaluation.session import CampaignSession
    from recipelab.exchange.metric import mark_of
    from recipelab.plan import plan_of

    if mark_of(campaign) is not None:
        raise RecipelabError(f"campaign {campaign.name} was imported: its pack is not here")
    session = CampaignSession(
        plan_of(campaign).model_copy(update=options), home, say=lambda text: err.print(text)
    )
    checker = ProposalChecker(store, campaign.name, session.pack)
    recipes = [Recipe(checker.recipe_of(one)) for one in (0, number)]
    chosen = certification_seeds(session.pack, campaign.name, seeds)

    async def work() -> Certificate:
        async with session.measuring(session.pack.certified()) as evaluator:
            labels = {"campaign": campaign.name, "trial": str(number), "purpose": "certify"}
            return await certify(evaluator, recipes[0], recipes[1], chosen, labels)

    return asyncio.run(work())
