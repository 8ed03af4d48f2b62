"""The arguments of the lineage tools, as a model sees them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar

from autogen_core import Component
from pydantic import AfterValidator, BaseModel, Field

from recipelab.core.errors import LineageError, unknown_name
from recipelab.core.recipe import Recipe
from recipelab.core.trial import FailureKind, Outcome, Status
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.lineage.campaigns import prior_note
from recipelab.packs.sections import Goal
from recipelab.tools.base import (
    AnyTool,
    Row,
    TextTool,
    ToolWorkbench,
    capped_rows,
    knob_changes,
    paged_text,
    rounded,
    to_json,
    without_empty,
)
from recipelab.tools.recipe import MAX_EDITS, MAX_TEXT, Arguments, EditArguments
from recipelab.tools.rows import brief_rows, failure_row, near_miss_row, summary_row

Number = Annotated[int, Field(ge=0)]
Words = Annotated[str, Field(max_length=300)]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class ScopeArguments(Arguments):
    """Which campaign is asked about."""

    campaign: str | None = Field(
        default=None, description="Name of a prior campaign; leave out for this one."
    )


class PageArguments(ScopeArguments):
    """Which part of a long answer is wanted."""

    limit: int = Field(default=20, ge=1, le=100, description="How many rows at most.")
    offset: int = Field(default=0, ge=0, description="How many to pass over, for paging.")


class LineageQueryArguments(PageArguments):
    """What to look for in the lineage. All filters given must hold."""

    status: list[Status] = Field(default=[], description="Only trials that ended so.")
    surface: list[str] = Field(default=[], description="Only trials on these surfaces.")
    specialist: list[str] = Field(default=[], description="Only trials by these specialists.")
    failure_kind: list[FailureKind] = Field(default=[], description="Only these kinds of failure.")
    signature: Words | None = Field(
        default=None, description="Words that the failure's signature contains."
    )
    min_score: float | None = Field(default=None, description="Only scores from here up.")
    max_score: float | None = Field(default=None, description="Only scores up to here.")
    parent: Number | None = Field(default=None, description="Only children of this trial.")
    ancestor: Number | None = Field(
        default=None, description="Only descendants of this trial, children of children too."
    )
    since: Moment | None = Field(
        default=None, description="Only trials proposed at or after this time (ISO 8601, UTC)."
    )
    until: Moment | None = Field(default=None, description="Only trials proposed before this time.")
    text: Words | None = Field(
        default=None,
        description="Words in hypothesis, reason, diff or failure, whatever their case.",
    )
    order: Annotated[str, Field(pattern="^(newest|oldest|best|worst)$")] = Field(
        default="newest", description="newest, oldest, best or worst first."
    )


class FailuresArguments(PageArguments):
    """Which failures to count."""

    failure_kind: list[FailureKind] = Field(default=[], description="Only these kinds of failure.")
    surface: list[str] = Field(default=[], description="Only failures on these surfaces.")


class TrialArguments(ScopeArguments):
    """One trial, and which part of its long texts."""

    trial: Number = Field(description="Number of the trial.")
    offset: int = Field(
        default=0, ge=0, description="Characters of the diff to pass over, for paging."
    )


class DiffArguments(ScopeArguments):
    """Two trials whose recipes are compared."""

    before: Number = Field(description="Number of the first trial.")
    after: Number = Field(description="Number of the second trial.")
    offset: int = Field(default=0, ge=0, description="Characters to pass over, for paging.")


class ChainArguments(ScopeArguments):
    """The end of a chain of parents."""

    trial: Number | None = Field(
        default=None, description="Number of the trial; leave out for the best so far."
    )
    limit: int = Field(default=20, ge=1, le=100, description="How many trials at most.")


class ChildrenArguments(PageArguments):
    """The trial whose children are asked for."""

    trial: Number = Field(description="Number of the trial.")


class SimilarArguments(ScopeArguments):
    """An idea, as edits, as words, or both."""

    edits: list[EditArguments] = Field(
        default=[], max_length=MAX_EDITS, description="Edits, as for submit_trial."
    )
    parent: Number | None = Field(
        default=None, description="Trial that the edits would be applied to."
    )
    text: str = Field(default="", max_length=MAX_TEXT, description="The idea in words.")
    limit: int = Field(default=10, ge=1, le=50, description="How many trials at most.")


ScopeT = TypeVar("ScopeT", bound=ScopeArguments)


@dataclass(frozen=True)
class Scope:
    """What may be asked about.

    Attributes:
        store: An open lineage.
        campaign: Name of the campaign.
        goal: Which way its metric is better.
        priors: Names of other campaigns that serve as prior knowledge.
    """

    store: LineageStore
    campaign: str
    goal: Goal = Goal.MINIMIZE
    priors: tuple[str, ...] = ()

    def chosen(self, name: str | None) -> str:
        """The campaign that a call is about.

        Raises:
            LineageError: It is none of those in scope; the message lists them.
        """
        if name is None or name == self.campaign:
            return self.campaign
        if name not in self.priors:
            raise LineageError(unknown_name("campaign", name, (self.campaign, *self.priors)))
        return name

    def mark(self, campaign: str) -> dict[str, Any]:
        """How an answer says that it is not about this campaign; nothing if it is."""
        if campaign == self.campaign:
            return {}
        own, prior = self.store.campaign(self.campaign), self.store.campaign(campaign)
        return {"prior_campaign": campaign, "note": prior_note(own, prior)}


class LineageTool(TextTool[ScopeT], Generic[ScopeT]):
    """A tool that only reads the lineage.

    Args:
        arguments: The type of its arguments.
        name: Its name.
        description: What it does, for the model.
        scope: What it may tell of.
    """

    def __init__(self, arguments: type[ScopeT], name: str, description: str, scope: Scope) -> None:
        super().__init__(arguments, name, description)
        self._scope = scope

    @property
    def _store(self) -> LineageStore:
        return self._scope.store

    @abstractmethod
    def look_up(self, campaign: str, args: ScopeT) -> Mapping[str, Any]:
        """Looks up the answer, as plain data."""

    async def answer(self, args: ScopeT) -> str:
        """Answers with JSON, size-capped.

        Raises:
            LineageError: There is no such campaign or trial; the message says which there are.
        """
        # A thread of its own, so that a locked database holds up nobody and can be cancelled.
        return await asyncio.to_thread(self._told, args)

    def _told(self, args: ScopeT) -> str:
        campaign = self._scope.chosen(args.campaign)
        with self._store.moment():  # so that the parts of an answer fit together
            return to_json({**self._scope.mark(campaign), **self.look_up(campaign, args)})


DIFF_CHARACTERS = 12_000
LOG_CHARACTERS = 3_000
DETAIL_CHARACTERS = 4_000


class TrialDetailTool(LineageTool[TrialArguments]):
    """Tells all that came of a trial.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            TrialArguments,
            "trial_detail",
            "Show one trial in full: hypothesis, diff, measurements of every seed, gates with "
            "margins, the failure with its log.",
            scope,
        )

    def look_up(self, campaign: str, args: TrialArguments) -> Mapping[str, Any]:
        """Gives the trial; long texts are cut, the diff is paged."""
        record = self._store.trial(campaign, args.trial)
        head = without_empty(
            {
                "trial": record.number,
                "parents": list(record.parents),
                "specialist": record.specialist,
                "surface": record.surface,
                "status": record.status or "in_flight",
                "phase": record.phase,
                "hypothesis": record.hypothesis[:DETAIL_CHARACTERS],
                "expected_delta": record.expected_delta,
                "changes": knob_changes(record.edits),
                "proposed_at": record.proposed_at.isoformat(timespec="seconds"),
            }
        )
        judged = {} if record.outcome is None else _outcome(record.outcome)
        return head | judged | paged_text("diff", record.diff, args.offset, DIFF_CHARACTERS)


