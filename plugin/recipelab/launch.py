"""Puts a campaign together from its plan and runs it: pack, data, model, sandbox, desk."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from recipelab.campaign import Campaign, Ended, Listener, deadline_after
from recipelab.data import ensure_data
from recipelab.errors import RecipelabError
from recipelab.evaluation.desk import TrialDesk
from recipelab.evaluation.evaluator import Evaluator
from recipelab.home import Home
from recipelab.lineage import CampaignRecord, LineageStore, prior_campaigns
from recipelab.lineage.priors import PRIORS, checked_priors, prior_note
from recipelab.models import OFFLINE, open_model
from recipelab.pack import Pack
from recipelab.packs import load_pack
from recipelab.report.papers import write_papers
from recipelab.sandbox import Sandbox
from recipelab.sandbox.choose import open_sandbox
from recipelab.sandbox.images.spec import ImageSpec, load_image_spec
from recipelab.sandbox.slots.machine import machine_slots
from recipelab.sandbox.slots.pool import SlotPool


@dataclass(frozen=True)
class Plan:
    """What a user asks for.

    Attributes:
        name: Name of the campaign.
        pack: Name or path of the task pack.
        profile: Profile of the pack; ``None`` for its default.
        model: Model specification.
        seed: Seed of the offline model's choices.
        trials: Trials that may be spent; ``None`` for no bound.
        hours: Wall-clock hours of this run; ``None`` for no bound.
        sandbox: ``auto``, ``docker`` or ``local``.
        slots: Phases that run at the same time; ``None`` reads the machine.
        share_devices: Whether slots may share devices, with each other and other campaigns.
        priors: Campaigns of the lineage that agents may ask about, besides this one.
    """

    name: str
    pack: str
    profile: str | None
    model: str
    seed: int
    trials: int | None
    hours: float | None
    sandbox: str
    slots: int | None = None
    share_devices: bool = False
    priors: tuple[str, ...] = ()


def free_name(store: LineageStore, stem: str) -> str:
    """The first of ``stem-1``, ``stem-2``, ... that no campaign has."""
    taken = {campaign.name for campaign in store.campaigns()}
    return next(name for i in range(1, len(taken) + 2) if (name := f"{stem}-{i}") not in taken)


def plan_of(record: CampaignRecord) -> Plan:
    """The plan under which a campaign was started."""
    settings: Mapping[str, object] = record.settings
    slots = settings.get("slots")
    return Plan(
        name=record.name,
        pack=record.pack,
        profile=record.profile,
        model=record.model,
        seed=record.seed,
        trials=record.trials,
        hours=record.hours,
        sandbox=record.sandbox,
        slots=slots if isinstance(slots, int) else None,
        share_devices=settings.get("share_devices") is True,
        priors=prior_campaigns(record),
    )


async def launch(plan: Plan, home: Home, store: LineageStore, listener: Listener) -> Ended:
    """Starts or resumes the campaign of a plan and runs it to its end.

    Args:
        plan: What is asked for; a campaign of that name is resumed.
        home: Where its papers go.
        store: The lineage.
        listener: Told how it goes on.

    Returns:
        Why it ended.

    Raises:
        RecipelabError: Something the user can mend: pack, data, model, sandbox, baseline,
            prior campaigns.
        asyncio.CancelledError: It was stopped by hand.
    """
    if plan.trials is None and plan.hours is None:
        raise RecipelabError("a campaign needs a budget: give --trials, --hours or both")
    plan = replace(plan, priors=checked_priors(store, plan.priors, plan.name))
    pack = load_pack(plan.pack, plan.profile)
    client = open_model(plan.model, seed=plan.seed)
    data = ensure_data(pack, say=listener.note)
    spec = load_image_spec(pack.sandbox)
    pool = slots_for(pack, spec, plan)
    sandbox = await _sandbox(plan, spec, listener)
    with home.locked(plan.name):
        campaign = _register(plan, pack, store)
        for prior in plan.priors:
            listener.note(prior_note(campaign, store.campaign(prior)))
        async with sandbox:
            evaluator = Evaluator(pack, sandbox, data, pool=pool)
            desk = TrialDesk(
                store,
                plan.name,
                evaluator,
                budget=plan.trials,
                deadline=deadline_after(plan.hours),
                watch=listener.phase,
            )
            try:
                return await Campaign(desk, client, listener).run()
            finally:
                await client.close()
                write_papers(home.campaign(plan.name), store, plan.name)


def slots_for(pack: Pack, spec: ImageSpec, plan: Plan) -> SlotPool:
    """The slots that phases of a pack run in on this machine.

    Raises:
        RecipelabError: The machine does not have what is asked for.
    """
    slots = machine_slots(
        cpus=pack.limits.cpus,
        gpu=spec.container.gpu,
        wanted=plan.slots,
        most=len(pack.seeds),
        share=plan.share_devices,
    )
    return SlotPool(slots, shared=plan.share_devices)


async def _sandbox(plan: Plan, spec: ImageSpec, listener: Listener) -> Sandbox:
    # Building an image takes minutes; in a thread, Ctrl-C still ends the command at once.
    return await asyncio.to_thread(
        open_sandbox,
        plan.sandbox,
        spec,
        build=True,
        say=listener.note,
        # A real model writes code that nobody has read: without isolation only if asked for.
        allow_local_fallback=plan.model == OFFLINE,
    )


def _register(plan: Plan, pack: Pack, store: LineageStore) -> CampaignRecord:
    if plan.name in {campaign.name for campaign in store.campaigns()}:
        return store.reopen_campaign(plan.name, trials=plan.trials, hours=plan.hours)
    return store.create_campaign(
        name=plan.name,
        pack=plan.pack,
        profile=pack.profile,
        model=plan.model,
        sandbox=plan.sandbox,
        seed=plan.seed,
        trials=plan.trials,
        hours=plan.hours,
        settings={
            "slots": plan.slots,
            "share_devices": plan.share_devices,
            PRIORS: list(plan.priors),
        },
    )
