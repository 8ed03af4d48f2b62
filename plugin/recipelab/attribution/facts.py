"""What an attribution found, as plain data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipelab.attribution.removal import Chain
from recipelab.attribution.shares import Interaction, Share
from recipelab.lineage import TrialRecord


@dataclass(frozen=True)
class Attribution:
    """What each step gave.

    Attributes:
        chain: The trials that led to the best.
        total: The whole gain: what the best loses without all steps.
        shares: What it loses without each of them.
        unexplained: The whole gain minus the sum of the losses, if it stands out of the noise.
        interactions: Pairs that were measured together.
    """

    chain: Chain
    total: Share
    shares: tuple[Share, ...]
    unexplained: float | None
    interactions: tuple[Interaction, ...]


def attribution_facts(found: Attribution, records: Mapping[int, TrialRecord]) -> dict[str, Any]:
    """What an attribution found, with the names of the trials.

    Args:
        found: The attribution.
        records: The trials of the chain by number.
    """
    numbers = found.chain.numbers
    steps = [_step(share, numbers, records) for share in found.shares]
    surfaces: dict[str, float] = defaultdict(float)
    for share in found.shares:
        if share.share is not None:
            surfaces[records[numbers[share.steps[0]]].surface] += share.share
    return {
        "best": numbers[-1],
        "chain": list(numbers),
        "gain": found.total.loss,
        "gain_low": found.total.low,
        "gain_high": found.total.high,
        "failure": found.total.failure,
        "steps": steps,
        "surfaces": dict(sorted(surfaces.items(), key=lambda item: -item[1])),
        "unexplained": found.unexplained,
        "interactions": [
            {
                "trials": [numbers[step] for step in item.steps],
                "more": item.more,
                "error": item.error,
                "certain": item.certain,
            }
            for item in found.interactions
        ],
    }


def _step(
    share: Share, numbers: tuple[int, ...], records: Mapping[int, TrialRecord]
) -> dict[str, Any]:
    first = records[numbers[share.steps[0]]]
    return {
        "trials": [numbers[step] for step in share.steps],
        "surface": first.surface,
        "specialist": first.specialist,
        "hypothesis": first.hypothesis,
        "loss": share.loss,
        "low": share.low,
        "high": share.high,
        "own": share.own,
        "share": share.share,
        "certain": share.certain,
        "changes": share.changes,
        "failure": share.failure,
    }