def _outcome(outcome: Outcome) -> Row:
    row = {
        "reason": outcome.reason[:DETAIL_CHARACTERS],
        "score": rounded(outcome.score),
        "score_se": rounded(outcome.score_se),
        "delta": rounded(outcome.delta),
        "delta_se": rounded(outcome.delta_se),
        "gates": [
            {name: rounded(getattr(gate, name)) for name in ("value", "limit", "margin")}
            | {"gate": gate.name}
            for gate in outcome.gates
        ],
        "seed_runs": [
            {"seed": run.seed}
            | {name: rounded(value) for name, value in sorted(run.measures.items())}
            for run in outcome.seed_runs
        ],
        "failure": _failure(outcome),
        "log_tail": outcome.log_tail[-LOG_CHARACTERS:],
        "environment": outcome.environment,
    }
    return without_empty(row)


def _failure(outcome: Outcome) -> Row:
    failure = outcome.failure
    return {} if failure is None else without_empty(vars(failure))


class DiffTrialsTool(LineageTool[DiffArguments]):
    """Compares two recipes.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            DiffArguments,
            "diff_trials",
            "Show the difference between the recipes of two trials, and their scores.",
            scope,
        )

    def look_up(self, campaign: str, args: DiffArguments) -> Mapping[str, Any]:
        """Gives the unified diff, paged.

        Raises:
            LineageError: One of them has no recipe.
        """
        before, after = (self._store.trial(campaign, n) for n in (args.before, args.after))
        diff = self._recipe(campaign, before).diff(self._recipe(campaign, after))
        scores = {
            "before": _scored(before),
            "after": _scored(after),
        }
        return scores | paged_text("diff", diff, args.offset, DIFF_CHARACTERS)

    def _recipe(self, campaign: str, record: TrialRecord) -> Recipe:
        files = self._store.files(campaign, record.number)
        if not files:
            raise LineageError(f"trial {record.number} was rejected and has no recipe")
        return Recipe(files)


def _scored(record: TrialRecord) -> Row:
    score = None if record.outcome is None else rounded(record.outcome.score)
    row = {"trial": record.number, "status": record.status or "in_flight", "score": score}
    return without_empty(row)


class LineageFailuresTool(LineageTool[FailuresArguments]):
    """Tells which failures repeat.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            FailuresArguments,
            "lineage_failures",
            "List failures by signature, the most frequent first: how often, when last, the lines "
            "of the log that show the cause, and which later trials got past each.",
            scope,
        )

    def look_up(self, campaign: str, args: FailuresArguments) -> Mapping[str, Any]:
        """Gives groups of failures."""
        page = self._store.failures(
            campaign,
            kinds=tuple(args.failure_kind),
            surfaces=tuple(args.surface),
            limit=args.limit,
            offset=args.offset,
        )
        rows = map(failure_row, page.items)
        return capped_rows("failures", rows, page.total, args.offset, capped=page.capped)


