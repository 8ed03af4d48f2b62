"""What happens before a campaign begins: it gets its name, and an estimate of what it will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipelab.budget import BudgetLimits, Spent
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.plan import Plan, asked, plan_of

if TYPE_CHECKING:
    from recipelab.lineage import LineageStore

Say = Callable[[str], None]
"""Called with each text that a person should read."""


def say_nothing(text: str) -> None:
    """Say nothing: nobody asked to be told."""


class IfExists(StrEnum):
    """What to do if the lineage has a campaign of that name already."""

    FAIL = "fail"
    CONTINUE = "continue"


def open_lineage(home: Home, lineage: str | Path | None = None, *, create: bool) -> LineageStore:
    """Open the lineage of a home, or one that is elsewhere.

    Args:
        home: The folder of papers and, by default, of the lineage.
        lineage: Path or URL of a lineage elsewhere; ``None`` for that of the home.
        create: Whether to make the lineage if there is none.

    Raises:
        RecipelabError: There is no lineage and none may be made, or it cannot be opened.
    """
    from recipelab.lineage import LineageStore
    from recipelab.lineage.opening import sqlite_file

    target = home.lineage if lineage is None else lineage
    file = sqlite_file(target)
    if not create and file is not None and not file.is_file():
        raise RecipelabError(f"no lineage at {file}; start a campaign with: recipelab run PACK")
    return LineageStore.open(target, create=create)


def named_plan(
    plan: Plan, store: LineageStore, home: Home, if_exists: IfExists, say: Say, stack: ExitStack
) -> Plan:
    """Return the plan to run: the given one under a name of its own, or that of an older campaign.

    Args:
        plan: What a user asks for; without a name it gets the first free one.
        store: The lineage.
        home: The folder of the campaigns' papers.
        if_exists: With ``CONTINUE``, a campaign that is not finished goes on under its own plan.
            If it is finished, the next of its family begins: ``night`` is followed by ``night-1``.
        say: Called with the choice that was made among campaigns.
        stack: Keeps a name that was chosen here from other campaigns.

    Raises:
        RecipelabError: The name is taken, and nothing says to continue.
    """
    from recipelab.evaluation.session import claimed_name

    if plan.name is None:
        return plan.model_copy(
            update={"name": claimed_name(store, home, Path(plan.pack).name, stack)}
        )
    campaigns = store.campaigns()
    if plan.name not in {campaign.name for campaign in campaigns}:
        return plan
    if if_exists is IfExists.FAIL:
        raise RecipelabError(
            f"there is a campaign {plan.name} already; go on with it (recipelab resume "
            f"{plan.name}), choose another --name, or give --if-exists continue"
        )
    newest = [
        campaign
        for campaign in campaigns
        if plan.name in (campaign.name, campaign.name.rpartition("-")[0])
    ][-1]
    if newest.state != "finished":
        say(f"Campaign {newest.name} is not finished: resuming it.")
        return plan_of(newest)
    following = plan.model_copy(update={"name": claimed_name(store, home, plan.name, stack)})
    say(f"Campaign {newest.name} is finished: starting {following.name}.")
    return following


MAY_CHANGE = (
    "sandbox", "model", "models", "base_url", "max_tokens", "prices", "slots", "share_devices",
    "place", "place_options", "priors", "speakers", "exploration", "ahead", "turns", "characters",
    "approve", "keep_artifacts", "accept_self_reported", "track",
)  # fmt: skip
"""Fields of a plan that a campaign may go on with other values of."""


def changed_plan(plan: Plan, limits: BudgetLimits | None, changes: Mapping[str, Any]) -> Plan:
    """Return a plan with other limits and fields.

    Args:
        plan: The plan so far.
        limits: New limits, in place of those of the same name; the others stay.
        changes: Fields of :data:`MAY_CHANGE`; those that are ``None`` stay.

    Raises:
        RecipelabError: A field may not change, or a value is not valid.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    for key in given:
        if key not in MAY_CHANGE:
            raise RecipelabError(unknown_name("field of a plan that may change", key, MAY_CHANGE))
    merged = plan.limits.model_copy(update=limits.given() if limits else {})
    return asked(Plan, **{**plan.model_dump(), **given, "limits": merged})


