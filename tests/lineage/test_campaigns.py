"""Campaigns, rounds and messages, and what is said of those that are not there."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from recipelab.core.errors import LineageError
from recipelab.core.trial import Status, Trust
from recipelab.lineage import LineageStore
from recipelab.lineage.campaigns import TRUST, heading_of, trust_of
from tests.lineage.helpers import CAMPAIGN, add_campaign, judged, outcome, propose


def test_campaigns_do_not_see_each_other(store: LineageStore) -> None:
    add_campaign(store, "night-2")
    judged(store, Status.KEPT, digest="a")
    assert propose(store, campaign="night-2") == 0
    assert store.find_digest("night-2", "a") is None
    assert store.counts("night-2") == {None: 1}
    assert store.best("night-2").in_flight
    assert [campaign.name for campaign in store.campaigns()] == [CAMPAIGN, "night-2"]


@pytest.mark.parametrize("number", [-1, 2, 2**63, 10**30])
def test_an_unknown_trial_is_answered_with_those_there_are(
    store: LineageStore, number: int
) -> None:
    propose(store), propose(store)
    words = f"campaign night-1 has no trial {number}; it has trials 0 to 1"
    for ask in (store.trial, store.files, store.chain):
        with pytest.raises(LineageError, match=words):
            ask(CAMPAIGN, number)
    with pytest.raises(LineageError, match=words):
        store.record(CAMPAIGN, number, outcome())
    with pytest.raises(LineageError, match=words):
        propose(store, number)
    with pytest.raises(LineageError, match=words):
        store.add_message(
            CAMPAIGN, round_number=None, source="a", type="T", payload={}, trial=number
        )
    assert store.trial_count(CAMPAIGN) == 2


@pytest.mark.parametrize("name", ["gone", "\ud800", "a\0b"])
def test_an_unknown_campaign_is_answered_with_those_there_are(
    store: LineageStore, name: str
) -> None:
    with pytest.raises(LineageError, match=r"unknown campaign .*; valid: night-1"):
        store.campaign(name)
    with pytest.raises(LineageError, match="valid: night-1"):
        store.counts(name)


def test_a_round_beside_another_does_not_end_it(store: LineageStore) -> None:
    assert [store.start_round(CAMPAIGN) for _ in range(2)] == [1, 2]
    assert store.start_round(CAMPAIGN, beside=True) == 3
    assert [one.ended_at is None for one in store.rounds(CAMPAIGN)] == [False, True, True]
    store.start_round(CAMPAIGN)
    assert [one.ended_at is None for one in store.rounds(CAMPAIGN)] == [False, False, False, True]


def test_an_unknown_round_is_answered_with_those_there_are(store: LineageStore) -> None:
    def say(round_number: int) -> None:
        store.add_message(
            CAMPAIGN, round_number=round_number, source="a", type="T", payload={}, trial=None
        )

    with pytest.raises(LineageError, match="no round 1; it has none yet"):
        say(1)
    assert [store.start_round(CAMPAIGN), store.start_round(CAMPAIGN)] == [1, 2]
    for number in (0, 3, 10**30):
        with pytest.raises(LineageError, match=f"no round {number}; it has rounds 1 to 2"):
            say(number)


def test_a_campaign_is_created_ended_and_reopened(store: LineageStore) -> None:
    created = store.campaign(CAMPAIGN)
    assert (created.state, created.stop_reason, created.ended_at) == ("running", None, None)
    assert (created.trials, created.hours, created.seed) == (12, None, 7)
    assert created.settings == {"slots": 2}
    ended = store.end_campaign(CAMPAIGN, "stopped", "by hand\0")
    assert ended == store.campaign(CAMPAIGN)
    assert (ended.state, ended.stop_reason) == ("stopped", "by hand\ufffd")
    assert ended.ended_at is not None
    again = store.reopen_campaign(CAMPAIGN, hours=2.5)
    assert again == replace(created, hours=2.5) == store.campaign(CAMPAIGN)
    with pytest.raises(LineageError, match=r"unknown end of a campaign 'gone'; valid: finished, s"):
        store.end_campaign(CAMPAIGN, "gone", "")


def test_a_campaign_that_runs_can_be_paused_and_no_other(store: LineageStore) -> None:
    assert store.pause_campaign(CAMPAIGN).state == store.campaign(CAMPAIGN).state == "paused"
    assert store.pause_campaign(CAMPAIGN, paused=False) == store.campaign(CAMPAIGN)
    assert store.campaign(CAMPAIGN).state == "running"
    store.end_campaign(CAMPAIGN, "finished", "")
    with pytest.raises(LineageError, match="night-1 is finished and cannot be paused; valid: run"):
        store.pause_campaign(CAMPAIGN)


@pytest.mark.parametrize(
    ("noted", "trust", "heading"),
    [
        ({}, None, ""),
        ({TRUST: "of a later version"}, None, ""),
        ({TRUST: "isolated"}, Trust.ISOLATED, ""),
        ({TRUST: "self-reported"}, Trust.SELF_REPORTED, Trust.SELF_REPORTED.heading),
    ],
)
def test_what_is_not_proven_has_a_heading(
    store: LineageStore, noted: dict[str, str], trust: Trust | None, heading: str
) -> None:
    record = store.reopen_campaign(CAMPAIGN, settings=noted)
    assert (trust_of(record), heading_of(record)) == (trust, heading)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a\n", "ü", "x" * 81])
def test_a_name_that_could_not_name_a_folder_is_refused(store: LineageStore, name: str) -> None:
    with pytest.raises(LineageError, match="cannot name a campaign"):
        add_campaign(store, name)


def test_a_name_is_given_once(store: LineageStore) -> None:
    with pytest.raises(LineageError, match="there is a campaign night-1 already"):
        add_campaign(store)
    with pytest.raises(LineageError, match="trials is too large to store"):
        store.reopen_campaign(CAMPAIGN, trials=10**30)


def test_messages_come_in_order_and_by_round_and_trial(store: LineageStore) -> None:
    first, number = store.start_round(CAMPAIGN), propose(store)
    said = [(None, None), (first, None), (first, number), (store.start_round(CAMPAIGN), number)]
    for place, (round_number, trial) in enumerate(said):
        given_place = store.add_message(
            CAMPAIGN,
            round_number=round_number,
            source="optimizer",
            type="TextMessage",
            payload={"content": str(place)},
            trial=trial,
        )
        assert given_place == place
    messages = store.messages(CAMPAIGN)
    assert [(m.round, m.trial) for m in messages] == said
    assert [m.position for m in messages] == [0, 1, 2, 3]
    assert messages[0].payload == {"content": "0"}
    assert (messages[0].source, messages[0].type) == ("optimizer", "TextMessage")
    assert [m.position for m in store.messages(CAMPAIGN, round_number=first)] == [1, 2]
    assert [m.position for m in store.messages(CAMPAIGN, trial=number)] == [2, 3]
    with pytest.raises(LineageError, match="it has rounds 1 to 2"):
        store.messages(CAMPAIGN, round_number=10**30)
    with pytest.raises(LineageError, match="it has trials 0 to 0"):
        store.messages(CAMPAIGN, trial=1)


def test_messages_are_read_one_by_one_across_pages(
    store: LineageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recipelab.lineage.messages.MESSAGE_PAGE", 3)
    for place in range(7):
        store.add_message(
            CAMPAIGN,
            round_number=None,
            source="optimizer",
            type="TextMessage" if place % 2 else "ThoughtEvent",
            payload={"content": str(place)},
            trial=None,
        )
    assert tuple(store.each_message(CAMPAIGN)) == store.messages(CAMPAIGN)
    assert [m.position for m in store.each_message(CAMPAIGN, after=4)] == [5, 6]
    assert [m.position for m in store.each_message(CAMPAIGN, type="TextMessage")] == [1, 3, 5]
    with pytest.raises(LineageError, match="unknown campaign 'gone'; valid: night-1"):
        next(store.each_message("gone"))


def test_payloads_hold_text_that_json_and_databases_refuse(store: LineageStore) -> None:
    payload = {"\ud800k": ["\0", "\\u0000", {"n": float("nan"), "i": 3, "t": (True, None)}]}
    store.add_message(
        CAMPAIGN, round_number=None, source="\0", type="T", payload=payload, trial=None
    )
    (message,) = store.messages(CAMPAIGN)
    expected = {"\ufffdk": ["\ufffd", "\\u0000", {"n": None, "i": 3, "t": [True, None]}]}
    assert message.payload == expected and message.source == "\ufffd"
    json.dumps(message.payload, ensure_ascii=False, allow_nan=False).encode()
