"""A campaign as a review: who proposed what and why, what was asked, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from recipelab.budget import DEVICE
from recipelab.errors import RecipelabError
from recipelab.exchange.mark import metric_of
from recipelab.lineage import CampaignRecord, LineageStore, TrialRecord
from recipelab.report.transcript.asked import call_line
from recipelab.report.transcript.blocks import (
    Block,
    Code,
    Quote,
    Span,
    Tone,
    heading,
    line,
    quiet,
    strong,
)
from recipelab.report.transcript.outcome import outcome_blocks, status_span
from recipelab.report.transcript.turns import Call, Said, Turn
from recipelab.tool_names import SUBMITTING
from recipelab.trial import Status


@dataclass(frozen=True)
class Reviewer:
    """Tells of a campaign's turns and trials.

    Attributes:
        store: The lineage.
        campaign: Name of the campaign.
        metric: Name of what is measured.
        unit: Its unit; empty if the campaign's pack is gone.
        models: The models of each specialist.
    """

    store: LineageStore
    campaign: str
    metric: str
    unit: str
    models: dict[str, str]
    _known: dict[int, TrialRecord | None] = field(default_factory=dict[int, TrialRecord | None])

    @classmethod
    def of(cls, store: LineageStore, campaign: CampaignRecord) -> Reviewer:
        """A reviewer of one campaign."""
        try:
            facts = metric_of(campaign)
            metric, unit = facts.name, facts.unit
        except RecipelabError:
            # What was said can be read when the pack is gone, too.
            metric, unit = "score", ""
        models: dict[str, list[str]] = defaultdict(list)
        for total in (one for one in store.usage(campaign.name) if one.model != DEVICE):
            models[total.specialist].append(total.model)
        told = {name: ", ".join(used) for name, used in models.items()}
        return cls(store, campaign.name, metric, unit, told)

    def round(self, number: int | None, turns: Sequence[Turn]) -> Iterator[Block]:
        """The heading and the turns of a round."""
        yield heading(2, "Outside of rounds" if number is None else f"Round {number}")
        yield from self.turns(turns)

    def turns(self, turns: Sequence[Turn]) -> Iterator[Block]:
        """Some turns; a trial whose end none of them reports is told where it is submitted."""
        self._known.clear()
        reported = {number for turn in turns for number in turn.reported}
        for turn in turns:
            yield from self._turn(turn, reported)

    def outcomes(self, numbers: Iterable[int]) -> Iterator[Block]:
        """What came of some trials."""
        for number in numbers:
            record = self._trial(number)
            if record is not None:
                yield from outcome_blocks(record, metric=self.metric, unit=self.unit)

    def _turn(self, turn: Turn, reported: set[int]) -> Iterator[Block]:
        model = self.models.get(turn.source, "")
        yield heading(3, turn.source, quiet(_of_turn(turn, model)))
        told_by_facts = any(self._trial(number) is not None for number in turn.reported)
        for step in turn.steps:
            if isinstance(step, Call):
                yield from self._call(step, reported)
            elif not (told_by_facts and step.in_chat):
                yield from _said(step)
        yield from self.outcomes(turn.reported)

    def _call(self, call: Call, reported: set[int]) -> Iterator[Block]:
        record = None if call.trial is None else self._trial(call.trial)
        if record is not None:
            yield from self._proposal(record, reported)
            return
        yield call_line(call)
        if call.name in SUBMITTING and call.arguments.get("hypothesis"):
            yield Quote(str(call.arguments["hypothesis"]))

    def _proposal(self, record: TrialRecord, reported: set[int]) -> Iterator[Block]:
        parents = ", ".join(map(str, record.parents)) or "nothing"
        yield line(
            "Proposes ",
            strong(f"trial {record.number}"),
            f" on {record.surface}, made from trial {parents}. Expected change: ",
            strong(f"{record.expected_delta:+.4g} {self.unit}".rstrip()),
            ". ",
            *_verdict(record),
            anchor=f"trial-{record.number}",
        )
        yield Quote(record.hypothesis)
        if record.diff:
            yield Code(record.diff, is_diff=True)
        if record.number not in reported:
            yield from outcome_blocks(record, metric=self.metric, unit=self.unit)

    def _trial(self, number: int) -> TrialRecord | None:
        """A trial that a message names; an imported campaign may name some that are not there."""
        if number not in self._known:
            is_there = 0 <= number < self.store.trial_count(self.campaign)
            self._known[number] = self.store.trial(self.campaign, number) if is_there else None
        return self._known[number]


def _verdict(record: TrialRecord) -> tuple[Span, ...]:
    if record.status is Status.REJECTED:
        return (
            Span("Not taken", Tone.BAD),
            Span(": it is "),
            status_span(record.status),
            Span("."),
        )
    verb = "it is" if record.status is None else "it ended as"
    return (Span(f"Taken; {verb} "), status_span(record.status), Span("."))


def _of_turn(turn: Turn, model: str) -> str:
    """Model, tokens and time of a turn."""
    tokens = ""
    if turn.prompt_tokens or turn.completion_tokens:
        tokens = f"{turn.prompt_tokens:,} + {turn.completion_tokens:,} tokens"
    parts = (model, tokens, f"{turn.seconds:.1f} s" if turn.seconds >= 0.05 else "")
    told = ", ".join(part for part in parts if part)
    return f" ({told})" if told else ""


def _said(said: Said) -> Iterator[Block]:
    if not said.text.strip():
        return
    if said.type == "ThoughtEvent":
        yield line(quiet("thinks:"))
    elif not said.in_chat:
        yield line(quiet(f"{said.type}:"))
    yield Quote(said.text)