def next_epoch_plan(
    store: LineageStore, plan: Plan, limits: BudgetLimits | None, spent: Spent
) -> Plan:
    """Return the plan of the epoch after a campaign; see :meth:`Campaign.next_epoch`.

    Args:
        store: The lineage.
        plan: The campaign's plan.
        limits: What the new epoch may spend.
        spent: What the campaign has spent.

    Raises:
        RecipelabError: A limit that is not given is spent.
    """
    name, given = str(plan.name), limits.given() if limits else {}
    left = dict(plan.limits.given())
    for key in ("trials", "device_hours", "tokens", "money"):
        if key in given or key not in left:
            continue
        left[key] -= getattr(spent, key)
        if left[key] <= 0:
            raise RecipelabError(
                f"campaign {name} has spent its limit of {key} ({plan.limits.given()[key]:g}): say "
                f"what the new epoch may spend: --{key.replace('_', '-')} N"
            )
    stem, _, number = name.rpartition(".")
    stem, first = (stem, int(number)) if plan.follows and number.isdigit() else (name, 1)
    taken = {campaign.name for campaign in store.campaigns()}
    free = next(one for i in count(first + 1) if (one := f"{stem}.{i}") not in taken)
    update = {
        "name": free,
        "follows": name,
        "priors": tuple(dict.fromkeys((*plan.priors, name))),
        "limits": BudgetLimits.model_validate({**left, **given}),
    }
    return plan.model_copy(update=update)


@dataclass(frozen=True)
class Estimate:
    """What a campaign will take, as far as that is known before it runs.

    Attributes:
        pack: Name of the task pack.
        profile: Its profile.
        specialists: Names of the agents.
        model: Name of the model.
        limits: The limits of the plan that are set, by name.
        slots: Phases that run at the same time: here, or at most at another place.
        trials_at_once: Trials that run at the same time.
        seed_runs_a_trial: Seed runs of a trial.
        device_hours_at_most: Device time if every phase runs to its limit; ``None`` without a
            limit of trials. So are the figures below.
        wall_hours_at_most: Wall-clock time if every phase runs to its limit.
        device_hours_expected: Device time if trials take what earlier ones took; ``None`` if the
            lineage has no trial of the pack. So are the figures below.
        wall_hours_expected: Wall-clock time if trials take what earlier ones took.
        tokens_expected: Tokens sent and received.
        dollars_expected: Cost of the model in US dollars.
        price: US dollars for a million tokens sent, and received; ``None`` if unknown.
        past_trials: Earlier trials of the pack on which the expected figures rest.
    """

    pack: str
    profile: str
    specialists: tuple[str, ...]
    model: str
    limits: dict[str, float]
    slots: int
    trials_at_once: int
    seed_runs_a_trial: int
    device_hours_at_most: float | None
    wall_hours_at_most: float | None
    device_hours_expected: float | None
    wall_hours_expected: float | None
    tokens_expected: float | None
    dollars_expected: float | None
    price: tuple[float, float] | None
    past_trials: int


def estimate_plan(plan: Plan, home: Home, lineage: str | Path | None = None) -> Estimate:
    """Estimate what a campaign will take: bounds from its pack, means from earlier campaigns.

    Nothing runs, and no lineage is made.

    Raises:
        RecipelabError: Pack, charters, prices or slots cannot be had.
    """
    from recipelab.analysis.estimate import Experience, experience, most_device_seconds
    from recipelab.evaluation.session import most_slots, seeds_at_once, slots_for, trials_at_once
    from recipelab.models import Prices
    from recipelab.packs.load import load_pack
    from recipelab.places.base import LOCAL, check_place
    from recipelab.sandbox.requirements import image_spec_of
    from recipelab.team.participants import charters_for

    pack = load_pack(plan.pack, plan.profile)
    charters = charters_for(pack, plan.arm, plan.specialists)
    if plan.place == LOCAL:
        slots = slots_for(pack, image_spec_of(pack.sandbox, pack.requirements), plan).width
    else:
        # Nobody knows how many a cluster gives before it has.
        check_place(plan.place, plan.place_options)
        slots = plan.slots or most_slots(pack)
    price = Prices.read(Path(plan.prices) if plan.prices else None).price(plan.model_name)
    past = Experience(0, None, None, None)
    target = lineage or home.lineage
    if "://" in str(target) or Path(target).is_file():
        with open_lineage(home, lineage, create=False) as store:
            past = experience(store, pack, plan)
    trials = plan.limits.trials
    with_baseline = None if trials is None else trials + 1
    most, mean = most_device_seconds(pack), past.device_seconds
    return Estimate(
        pack=pack.name,
        profile=pack.profile,
        specialists=tuple(charter.name for charter in charters),
        model=plan.model_name,
        limits=plan.limits.given(),
        slots=slots,
        trials_at_once=trials_at_once(slots, seeds_at_once(pack)),
        seed_runs_a_trial=len(pack.seeds),
        device_hours_at_most=_hours(with_baseline, most),
        wall_hours_at_most=_hours(with_baseline, most / slots),
        device_hours_expected=_hours(with_baseline, mean),
        wall_hours_expected=_hours(with_baseline, mean and mean / slots),
        tokens_expected=_product(trials, past.tokens, 6),
        dollars_expected=_product(trials, past.money, 6),
        price=(price.input, price.output) if price else None,
        past_trials=past.trials,
    )


def _hours(trials: int | None, seconds: float | None) -> float | None:
    return _product(trials, None if seconds is None else seconds / 3600, 4)


def _product(trials: int | None, each: float | None, digits: int) -> float | None:
    return None if trials is None or each is None else round(trials * each, digits)
