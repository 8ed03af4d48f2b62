"""A campaign as JSON Lines, without loss: written line by line, read and checked line by line.

The first line is the campaign, then come trials, each after those files of its recipe that no
earlier trial had, then messages, turns, each after what it showed unless an earlier one did, notes,
usage, further seed runs, certificates and checkpoints. The last line counts the others, so that a
torn file is found out. The campaign's secret stays where it is: an imported campaign gets a new
one.

Reading validates a line on its own (:mod:`recipelab.exchange.jsonl_lines`), then :class:`_Contents`
checks what it says of earlier lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from recipelab.core.errors import RecipelabError, unknown_name, validation_problems
from recipelab.core.text import shorten
from recipelab.exchange.campaign_copy import StoredCampaign
from recipelab.exchange.jsonl_lines import (
    LINES,
    CampaignLine,
    CertificateLine,
    CheckpointLine,
    EndLine,
    FileLine,
    FurtherRunLine,
    Line,
    MessageLine,
    NoteLine,
    TrialLine,
    TurnLine,
    UsageLine,
    ViewLine,
)
from recipelab.exchange.metric import metric_of, source_ids
from recipelab.lineage import (
    CampaignRecord,
    CertificateRecord,
    CheckpointRecord,
    FurtherRunRecord,
    LineageStore,
    MessageRecord,
    Note,
    TrialRecord,
    TurnRecord,
    UsageTotal,
)
from recipelab.lineage.copy import CampaignCopy
from recipelab.lineage.lookup import MARK

READ = (2, 3)
"""Versions that are read; the first has no turns."""

MAX_LINE_CHARACTERS = 64_000_000
"""A longer line is refused: what has no line end may be a device, and have no end at all."""

_CAMPAIGN: TypeAdapter[CampaignRecord] = TypeAdapter(CampaignRecord)


def export_lines(store: LineageStore, name: str) -> Iterator[str]:
    """Yield the lines of the export of a campaign, each with its line end.

    Read them within one :meth:`~recipelab.lineage.LineageStore.moment` if the campaign may be
    running. No more than a page of trials is in memory.
    """
    return (line.text() for line in _lines_of(store, name))


def _lines_of(store: LineageStore, name: str) -> Iterator[Line]:
    stored = StoredCampaign(store, name)
    try:
        metric = metric_of(store.campaign(name))
    except RecipelabError:
        # Its pack is not on this machine; everything else can be exported all the same.
        metric = None
    yield CampaignLine(
        campaign=stored.record(), metric=metric, rounds=stored.rounds(), judged=stored.judged()
    )
    trials, messages = 0, 0
    written: set[str] = set()
    for record, files in stored.trials():
        for digest in files.values():
            if digest not in written:
                written.add(digest)
                yield FileLine(sha256=digest, content=stored.file_text(digest))
        yield TrialLine(trial=record, files=files)
        trials += 1
    for message in stored.messages():
        yield MessageLine(message=message)
        messages += 1
    turns, shown = stored.turns(), set[str]()
    for turn in turns:
        if turn.view is not None and turn.view not in shown:
            shown.add(turn.view)
            yield ViewLine(sha256=turn.view, content=stored.view_text(turn.view))
        yield TurnLine(turn=turn)
    notes, usage = stored.notes(), stored.usage()
    yield from (NoteLine(note=note) for note in notes)
    yield from (UsageLine(usage=total) for total in usage)
    further_runs, certificates = stored.further_runs(), stored.certificates()
    yield from (FurtherRunLine(further_run=run) for run in further_runs)
    yield from (CertificateLine(certificate=certificate) for certificate in certificates)
    checkpoints = stored.checkpoints()
    yield from (CheckpointLine(checkpoint=checkpoint) for checkpoint in checkpoints)
    yield EndLine(
        trials=trials,
        files=len(written),
        messages=messages,
        notes=len(notes),
        usage=len(usage),
        further_runs=len(further_runs),
        certificates=len(certificates),
        checkpoints=len(checkpoints),
        views=len(shown),
        turns=len(turns),
    )


def read_export(file: Path, name: str) -> CampaignCopy:
    """Read an export.

    Args:
        file: The file.
        name: Name that the campaign gets.

    Returns:
        The campaign, finished and marked as imported; the mark keeps its state before that.

    Raises:
        RecipelabError: The file is no export, of another version, or damaged; the message names
            the line.
    """
    tables = _tables(file)
    place, head = next(tables, (f"{file}", {}))
    if head.get("line") != "campaign":
        raise RecipelabError(
            f"{place}: this is no export of a campaign (recipelab export --format jsonl), and no "
            "results.tsv of a released run"
        )
    if head.get("format") not in READ:
        valid = ", ".join(map(str, READ))
        raise RecipelabError(
            f"{place}: the export has format {head.get('format')!r}; this recipelab reads {valid}"
        )
    kind = "campaign"
    try:
        contents = _Contents(CampaignLine.model_validate(head))
        for line_place, table in tables:
            place, kind = line_place, str(table.get("line"))
            if kind not in LINES:
                raise ValueError(unknown_name("line", kind, LINES))
            contents.add(LINES[kind].model_validate(table))
    except ValidationError as error:
        raise RecipelabError(f"{place}: {validation_problems(error, root=kind)[0]}") from None
    except ValueError as error:
        raise RecipelabError(f"{place}: {error}") from None
    try:
        contents.check_is_complete()
    except ValueError as error:
        raise RecipelabError(f"{file}: {error}") from None
    return contents.copy(name, file)


def _tables(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the JSON objects of a file, each with the place of its line."""
    try:
        # Only "\n" ends a line; text in JSON may hold other characters that do so elsewhere.
        with file.open(encoding="utf-8", newline="\n") as stream:
            lines = iter(partial(stream.readline, MAX_LINE_CHARACTERS + 1), "")
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                place = f"{file}, line {number}"
                if len(line) > MAX_LINE_CHARACTERS:
                    raise RecipelabError(f"{place}: longer than {MAX_LINE_CHARACTERS:,} characters")
                try:
                    table = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise RecipelabError(f"{place}: not JSON: {error}") from None
                if not isinstance(table, dict):
                    raise RecipelabError(f"{place}: not a JSON object: {shorten(line, 40)!r}")
                yield place, table
    except (OSError, UnicodeDecodeError) as error:
        raise RecipelabError(f"cannot read {file}: {error}") from None


