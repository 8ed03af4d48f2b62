"""Alpha spending: divides a campaign's false-keep rate among its confirmations."""

from __future__ import annotations

from collections.abc import Sequence


def level_of_next(rate: float, history: Sequence[bool], half: int) -> float:
    """Return the level at which the next confirmation is tested.

    Confirmation ``k`` (from 1) has ``rate * half / ((half + k - 1) * (half + k))``. The sum over
    all ``k`` telescopes to ``rate``, so however long a campaign is, the chance that it ever keeps a
    recipe that is no better is at most ``rate`` (Bonferroni's inequality); the first ``half``
    confirmations have half of it. A confirmation that ends in a keep passes its level on to the
    next one, which holds the same bound (Tian and Ramdas, Online control of the familywise error
    rate, Statistical Methods in Medical Research 30, 2021: "online fallback").

    Args:
        rate: Chance of one false keep or more over the whole campaign.
        history: For each confirmation so far, in order, whether it ended in a keep.
        half: After how many confirmations half of the rate is used.

    Returns:
        The level, between 0 and ``rate``.
    """
    level = passed_on = 0.0
    for position, kept in enumerate((*history, False)):
        level = rate * half / ((half + position) * (half + position + 1)) + passed_on
        passed_on = level if kept else 0.0
    return level
