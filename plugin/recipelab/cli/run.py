"""``recipelab run`` and ``recipelab resume``."""

from __future__ import annotations

import asyncio
import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recipelab.cli.common import (
    FAILED,
    STOPPED,
    AsJson,
    HomeOption,
    clear_errors,
    err,
    out,
    print_json,
)
from recipelab.errors import RecipelabError
from recipelab.home import Home
from recipelab.log import hide_cancellations

if TYPE_CHECKING:
    from recipelab.campaign import Ended
    from recipelab.launch import Plan
    from recipelab.lineage import LineageStore

Trials = Annotated[int | None, typer.Option(min=1, help="Trials to spend.")]
Hours = Annotated[float | None, typer.Option(min=0.001, help="Wall-clock hours to spend.")]
SandboxOption = Annotated[
    str, typer.Option(help="auto, docker, or local (not isolated).", show_default=True)
]
Slots = Annotated[
    str,
    typer.Option(
        metavar="auto|N", help="Phases at the same time, each on a GPU or cores of its own."
    ),
]
ShareDevices = Annotated[
    bool, typer.Option("--share-devices", help="Let slots and campaigns share devices.")
]
Prior = Annotated[
    list[str] | None,
    typer.Option("--prior", help="Campaign that agents may ask as prior knowledge; repeatable."),
]
DEFAULT_TRIALS = 12
AUTO = "auto"


class IfExists(StrEnum):
    """What to do if a campaign of the name is there already."""

    FAIL = "fail"
    CONTINUE = "continue"


def run(
    pack: Annotated[str, typer.Argument(help="Name or folder of a task pack.")],
    profile: Annotated[str | None, typer.Option(help="Profile of the pack.")] = None,
    trials: Trials = None,
    hours: Hours = None,
    seed: Annotated[int, typer.Option(help="Seed of the offline model's choices.")] = 0,
    model: Annotated[
        str, typer.Option(help="offline, openai:NAME, or a component's FILE.json.")
    ] = "offline",
    sandbox: SandboxOption = "auto",
    slots: Slots = AUTO,
    share_devices: ShareDevices = False,
    prior: Prior = None,
    name: Annotated[str | None, typer.Option(help="Name of the campaign.")] = None,
    if_exists: Annotated[
        IfExists,
        typer.Option(help="continue: resume a campaign that has budget left, else start the next."),
    ] = IfExists.FAIL,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Start a campaign: specialists propose, a sandbox trains, the evaluator judges."""
    from recipelab.launch import Plan, free_name
    from recipelab.lineage import LineageStore

    with clear_errors():
        place = Home.find(home)
        with LineageStore.open(place.lineage) as store:
            stem = Path(pack).name
            plan = Plan(
                name=name or free_name(store, stem),
                pack=pack,
                profile=profile,
                model=model,
                seed=seed,
                trials=trials if trials is not None or hours is not None else DEFAULT_TRIALS,
                hours=hours,
                sandbox=sandbox,
                slots=_slots(slots),
                share_devices=share_devices,
                priors=tuple(prior or ()),
            )
            _finish(_settled(plan, store, if_exists), place, store, as_json=as_json)


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
    """Go on with a campaign: trials without an outcome are run again, then new ones."""
    from dataclasses import replace

    from recipelab.cli.common import opened
    from recipelab.exchange.mark import mark_of
    from recipelab.launch import plan_of

    with clear_errors(), opened(home, name) as (store, record):
        if mark_of(record) is not None:
            raise RecipelabError(
                f"campaign {record.name} was imported and cannot go on; name another, or start one "
                f"that can ask it: recipelab run PACK --prior {record.name}"
            )
        plan = plan_of(record)
        plan = replace(
            plan,
            trials=trials or plan.trials,
            hours=hours or plan.hours,
            sandbox=sandbox or plan.sandbox,
        )
        _finish(plan, Home.find(home), store, as_json=as_json)


def _slots(text: str) -> int | None:
    """The number of slots; ``None`` for what the machine has.

    Raises:
        RecipelabError: It is neither.
    """
    if text == AUTO:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise RecipelabError(f"--slots: {text!r} is not valid; valid: auto, or a number from 1 up")
    return int(text)


def _settled(plan: Plan, store: LineageStore, if_exists: IfExists) -> Plan:
    """The plan to run when a campaign of its name is there already."""
    from dataclasses import replace

    from recipelab.launch import free_name, plan_of

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
    new = replace(plan, name=free_name(store, plan.name))
    err.print(f"Campaign {family[-1].name} is finished: starting {new.name}.", markup=False)
    return new


def _finish(plan: Plan, place: Home, store: LineageStore, *, as_json: bool) -> None:
    from recipelab.cli.summary import print_summary
    from recipelab.report.facts import campaign_facts

    hide_cancellations()
    try:
        ended = asyncio.run(_launched(plan, place, store, quiet=as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        err.print(f"\nStopped. Nothing measured is lost. Go on with: recipelab resume {plan.name}")
        raise typer.Exit(STOPPED) from None
    if as_json:
        facts = campaign_facts(store, store.campaign(plan.name))
        print_json(facts | {"folder": str(place.campaign(plan.name))})
    else:
        print_summary(out, store, place, plan.name)
    if not ended.finished:
        err.print(
            f"The campaign stopped early: {ended.reason}.",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
        err.print(f"Go on with: recipelab resume {plan.name}", markup=False)
        raise typer.Exit(FAILED)


async def _launched(plan: Plan, place: Home, store: LineageStore, *, quiet: bool) -> Ended:
    from recipelab.cli.progress import Progress
    from recipelab.launch import launch

    # SIGTERM ends a campaign as cleanly as Ctrl-C does.
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with Progress(err if quiet else out, plan.trials) as progress:
        progress.note(
            f"Campaign {plan.name}: {plan.pack}, model {plan.model}, sandbox {plan.sandbox}"
        )
        return await launch(plan, place, store, progress)
