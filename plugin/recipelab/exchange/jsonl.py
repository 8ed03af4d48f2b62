"""Writes a campaign as JSON Lines, without loss; :mod:`native_reading` reads it back.

The first line is the campaign, then come trials, each after those files of its recipe that no
earlier trial had, then messages, notes, usage, further seed runs and certificates. The last line
counts the others, so that a torn file is told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import stays_inside
from recipelab.exchange.campaign_copy import copy_of
from recipelab.exchange.metric import MARK, metric_of
from recipelab.lineage import (
    CampaignRecord,
    CertificateRecord,
    FurtherRunRecord,
    LineageStore,
    MessageRecord,
    Note,
    RoundRecord,
    TrialRecord,
    UsageTotal,
)
from recipelab.lineage.copy import CampaignCopy

FORMAT = 1
"""Version of the format."""

CAMPAIGN: TypeAdapter[CampaignRecord] = TypeAdapter(CampaignRecord)
ROUNDS: TypeAdapter[tuple[RoundRecord, ...]] = TypeAdapter(tuple[RoundRecord, ...])
TRIAL: TypeAdapter[TrialRecord] = TypeAdapter(TrialRecord)
MESSAGE: TypeAdapter[MessageRecord] = TypeAdapter(MessageRecord)
NOTE: TypeAdapter[Note] = TypeAdapter(Note)
USAGE: TypeAdapter[UsageTotal] = TypeAdapter(UsageTotal)
FURTHER: TypeAdapter[FurtherRunRecord] = TypeAdapter(FurtherRunRecord)
CERTIFICATE: TypeAdapter[CertificateRecord] = TypeAdapter(CertificateRecord)


def export_lines(store: LineageStore, name: str) -> Iterator[str]:
    """The lines of the export of a campaign, each with its line end."""
    copy = copy_of(store, name)
    try:
        metric: dict[str, str] | None = metric_of(store.campaign(name)).to_json()
    except RecipelabError:
        # Its pack is not on this machine; everything else can go all the same.
        metric = None
    for table in _tables(copy, metric):
        yield json.dumps(table, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"


def _tables(copy: CampaignCopy, metric: dict[str, str] | None) -> Iterator[dict[str, Any]]:
    yield {
        "line": "campaign",
        "format": FORMAT,
        "campaign": CAMPAIGN.dump_python(copy.campaign, mode="json"),
        "metric": metric,
        "rounds": ROUNDS.dump_python(copy.rounds, mode="json"),
        "judged": list(copy.judged),
    }
    written: set[str] = set()
    for record in copy.trials:
        files = copy.files[record.number]
        sums = {path: sha256(text) for path, text in files.items()}
        for path, digest in sums.items():
            if digest not in written:
                yield {"line": "file", "sha256": digest, "content": files[path]}
                written.add(digest)
        yield {"line": "trial", "trial": TRIAL.dump_python(record, mode="json"), "files": sums}
    for message in copy.messages:
        yield {"line": "message", "message": MESSAGE.dump_python(message, mode="json")}
    for note in copy.notes:
        yield {"line": "note", "note": NOTE.dump_python(note, mode="json")}
    for usage in copy.usage:
        yield {"line": "usage", "usage": USAGE.dump_python(usage, mode="json")}
    for run in copy.further:
        yield {"line": "further_run", "further_run": FURTHER.dump_python(run, mode="json")}
    for found in copy.certificates:
        yield {"line": "certificate", "certificate": CERTIFICATE.dump_python(found, mode="json")}
    counts = {
        "trials": len(copy.trials),
        "files": len(written),
        "messages": len(copy.messages),
        "notes": len(copy.notes),
        "usage": len(copy.usage),
        "further_runs": len(copy.further),
        "certificates": len(copy.certificates),
    }
    yield {"line": "end", **counts}


def sha256(text: str) -> str:
    """SHA-256 of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


Table = Mapping[str, Any]

KINDS = ("certificate", "end", "file", "further_run", "message", "note", "trial", "usage")
"""What a line after the first can be."""


@dataclass
class _Lines:
    """What the lines of a file hold."""

    contents: dict[str, str] = field(default_factory=dict[str, str])
    trials: list[TrialRecord] = field(default_factory=list[TrialRecord])
    files: dict[int, dict[str, str]] = field(default_factory=dict[int, dict[str, str]])
    messages: list[MessageRecord] = field(default_factory=list[MessageRecord])
    notes: list[Note] = field(default_factory=list[Note])
    usage: list[UsageTotal] = field(default_factory=list[UsageTotal])
    further: list[FurtherRunRecord] = field(default_factory=list[FurtherRunRecord])
    certificates: list[CertificateRecord] = field(default_factory=list[CertificateRecord])
    end: Table | None = None