class NearMissesTool(LineageTool[PageArguments]):
    """Tells which trials would be the best, had they kept within a limit.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            PageArguments,
            "near_misses",
            "List trials with a better score than the best that failed a gate, size or time limit, "
            "the largest gain first, with the excess that a repair has to remove.",
            scope,
        )

    def look_up(self, campaign: str, args: PageArguments) -> Mapping[str, Any]:
        """Gives near misses."""
        page = self._store.near_misses(
            campaign, goal=self._scope.goal, limit=args.limit, offset=args.offset
        )
        trials = brief_rows(self._store, campaign, (miss.brief for miss in page.items))
        rows = map(near_miss_row, page.items, trials)
        return capped_rows("near_misses", rows, page.total, args.offset, capped=page.capped)


DESCRIPTION = (
    "Look up past trials: what was tried, how it ended, and why. Filter by status, surface, "
    "specialist, failure_kind, signature, score, parent, ancestor, time and words of the text; all "
    "filters must hold. Ask before you propose: a proposal is refused if you have not."
)


class LineageQueryConfig(BaseModel):
    """Configuration of :class:`LineageQueryTool`.

    Attributes:
        lineage: Path or URL of the lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way the metric is better, for the order "best".
        priors: Names of other campaigns that may be asked about, too.
    """

    lineage: str
    campaign: str
    goal: Goal = Goal.MINIMIZE
    priors: tuple[str, ...] = ()


class LineageQueryTool(LineageTool[LineageQueryArguments], Component[LineageQueryConfig]):
    """Answers questions about past trials from the lineage store.

    Args:
        store: An open lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way the metric is better.
        priors: Names of other campaigns that may be asked about, too.
    """

    component_config_schema = LineageQueryConfig
    component_provider_override = "recipelab.tools.LineageQueryTool"

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        *,
        goal: Goal = Goal.MINIMIZE,
        priors: tuple[str, ...] = (),
    ) -> None:
        scope = Scope(store, campaign, goal, priors)
        super().__init__(LineageQueryArguments, "lineage_query", DESCRIPTION, scope)

    def look_up(self, campaign: str, args: LineageQueryArguments) -> Mapping[str, Any]:
        """Gives the counts by status, the best trial, and the matching trials."""
        page = self._store.briefs(campaign, _filter(args, self._scope.goal))
        counts = self._store.counts(campaign)
        best = self._store.best_brief(campaign)
        rows = brief_rows(self._store, campaign, (best, *page.items))
        head = {
            "counts": {str(status or "in_flight"): count for status, count in counts.items()},
            "best": rows[0],
        }
        return head | capped_rows("trials", rows[1:], page.total, args.offset, capped=page.capped)

    def _to_config(self) -> LineageQueryConfig:
        scope = self._scope
        return LineageQueryConfig(
            lineage=scope.store.url, campaign=scope.campaign, goal=scope.goal, priors=scope.priors
        )

    @classmethod
    def _from_config(cls, config: LineageQueryConfig) -> Self:
        store = LineageStore.open(config.lineage)
        return cls(store, config.campaign, goal=config.goal, priors=config.priors)


def _filter(args: LineageQueryArguments, goal: Goal) -> TrialFilter:
    return TrialFilter(
        statuses=tuple(args.status),
        surfaces=tuple(args.surface),
        specialists=tuple(args.specialist),
        failure_kinds=tuple(args.failure_kind),
        signature=args.signature,
        min_score=args.min_score,
        max_score=args.max_score,
        parent=args.parent,
        ancestor=args.ancestor,
        since=args.since,
        until=args.until,
        text=args.text,
        order=args.order,
        goal=goal,
        limit=args.limit,
        offset=args.offset,
    )


class BestChainTool(LineageTool[ChainArguments]):
    """Tells how a trial came to be.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            ChainArguments,
            "best_chain",
            "List the trials that led to the best one (or to another), by first parents, the "
            "newest first: each step with its hypothesis, changes and gain.",
            scope,
        )

    def look_up(self, campaign: str, args: ChainArguments) -> Mapping[str, Any]:
        """Gives the chain, from the trial back to the root."""
        number = args.trial
        if number is None:
            number = self._store.best_brief(campaign).number
        page = self._store.chain_briefs(campaign, number, limit=args.limit)
        rows = brief_rows(self._store, campaign, reversed(page.items))
        answer = capped_rows("trials", rows, page.total, 0, capped=page.capped)
        if "more" in answer:
            shown = answer["trials"]
            rest = page.total - len(shown)
            answer["more"] = f"{rest} more; ask with trial={shown[-1]['parents'][0]}"
        return answer


