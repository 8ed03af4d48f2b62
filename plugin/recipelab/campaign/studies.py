"""What is measured after a search: certificates, shares of the gain, and comparisons of arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipelab.ablation import (
    ABLATION_FILE,
    AblationReport,
    ablate_campaign,
    records_of_chain,
)
from recipelab.analysis.arms import (
    LEVEL,
    RunFigures,
    compare_runs,
    count_tests,
    run_figures,
    seeds_needed,
)
from recipelab.budget import BudgetLimits
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Certificate, Checkpoint
from recipelab.evaluation.certify import certify
from recipelab.evaluation.queue import TrialQueue
from recipelab.evaluation.seal import Seal
from recipelab.evaluation.seeds import SeedSource
from recipelab.evaluation.session import CampaignSession, Overrides
from recipelab.packs.load import load_pack
from recipelab.plan import Arm, Plan

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign
    from recipelab.campaign.planning import Say


def measuring_session(
    campaign: Campaign, sandbox: str | None, slots: int | None
) -> CampaignSession:
    """Return a session that measures recipes of a campaign outside its search.

    Args:
        campaign: The campaign.
        sandbox: ``auto``, ``docker`` or ``local``; ``None`` for the campaign's own.
        slots: Phases at the same time; ``None`` for what the machine has.

    Raises:
        RecipelabError: The campaign was imported, so its pack is not here.
    """
    campaign.check_pack_is_here()
    sealed = Seal.of_campaign(campaign.record)
    if sealed is None:
        campaign.say(
            f"campaign {campaign.name} was begun by an earlier recipelab, which kept no hashes of "
            "pack, evaluator, data and image: they are taken as they are now"
        )
    update = {"sandbox": sandbox or campaign.plan.sandbox, "slots": slots}
    return CampaignSession(
        campaign.plan.model_copy(update=update),
        campaign.home,
        overrides=campaign.overrides or Overrides(),
        say=campaign.say,
        sealed=sealed,
    )


async def certify_trial(
    campaign: Campaign,
    number: int,
    *,
    seeds: int | None,
    sandbox: str | None,
    slots: int | None,
) -> Certificate:
    """Certify a trial and keep the certificate in the lineage; see :meth:`Campaign.certify`."""
    pack = campaign.pack
    session = measuring_session(campaign, sandbox, slots)
    baseline, recipe = (Recipe(campaign.files(one)) for one in (0, number))
    source = SeedSource(pack, campaign.name, campaign.store.secret(campaign.name))
    # Every certification has seeds of its own: one that is repeated looks at nothing twice.
    before = len(campaign.store.certificates(campaign.name))
    chosen = source.certification(before, seeds)
    labels = {"campaign": campaign.name, "trial": str(number), "purpose": "certify"}
    async with session.measuring(pack.certified()) as evaluator:
        found = await certify(evaluator, baseline, recipe, chosen, source, labels, tries=before + 1)
    campaign.store.add_certificate(campaign.name, number, found)
    return found


async def test_line(
    campaign: Campaign, *, sandbox: str | None, slots: int | None
) -> Checkpoint | None:
    """Test the working line of a campaign that does not run; see :meth:`Campaign.checkpoint`."""
    session = measuring_session(campaign, sandbox, slots)
    async with session.measuring() as evaluator:
        with campaign.home.locked(campaign.name):
            if drivers := campaign.drivers:
                numbers = ", ".join(str(driver.number) for driver in drivers)
                raise RecipelabError(f"campaign {campaign.name} is running (driver {numbers})")
            queue = TrialQueue(campaign.store, campaign.name, evaluator)
            return await queue.settle()


async def ablate_best(
    campaign: Campaign, *, seeds: int, pairs: int, sandbox: str | None, slots: int | None
) -> AblationReport:
    """Measure the best recipe without each of its edits; see :meth:`Campaign.ablate`."""
    session = measuring_session(campaign, sandbox, slots)
    records_of_chain(campaign.store, campaign.name)  # before data is fetched and a sandbox opened
    async with session.measuring() as evaluator:
        return await ablate_campaign(
            campaign.store,
            campaign.name,
            evaluator,
            campaign.folder / ABLATION_FILE,
            seeds=seeds,
            pairs=pairs,
            say=campaign.say,
        )


@dataclass(frozen=True)
class ArmsComparison:
    """Campaigns of several arms on equal budgets, and how the arms differ.

    Attributes:
        runs: The figures of each campaign, by arm and seed.
        facts: The figures of each arm, and its tests against the specialists, as plain data.
        too_few: Why none of the tests can show a difference; ``None`` if they can.
    """

    runs: dict[str, dict[int, RunFigures]]
    facts: dict[str, Any]
    too_few: str | None = None


async def compare_arms(
    plan: Plan,
    *,
    arms: Sequence[Arm] = tuple(Arm),
    seeds: int | None = None,
    trials: int = 20,
    prefix: str | None = None,
    home: Home | None = None,
    say: Say = lambda text: None,
) -> ArmsComparison:
    """Run arms on equal budgets; called again, it goes on where it stopped.

    The campaigns of one seed run one after the other, arm by arm, so that a slow hour of the
    machine hits all arms alike.

    Args:
        plan: What the campaigns have in common.
        arms: The arms.
        seeds: Campaigns of each arm; ``None`` for as many as the tests between the arms need.
            With fewer, no test can show a difference; that is said, and they run.
        trials: Trials of each campaign.
        prefix: Prefix of the campaigns' names; ``None`` for that of the pack.
        home: Folder of papers and lineage.
        say: Called with each campaign that runs or is there already.

    Raises:
        RecipelabError: A campaign stopped early, or something is missing.
    """
    from recipelab.campaign.campaign import Campaign
    from recipelab.campaign.planning import open_lineage

    place = home or Home.find()
    goal = load_pack(plan.pack, plan.profile).metric.goal
    stem = prefix or f"{Path(plan.pack).name}-ablation"
    runs: dict[str, dict[int, RunFigures]] = {arm: {} for arm in arms}
    tests = count_tests(arms)
    needed = seeds_needed(tests)
    seeds = needed if seeds is None else seeds
    too_few = _too_few(seeds, needed, tests) if tests and seeds < needed else None
    say(f"{len(arms)} arms, {seeds} seeds of each: {len(arms) * seeds} campaigns")
    if too_few is not None:
        say(too_few)
    with open_lineage(place, create=True) as store:
        for seed in range(1, seeds + 1):
            for arm in arms:
                name = f"{stem}-{arm}-{seed}"
                update = {"arm": arm, "seed": seed, "limits": BudgetLimits(trials=trials)}
                one = plan.model_copy(update={"name": name, **update})
                known = {record.name: record for record in store.campaigns()}.get(name)
                if known and known.state == "finished" and known.trials == trials:
                    say(f"{name}: there already")
                else:
                    say(f"{name}: {trials} trials")
                    ended = await Campaign(store, name, plan=one, home=place).run()
                    if not ended.finished:
                        raise RecipelabError(f"{name} stopped early: {ended.reason}")
                runs[arm][seed] = run_figures(store, name)
    return ArmsComparison(runs, compare_runs(runs, goal.sign), too_few)


def _too_few(seeds: int, needed: int, tests: int) -> str:
    return (
        f"With {seeds} {'seed' if seeds == 1 else 'seeds'} no difference between arms can be "
        f"shown: the {tests} tests of the table need {needed} seeds to reach p {LEVEL:g} together."
    )
