"""Writes a campaign as JSON Lines, without loss; :mod:`native_reading` reads it back.

The first line is the campaign, then come trials, each after those files of its recipe that no
earlier trial had, then messages, notes, usage, further seed runs and certificates. The last line
counts the others, so that a torn file is told.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from recipelab.errors import RecipelabError
from recipelab.exchange.campaign_copy import copy_of
from recipelab.exchange.mark import metric_of
from recipelab.lineage import (
    CampaignRecord,
    CertificateRecord,
    FurtherRunRecord,
    LineageStore,
    MessageRecord,
    Note,
    TrialRecord,
    UsageTotal,
)
from recipelab.lineage.importing import CampaignCopy, RoundRecord

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
