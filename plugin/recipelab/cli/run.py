"""``recipelab run`` and ``recipelab resume``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recipelab.cli.common import AsJson, HomeOption, clear_errors, err
from recipelab.cli.options import (
    Ahead,
    Approve,
    ArmOption,
    BaseUrl,
    DeviceHours,
    DryRun,
    Hours,
    ModelOption,
    Money,
    Plateau,
    PricesOption,
    Prior,
    SandboxOption,
    Seed,
    ShareDevices,
    Slots,
    SpeakersOption,
    SpecialistOption,
    Target,
    Tokens,
    Trials,
    slot_count,
)
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError
from recipelab.plan import CREDIT, Arm

if TYPE_CHECKING:
    from recipelab.lineage import LineageStore
    from recipelab.plan import Plan

DEFAULT_TRIALS = 12


class IfExists(StrEnum):
    """What to do if a campaign of the name is there already."""

    FAIL = "fail"
    CONTINUE = "continue"


def run(
    pack: Annotated[str, typer.Argument(help="Name or folder of a task pack.")],
    profile: Annotated[str | None, typer.Option(help="Profile of the pack.")] = None,
    trials: Trials = None,
    hours: Hours = None,
    device_hours: DeviceHours = None,
    tokens: Tokens = None,
    money: Money = None,
    target: Target = None,
    plateau: Plateau = None,
    model: ModelOption = None,
    base_url: BaseUrl = None,
    prices: PricesOption = None,
    seed: Seed = 0,
    arm: ArmOption = Arm.SPECIALISTS,
    specialist: SpecialistOption = None,
    speakers: SpeakersOption = CREDIT,
    sandbox: SandboxOption = "auto",
    slots: Slots = "auto",
    share_devices: ShareDevices = False,
    ahead: Ahead = None,
    prior: Prior = None,
    approve: Approve = False,
    dry_run: DryRun = False,
    name: Annotated[str | None, typer.Option(help="Name of the campaign.")] = None,
    if_exists: Annotated[
        IfExists,
        typer.Option(help="continue: resume a campaign that has budget left, else start the next."),
    ] = IfExists.FAIL,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Start a campaign: specialists propose, a sandbox trains, the evaluator judges."""
    with clear_errors():
        from recipelab.budget import BudgetLimits
        from recipelab.cli.running import finish
        from recipelab.lineage import LineageStore
        from recipelab.models import parse_models
        from recipelab.plan import Plan

        place = Home.find(home)
        limits = BudgetLimits(
            trials=trials,
            hours=hours,
            device_hours=device_hours,
            tokens=tokens,
            money=money,
            target=target,
            plateau=plateau,
        )
        if not limits.bounded:
            limits = limits.model_copy(update={"trials": DEFAULT_TRIALS})
        default, own = parse_models(model or ())
        plan = Plan(
            name=name,
            pack=pack,
            profile=profile,
            model=default,
            models=dict(own),
            base_url=base_url,
            prices=prices,
            seed=seed,
            limits=limits,
            sandbox=sandbox,
            slots=slot_count(slots),
            share_devices=share_devices,
            priors=tuple(prior or ()),
            arm=arm,
            specialists=tuple(specialist or ()),
            speakers=speakers,
            ahead=ahead,
            approve=approve,
        )
        if dry_run:
            from recipelab.cli.estimate import estimate

            estimate(plan, place, as_json=as_json)
            return
        with LineageStore.open(place.lineage) as store:
            finish(_settled(plan, store, if_exists), place, store, as_json=as_json)


def resume(
    name: Annotated[str | None, typer.Argument(help="Campaign; default the newest.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="New total of trials; default as before.")
    ] = None,
    hours: Hours = None,
    sandbox: Annotated[
        str | None, typer.Option(help="auto, docker or local; default as before.")
    ] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a campaign: trials without an outcome are run again, then new ones.

    A campaign that is paused and still runs elsewhere goes on there.
    """
    from recipelab.cli.common import opened
    from recipelab.cli.running import finish
    from recipelab.exchange.metric import mark_of
    from recipelab.plan import plan_of

    with clear_errors(), opened(home, name) as (store, record):
        if mark_of(record) is not None:
            raise RecipelabError(
                f"campaign {record.name} was imported and cannot go on; name another, or start one "
                f"that can ask it: recipelab run PACK --prior {record.name}"
            )
        place = Home.find(home)
        if record.state == "paused" and place.is_locked(record.name):
            store.pause_campaign(record.name, paused=False)
            err.print(f"Campaign {record.name} goes on where it runs.", markup=False)
            return
        plan = plan_of(record)
        new = {"trials": trials, "hours": hours}
        limits = plan.limits.model_copy(update={k: v for k, v in new.items() if v is not None})
        update = {"limits": limits, "sandbox": sandbox or plan.sandbox}
        finish(plan.model_copy(update=update), place, store, as_json=as_json)


def _settled(plan: Plan, store: LineageStore, if_exists: IfExists) -> Plan:
    """The plan to run when a campaign of its name is there already."""
    from recipelab.evaluation.session import free_name
    from recipelab.plan import plan_of

    if plan.name is None:
        return plan.model_copy(update={"name": free_name(store, Path(plan.pack).name)})
    same = next((c for c in store.campaigns() if c.name == plan.name), None)
    if same is None:
        return plan
    if if_exists is IfExists.FAIL:
        raise RecipelabError(
            f"there is a campaign {plan.name} already; go on with it (recipelab resume "
            f"{plan.name}), choose another --name, or give --if-exists continue"
        )
    family = [
        campaign
        for campaign in store.campaigns()
        if campaign.name == plan.name or campaign.name.rpartition("-")[0] == plan.name
    ]
    if family[-1].state != "finished":
        err.print(f"Campaign {family[-1].name} is not finished: resuming it.", markup=False)
        return plan_of(family[-1])
    new = plan.model_copy(update={"name": free_name(store, plan.name)})
    err.print(f"Campaign {family[-1].name} is finished: starting {new.name}.", markup=False)
    return new
