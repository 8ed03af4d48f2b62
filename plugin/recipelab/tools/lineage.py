"""The ten tools that read the lineage: their questions, and the table of them.

To add a tool, write its arguments in :mod:`~recipelab.tools.lineage_arguments` and its function
here, add both to :data:`QUESTIONS`, and its name to ``LINEAGE_TOOLS`` in
:mod:`recipelab.tools.names`. Descriptions go out with every call of a model, so they are short, and
say units.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any, Generic, Self, TypeVar

from autogen_core import Component
from pydantic import BaseModel

from recipelab.core.errors import LineageError, unknown_name
from recipelab.core.recipe import Recipe
from recipelab.lineage import LineageStore, TrialBrief, TrialRecord
from recipelab.lineage.campaigns import prior_note
from recipelab.packs.judging_sections import Goal
from recipelab.tools.base import (
    AnyTool,
    Row,
    TextTool,
    capped_rows,
    paged_text,
    to_json,
)
from recipelab.tools.lineage_arguments import (
    CampaignArguments,
    ChainArguments,
    ChildrenArguments,
    DiffArguments,
    FailuresArguments,
    LineageQueryArguments,
    PageArguments,
    SimilarArguments,
    TrialArguments,
)
from recipelab.tools.rows import (
    IN_FLIGHT,
    SATURATED,
    banked_row,
    brief_rows,
    failure_row,
    near_miss_row,
    score_row,
    seeds_in_common,
    summary_row,
    whole_row,
)
from recipelab.tools.search import difference

DIFF_CHARACTERS = 12_000
"""Characters of a diff in one answer; the rest is asked for page by page."""

UNPROVEN_ROWS, BANKED_ROWS = 10, 6
"""Unproven gains, and trials with margin in the bank, that ``near_misses`` tells at most."""


@dataclass(frozen=True)
class LineageScope:
    """The campaigns that tools may read.

    Attributes:
        store: An open lineage.
        campaign: Name of the campaign.
        goal: Whether a smaller or a larger metric is better; ``None`` for what the campaign says.
        priors: Names of other campaigns that serve as prior knowledge.
        seeds_done: Returns the seeds that a running trial has been scored on so far.
    """

    store: LineageStore
    campaign: str
    goal: Goal | None = None
    priors: tuple[str, ...] = ()
    seeds_done: Callable[[int], tuple[int, ...]] = lambda number: ()

    def rows(self, campaign: str, briefs: Iterable[TrialBrief]) -> list[Row]:
        """Return the rows of some trials; those of running ones tell the seeds done."""
        rows = brief_rows(self.store, campaign, briefs)
        for row in rows:
            if row["status"] == IN_FLIGHT and campaign == self.campaign:
                row["seeds_done"] = len(self.seeds_done(row["trial"]))
        return rows

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


RARE = frozenset(
    {"offset", "since", "until", "standing", "signature", "min_score", "max_score", "ancestor"}
)
"""Arguments that a specialist is not shown: answers name the first, and few want the others."""


ArgumentsT = TypeVar("ArgumentsT", bound=CampaignArguments)


@dataclass(frozen=True)
class LineageQuestion(Generic[ArgumentsT]):
    """A question to the lineage that is a tool.

    Attributes:
        name: Name of the tool.
        description: Description of the tool, for the model.
        arguments: The type of its arguments.
        look_up: Returns the answer of a campaign in scope.
        rare: Arguments that a specialist is not shown; they are read all the same.
    """

    name: str
    description: str
    arguments: type[ArgumentsT]
    look_up: Callable[[LineageScope, str, ArgumentsT], Row]
    rare: frozenset[str] = RARE


class LineageTool(TextTool[CampaignArguments]):
    """A tool that only reads the lineage.

    Args:
        question: The question that it answers.
        scope: The campaigns that it may read.

    Attributes:
        brief: Whether its schema leaves out what a specialist seldom needs.
    """

    brief = False

    def __init__(self, question: LineageQuestion[Any], scope: LineageScope) -> None:
        super().__init__(question.arguments, question.name, question.description)
        self._look_up = question.look_up
        self._rare = question.rare
        self._scope = scope

    @property
    def hidden(self) -> frozenset[str]:
        """See :class:`TextTool`; without prior campaigns there is none to name."""
        rare = self._rare if self.brief else frozenset[str]()
        return rare if self._scope.priors else rare | {"campaign"}

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
    rows = scope.rows(campaign, (*best, *page.items))
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
    answer = capped_rows("near_misses", rows, page.total, args.offset, capped=page.capped)
    unproven = scope.store.unproven_gains(
        campaign, goal=scope.goal_of(campaign), limit=UNPROVEN_ROWS
    )
    gains = brief_rows(scope.store, campaign, (gain.brief for gain in unproven.items))
    answer["unproven_gains"] = list(map(near_miss_row, unproven.items, gains))
    banked = scope.store.banked_margins(campaign, goal=scope.goal_of(campaign), limit=BANKED_ROWS)
    held = brief_rows(scope.store, campaign, (item.brief for item in banked))
    return answer | {"banked_margins": list(map(banked_row, banked, held))}


def _trial_detail(scope: LineageScope, campaign: str, args: TrialArguments) -> Row:
    record = scope.store.trial(campaign, args.trial)
    row = whole_row(scope.store, campaign, record)
    if not args.diff and not args.offset:
        size = f"{len(record.diff):,} characters; ask with diff=true"
        return row | ({"diff_more": size} if record.diff else {})
    return row | paged_text("diff", record.diff, args.offset, DIFF_CHARACTERS)


def _diff_trials(scope: LineageScope, campaign: str, args: DiffArguments) -> Row:
    before, after = (scope.store.trial(campaign, n) for n in (args.before, args.after))
    one, other = (_recipe(scope, campaign, record).files for record in (before, after))
    scores = {"before": score_row(before), "after": score_row(after)}
    scores |= seeds_in_common(before, after)
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
    rows = scope.rows(campaign, scope.store.in_flight_briefs(campaign))
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
    "Look up past trials: what was tried, how it ended, why. All filters must hold.",
    LineageQueryArguments,
    _query,
)

QUESTIONS: tuple[LineageQuestion[Any], ...] = (
    LineageQuestion(
        "lineage_failures",
        "Failures by error, the most frequent first: the cause in the log, and who got past it.",
        FailuresArguments,
        _failures,
        RARE | {"limit", "failure_kind", "surface"},
    ),
    LineageQuestion(
        "near_misses",
        "Trials better than the best that missed a limit, with the excess to remove; unproven "
        "gains, on too few seeds; banked margins: as good, with more room at a gate.",
        PageArguments,
        _near_misses,
        RARE | {"limit"},
    ),
    LineageQuestion(
        "trial_detail",
        "One trial in full: measurements by seed, gates with margins, the failure with its log.",
        TrialArguments,
        _trial_detail,
    ),
    LineageQuestion(
        "diff_trials",
        "The difference between the recipes of two trials by file, and between their scores.",
        DiffArguments,
        _diff_trials,
    ),
    LineageQuestion(
        "best_chain",
        "The trials that led to the best one (or to another), by first parents, the newest first.",
        ChainArguments,
        _best_chain,
    ),
    LineageQuestion(
        "children",
        "The trials that were made from a trial, the newest first.",
        ChildrenArguments,
        _children,
    ),
    LineageQuestion(
        "in_flight",
        "The trials that have no outcome yet, with the seeds done: do not propose the same.",
        CampaignArguments,
        _in_flight,
    ),
    LineageQuestion(
        "similar_trials",
        "Has this been tried? Trials alike in edit, knob or words, and how they ended.",
        SimilarArguments,
        _similar_trials,
        RARE | {"edits", "parent"},  # The answer of check_edit tells these.
    ),
    LineageQuestion(
        "surface_summary",
        f"Every surface and specialist: how trials ended, best gain, saturated ({SATURATED} trials "
        "since one was kept) or not.",
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


def lineage_tools(scope: LineageScope, *, brief: bool = False) -> list[AnyTool]:
    """Return the ten tools that read the lineage.

    Args:
        scope: The campaigns that they may read.
        brief: Whether their schemas leave out what a specialist seldom needs.
    """
    query = LineageQueryTool(scope.store, scope.campaign, goal=scope.goal, priors=scope.priors)
    tools = [query, *(LineageTool(question, scope) for question in QUESTIONS)]
    for tool in tools:
        tool.brief = brief
    return [*tools]
