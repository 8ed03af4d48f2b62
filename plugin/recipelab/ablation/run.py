"""Runs an attribution from a campaign's chain to what each step gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from recipelab.ablation.attribution import (
    Effect,
    Form,
    Interaction,
    Losses,
    Share,
    Steps,
    interaction,
    own_form,
    share_of,
    total,
    unexplained,
)
from recipelab.ablation.measure import Chain, Measure, Removal, removal, removals
from recipelab.lineage import TrialRecord
from recipelab.packs.sections import Goal

Say = Callable[[str], None]


@dataclass(frozen=True)
class Attribution:
    """What each step gave.

    Attributes:
        chain: The trials that led to the best.
        losses: What was measured.
        whole: The best without all steps, which is the baseline; its loss is the whole gain.
        shares: The best without each step, in the order of the steps.
        rest: The whole gain minus what is each step's own; ``None`` if something fails.
        interactions: Pairs that were measured together.
    """

    chain: Chain
    losses: Losses
    whole: Share
    shares: tuple[Share, ...]
    rest: Effect | None
    interactions: tuple[Interaction, ...]

    @property
    def adds_up(self) -> bool:
        """Whether nothing stands out of the noise that the steps' own parts leave unexplained."""
        return self.rest is None or not self.rest.certain


class Attributing:
    """Measures the best without each step, and without pairs of them where these interact.

    Args:
        chain: The trials that led to the best; at least one step.
        measure: Measures a recipe beside the best.
        goal: Which way the metric is better.
        recorded: By step, what it gained when it was kept, as far as that is known.
        say: Told what is measured.
    """

    def __init__(
        self,
        chain: Chain,
        measure: Measure,
        goal: Goal,
        *,
        recorded: Mapping[int, float] | None = None,
        say: Say = lambda text: None,
    ) -> None:
        self._chain = chain
        self._measure = measure
        self._recorded = recorded or {}
        self._say = say
        self._losses = Losses(goal)

    async def run(self, pairs: int) -> Attribution:
        """Measures, and tells what was found.

        Args:
            pairs: At most so many pairs are measured, and only if the losses do not add up.
        """
        whole = await self._whole()
        shares = [await self._share(item) for item in removals(self._chain)]
        rest = unexplained(self._losses, whole.steps, shares)
        found = await self._pairs(shares, pairs) if rest is not None and rest.certain else ()
        return Attribution(self._chain, self._losses, whole, tuple(shares), rest, found)

    async def _whole(self) -> Share:
        item = removal(self._chain, self._chain.steps)
        await self._lose(item)
        return self._told(item, ((1.0, item.steps),))

    async def _share(self, item: Removal) -> Share:
        await self._lose(item)
        if len(item.steps) > 1:
            await self._lose(removal(self._chain, item.steps[1:]))
        return self._told(item, own_form(item.steps))

    def _told(self, item: Removal, form: Form) -> Share:
        return Share(
            item.steps,
            self._losses.effect(((1.0, item.steps),)),
            self._losses.effect(form),
            form,
            self._losses.failure(item.steps),
            item.changes,
            item.same_as,
        )

    async def _lose(self, item: Removal) -> None:
        if item.steps in self._losses:
            return
        if not item.changes:
            self._losses.add_none(item.steps)
            return
        self._losses.add(item.steps, await self._measure(item.recipe))
        numbers = ", ".join(str(self._chain.numbers[step]) for step in item.steps)
        self._say(f"measured without {'trial' if len(item.steps) == 1 else 'trials'} {numbers}")

    async def _pairs(self, shares: Sequence[Share], most: int) -> tuple[Interaction, ...]:
        tried: list[tuple[Steps, Steps]] = []
        for one, other in self._promising(shares):
            if len(tried) >= most:
                break
            item = removal(self._chain, [*one.steps, *other.steps])
            if len(item.steps) == len(one.steps) + len(other.steps):
                await self._lose(item)
                tried.append((one.steps, other.steps))
        found = [interaction(self._losses, pair, len(tried)) for pair in tried]
        return tuple(told for told in found if told is not None)

    def _promising(self, shares: Sequence[Share]) -> list[tuple[Share, Share]]:
        """Pairs that share no step, those first that are likely to interact."""
        weights = {share.steps: self._weight(share) for share in shares if share.changes}
        known = [share for share in shares if share.changes and share.own is not None]
        pairs = [(a, b) for a, b in combinations(known, 2) if not set(a.steps) & set(b.steps)]
        return sorted(pairs, key=lambda pair: -sum(weights[share.steps] for share in pair))

    def _weight(self, share: Share) -> float:
        own = share.own.value if share.own is not None else 0.0
        # What is lost now and what was gained then differ for a step that interacts. Two steps of
        # which either will do lose nothing one by one, so the loss alone would never find them.
        recorded = self._recorded.get(share.steps[0], own)
        return abs(own - recorded) + abs(own) / 2.0


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
