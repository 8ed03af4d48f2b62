"""Runs an attribution from a campaign's chain to its facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

from recipelab.attribution.facts import Attribution
from recipelab.attribution.measuring import Measure, Measured
from recipelab.attribution.removal import Chain, Removal, removal, removals
from recipelab.attribution.shares import Interaction, Share, interaction, share_of, unexplained
from recipelab.attribution.shares import shares_of as all_shares
from recipelab.pack import Goal

Say = Callable[[str], None]


async def attribute(
    chain: Chain, measure: Measure, goal: Goal, *, pairs: int, say: Say = lambda text: None
) -> Attribution:
    """Measures the best without each step, and without pairs of them where these interact.

    Args:
        chain: The trials that led to the best; at least one step.
        measure: Measures a recipe beside the best.
        goal: Which way the metric is better.
        pairs: At most so many pairs are measured.
        say: Told what is measured.
    """
    whole = await measure(chain.recipes[0])
    say("the baseline is measured")
    singles: dict[tuple[int, ...], Measured] = {}
    unchanged: list[Share] = []
    for item in removals(chain):
        if not item.changes:
            unchanged.append(Share(item.steps, 0.0, changes=False))
        elif item.steps not in singles:
            singles[item.steps] = await measure(item.recipe)
            say(f"without {_named(chain, item)}: measured")
    total, shares = all_shares(singles, whole, goal)
    rest = unexplained(total, shares)
    found = await _pairs(chain, measure, goal, shares, pairs if rest is not None else 0)
    everything = sorted([*shares, *unchanged], key=lambda share: share.steps)
    return Attribution(chain, total, tuple(everything), rest, found)


async def _pairs(
    chain: Chain, measure: Measure, goal: Goal, shares: Sequence[Share], most: int
) -> tuple[Interaction, ...]:
    """Measures the best without two steps at once, those with the largest losses first."""
    alone = [share for share in shares if len(share.steps) == 1 and share.loss is not None]
    alone.sort(key=lambda share: -abs(share.loss or 0.0))
    found = []
    for one, other in list(combinations(alone, 2))[:most]:
        item = removal(chain, [one.steps[0], other.steps[0]])
        if len(item.steps) > 2:
            continue
        both = share_of(item.steps, await measure(item.recipe), goal)
        if (told := interaction(both, one, other)) is not None:
            found.append(told)
    return tuple(found)


def _named(chain: Chain, item: Removal) -> str:
    numbers = " and ".join(f"trial {chain.numbers[step]}" for step in item.steps)
    return numbers