class ChildrenTool(LineageTool[ChildrenArguments]):
    """Tells what was tried on top of a trial.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            ChildrenArguments,
            "children",
            "List the trials that were made from a trial, the newest first.",
            scope,
        )

    def look_up(self, campaign: str, args: ChildrenArguments) -> Mapping[str, Any]:
        """Gives the children."""
        page = self._store.children(campaign, args.trial, limit=args.limit, offset=args.offset)
        rows = brief_rows(self._store, campaign, page.items)
        return capped_rows("trials", rows, page.total, args.offset, capped=page.capped)


class InFlightTool(LineageTool[ScopeArguments]):
    """Tells what runs now.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            ScopeArguments,
            "in_flight",
            "List the trials that have no outcome yet: do not propose the same.",
            scope,
        )

    def look_up(self, campaign: str, args: ScopeArguments) -> Mapping[str, Any]:
        """Gives the trials in flight, lowest number first."""
        briefs = self._store.in_flight_briefs(campaign)
        rows = brief_rows(self._store, campaign, briefs)
        return capped_rows("trials", rows, len(rows), 0)


SATURATED = 8
"""Judged trials in a row without one kept, from which a surface counts as saturated."""


class SimilarTrialsTool(LineageTool[SimilarArguments]):
    """Tells whether an idea has been tried.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            SimilarArguments,
            "similar_trials",
            "Has this been tried? Give edits, words, or both: lists trials with the same edit "
            "(formatting aside), the same knob and value, or alike in words, and how they ended.",
            scope,
        )

    def look_up(self, campaign: str, args: SimilarArguments) -> Mapping[str, Any]:
        """Gives trials that are alike, the likest first.

        Raises:
            LineageError: Neither edits nor words are given.
        """
        if not args.edits and not args.text.strip():
            raise LineageError("give edits or text: what is to be compared?")
        found = self._store.similar(
            campaign,
            edits=tuple(edit.to_edit() for edit in args.edits),
            text=args.text,
            parent=args.parent,
            limit=args.limit,
        )
        trials = brief_rows(self._store, campaign, (item.brief for item in found))
        rows = [
            {"why": item.why, "likeness": round(item.likeness, 3)} | row
            for item, row in zip(found, trials, strict=True)
        ]
        return capped_rows("trials", rows, len(rows), 0)


class SurfaceSummaryTool(LineageTool[ScopeArguments]):
    """Tells what has worked where.

    Args:
        scope: What it may tell of.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(
            ScopeArguments,
            "surface_summary",
            "Summarize every surface and specialist: trials by status, kept, best gain, and "
            f"whether it is saturated ({SATURATED} judged trials without one kept).",
            scope,
        )

    def look_up(self, campaign: str, args: ScopeArguments) -> Mapping[str, Any]:
        """Gives one row a surface and one a specialist."""
        goal = self._scope.goal
        return {
            f"{name}s": [summary_row(name, item, saturated=SATURATED) for item in items]
            for name, items in (
                ("surface", self._store.surfaces(campaign, goal=goal)),
                ("specialist", self._store.specialists(campaign, goal=goal)),
            )
        }


