"""Which part of a campaign is told: all of it, a round, or a trial."""

from __future__ import annotations

from collections.abc import Iterator

from recipelab.lineage import CampaignRecord, LineageStore, MessageRecord
from recipelab.report.transcript.blocks import Block, heading, line, quiet
from recipelab.report.transcript.payloads import reported
from recipelab.report.transcript.review import Reviewer
from recipelab.report.transcript.turns import Turn, rounds_of, turns_of

_CHAT = "TextMessage"
"""The class of the messages in which the evaluator's seat reports."""


def messages_of(
    store: LineageStore, campaign: str, *, round_number: int | None, trial: int | None
) -> Iterator[MessageRecord]:
    """The messages of a campaign, of one round, or of the turns that tell of one trial.

    Raises:
        LineageError: There is no such round or trial; the message says which there are.
    """
    if trial is not None:
        turns = trial_turns(store, campaign, trial)
        places = sorted(place for turn in turns for place in turn.positions)
        return _at(store, campaign, places)
    if round_number is not None:
        return iter(store.messages(campaign, round_number=round_number))
    return store.each_message(campaign)


def blocks_of(
    store: LineageStore, campaign: CampaignRecord, *, round_number: int | None, trial: int | None
) -> Iterator[Block]:
    """The review of a campaign, of one round, or of one trial; one round is in memory at once.

    Raises:
        LineageError: There is no such round or trial; the message says which there are.
    """
    reviewer = Reviewer.of(store, campaign)
    title = heading(1, f"Transcript of campaign {campaign.name}")
    if trial is not None:
        turns = trial_turns(store, campaign.name, trial)
        yield title
        yield from reviewer.turns(turns)
        if not any(trial in (*turn.submitted, *turn.reported) for turn in turns):
            yield line(quiet("No message of the group chat tells of this trial."))
            yield from reviewer.outcomes([trial])
    elif round_number is not None:
        messages = store.messages(campaign.name, round_number=round_number)
        yield title
        yield from reviewer.round(round_number, turns_of(messages))
    else:
        yield title
        for number, turns in rounds_of(store, campaign.name):
            yield from reviewer.round(number, turns)


def trial_turns(store: LineageStore, campaign: str, number: int) -> list[Turn]:
    """The turn in which a trial was submitted, and the one that reports its end.

    Raises:
        LineageError: There is no such trial; the message says which there are.
    """
    record = store.trial(campaign, number)
    if record.round is None:
        return []
    turns = turns_of(store.messages(campaign, round_number=record.round))
    found = [turn for turn in turns if number in (*turn.submitted, *turn.reported)]
    if found and not any(number in turn.reported for turn in found):
        found += _reported_later(store, campaign, number, after=turns[-1].positions[-1])
    return found


def _reported_later(store: LineageStore, campaign: str, number: int, *, after: int) -> list[Turn]:
    """The report of a trial that ended in a later round than the one it was submitted in."""
    for message in store.each_message(campaign, after=after, type=_CHAT):
        if number in reported(message):
            return turns_of([message])
    return []


def _at(store: LineageStore, campaign: str, places: list[int]) -> Iterator[MessageRecord]:
    """The messages at some places, in order."""
    wanted = set(places)
    if not places:
        return
    for message in store.each_message(campaign, after=places[0] - 1):
        if message.position in wanted:
            yield message
        if message.position >= places[-1]:
            return
