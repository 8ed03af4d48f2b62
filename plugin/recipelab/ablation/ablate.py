"""Ablates the best of a campaign: what each edit of its chain gave of the gain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

from recipelab.ablation.attribution import (
    Effect,
    Interaction,
    Losses,
    LossSum,
    StepLoss,
    Steps,
    interaction,
    own_part,
    share_of,
    sum_of,
    unexplained,
)
from recipelab.ablation.chain import Chain, Removal, records_of_chain, removal, removals
from recipelab.ablation.measure import Measure, MeasurementFile, RecipeMeasurer
from recipelab.core.recipe import Recipe
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.seeds import SeedSource
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.judging_sections import Goal

ABLATION_FILE = "ablation.json"
"""Name of the file of measurements, in the campaign's folder."""


async def ablate_campaign(
    store: LineageStore,
    campaign: str,
    evaluator: Evaluator,
    file: Path,
    *,
    seeds: int = 4,
    pairs: int = 6,
    say: Callable[[str], None] = lambda text: None,
) -> AblationReport:
    """Measure the best recipe without each of its edits, and return what each gave of the gain.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        evaluator: Measures; its pack is the campaign's.
        file: Where measurements are kept: interrupted, or with more seeds, it goes on from there.
        seeds: Seeds of each recipe.
        pairs: At most so many pairs of edits are measured, if the edits interact.
        say: Called with each recipe that was measured.

    Raises:
        RecipelabError: No trial was kept, the best fails by now, or the file holds something else.
    """
    records = records_of_chain(store, campaign)
    numbers = tuple(record.number for record in records)
    chain = Chain(numbers, tuple(Recipe(store.files(campaign, number)) for number in numbers))
    baseline, best = records[0].outcome, records[-1].outcome
    if baseline is None or best is None:
        raise AssertionError("unreachable: the trials that led to the best are judged")
    pack = evaluator.pack
    source = SeedSource(pack, campaign, store.secret(campaign))
    key = f"{chain.best.digest} {evaluator.sandbox_name} {pack.profile}"
    measurer = RecipeMeasurer(
        evaluator,
        Incumbent.of_trial(numbers[-1], chain.best, best, baseline.seed_runs),
        source.ablation(seeds),
        MeasurementFile(file, key),
        {"campaign": campaign, "purpose": "ablate-best"},
        source,
    )
    goal = pack.metric.goal
    scores = [record.outcome.score if record.outcome else None for record in records]
    recorded = {
        step: goal.sign * (after - before)
        for step, (before, after) in enumerate(pairwise(scores), start=1)
        if before is not None and after is not None
    }
    ablation = ChainAblation(chain, await measurer.prepare(), goal, recorded=recorded, say=say)
    return ablation_report(await ablation.run(pairs), {item.number: item for item in records})


@dataclass(frozen=True)
class Attribution:
    """What each step of a chain gave, by its place in the chain.

    Attributes:
        chain: The trials that led to the best.
        losses: What was measured.
        whole: The best without all steps, which is the baseline; its loss is the whole gain.
        parts: The best without each step, in the order of the steps.
        rest: The whole gain minus each step's own part; ``None`` if something fails.
        interactions: Pairs of steps that were measured together.
    """

    chain: Chain
    losses: Losses
    whole: StepLoss
    parts: tuple[StepLoss, ...]
    rest: Effect | None
    interactions: tuple[Interaction, ...]

    @property
    def adds_up(self) -> bool:
        """Whether nothing beyond the noise is left that the steps' own parts do not explain."""
        return self.rest is None or not self.rest.certain


