"""The ten tools that read the lineage: their arguments, their questions, and the table of them.

To add a tool, write its arguments and its function, add both to :data:`QUESTIONS`, and its name to
``LINEAGE_TOOLS`` in :mod:`recipelab.tools.names`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from typing import Annotated, Any, Generic, Self, TypeVar

from autogen_core import Component
from pydantic import AfterValidator, BaseModel, Field

from recipelab.core.errors import LineageError, unknown_name
from recipelab.core.recipe import Recipe
from recipelab.core.trial import FailureKind, Standing, Status
from recipelab.lineage import LineageStore, TrialFilter, TrialRecord
from recipelab.lineage.campaigns import prior_note
from recipelab.lineage.filter import ORDERS
from recipelab.packs.judging_sections import Goal
from recipelab.tools.base import (
    AnyTool,
    Row,
    TextTool,
    ToolArguments,
    capped_rows,
    paged_text,
    to_json,
)
from recipelab.tools.recipe import MAX_EDITS, MAX_TEXT, EditArguments
from recipelab.tools.rows import (
    IN_FLIGHT,
    SATURATED,
    brief_rows,
    detail_row,
    failure_row,
    near_miss_row,
    score_row,
    summary_row,
)
from recipelab.tools.search import difference

DIFF_CHARACTERS = 12_000
"""Characters of a diff in one answer; the rest is asked for page by page."""

Number = Annotated[int, Field(ge=0)]
Words = Annotated[str, Field(max_length=300)]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class CampaignArguments(ToolArguments):
    """Which campaign is asked about."""

    campaign: str | None = Field(
        default=None, description="Name of a prior campaign; leave out for this one."
    )


class PageArguments(CampaignArguments):
    """Which part of a long answer is wanted."""

    limit: int = Field(default=20, ge=1, le=100, description="How many rows at most.")
    offset: int = Field(default=0, ge=0, description="How many to pass over, for paging.")


_LISTS = {
    "status": "statuses",
    "standing": "standings",
    "surface": "surfaces",
    "specialist": "specialists",
    "failure_kind": "failure_kinds",
}
"""Arguments that are lists, and what a filter calls them."""


class LineageQueryArguments(PageArguments):
    """What to look for in the lineage: :class:`TrialFilter`, as a model gives it."""

    status: list[Status] = Field(default=[], description="Only trials that ended so.")
    standing: list[Standing] = Field(
        default=[], description="Only kept trials whose gain is proven so well."
    )
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
    order: Annotated[str, Field(pattern=f"^({'|'.join(ORDERS)})$")] = Field(
        default=ORDERS[0], description=f"{', '.join(ORDERS[:-1])} or {ORDERS[-1]} first."
    )

    def to_filter(self, goal: Goal | None) -> TrialFilter:
        """Return the filter that the arguments ask for.

        Args:
            goal: Whether a smaller or a larger score is better, for the order ``best``; ``None``
                for what the campaign says.
        """
        given = self.model_dump(exclude={"campaign", *_LISTS})
        given |= {name: tuple(getattr(self, argument)) for argument, name in _LISTS.items()}
        return TrialFilter(goal=goal, **given)


class FailuresArguments(PageArguments):
    """Which failures to count."""

    failure_kind: list[FailureKind] = Field(default=[], description="Only these kinds of failure.")
    surface: list[str] = Field(default=[], description="Only failures on these surfaces.")


class TrialArguments(CampaignArguments):
    """One trial, and which part of its long texts."""

    trial: Number = Field(description="Number of the trial.")
    offset: int = Field(
        default=0, ge=0, description="Characters of the diff to pass over, for paging."
    )


class DiffArguments(CampaignArguments):
    """Two trials whose recipes are compared."""

    before: Number = Field(description="Number of the first trial.")
    after: Number = Field(description="Number of the second trial.")
    path: str | None = Field(default=None, max_length=300, description="Only this file.")
    offset: int = Field(default=0, ge=0, description="Characters to pass over, for paging.")


class ChainArguments(CampaignArguments):
    """The end of a chain of parents."""

    trial: Number | None = Field(
        default=None, description="Number of the trial; leave out for the best so far."
    )
    limit: int = Field(default=20, ge=1, le=100, description="How many trials at most.")


class ChildrenArguments(PageArguments):
    """The trial whose children are asked for."""

    trial: Number = Field(description="Number of the trial.")


class SimilarArguments(CampaignArguments):
    """An idea, as edits, as words, or both."""

    edits: list[EditArguments] = Field(
        default=[], max_length=MAX_EDITS, description="Edits, as for submit_trial."
    )
    parent: Number | None = Field(
        default=None, description="Trial that the edits would be applied to."
    )
    text: str = Field(default="", max_length=MAX_TEXT, description="The idea in words.")
    limit: int = Field(default=10, ge=1, le=50, description="How many trials at most.")


@dataclass(frozen=True)
class LineageScope:
    """The campaigns that tools may read.

    Attributes:
        store: An open lineage.
        campaign: Name of the campaign.
        goal: Whether a smaller or a larger metric is better; ``None`` for what the campaign says.
        priors: Names of other campaigns that serve as prior knowledge.
    """

    store: LineageStore
    campaign: str
    goal: Goal | None = None
    priors: tuple[str, ...] = ()

    def resolve(self, name: str | None) -> str:
        """Return the name of the campaign that a call is about.

        Raises:
            LineageError: The campaign is not in scope; the message lists those that are.
        """
        if name is None or name == self.campaign:
            return self.campaign
        if name not in self.priors:
            raise LineageError(unknown_name("campaign", name, (self.campaign, *self.priors)))
        return name

    def goal_of(self, campaign: str) -> Goal | None:
        """Return the goal that was given for the campaign; ``None`` for what it says itself."""
        return self.goal if campaign == self.campaign else None

    def prior_mark(self, campaign: str) -> Row:
        """Return the keys that mark an answer as one about a prior campaign, if it is."""
        if campaign == self.campaign:
            return {}
        own, prior = self.store.campaign(self.campaign), self.store.campaign(campaign)
        return {"prior_campaign": campaign, "note": prior_note(own, prior)}


def opened_lineage(lineage: LineageStore | str | PathLike[str]) -> LineageStore:
    """Return a lineage that is open already, or open the one at a path; none is made.

    Raises:
        LineageError: There is no lineage at the path, or it cannot be opened.
    """
    return lineage if isinstance(lineage, LineageStore) else LineageStore.open(lineage)


ArgumentsT = TypeVar("ArgumentsT", bound=CampaignArguments)


@dataclass(frozen=True)
class LineageQuestion(Generic[ArgumentsT]):
    """A question to the lineage that is a tool.

    Attributes:
        name: Name of the tool.
        description: Description of the tool, for the model.
        arguments: The type of its arguments.
        look_up: Returns the answer of a campaign in scope.
    """

    name: str
    description: str
    arguments: type[ArgumentsT]
    look_up: Callable[[LineageScope, str, ArgumentsT], Row]


class LineageTool(TextTool[CampaignArguments]):
    """A tool that only reads the lineage.

    Args:
        question: The question that it answers.
        scope: The campaigns that it may read.
    """

    def __init__(self, question: LineageQuestion[Any], scope: LineageScope) -> None:
        super().__init__(question.arguments, question.name, question.description)
        self._look_up = question.look_up
        self._scope = scope

    async def answer(self, args: CampaignArguments) -> str:
        """Return the answer as JSON, size-capped.

        Raises:
            LineageError: The campaign or the trial does not exist; the message lists what does.
        """
        # A thread of its own, so that a call to a locked database can be cancelled.
        return await asyncio.to_thread(self._answer, args)

    def _answer(self, args: CampaignArguments) -> str:
        campaign = self._scope.resolve(args.campaign)
        mark = self._scope.prior_mark(campaign)
        with self._scope.store.moment():  # so that the parts of an answer fit together
            return to_json({**mark, **self._look_up(self._scope, campaign, args)})


def _query(scope: LineageScope, campaign: str, args: LineageQueryArguments) -> Row:
    page = scope.store.briefs(campaign, args.to_filter(scope.goal_of(campaign)))
    counts = scope.store.counts(campaign)
    best = (scope.store.best_brief(campaign),) if counts else ()
    rows = brief_rows(scope.store, campaign, (*best, *page.items))
    head = {
        "counts": {str(status or IN_FLIGHT): count for status, count in counts.items()},
        "best": rows.pop(0) if best else None,
    }
    return head | capped_rows("trials", rows, page.total, args.offset, capped=page.capped)


def _failures(scope: LineageScope, campaign: str, args: FailuresArguments) -> Row:
    page = scope.store.failures(
        campaign,
        kinds=tuple(args.failure_kind),
        surfaces=tuple(args.surface),
        limit=args.limit,
        offset=args.offset,
    )
    rows = map(failure_row, page.items)
    return capped_rows("failures", rows, page.total, args.offset, capped=page.capped)


def _near_misses(scope: LineageScope, campaign: str, args: PageArguments) -> Row:
    page = scope.store.near_misses(
        campaign, goal=scope.goal_of(campaign), limit=args.limit, offset=args.offset
    )
    trials = brief_rows(scope.store, campaign, (miss.brief for miss in page.items))
    rows = map(near_miss_row, page.items, trials)
    return capped_rows("near_misses", rows, page.total, args.offset, capped=page.capped)


def _trial_detail(scope: LineageScope, campaign: str, args: TrialArguments) -> Row:
    record = scope.store.trial(campaign, args.trial)
    return detail_row(record) | paged_text("diff", record.diff, args.offset, DIFF_CHARACTERS)


def _diff_trials(scope: LineageScope, campaign: str, args: DiffArguments) -> Row:
    before, after = (scope.store.trial(campaign, n) for n in (args.before, args.after))
    one, other = (_recipe(scope, campaign, record).files for record in (before, after))
    scores = {"before": score_row(before), "after": score_row(after)}
    return scores | difference(one, other, args.path, args.offset, DIFF_CHARACTERS)


def _recipe(scope: LineageScope, campaign: str, record: TrialRecord) -> Recipe:
    files = scope.store.files(campaign, record.number)
    if not files:
        raise LineageError(f"trial {record.number} was rejected and has no recipe")
    return Recipe(files)


def _best_chain(scope: LineageScope, campaign: str, args: ChainArguments) -> Row:
    number = args.trial
    if number is None:
        if not scope.store.counts(campaign):
            return capped_rows("trials", [], 0, 0)
        number = scope.store.best_brief(campaign).number
    page = scope.store.chain_briefs(campaign, number, limit=args.limit)
    rows = brief_rows(scope.store, campaign, reversed(page.items))
    answer = capped_rows("trials", rows, page.total, 0, capped=page.capped)
    if "more" in answer:
        shown = answer["trials"]
        rest = page.total - len(shown)
        answer["more"] = f"{rest} more; ask with trial={shown[-1]['parents'][0]}"
    return answer


def _children(scope: LineageScope, campaign: str, args: ChildrenArguments) -> Row:
    page = scope.store.children(campaign, args.trial, limit=args.limit, offset=args.offset)
    rows = brief_rows(scope.store, campaign, page.items)
    return capped_rows("trials", rows, page.total, args.offset, capped=page.capped)


def _in_flight(scope: LineageScope, campaign: str, args: CampaignArguments) -> Row:
    rows = brief_rows(scope.store, campaign, scope.store.in_flight_briefs(campaign))
    return capped_rows("trials", rows, len(rows), 0)


def _similar_trials(scope: LineageScope, campaign: str, args: SimilarArguments) -> Row:
    if not args.edits and not args.text.strip():
        raise LineageError("give edits or text: what is to be compared?")
    found = scope.store.similar(
        campaign,
        edits=tuple(edit.to_edit() for edit in args.edits),
        text=args.text,
        parent=args.parent,
        limit=args.limit,
    )
    trials = brief_rows(scope.store, campaign, (item.brief for item in found))
    rows = [
        {"why": item.why, "likeness": round(item.likeness, 3)} | row
        for item, row in zip(found, trials, strict=True)
    ]
    return capped_rows("trials", rows, len(rows), 0)


def _surface_summary(scope: LineageScope, campaign: str, args: CampaignArguments) -> Row:
    surfaces = scope.store.surfaces(campaign, goal=scope.goal_of(campaign))
    specialists = scope.store.specialists(campaign, goal=scope.goal_of(campaign))
    return {
        "surfaces": [summary_row("surface", item) for item in surfaces],
        "specialists": [summary_row("specialist", item) for item in specialists],
    }


QUERY = LineageQuestion(
    "lineage_query",
    "Look up past trials: what was tried, how it ended, and why. Filter by status, surface, "
    "specialist, failure_kind, signature, score, parent, ancestor, time and words of the text; all "
    "filters must hold. Ask before you propose: a proposal is refused if you have not.",
    LineageQueryArguments,
    _query,
)

QUESTIONS: tuple[LineageQuestion[Any], ...] = (
    LineageQuestion(
        "lineage_failures",
        "List failures by signature, the most frequent first: how often, when last, the lines "
        "of the log that show the cause, and which later trials got past each.",
        FailuresArguments,
        _failures,
    ),
    LineageQuestion(
        "near_misses",
        "List trials with a better score than the best that failed a gate, size or time limit, "
        "the largest gain first, with the excess that a repair has to remove.",
        PageArguments,
        _near_misses,
    ),
    LineageQuestion(
        "trial_detail",
        "Show one trial in full: hypothesis, diff, measurements of every seed, gates with "
        "margins, the failure with its log.",
        TrialArguments,
        _trial_detail,
    ),
    LineageQuestion(
        "diff_trials",
        "Show the difference between the recipes of two trials, by file, and their scores.",
        DiffArguments,
        _diff_trials,
    ),
    LineageQuestion(
        "best_chain",
        "List the trials that led to the best one (or to another), by first parents, the "
        "newest first: each step with its hypothesis, changes and gain.",
        ChainArguments,
        _best_chain,
    ),
    LineageQuestion(
        "children",
        "List the trials that were made from a trial, the newest first.",
        ChildrenArguments,
        _children,
    ),
    LineageQuestion(
        "in_flight",
        "List the trials that have no outcome yet: do not propose the same.",
        CampaignArguments,
        _in_flight,
    ),
    LineageQuestion(
        "similar_trials",
        "Has this been tried? Give edits, words, or both: lists trials with the same edit "
        "(formatting aside), the same knob and value, or alike in words, and how they ended.",
        SimilarArguments,
        _similar_trials,
    ),
    LineageQuestion(
        "surface_summary",
        "Summarize every surface and specialist: trials by status, kept, best gain, and "
        f"whether it is saturated ({SATURATED} judged trials without one kept).",
        CampaignArguments,
        _surface_summary,
    ),
)
"""The questions besides ``lineage_query``, in the order in which models are given them."""


class LineageConfig(BaseModel):
    """Configuration of :class:`LineageQueryTool` and of the lineage workbench.

    Attributes:
        lineage: Path or URL of the lineage.
        campaign: Name of the campaign to ask about.
        goal: Whether a smaller or a larger metric is better; ``None`` for what the campaign says.
        priors: Names of other campaigns that may be asked about, too.
    """

    lineage: str
    campaign: str
    goal: Goal | None = None
    priors: tuple[str, ...] = ()

    @classmethod
    def of(cls, scope: LineageScope) -> LineageConfig:
        """Return the configuration of tools with that scope."""
        return cls(
            lineage=scope.store.url, campaign=scope.campaign, goal=scope.goal, priors=scope.priors
        )


class LineageQueryTool(LineageTool, Component[LineageConfig]):
    """Answers questions about past trials from the lineage store.

    AutoGen's agents hang when they are cancelled in a call of one of their ``tools``; in an agent
    that may be cancelled, :class:`LineageWorkbench` is safe.

    Args:
        lineage: Path or URL of the lineage, which has to be there, or an open one.
        campaign: Name of the campaign to ask about.
        goal: Whether a smaller or a larger metric is better; ``None`` for what the campaign says.
        priors: Names of other campaigns that may be asked about, too.

    Raises:
        LineageError: There is no lineage at the path.
    """

    component_config_schema = LineageConfig
    component_provider_override = "recipelab.tools.LineageQueryTool"

    def __init__(
        self,
        lineage: LineageStore | str | PathLike[str],
        campaign: str,
        *,
        goal: Goal | None = None,
        priors: tuple[str, ...] = (),
    ) -> None:
        super().__init__(QUERY, LineageScope(opened_lineage(lineage), campaign, goal, priors))

    def _to_config(self) -> LineageConfig:
        return LineageConfig.of(self._scope)

    @classmethod
    def _from_config(cls, config: LineageConfig) -> Self:
        return cls(config.lineage, config.campaign, goal=config.goal, priors=config.priors)


def lineage_tools(scope: LineageScope) -> list[AnyTool]:
    """Return the ten tools that read the lineage."""
    query = LineageQueryTool(scope.store, scope.campaign, goal=scope.goal, priors=scope.priors)
    return [query, *(LineageTool(question, scope) for question in QUESTIONS)]