class LineageWorkbenchConfig(BaseModel):
    """Configuration of :class:`LineageWorkbench`.

    Attributes:
        lineage: Path or URL of the lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way the metric is better.
        priors: Names of other campaigns that may be asked about, too.
    """

    lineage: str
    campaign: str
    goal: Goal = Goal.MINIMIZE
    priors: tuple[str, ...] = ()


class LineageWorkbench(ToolWorkbench, Component[LineageWorkbenchConfig]):
    """Ten tools that answer questions about a campaign. They only read.

    Calls never raise and never hang: errors, cancellation and time-outs become results.

    Args:
        store: An open lineage.
        campaign: Name of the campaign to ask about.
        goal: Which way its metric is better.
        priors: Names of other campaigns that may be asked about, too.
    """

    component_config_schema = LineageWorkbenchConfig
    component_provider_override = "recipelab.tools.LineageWorkbench"

    def __init__(
        self,
        store: LineageStore,
        campaign: str,
        *,
        goal: Goal = Goal.MINIMIZE,
        priors: tuple[str, ...] = (),
    ) -> None:
        self._scope = Scope(store, campaign, goal, priors)
        super().__init__(lineage_tools(self._scope))

    def _to_config(self) -> LineageWorkbenchConfig:
        scope = self._scope
        return LineageWorkbenchConfig(
            lineage=scope.store.url, campaign=scope.campaign, goal=scope.goal, priors=scope.priors
        )

    @classmethod
    def _from_config(cls, config: LineageWorkbenchConfig) -> Self:
        store = LineageStore.open(config.lineage)
        return cls(store, config.campaign, goal=config.goal, priors=config.priors)


def lineage_tools(scope: Scope) -> list[AnyTool]:
    """The tools that read the lineage."""
    query = LineageQueryTool(scope.store, scope.campaign, goal=scope.goal, priors=scope.priors)
    others = (
        LineageFailuresTool,
        NearMissesTool,
        TrialDetailTool,
        DiffTrialsTool,
        BestChainTool,
        ChildrenTool,
        InFlightTool,
        SimilarTrialsTool,
        SurfaceSummaryTool,
    )
    return [query, *(tool(scope) for tool in others)]
