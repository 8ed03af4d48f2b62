"""Reads all of a campaign out of a lineage, as it is exported: times in UTC, and as it was.

An imported campaign is exported as it was where it came from, so that an export that was imported
and is exported again stays the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from recipelab.lineage import (
    CampaignRecord,
    CertificateRecord,
    CheckpointRecord,
    FurtherRunRecord,
    LineageStore,
    MessageRecord,
    Note,
    RoundRecord,
    TrialRecord,
    TurnRecord,
    UsageTotal,
)
from recipelab.lineage.copy import CampaignCopy
from recipelab.lineage.filter import MAX_LIMIT
from recipelab.lineage.lookup import MARK


class StoredCampaign:
    """A campaign of a lineage, read piece by piece so that any number of trials fits in memory.

    What the pieces say of each other fits together if they are read within one
    :meth:`~recipelab.lineage.LineageStore.moment`, as the campaign may be running meanwhile.

    Args:
        store: The lineage.
        name: Name of the campaign.
    """

    def __init__(self, store: LineageStore, name: str) -> None:
        self._store = store
        self._name = name

    def record(self) -> CampaignRecord:
        """Return its settings and state, from before an import if it was imported."""
        return as_it_was(self._store.campaign(self._name))

    def rounds(self) -> tuple[RoundRecord, ...]:
        """Return its rounds in order."""
        return tuple(
            replace(item, started_at=utc(item.started_at), ended_at=_utc(item.ended_at))
            for item in self._store.rounds(self._name)
        )

    def judged(self) -> tuple[int, ...]:
        """Return the numbers of its judged trials, in the order in which they were judged."""
        return self._store.judged_order(self._name)

    def trials(self) -> Iterator[tuple[TrialRecord, dict[str, str]]]:
        """Yield its trials in order, each with the files of its recipe: path to SHA-256."""
        records = self._store.each_trial(self._name)
        while page := list(islice(records, MAX_LIMIT)):
            recipes = self._store.file_hashes(self._name, [record.number for record in page])
            for record in page:
                timed = replace(
                    record, proposed_at=utc(record.proposed_at), judged_at=_utc(record.judged_at)
                )
                yield timed, recipes.get(record.number, {})

    def file_text(self, sha256: str) -> str:
        """Return the text of a file of its recipes."""
        return self._store.file_text(sha256)

    def messages(self) -> Iterator[MessageRecord]:
        """Yield its messages in order."""
        for message in self._store.each_message(self._name):
            yield replace(message, created_at=utc(message.created_at))

    def turns(self) -> tuple[TurnRecord, ...]:
        """Return the turns of its specialists in order."""
        turns = self._store.turns(self._name)
        return tuple(replace(turn, began_at=utc(turn.began_at)) for turn in turns)

    def view_text(self, sha256: str) -> str:
        """Return what was shown in a turn."""
        return self._store.view_text(sha256)

    def notes(self) -> tuple[Note, ...]:
        """Return the notes from people in order, retired ones too."""
        return tuple(
            replace(note, created_at=utc(note.created_at), retired_at=_utc(note.retired_at))
            for note in self._store.notes(self._name, retired=True)
        )

    def usage(self) -> tuple[UsageTotal, ...]:
        """Return the tokens that its models used in all."""
        return self._store.usage(self._name)

    def further_runs(self) -> tuple[FurtherRunRecord, ...]:
        """Return the seed runs of judged trials that were made to compare others with them."""
        runs = self._store.all_further_runs(self._name)
        return tuple(replace(run, made_at=utc(run.made_at)) for run in runs)

    def certificates(self) -> tuple[CertificateRecord, ...]:
        """Return the results of certifications, oldest first."""
        certificates = self._store.certificates(self._name)
        return tuple(replace(item, made_at=utc(item.made_at)) for item in certificates)

    def checkpoints(self) -> tuple[CheckpointRecord, ...]:
        """Return the checkpoints of its working line, oldest first."""
        checkpoints = self._store.checkpoints(self._name)
        return tuple(replace(item, made_at=utc(item.made_at)) for item in checkpoints)


def copy_of(store: LineageStore, name: str) -> CampaignCopy:
    """Return all of a campaign at once; for one of many trials see :class:`StoredCampaign`."""
    stored = StoredCampaign(store, name)
    with store.moment():
        trials = tuple(stored.trials())
        texts = {h: stored.file_text(h) for h in {h for _, files in trials for h in files.values()}}
        turns = stored.turns()
        return CampaignCopy(
            campaign=stored.record(),
            rounds=stored.rounds(),
            trials=tuple(record for record, _ in trials),
            files={
                record.number: {path: texts[key] for path, key in files.items()}
                for record, files in trials
            },
            judged=stored.judged(),
            messages=tuple(stored.messages()),
            notes=stored.notes(),
            usage=stored.usage(),
            further=stored.further_runs(),
            certificates=stored.certificates(),
            checkpoints=stored.checkpoints(),
            turns=turns,
            views={h: stored.view_text(h) for h in {turn.view for turn in turns if turn.view}},
            secret=store.secret(name),
        )


def as_it_was(campaign: CampaignRecord) -> CampaignRecord:
    """Return a campaign as it was before its import; one that was not imported stays as it is."""
    timed = replace(campaign, created_at=utc(campaign.created_at), ended_at=_utc(campaign.ended_at))
    mark: Mapping[str, Any] = campaign.settings.get(MARK) or {}
    before = mark.get("original")
    if before is None:
        return timed
    settings = {key: value for key, value in campaign.settings.items() if key != MARK}
    if mark.get("earlier") is not None:
        settings[MARK] = mark["earlier"]
    ended = before["ended_at"]
    return replace(
        timed,
        name=before["name"],
        state=before["state"],
        stop_reason=before["stop_reason"],
        ended_at=None if ended is None else datetime.fromisoformat(ended),
        settings=settings,
    )


def utc(when: datetime) -> datetime:
    """Return the time in UTC, which databases without time zones give bare."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _utc(when: datetime | None) -> datetime | None:
    return None if when is None else utc(when)