class ChainAblation:
    """Measures the best without each step of its chain, and without pairs that may interact.

    Args:
        chain: The trials that led to the best; at least one step.
        measure: Measures a recipe beside the best.
        goal: Which way the metric is better.
        recorded: By step, what it gained when it was kept, as far as that is known.
        say: Called with each recipe that was measured.
    """

    def __init__(
        self,
        chain: Chain,
        measure: Measure,
        goal: Goal,
        *,
        recorded: Mapping[int, float] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._chain = chain
        self._measure = measure
        self._recorded = recorded or {}
        self._say = say
        self._losses = Losses(goal)

    async def run(self, pairs: int) -> Attribution:
        """Measure, and return what was found.

        Args:
            pairs: At most so many pairs are measured, and only if the losses do not add up.
        """
        without_all = removal(self._chain, self._chain.steps)
        await self._lose(without_all)
        whole = self._step_loss(without_all, ((1.0, without_all.steps),))
        singles = list(removals(self._chain))
        for item in singles:
            await self._lose(item)
            if len(item.steps) > 1:
                await self._lose(removal(self._chain, item.steps[1:]))
        # Of a step that changes nothing there is nothing to test, nor of one that fails.
        among = sum(item.changes and not self._losses.failure(item.steps) for item in singles)
        parts = [self._step_loss(item, own_part(item.steps), max(1, among)) for item in singles]
        rest = unexplained(self._losses, whole.steps, parts)
        found = await self._pairs(parts, pairs) if rest is not None and rest.certain else ()
        return Attribution(self._chain, self._losses, whole, tuple(parts), rest, found)

    def _step_loss(self, item: Removal, own_sum: LossSum, among: int = 1) -> StepLoss:
        return StepLoss(
            item.steps,
            self._losses.effect(((1.0, item.steps),), among=among),
            self._losses.effect(own_sum, among=among),
            own_sum,
            self._losses.failure(item.steps),
            item.changes,
            item.same_as,
        )

    async def _lose(self, item: Removal) -> None:
        """Measure the best without some steps, unless that is known."""
        if item.steps in self._losses:
            return
        if not item.changes:
            self._losses.add_unchanged(item.steps)
            return
        self._losses.add(item.steps, await self._measure(item.recipe))
        numbers = ", ".join(str(self._chain.numbers[step]) for step in item.steps)
        self._say(f"measured without {'trial' if len(item.steps) == 1 else 'trials'} {numbers}")

    async def _pairs(self, parts: Sequence[StepLoss], most: int) -> tuple[Interaction, ...]:
        """Measure the best without pairs that share no step, the likeliest to interact first."""
        known = [part for part in parts if part.changes and part.own is not None]
        candidates = [(a, b) for a, b in combinations(known, 2) if not set(a.steps) & set(b.steps)]
        candidates.sort(key=lambda pair: -sum(self._suspicion(part) for part in pair))
        measured: list[tuple[Steps, Steps]] = []
        for one, other in candidates:
            if len(measured) >= most:
                break
            item = removal(self._chain, [*one.steps, *other.steps])
            if len(item.steps) == len(one.steps) + len(other.steps):
                await self._lose(item)
                measured.append((one.steps, other.steps))
        found = [interaction(self._losses, pair, len(measured)) for pair in measured]
        return tuple(item for item in found if item is not None)

    def _suspicion(self, part: StepLoss) -> float:
        """Return how likely a step is to interact with another; only the order counts."""
        own = part.own.value if part.own is not None else 0.0
        # What is lost now and what was gained then differ for a step that interacts. Two steps of
        # which either will do lose nothing one by one, so the loss alone would never find them.
        recorded = self._recorded.get(part.steps[0], own)
        return abs(own - recorded) + abs(own) / 2.0


@dataclass(frozen=True)
class StepReport:
    """What one step gave.

    Attributes:
        trial: Number of its trial.
        without: Numbers of the trials that were left out: its own, and those that build on it.
        surface: The surface of its edit.
        specialist: Who proposed it.
        hypothesis: Why it was to help.
        loss: How much worse the best is without them; ``None`` if what is left fails.
        own: The part of the loss that is its own; ``None`` if that is unknown.
        share: Its own part as a share of the whole gain; ``None`` if that is unknown.
        changes: Whether leaving it out changes the recipe at all.
        same_as: Number of the trial of the chain whose recipe is left, if there is one.
        failure: How the best fails without them, in a sentence.
    """

    trial: int
    without: tuple[int, ...]
    surface: str
    specialist: str
    hypothesis: str
    loss: Effect | None
    own: Effect | None
    share: float | None
    changes: bool
    same_as: int | None
    failure: str | None


@dataclass(frozen=True)
class SurfaceReport:
    """What the steps of one surface gave together.

    Attributes:
        surface: Name of the surface.
        own: The sum of the steps' own parts; ``None`` if all are unknown.
        share: The same as a share of the whole gain.
        trials: Numbers of its trials.
        unknown: Those of them whose own part is unknown.
    """

    surface: str
    own: Effect | None
    share: float | None
    trials: tuple[int, ...]
    unknown: tuple[int, ...]


@dataclass(frozen=True)
class InteractionReport:
    """How two steps interact.

    Attributes:
        without: Numbers of the trials that were left out on each side.
        more: How much more they cost together than one by one.
    """

    without: tuple[tuple[int, ...], tuple[int, ...]]
    more: Effect


@dataclass(frozen=True)
class AblationReport:
    """What an ablation found, by trial number.

    Attributes:
        best: Number of the best trial.
        chain: Numbers of the trials that led to it, the baseline's first.
        gain: The whole gain; ``None`` if the baseline fails.
        failure: How the baseline fails, in a sentence.
        steps: What each step gave, in the order of the chain.
        surfaces: What the steps of each surface gave together, the largest first.
        unexplained: The gain minus all own parts; ``None`` if something fails.
        adds_up: Whether nothing beyond the noise is unexplained.
        interactions: Pairs that were measured together.
    """

    best: int
    chain: tuple[int, ...]
    gain: Effect | None
    failure: str | None
    steps: tuple[StepReport, ...]
    surfaces: tuple[SurfaceReport, ...]
    unexplained: Effect | None
    adds_up: bool
    interactions: tuple[InteractionReport, ...]


def ablation_report(found: Attribution, records: Mapping[int, TrialRecord]) -> AblationReport:
    """Return what an ablation found, with the names of the trials.

    Args:
        found: What each step gave.
        records: The trials of the chain by number.
    """
    numbers = found.chain.numbers
    return AblationReport(
        best=numbers[-1],
        chain=numbers,
        gain=found.whole.loss,
        failure=found.whole.failure,
        steps=tuple(_step_report(part, found, records) for part in found.parts),
        surfaces=_surface_reports(found, records),
        unexplained=found.rest,
        adds_up=found.adds_up,
        interactions=tuple(
            InteractionReport(
                (_numbers(item.steps[0], numbers), _numbers(item.steps[1], numbers)), item.more
            )
            for item in found.interactions
        ),
    )


def _step_report(
    part: StepLoss, found: Attribution, records: Mapping[int, TrialRecord]
) -> StepReport:
    numbers = found.chain.numbers
    first = records[numbers[part.steps[0]]]
    return StepReport(
        trial=first.number,
        without=_numbers(part.steps, numbers),
        surface=first.surface,
        specialist=first.specialist,
        hypothesis=first.hypothesis,
        loss=part.loss,
        own=part.own,
        share=share_of(part.own, found.whole.loss),
        changes=part.changes,
        same_as=None if part.same_as is None else numbers[part.same_as],
        failure=part.failure,
    )


def _surface_reports(
    found: Attribution, records: Mapping[int, TrialRecord]
) -> tuple[SurfaceReport, ...]:
    numbers = found.chain.numbers
    groups: dict[str, list[StepLoss]] = {}
    for part in found.parts:
        groups.setdefault(records[numbers[part.steps[0]]].surface, []).append(part)
    reports = []
    for name, parts in groups.items():
        known = [part for part in parts if part.own is not None]
        summed = sum_of(part.own_sum for part in known)
        own = found.losses.effect(summed, among=len(groups)) if known else None
        reports.append(
            SurfaceReport(
                surface=name,
                own=own,
                share=share_of(own, found.whole.loss),
                trials=tuple(numbers[part.steps[0]] for part in parts),
                unknown=tuple(numbers[part.steps[0]] for part in parts if part.own is None),
            )
        )
    return tuple(sorted(reports, key=lambda item: -(item.own.value if item.own else 0.0)))


def _numbers(steps: Steps, numbers: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(numbers[step] for step in steps)
