"""What an attribution found, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recipelab.attribution.losses import Effect, total
from recipelab.attribution.running import Attribution
from recipelab.attribution.shares import Interaction, Share, share_of
from recipelab.lineage import TrialRecord

Records = Mapping[int, TrialRecord]


def attribution_facts(found: Attribution, records: Records) -> dict[str, Any]:
    """What an attribution found, with the names of the trials.

    Args:
        found: The attribution.
        records: The trials of the chain by number.
    """
    numbers = found.chain.numbers
    return {
        "best": numbers[-1],
        "chain": list(numbers),
        "gain": _plain(found.whole.loss),
        "failure": found.whole.failure,
        "steps": [_step(share, found, records) for share in found.shares],
        "surfaces": _surfaces(found, records),
        "unexplained": _plain(found.rest),
        "adds_up": found.adds_up,
        "interactions": [_interaction(item, numbers) for item in found.interactions],
    }


def _step(share: Share, found: Attribution, records: Records) -> dict[str, Any]:
    numbers = found.chain.numbers
    first = records[numbers[share.steps[0]]]
    return {
        "trial": first.number,
        "without": [numbers[step] for step in share.steps],
        "surface": first.surface,
        "specialist": first.specialist,
        "hypothesis": first.hypothesis,
        "loss": _plain(share.loss),
        "own": _plain(share.own),
        "share": share.of(found.whole.loss),
        "changes": share.changes,
        "same_as": None if share.same_as is None else numbers[share.same_as],
        "failure": share.failure,
    }


def _surfaces(found: Attribution, records: Records) -> list[dict[str, Any]]:
    """The steps of each surface together, the largest first."""
    groups: dict[str, list[Share]] = {}
    for share in found.shares:
        record = records[found.chain.numbers[share.steps[0]]]
        groups.setdefault(record.surface, []).append(share)
    rows = [_surface(name, shares, found) for name, shares in groups.items()]
    return sorted(rows, key=lambda row: -(row["own"]["value"] if row["own"] else 0.0))


def _surface(name: str, shares: list[Share], found: Attribution) -> dict[str, Any]:
    numbers = found.chain.numbers
    known = [share for share in shares if share.own is not None]
    own = found.losses.effect(total(share.form for share in known)) if known else None
    return {
        "surface": name,
        "own": _plain(own),
        "share": share_of(own, found.whole.loss),
        "trials": [numbers[share.steps[0]] for share in shares],
        "unknown": [numbers[share.steps[0]] for share in shares if share.own is None],
    }


def _interaction(item: Interaction, numbers: tuple[int, ...]) -> dict[str, Any]:
    sides = [[numbers[step] for step in steps] for steps in item.steps]
    return {"without": sides, "more": _plain(item.more)}


def _plain(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    return {
        "value": effect.value,
        "error": effect.error,
        "low": effect.low,
        "high": effect.high,
        "certain": effect.certain,
    }
