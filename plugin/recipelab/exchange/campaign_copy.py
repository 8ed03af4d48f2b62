"""Takes all of a campaign out of a lineage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from recipelab.core.trial import Status
from recipelab.exchange.metric import MARK
from recipelab.lineage import CampaignRecord, LineageStore, TrialRecord
from recipelab.lineage.copy import CampaignCopy


def each_trial(
    store: LineageStore, name: str, statuses: tuple[Status, ...] = ()
) -> Iterator[TrialRecord]:
    """Every trial of a campaign that ended so, oldest first, a page at a time.

    Args:
        store: The lineage.
        name: Name of the campaign.
        statuses: Only trials that ended so; empty for all.
    """
    return store.each_trial(name, statuses)


def copy_of(store: LineageStore, name: str) -> CampaignCopy:
    """All of a campaign, times in UTC.

    A campaign may be running meanwhile: what the copy holds fits together, because messages and
    evidence are read before the trials that they are about, and trials before rounds and the order
    of judging.
    """
    campaign = store.campaign(name)
    messages = tuple(replace(m, created_at=utc(m.created_at)) for m in store.messages(name))
    further, certificates = store.all_further_runs(name), store.certificates(name)
    trials = tuple(_timed(record) for record in each_trial(store, name))
    known = {record.number for record in trials if record.outcome is not None}
    rounds = tuple(
        replace(item, started_at=utc(item.started_at), ended_at=_utc(item.ended_at))
        for item in store.rounds(name)
    )
    return CampaignCopy(
        campaign=as_it_was(campaign),
        rounds=rounds,
        trials=trials,
        files={record.number: store.files(name, record.number) for record in trials},
        judged=tuple(number for number in store.judged_order(name) if number in known),
        messages=messages,
        notes=tuple(
            replace(note, created_at=utc(note.created_at), retired_at=_utc(note.retired_at))
            for note in store.notes(name, retired=True)
        ),
        usage=store.usage(name),
        further=tuple(replace(run, made_at=utc(run.made_at)) for run in further),
        certificates=tuple(replace(item, made_at=utc(item.made_at)) for item in certificates),
    )


def as_it_was(campaign: CampaignRecord) -> CampaignRecord:
    """The campaign as it was exported, if it came from an export; else as it is."""
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
    """The time in UTC; databases without time zones give it bare."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _utc(when: datetime | None) -> datetime | None:
    return None if when is None else utc(when)


def _timed(record: TrialRecord) -> TrialRecord:
    return replace(record, proposed_at=utc(record.proposed_at), judged_at=_utc(record.judged_at))
