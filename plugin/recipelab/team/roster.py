"""Who works on a campaign, by the arm of it."""

from __future__ import annotations

from collections.abc import Sequence

from recipelab.agents import Charter, load_charter
from recipelab.arms import Arm
from recipelab.pack import Pack

GENERALIST = "generalist"
"""The charter of agents that own every surface."""


def roster(pack: Pack, arm: Arm, names: Sequence[str] = ()) -> tuple[Charter, ...]:
    """The charters of a campaign's agents, with the surfaces that they own in the pack.

    The arms differ in nothing but who proposes: ``generic`` has as many agents as the pack has
    specialists, each free to change anything, ``single`` has one.

    Args:
        pack: The campaign's pack.
        arm: The arm.
        names: Charters to work with; none for those that the pack names.

    Raises:
        RecipelabError: A charter is missing or cannot be read, or owns no surface of the pack.
    """
    if arm in (Arm.SPECIALISTS, Arm.NO_LINEAGE):
        wanted = names or pack.specialists
        return tuple(load_charter(name).on(pack.surface_names) for name in wanted)
    general = load_charter(GENERALIST).on(pack.surface_names)
    if arm is Arm.SINGLE:
        return (general,)
    return tuple(
        general.model_copy(update={"name": f"generic_{number}"})
        for number in range(1, len(pack.specialists) + 1)
    )
