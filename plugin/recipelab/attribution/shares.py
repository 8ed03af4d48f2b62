"""What is each step's own of the best's gain, and which steps interact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recipelab.attribution.losses import Effect, Form, Losses, Steps, minus, total


@dataclass(frozen=True)
class Share:
    """What one removal tells.

    Attributes:
        steps: Places of the steps that were left out: the first one, and those that build on it.
        loss: How much worse the best is without them; ``None`` if what is left fails.
        own: The part of the loss that is the first step's own, without what the others cost;
            ``None`` if one of the two fails.
        form: How ``own`` is made of losses.
        failure: How the best fails without them, in a sentence.
        changes: Whether leaving them out changes the recipe at all.
        same_as: Place of the recipe of the chain that is left, if it is one of these.
    """

    steps: Steps
    loss: Effect | None
    own: Effect | None
    form: Form
    failure: str | None = None
    changes: bool = True
    same_as: int | None = None

    def of(self, whole: Effect | None) -> float | None:
        """What is its own, as a share of the whole gain; ``None`` if there is none."""
        return share_of(self.own, whole)


@dataclass(frozen=True)
class Interaction:
    """How much more two removals cost together than one by one.

    With losses ``L``, it is ``L(i and j) - L(i) - L(j)``.

    Attributes:
        steps: What was left out on each side.
        more: The interaction; below zero, the two need each other, above, either will do.
    """

    steps: tuple[Steps, Steps]
    more: Effect


def share_of(effect: Effect | None, whole: Effect | None) -> float | None:
    """An effect as a share of the whole gain; ``None`` if there is no gain."""
    if effect is None or whole is None or whole.value <= 0.0:
        return None
    return effect.value / whole.value


def own_form(steps: Steps) -> Form:
    """The loss of a group without what those cost that build on its first step."""
    alone: Form = ((1.0, steps),)
    return minus(alone, ((1.0, steps[1:]),)) if len(steps) > 1 else alone


def unexplained(losses: Losses, whole: Steps, shares: Sequence[Share]) -> Effect | None:
    """The whole gain minus what is each step's own.

    Returns:
        What is left; ``None`` if that cannot be told, because something fails.
    """
    return losses.effect(minus(((1.0, whole),), total(share.form for share in shares)))


def interaction(losses: Losses, pair: tuple[Steps, Steps], among: int) -> Interaction | None:
    """How two removals interact; ``None`` if one of the three fails.

    Args:
        losses: What was measured.
        pair: What was left out on each side.
        among: How many pairs were looked through.
    """
    one, other = pair
    both = tuple(sorted((*one, *other)))
    more = losses.effect(((1.0, both), (-1.0, one), (-1.0, other)), among=among)
    return None if more is None else Interaction(pair, more)