def read_export(file: Path, name: str) -> CampaignCopy:
    """Reads an export.

    Args:
        file: The file.
        name: Name that the campaign gets.

    Returns:
        The campaign, finished and marked as imported; what it was before is in the mark.

    Raises:
        RecipelabError: The file is no export, of another version, or damaged; the message names
            the line.
    """
    tables = _metric_tables(file)
    place, head = next(tables, (f"{file}", {}))
    if head.get("line") != "campaign":
        raise RecipelabError(
            f"{place}: this is no export of a campaign (recipelab export --format jsonl), and no "
            "results.tsv of a released run"
        )
    if head.get("format") != FORMAT:
        raise RecipelabError(
            f"{place}: the export has format {head.get('format')!r}; this recipelab reads {FORMAT}"
        )
    lines = _Lines()
    try:
        campaign = CAMPAIGN.validate_python(head["campaign"])
        rounds = ROUNDS.validate_python(head["rounds"])
        for line, table in tables:
            place = line
            _take(lines, table)
        judged = tuple(int(number) for number in head["judged"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecipelabError(f"{place}: {_told(error)}") from None
    _check(lines, judged, [item.number for item in rounds], file)
    marked = _marked(campaign, name, head.get("metric"), file)
    return CampaignCopy(
        campaign=marked,
        rounds=rounds,
        trials=tuple(lines.trials),
        files=lines.files,
        judged=judged,
        messages=tuple(lines.messages),
        notes=tuple(lines.notes),
        usage=tuple(lines.usage),
        further=tuple(lines.further),
        certificates=tuple(lines.certificates),
    )


def _metric_tables(file: Path) -> Iterator[tuple[str, Table]]:
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipelabError(f"cannot read {file}: {error}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            table = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecipelabError(f"{place}: not JSON: {error}") from None
        if not isinstance(table, dict):
            raise RecipelabError(f"{place}: not a table: {line[:40]!r}")
        yield place, table


def _take(lines: _Lines, table: Table) -> None:
    kind = table.get("line")
    if lines.end is not None:
        raise ValueError("there are lines after the last one")
    if kind == "file":
        if sha256(table["content"]) != table["sha256"]:
            raise ValueError("the content of the file is not what its SHA-256 says")
        lines.contents[table["sha256"]] = table["content"]
    elif kind == "trial":
        record = TRIAL.validate_python(table["trial"])
        if record.number != len(lines.trials):
            raise ValueError(f"trial {record.number} stands where {len(lines.trials)} should")
        if any(not 0 <= parent < record.number for parent in record.parents):
            raise ValueError(f"trial {record.number} has a parent that is no earlier trial")
        lines.trials.append(record)
        named = table["files"].items()
        if outside := [path for path, _ in named if not stays_inside(path)]:
            raise ValueError(f"trial {record.number} has a file {outside[0]!r}, which is no path")
        lines.files[record.number] = {path: lines.contents[digest] for path, digest in named}
    elif kind == "message":
        lines.messages.append(MESSAGE.validate_python(table["message"]))
    elif kind == "note":
        lines.notes.append(NOTE.validate_python(table["note"]))
    elif kind == "usage":
        lines.usage.append(USAGE.validate_python(table["usage"]))
    elif kind == "further_run":
        lines.further.append(FURTHER.validate_python(table["further_run"]))
    elif kind == "certificate":
        lines.certificates.append(CERTIFICATE.validate_python(table["certificate"]))
    elif kind == "end":
        lines.end = table
    else:
        raise ValueError(f"unknown line {kind!r}; valid: {', '.join(KINDS)}")


def _check(lines: _Lines, judged: Iterable[int], rounds: Sequence[int], file: Path) -> None:
    """Checks that what the lines say of each other is there.

    Raises:
        RecipelabError: It is not, or the file is torn.
    """
    counts = {
        "trials": len(lines.trials),
        "messages": len(lines.messages),
        "notes": len(lines.notes),
        "usage": len(lines.usage),
        "further_runs": len(lines.further),
        "certificates": len(lines.certificates),
    }
    if lines.end is None or any(lines.end.get(key, 0) != many for key, many in counts.items()):
        raise RecipelabError(f"{file} is not complete: its last line is missing, or others are")
    with_outcome = [record.number for record in lines.trials if record.outcome is not None]
    if sorted(judged) != with_outcome:
        raise RecipelabError(f"{file}: the order of judging does not name the judged trials")
    used = {record.round for record in lines.trials} | {item.round for item in lines.messages}
    if missing := sorted(number for number in used - {None} - set(rounds) if number is not None):
        raise RecipelabError(f"{file}: there is no round {missing[0]}")
    last = len(lines.trials) - 1
    if any(item.trial is not None and not 0 <= item.trial <= last for item in lines.messages):
        raise RecipelabError(f"{file}: a message is about a trial that is not there")
    measured = [item.trial for item in lines.further]
    measured += [item.trial for item in lines.certificates]
    if any(not 0 <= number <= last for number in measured):
        raise RecipelabError(f"{file}: evidence is about a trial that is not there")
    if len(rounds) != len(set(rounds)):
        raise RecipelabError(f"{file}: a round is there twice")
    if [item.position for item in lines.messages] != list(range(len(lines.messages))):
        raise RecipelabError(f"{file}: the messages are not in order")
    if [item.number for item in lines.notes] != list(range(1, len(lines.notes) + 1)):
        raise RecipelabError(f"{file}: the notes are not in order")
    if len({(item.specialist, item.model) for item in lines.usage}) != len(lines.usage):
        raise RecipelabError(f"{file}: usage is told twice")


def _marked(campaign: CampaignRecord, name: str, metric: object, file: Path) -> CampaignRecord:
    before = CAMPAIGN.dump_python(campaign, mode="json")
    mark = {
        "from": "export",
        "source": file.name,
        "metric": metric,
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


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"nothing under {error}" if isinstance(error, KeyError) else str(error)
