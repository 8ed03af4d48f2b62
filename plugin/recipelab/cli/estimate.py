"""``recipelab run --dry-run``: what a campaign would take, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.text import Text

from recipelab.cli.common import out, print_json
from recipelab.core.content import Home
from recipelab.plan import Plan


def estimate(plan: Plan, place: Home, *, as_json: bool) -> None:
    """Prints what a campaign would take.

    Args:
        plan: What is asked for.
        place: Where the lineage is, if there is one already.
        as_json: Whether only JSON is printed.

    Raises:
        RecipelabError: Pack, charters, models or slots cannot be had.
    """
    facts = _facts(plan, place)
    if as_json:
        print_json(facts)
        return
    for name, told in facts.items():
        if told is not None:
            words = ", ".join(map(str, told)) if isinstance(told, list) else str(told)
            out.print(Text(f"{name.replace('_', ' '):<26}{words}"), soft_wrap=True)


def _facts(plan: Plan, place: Home) -> dict[str, Any]:
    from recipelab.analysis.estimate import Experience, experience, most_device_seconds
    from recipelab.evaluation.session import seeds_at_once, slots_for, trials_at_once
    from recipelab.lineage import LineageStore
    from recipelab.models import Prices
    from recipelab.packs.load import load_pack
    from recipelab.sandbox.spec import load_image_spec
    from recipelab.team.participants import charters_for

    pack = load_pack(plan.pack, plan.profile)
    charters = charters_for(pack, plan.arm, plan.specialists)
    slots = slots_for(pack, load_image_spec(pack.sandbox), plan).width
    past = Experience(0, None, None, None)
    lineage = place.lineage
    if not isinstance(lineage, Path) or lineage.is_file():
        with LineageStore.open(lineage) as store:
            past = experience(store, pack, plan)
    price = Prices.read(Path(plan.prices) if plan.prices else None).price(plan.model_name)
    trials = plan.limits.trials
    many = trials + 1 if trials is not None else None
    most = most_device_seconds(pack)
    return {
        "pack": f"{pack.name} ({pack.profile})",
        "specialists": [charter.name for charter in charters],
        "model": plan.model_name,
        "limits": [f"{name} {value:g}" for name, value in plan.limits.given().items()],
        "slots": slots,
        "trials_at_once": trials_at_once(slots, seeds_at_once(pack)),
        "seed_runs_a_trial": len(pack.seeds),
        "device_hours_at_most": _hours(many, most),
        "wall_hours_at_most": _hours(many, most / slots),
        "device_hours_expected": _hours(many, past.device_seconds),
        "wall_hours_expected": _hours(many, past.device_seconds and past.device_seconds / slots),
        "tokens_expected": _times(trials, past.tokens),
        "dollars_expected": _times(trials, past.money),
        "price": f"${price.input:g} in, ${price.output:g} out a million tokens"
        if price
        else "unknown: give --prices, or no limit of money can be held",
        "from_past_trials": past.trials
        or "none of this pack in the lineage, so only bounds are known",
    }


def _hours(many: int | None, seconds: float | None) -> float | None:
    return None if many is None or seconds is None else round(many * seconds / 3600, 4)


def _times(many: int | None, each: float | None) -> float | None:
    return None if many is None or each is None else round(many * each, 6)
