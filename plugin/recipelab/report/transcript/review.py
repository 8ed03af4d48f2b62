"""Write the turns of a campaign as a review in Markdown, with the outcomes from the lineage."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recipelab.budget import DEVICE
from recipelab.core.errors import LineageError, RecipelabError
from recipelab.core.text import shorten
from recipelab.core.trial import GateResult, Status
from recipelab.exchange.metric import metric_of
from recipelab.lineage import CampaignRecord, CheckpointRecord, LineageStore, TrialRecord
from recipelab.lineage.trial_view import (
    checkpoint_figures,
    checkpoint_verdict,
    evidence_words,
    failure_place,
    measured_words,
    status_words,
)
from recipelab.report.transcript.markdown import (
    code,
    code_block,
    heading,
    item,
    joined,
    paragraph,
    quiet,
    quote,
    strong,
)
from recipelab.report.transcript.rendering import VIEW
from recipelab.report.transcript.turns import Said, TranscriptCall, TranscriptTurn, table_of
from recipelab.tools.names import SUBMITTING

ARGUMENT_CHARACTERS = 120
ANSWER_CHARACTERS = 240
ERROR_CHARACTERS = 600

_SHOWN_ELSEWHERE = ("edits", "hypothesis")
"""Arguments that a proposal shows as its diff and its quote."""


@dataclass(frozen=True)
class Review:
    """The review of a campaign, written chunk by chunk.

    Scores, gates and reasons come from the lineage, not from what agents said.

    Attributes:
        store: The lineage.
        campaign: Name of the campaign.
        metric: Name of the metric.
        unit: Its unit; empty if the campaign's pack is gone.
        models: The models of each specialist.
        views: What turns were shown when they began: the hash by the place of a turn's first
            message. Each is told where it is shown first.
    """

    store: LineageStore
    campaign: str
    metric: str
    unit: str
    models: Mapping[str, str]
    views: Mapping[int, str] = field(default_factory=dict[int, str])
    _told: set[str] = field(default_factory=set[str])
    _trials: dict[int, TrialRecord | None] = field(default_factory=dict[int, TrialRecord | None])

    @classmethod
    def of(cls, store: LineageStore, campaign: CampaignRecord, *, views: bool = False) -> Review:
        """Return the review of a campaign.

        Args:
            store: The lineage.
            campaign: The campaign.
            views: Whether it tells what each turn was shown.
        """
        try:
            facts = metric_of(campaign)
            metric, unit = facts.name, facts.unit
        except RecipelabError:
            # The chat can be read when the pack is gone, too.
            metric, unit = "score", ""
        models: dict[str, list[str]] = defaultdict(list)
        for total in store.usage(campaign.name):
            if total.model != DEVICE:
                models[total.specialist].append(total.model)
        named = {name: ", ".join(used) for name, used in models.items()}
        turns = store.turns(campaign.name) if views else ()
        shown = {
            turn.first_message: turn.view
            for turn in turns
            if turn.view is not None and turn.first_message is not None
        }
        return cls(store, campaign.name, metric, unit, named, shown)

    def round(self, number: int | None, turns: Sequence[TranscriptTurn]) -> Iterator[str]:
        """Yield the heading and the turns of a round."""
        yield heading(2, "Outside of rounds" if number is None else f"Round {number}")
        yield from self.turns(turns)

    def turns(self, turns: Sequence[TranscriptTurn]) -> Iterator[str]:
        """Yield turns; a trial that none of them reports has its outcome where it is submitted."""
        self._trials.clear()
        reported = {number for turn in turns for number in turn.reported}
        for turn in turns:
            yield joined(self._turn(turn, reported))

    def outcomes(self, numbers: Iterable[int]) -> Iterator[str]:
        """Yield the outcomes of trials."""
        for record in map(self._trial, numbers):
            if record is not None:
                yield joined(self._outcome(record))

    def checkpoints(self, records: Sequence[CheckpointRecord]) -> Iterator[str]:
        """Yield a section on the tests of the working line; nothing if there were none."""
        if records:
            yield heading(2, "Checkpoints")
        yield from (joined(self._checkpoint(record)) for record in records)

    def _checkpoint(self, record: CheckpointRecord) -> Iterator[str]:
        found = record.found
        yield paragraph(
            strong(f"Checkpoint {record.position + 1}"),
            f": the line up to trial {found.trial} against trial {found.against}: ",
            strong(checkpoint_verdict(found)),
        )
        if measured := checkpoint_figures(found, self.metric, self.unit):
            yield item(measured)
        if found.p is not None and found.level is not None:
            yield item(f"p {found.p:.2g} at level {found.level:.2g}, on {found.seeds} fresh seeds")
        yield from self._gates(found.gates)
        yield item(f"reason: {found.reason}")

    def _gates(self, gates: Iterable[GateResult]) -> Iterator[str]:
        for gate in gates:
            verdict = strong("passed" if gate.passed else "missed")
            yield item(f"gate {gate.name} ", verdict, f": {gate.figures}")

    def _turn(self, turn: TranscriptTurn, reported: set[int]) -> Iterator[str]:
        yield heading(3, turn.source, *_parenthesis(self._facts(turn)))
        yield from self._view(turn)
        has_outcomes = any(self._trial(number) is not None for number in turn.reported)
        for step in turn.steps:
            if isinstance(step, TranscriptCall):
                yield from self._call(step, reported)
            elif not (has_outcomes and step.in_chat):
                yield from _said(step)
        yield from self.outcomes(turn.reported)

    def _view(self, turn: TranscriptTurn) -> Iterator[str]:
        """Yield what a turn was shown when it began, unless it was told before."""
        view = self.views.get(turn.positions[0])
        if view is None:
            return
        if view in self._told:
            yield paragraph(quiet(f"was shown what was shown before ({view[:12]})"))
            return
        self._told.add(view)
        yield paragraph(quiet(f"was shown ({view[:12]}):"))
        yield code_block(self.store.view_text(view), VIEW)

    def _facts(self, turn: TranscriptTurn) -> Iterator[str]:
        """Yield model, tokens and time of a turn."""
        if turn.source in self.models:
            yield self.models[turn.source]
        if turn.prompt_tokens or turn.completion_tokens:
            yield f"{turn.prompt_tokens:,} + {turn.completion_tokens:,} tokens"
        if turn.seconds >= 0.05:
            yield f"{turn.seconds:.1f} s"

    def _call(self, call: TranscriptCall, reported: set[int]) -> Iterator[str]:
        record = None if call.trial is None else self._trial(call.trial)
        if record is not None:
            yield from self._proposal(record, reported)
            return
        yield call_line(call)
        if call.name in SUBMITTING and call.arguments.get("hypothesis"):
            yield quote(str(call.arguments["hypothesis"]))

    def _proposal(self, record: TrialRecord, reported: set[int]) -> Iterator[str]:
        parents = ", ".join(map(str, record.parents)) or "nothing"
        verb, end = ("It ended as ", ".") if record.outcome else ("It is ", ".")
        if record.status is Status.REJECTED:
            verb, end = "It was ", " at once."
        yield paragraph(
            "Proposes ",
            strong(f"trial {record.number}"),
            f" on {record.surface}, made from trial {parents}. Expected change: ",
            strong(f"{record.expected_delta:+.4g} {self.unit}".rstrip()),
            f". {verb}",
            strong(_status(record)),
            end,
        )
        yield quote(record.hypothesis)
        if record.diff:
            yield code_block(record.diff, "diff")
        if record.number not in reported:
            yield from self._outcome(record)

    def _outcome(self, record: TrialRecord) -> Iterator[str]:
        yield paragraph(
            strong(f"Trial {record.number}"),
            *_parenthesis([f"{record.surface} by {record.specialist}"]),
            ": ",
            strong(_status(record)),
        )
        outcome = record.outcome
        if outcome is None:
            return
        if measured := measured_words(outcome, self.metric, self.unit):
            yield item(measured)
        if outcome.evidence is not None:
            yield from (item(words) for words in evidence_words(outcome.evidence))
        yield from self._gates(outcome.gates)
        if outcome.reason:
            yield item(f"reason: {outcome.reason}")
        failure = outcome.failure
        if failure is not None:
            yield item(f"failure: {failure_place(failure)}")
            if failure.excerpt and failure.excerpt != outcome.reason:
                yield code_block(failure.excerpt)

    def _trial(self, number: int) -> TrialRecord | None:
        """Return a trial that a message names; an imported campaign may lack some of them."""
        if number not in self._trials:
            self._trials[number] = None
            try:
                self._trials[number] = self.store.trial(self.campaign, number)
            except LineageError:
                # Counting the trials takes longer than reading one: only to know this error.
                if 0 <= number < self.store.trial_count(self.campaign):
                    raise
        return self._trials[number]


def _status(record: TrialRecord) -> str:
    return status_words(record.status, record.standing)


def _parenthesis(facts: Iterable[str]) -> tuple[str, ...]:
    """Return facts in quiet parentheses, with the space before them; nothing if there are none."""
    text = ", ".join(facts)
    return (" ", quiet(f"({text})")) if text else ()


def _said(said: Said) -> Iterator[str]:
    if not said.text.strip():
        return
    if said.type == "ThoughtEvent":
        yield paragraph(quiet("thinks:"))
    elif not said.in_chat:
        yield paragraph(quiet(f"{said.type}:"))
    yield quote(said.text)


def call_line(call: TranscriptCall) -> str:
    """Return a call as an item of a list: its tool, its arguments, its answer in short."""
    arguments = (
        f"{shorten(str(name), 40)}={shorten(_json(value), ARGUMENT_CHARACTERS)}"
        for name, value in call.arguments.items()
        if name not in _SHOWN_ELSEWHERE and value not in (None, "", [], {})
    )
    head = (code(call.name), *_parenthesis(arguments), ": ")
    if call.answer is None:
        return item(*head, strong("no answer"))
    if call.is_error:
        return item(*head, strong("error"), f": {shorten(call.answer, ERROR_CHARACTERS)}")
    return item(*head, shorten(_summary(call.name, call.answer), ANSWER_CHARACTERS))


def _summary(tool: str, answer: str) -> str:
    """Return in short what a tool answered: of rows their number, of a recipe its files."""
    table = table_of(answer)
    if tool == "read_recipe" and "path" in table:
        files = table.get("files")
        text = files.get(table["path"]) if isinstance(files, Mapping) else None
        lines = str(text or "").count("\n")
        return f"{table.get('path')} of trial {table.get('trial')}: {lines} lines"
    if tool == "read_recipe" and "files" in table:
        files, knobs = table.get("files"), table.get("knobs")
        names = ", ".join(map(str, files)) if isinstance(files, Mapping | list) else str(files)
        surfaces = knobs.values() if isinstance(knobs, Mapping) else ()
        many = sum(len(one) for one in surfaces if isinstance(one, Mapping))
        return f"recipe of trial {table.get('trial')}: {names}; knobs: {many}"
    if tool == "check_edit" and "ok" in table:
        if not table["ok"]:
            return f"it would be rejected: {table.get('reason')}"
        alike = table.get("alike")
        others = f"; alike: {'; '.join(map(str, alike))}" if isinstance(alike, list) else ""
        return f"it would be tried{others}"
    if tool == "trial_detail" and "trial" in table:
        return f"trial {table['trial']}, {table.get('status')}"
    rows = next((name for name, value in table.items() if isinstance(value, list)), None)
    return _rows(rows, table) if rows is not None and "total" in table else answer


def _rows(name: str, table: Mapping[str, Any]) -> str:
    rows = table[name]
    statuses = Counter(
        str(row["status"]) for row in rows if isinstance(row, Mapping) and row.get("status")
    )
    counts = ", ".join(f"{count} {status}" for status, count in statuses.items())
    where = f" of {table['prior_campaign']}" if "prior_campaign" in table else ""
    shown = f", {len(rows)} shown" if str(table["total"]) != str(len(rows)) else ""
    found = f"{name.replace('_', ' ')} found{where}: {table['total']}{shown}"
    return f"{found} ({counts})" if counts else found


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