class _Contents:
    """What the lines of an export hold so far; each is checked against those before it.

    Args:
        head: The first line.
    """

    def __init__(self, head: CampaignLine) -> None:
        self.head = head
        self.end: EndLine | None = None
        self._texts: dict[str, str] = {}
        self._trials: list[TrialRecord] = []
        self._files: dict[int, dict[str, str]] = {}
        self._messages: list[MessageRecord] = []
        self._views: dict[str, str] = {}
        self._turns: list[TurnRecord] = []
        self._in_turns: set[int] = set()
        self._notes: list[Note] = []
        self._usage: list[UsageTotal] = []
        self._further_runs: list[FurtherRunRecord] = []
        self._certificates: list[CertificateRecord] = []
        self._checkpoints: list[CheckpointRecord] = []

    def add(self, line: Line) -> None:
        """Add the next line.

        Raises:
            ValueError: It does not fit to the lines before it.
        """
        if self.end is not None:
            raise ValueError("there are lines after the last one")
        match line:
            case FileLine():
                self._texts[line.sha256] = line.content
            case TrialLine():
                self._add_trial(line)
            case MessageLine(message=message):
                self._check_round(message.round)
                self._check_order("message", message.position, len(self._messages))
                if message.trial is not None:
                    self._check_trial("a message", message.trial)
                self._messages.append(message)
            case ViewLine():
                self._views[line.sha256] = line.content
            case TurnLine(turn=turn):
                self._add_turn(turn)
            case NoteLine(note=note):
                self._check_order("note", note.number, len(self._notes) + 1)
                self._notes.append(note)
            case UsageLine(usage=total):
                key = (total.specialist, total.model)
                if any((other.specialist, other.model) == key for other in self._usage):
                    raise ValueError(f"the usage of {' by '.join(reversed(key))} is there twice")
                self._usage.append(total)
            case FurtherRunLine(further_run=run):
                self._check_trial("a seed run", run.trial)
                self._further_runs.append(run)
            case CertificateLine(certificate=certificate):
                self._check_trial("a certificate", certificate.trial)
                self._certificates.append(certificate)
            case CheckpointLine(checkpoint=checkpoint):
                self._check_order("checkpoint", checkpoint.position, len(self._checkpoints))
                for number in (checkpoint.found.trial, checkpoint.found.against):
                    self._check_trial("a checkpoint", number)
                self._checkpoints.append(checkpoint)
            case EndLine():
                self.end = line

    def _add_trial(self, line: TrialLine) -> None:
        record = line.trial
        self._check_order("trial", record.number, len(self._trials))
        self._check_round(record.round)
        if missing := [path for path, digest in line.files.items() if digest not in self._texts]:
            raise ValueError(f"trial {record.number}: the content of {missing[0]!r} is missing")
        self._trials.append(record)
        files = {path: self._texts[digest] for path, digest in line.files.items()}
        self._files[record.number] = files

    def _add_turn(self, turn: TurnRecord) -> None:
        self._check_order("turn", turn.number, len(self._turns) + 1)
        self._check_round(turn.round)
        for number in turn.trials:
            self._check_trial(f"turn {turn.number}", number)
            if number in self._in_turns:
                raise ValueError(f"trial {number} was submitted in two turns")
            self._in_turns.add(number)
        if turn.view is not None and turn.view not in self._views:
            raise ValueError(f"turn {turn.number}: what it showed is missing")
        places = (turn.first_message, turn.last_message)
        if places != (None, None):
            first, last = (-1 if place is None else place for place in places)
            if not 0 <= first <= last < len(self._messages):
                raise ValueError(f"turn {turn.number} has messages that are not there")
        self._turns.append(turn)

    def _check_order(self, kind: str, number: int, expected: int) -> None:
        if number != expected:
            raise ValueError(f"{kind} {number} stands where {expected} should")

    def _check_round(self, number: int | None) -> None:
        if number is not None and all(number != item.number for item in self.head.rounds):
            raise ValueError(f"there is no round {number}")

    def _check_trial(self, what: str, number: int) -> None:
        if not 0 <= number < len(self._trials):
            raise ValueError(f"{what} is about trial {number}, a trial that is not there")

    def check_is_complete(self) -> None:
        """Check the lines against what the first and the last one say of them.

        Raises:
            ValueError: Lines are missing, or the trials are not those that were judged.
        """
        counts = EndLine(
            trials=len(self._trials),
            files=self.end.files if self.end else 0,
            messages=len(self._messages),
            notes=len(self._notes),
            usage=len(self._usage),
            further_runs=len(self._further_runs),
            certificates=len(self._certificates),
            checkpoints=len(self._checkpoints),
            views=len(self._views),
            turns=len(self._turns),
        )
        if self.end != counts:
            raise ValueError("the export is not complete: its last line is missing, or others are")
        with_outcome = [record.number for record in self._trials if record.outcome is not None]
        if sorted(self.head.judged) != with_outcome:
            raise ValueError("the order of judging does not name the judged trials")
        names = source_ids(self.head.campaign)
        if names and len(names) != len(self._trials):
            raise ValueError(f"{len(names)} source_ids, but {len(self._trials)} trials")
        self._check_parents()

    def _check_parents(self) -> None:
        """Check that every parent is an earlier trial, or one that was judged before.

        A trial that was under way when another was kept may have moved onto that one, which may
        have the higher number.
        """
        place = {number: order for order, number in enumerate(self.head.judged)}
        for record in self._trials:
            if len(set(record.parents)) < len(record.parents):
                raise ValueError(f"trial {record.number} has a parent twice")
            for parent in record.parents:
                before = place.get(parent, len(place)) < place.get(record.number, len(place))
                if not 0 <= parent < len(self._trials) or not (parent < record.number or before):
                    raise ValueError(
                        f"trial {record.number} has a parent that is no earlier trial: {parent}"
                    )

    def copy(self, name: str, file: Path) -> CampaignCopy:
        """Return the campaign under another name, marked as imported from a file."""
        return CampaignCopy(
            campaign=_marked(self.head, name, file),
            rounds=self.head.rounds,
            trials=tuple(self._trials),
            files=self._files,
            judged=self.head.judged,
            messages=tuple(self._messages),
            notes=tuple(self._notes),
            usage=tuple(self._usage),
            further=tuple(self._further_runs),
            certificates=tuple(self._certificates),
            checkpoints=tuple(self._checkpoints),
            turns=tuple(self._turns),
            views=self._views,
        )


def _marked(head: CampaignLine, name: str, file: Path) -> CampaignRecord:
    """Return a finished campaign whose settings say what it was before its import."""
    campaign = head.campaign
    before = _CAMPAIGN.dump_python(campaign, mode="json")
    mark = {
        "from": "export",
        "source": file.name,
        "metric": None if head.metric is None else head.metric.to_json(),
        "original": {key: before[key] for key in ("name", "state", "stop_reason", "ended_at")},
        "earlier": campaign.settings.get(MARK),
    }
    return replace(
        campaign,
        name=name,
        state="finished",
        stop_reason=campaign.stop_reason or "imported from an export",
        ended_at=campaign.ended_at or campaign.created_at,
        settings={**campaign.settings, MARK: mark},
    )
