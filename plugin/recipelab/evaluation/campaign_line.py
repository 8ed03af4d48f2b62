"""The working line of a campaign, as its lineage has it: what a trial has to beat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from recipelab.acceptance import Noise
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Checkpoint, Outcome, SeedRun, Standing, Status
from recipelab.evaluation.checkpoints import WorkingLine
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.metric import Incumbent, noise_of
from recipelab.evaluation.proposals import BASELINE
from recipelab.lineage import LineageStore, TrialFilter

MOST_KEPT = 200
"""Newest kept trials among which a line looks for one to fall back to."""

NOISE_TRIALS = 20
"""Newest measured trials whose seed runs tell how noisy the campaign is by now."""

_REMEMBERED = 8
"""Trials that others are compared with whose outcome and recipe are kept in memory."""

MEASURED = frozenset({Status.KEPT, Status.DISCARDED})


class CampaignLine:
    """Knows head and certified recipe of a campaign, and how noisy it is by now.

    Args:
        store: The lineage.
        campaign: Name of the campaign.
        evaluator: Says what seed runs tell of the noise, and keeps the curves of trainings.
        fell: Called with the checkpoint of a best that has gone bad, once it is stored.
    """

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        evaluator: Evaluator,
        fell: Callable[[Checkpoint], None],
    ) -> None:
        self._store = store
        self._campaign = campaign
        self._evaluator = evaluator
        self._fell = fell
        self._measured: dict[int, Incumbent] = {}
        self._groups: deque[tuple[float, ...]] | None = None
        self._unheard: deque[int] = deque(maxlen=NOISE_TRIALS)
        self._noise: tuple[tuple[SeedRun, ...], Noise | None] | None = None

    def head(self) -> Incumbent:
        """Return the head of the moment, with all that a comparison needs to know of it."""
        with self._store.moment():
            return self._incumbent(self._store.best_brief(self._campaign).number)

    def _incumbent(self, number: int) -> Incumbent:
        measured = self._measured.get(number)
        if measured is None:
            measured = self._read(number)
            while len(self._measured) >= _REMEMBERED:
                del self._measured[next(iter(self._measured))]
            self._measured[number] = measured
        further = self._store.further_runs(self._campaign, number)
        return replace(
            measured,
            runs={**measured.runs, **{run.seed: run for run in further}},
            noise=self._noise_beside(measured.baseline),
            history=self._store.confirmations(self._campaign),
            tried=max(1, sum(self._store.counts(self._campaign).values())),
            store_runs=partial(self._store.add_further_runs, self._campaign, number),
            fall=partial(self._fall_back, number),
        )

    def _read(self, number: int) -> Incumbent:
        """Return what never changes of a trial that others are compared with."""
        outcome = self._store.trial(self._campaign, number).outcome
        if outcome is None or not outcome.status.is_parent:
            raise RuntimeError("a trial cannot be judged before the baseline")
        first = self._store.trial(self._campaign, BASELINE).outcome
        baseline = first.seed_runs if first is not None else ()
        recipe = Recipe(self._store.files(self._campaign, number))
        start = Recipe(self._store.files(self._campaign, BASELINE))
        return replace(Incumbent.of_trial(number, recipe, outcome, baseline), start=start)

    def _fall_back(self, number: int, reason: str, runs: tuple[SeedRun, ...]) -> None:
        """Take its standing from a trial that is not any more what it was kept for.

        Two trials may find it out at the same time.
        """
        if self._store.brief(self._campaign, number).standing is Standing.UNPROVEN:
            return
        kept = TrialFilter(statuses=(Status.KEPT,), order="newest", limit=MOST_KEPT)
        briefs = self._store.briefs(self._campaign, kept).items
        others = [b.number for b in briefs if b.standing is Standing.CERTIFIED]
        against = next((other for other in others if other != number), BASELINE)
        found = Checkpoint(number, against, False, True, reason, len(runs), runs=runs)
        self._store.add_checkpoint(self._campaign, found)
        self._fell(found)

    def now(self) -> WorkingLine:
        """Return the working line of the moment."""
        head = self.head()
        certified = self._incumbent(self._store.certified(self._campaign).number)
        checkpoints = self._store.checkpoints(self._campaign)
        last = checkpoints[-1].found if checkpoints else None
        tested = None if last is None or last.held or last.fell_back else last
        score = self._store.brief(self._campaign, tested.trial).score if tested else None
        return WorkingLine(head, certified, len(checkpoints), tested, score)

    def learn(self, outcome: Outcome) -> None:
        """Learn from a trial's seed runs how noisy measurements are."""
        if self._groups is not None and outcome.status in MEASURED:
            self._groups.append(self._evaluator.spread_group(outcome))
            self._noise = None

    def _noise_beside(self, baseline: tuple[SeedRun, ...]) -> Noise | None:
        """Return the noise of the moment; it is worked out anew when a trial has told more."""
        if self._noise is None or self._noise[0] != baseline:
            found = noise_of(baseline, self._evaluator.pack.metric, self._noise_groups())
            self._noise = baseline, found
        return self._noise[1]

    def judged_elsewhere(self, number: int) -> None:
        """Note a measured trial of another driver, to learn from it when the line is asked for."""
        if self._groups is not None:
            self._unheard.append(number)
            self._noise = None

    def _learn_records(self, numbers: Sequence[int]) -> list[tuple[float, ...]]:
        """Return what trials say about the noise; curves of their trainings are kept."""
        groups = []
        # An evaluator of an app's own need not have any.
        curves = getattr(self._evaluator, "curves", None)
        for record in self._store.records_of(self._campaign, numbers):
            if record.outcome is None:
                continue
            groups.append(self._evaluator.spread_group(record.outcome))
            if curves is not None:
                curves.add(str(record.number), record.outcome.seed_runs)
        return groups

    def _noise_groups(self) -> Iterable[tuple[float, ...]]:
        """Return what the newest measured trials say about the noise; the lineage is read once."""
        if self._groups is None:
            newest = TrialFilter(
                statuses=(Status.KEPT, Status.DISCARDED), order="newest", limit=NOISE_TRIALS
            )
            briefs = self._store.briefs(self._campaign, newest).items
            groups = self._learn_records([brief.number for brief in reversed(briefs)])
            self._groups = deque(groups, maxlen=NOISE_TRIALS)
        if self._unheard:
            self._groups.extend(self._learn_records(self._unheard))
            self._unheard.clear()
        return [group for group in self._groups if len(group) > 1]
