"""``recipelab resume`` and ``join``: go on with a campaign, or work on it beside others."""

from __future__ import annotations

from typing import Annotated

import typer

from recipelab.cli.common import (
    AsJson,
    BaseUrl,
    HomeOption,
    ModelOption,
    NameArgument,
    PlaceOption,
    PlaceSettings,
    ShareDevices,
    Slots,
    clear_errors,
    opened_campaign,
    place_options,
    say,
    slot_count,
)
from recipelab.cli.run import (
    AcceptSelfReported,
    Ahead,
    DeviceHours,
    Hours,
    KeepOption,
    MaxTokens,
    Money,
    Plateau,
    PricesOption,
    Target,
    Tokens,
    Track,
    run_shown,
)

NO_TRACKER = "none"
"""Word that lets a resumed campaign go on without trackers."""


def resume(
    name: NameArgument = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="New total of trials; default as before.")
    ] = None,
    hours: Hours = None,
    device_hours: DeviceHours = None,
    tokens: Tokens = None,
    money: Money = None,
    target: Target = None,
    plateau: Plateau = None,
    model: ModelOption = None,
    base_url: BaseUrl = None,
    max_tokens: MaxTokens = None,
    prices: PricesOption = None,
    sandbox: Annotated[
        str | None, typer.Option(help="auto, docker or local; default as before.")
    ] = None,
    place: PlaceOption = None,
    place_option: PlaceSettings = None,
    slots: Annotated[
        int | None,
        typer.Option(min=1, help="Phases at the same time, as a number; default as before."),
    ] = None,
    share_devices: Annotated[
        bool | None,
        typer.Option(
            "--share-devices/--no-share-devices",
            help="Let slots and campaigns share devices; default as before.",
        ),
    ] = None,
    ahead: Ahead = None,
    approve: Annotated[
        bool | None,
        typer.Option("--approve/--no-approve", help="Ask before each trial; default as before."),
    ] = None,
    keep_artifacts: KeepOption = None,
    new_epoch: Annotated[
        bool,
        typer.Option(
            "--new-epoch",
            help="Measure baseline and best anew, where pack, evaluator, data or image changed.",
        ),
    ] = False,
    accept_self_reported: AcceptSelfReported = False,
    track: Track = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a campaign: trials without an outcome are run again, then new ones.

    Limits are totals of the campaign; what is not given stays. A campaign that is paused and still
    runs elsewhere goes on there.
    """
    with opened_campaign(home, name) as campaign:
        from recipelab.budget import BudgetLimits
        from recipelab.models import parse_models
        from recipelab.plan import asked

        if campaign.unpause():
            say(f"Campaign {campaign.name} goes on where it runs.")
            return
        limits = asked(
            BudgetLimits,
            trials=trials,
            hours=hours,
            device_hours=device_hours,
            tokens=tokens,
            money=money,
            target=target,
            plateau=plateau,
        )
        if new_epoch:
            campaign = campaign.next_epoch(limits)
        default, own = parse_models(model or ())
        campaign.extend(
            limits,
            sandbox=sandbox,
            place=place,
            # Those of one place mean nothing to another.
            place_options=place_options(place_option) if place or place_option else None,
            model=default,
            models={**campaign.plan.models, **own} if own else None,
            base_url=base_url,
            max_tokens=max_tokens,
            prices=prices,
            slots=slots,
            share_devices=share_devices,
            ahead=ahead,
            approve=approve,
            keep_artifacts=keep_artifacts,
            accept_self_reported=accept_self_reported or None,
            track=None if track is None else tuple(one for one in track if one != NO_TRACKER),
        )
        run_shown(campaign, as_json=as_json)


def join(
    name: Annotated[str, typer.Argument(help="Name of the campaign.")],
    lineage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The lineage, as postgresql+psycopg://user:password@host/name; default "
            "$RECIPELAB_LINEAGE.",
        ),
    ] = None,
    pack: Annotated[
        str | None, typer.Option(help="Folder of the pack here; default as in the campaign.")
    ] = None,
    model: ModelOption = None,
    base_url: BaseUrl = None,
    max_tokens: MaxTokens = None,
    prices: PricesOption = None,
    sandbox: Annotated[
        str | None, typer.Option(help="auto, docker or local; default as in the campaign.")
    ] = None,
    place: PlaceOption = None,
    place_option: PlaceSettings = None,
    slots: Slots = "auto",
    share_devices: ShareDevices = False,
    ahead: Ahead = None,
    accept_self_reported: AcceptSelfReported = False,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Work on a campaign that runs elsewhere: a further driver, with its own chat and slots.

    Budget, working line and end are common to all drivers; a trial of one that dies is taken over
    by the others. The lineage has to be a PostgreSQL database.
    """
    with clear_errors():
        from recipelab.campaign.campaign import Campaign
        from recipelab.models import parse_models

        default, own = parse_models(model or ())
        with Campaign.join(
            name,
            home=home,
            lineage=lineage,
            pack=pack,
            say=say,
            model=default,
            models=dict(own) if own or default else None,
            base_url=base_url,
            max_tokens=max_tokens,
            prices=prices,
            sandbox=sandbox,
            place=place,
            place_options=place_options(place_option) if place or place_option else None,
            slots=slot_count(slots),
            share_devices=share_devices,
            ahead=ahead,
            accept_self_reported=accept_self_reported or None,
        ) as campaign:
            run_shown(campaign, as_json=as_json)
