"""The page's data: right values, changes that add up to the whole, and text that stays text."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recipelab.campaign.reader import CampaignReader
from recipelab.core.errors import LineageError
from recipelab.core.text import plain
from recipelab.core.trial import (
    Checkpoint,
    Evidence,
    Outcome,
    Phase,
    SeedRun,
    Standing,
    Status,
)
from recipelab.lineage import LineageStore, NewMessage, TrialState
from recipelab.lineage.columns import ChangeMark, ColumnRow
from recipelab.page.chat import TurnIndex, chat_data, message_data, turn_positions, view_data
from recipelab.page.data import CampaignData, campaigns_data, now_data
from recipelab.page.detail import LiveAround, mean_curve, trial_data
from recipelab.page.shown import in_script, page_json
from tests.lineage.conftest import DATABASES, MakeDatabase
from tests.lineage.helpers import NASTY
from tests.page.lineages import (
    CAMPAIGN,
    HOSTILE,
    SHOWN,
    VIEW,
    fill,
    judge,
    new_campaign,
    propose,
    run,
)

TEXT = st.lists(
    st.text(max_size=6) | NASTY | st.sampled_from(["\x1b", "\x7f", "\\u001b", "\\r", "\b"]),
    max_size=6,
).map("".join)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def walked(value: Any, change: Callable[[str], str]) -> Any:
    """A value in which each text is changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [walked(item, change) for item in value]
    if isinstance(value, dict):
        return {change(key): walked(item, change) for key, item in value.items()}
    return value


@given(VALUES)
def test_json_is_what_a_terminal_would_show(value: Any) -> None:
    """The whole is cleaned at once, and each text comes out as if it had been cleaned alone."""
    assert json.loads(page_json(value)) == walked(value, plain)


@given(TEXT)
def test_json_in_a_script_ends_no_element(text: str) -> None:
    told = in_script(page_json([text, "</script", "<!--", "]]>"]))
    assert "<" not in told
    assert json.loads(told)[0] == plain(text)


def test_json_of_records_times_and_numbers_that_json_lacks() -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    record = SeedRun(3, (), MappingProxyType({"a": 1.0}), items=b"xx", artifact="secret")
    told = json.loads(page_json({"run": record, "when": when, "bad": [math.nan, math.inf, 1.5]}))
    assert told == {
        "run": {"seed": 3, "timings": [], "measures": {"a": 1.0}},
        "when": when.timestamp(),
        "bad": [None, None, 1.5],
    }


def columns(data: CampaignData) -> dict[int, dict[str, Any]]:
    """The rows of all trials, by number."""
    return by_number(data.trials())


def by_number(told: dict[str, Any]) -> dict[int, dict[str, Any]]:
    found = told["columns"]
    names = list(found)
    rows = zip(*(found[name] for name in names), strict=True)
    return {row[names.index("number")]: dict(zip(names, row, strict=True)) for row in rows}


def test_columns_hold_what_each_trial_is(data: CampaignData) -> None:
    rows = columns(data)
    assert list(rows) == [0, 1, 2, 3, 4, 5]
    assert [rows[n]["status"] for n in rows] == [
        "baseline", "kept", "crashed", "discarded", "oversize", None,
    ]  # fmt: skip
    assert rows[1]["standing"] == "provisional" and rows[1]["against"] == 0
    assert rows[1]["wall_seconds"] == 4.0 and rows[1]["cpu_seconds"] == 6.0
    assert rows[2]["failure_kind"] == "value" and rows[2]["wall_seconds"] is None
    assert rows[5]["state"] == "queued" and rows[5]["judged_at"] is None
    assert [n for n in rows if rows[n]["near_miss"]] == [4]
    assert [n for n in rows if rows[n]["unproven_gain"]] == [3]


def test_a_miss_is_near_only_if_it_was_better(store: LineageStore, data: CampaignData) -> None:
    """Worse scores, and scores of a metric that is to grow, are told apart by the goal."""
    for delta in (0.5, -0.5):
        judge(store, propose(store), Status.GATE_MISSED, score=10.0 + delta, delta=delta)
    new_campaign(store, "grows", "maximize")
    for delta in (0.5, -0.5):
        judge(
            store, propose(store, None, name="grows"), Status.GATE_MISSED, score=10.0 + delta,
            delta=delta, name="grows",
        )  # fmt: skip
    rows, grows = columns(data), columns(CampaignData(type(data.reader)(store, "grows")))
    assert [rows[n]["near_miss"] for n in (6, 7)] == [False, True]
    assert [grows[n]["near_miss"] for n in (0, 1)] == [True, False]


def test_trials_without_a_delta_are_held_to_the_best_of_their_time(store: LineageStore) -> None:
    """Imported trials have none."""
    new_campaign(store, "imported")
    steps = [
        (Status.BASELINE, 10.0), (Status.GATE_MISSED, 9.0), (Status.KEPT, 8.0),
        (Status.GATE_MISSED, 9.0), (Status.GATE_MISSED, 7.0),
    ]  # fmt: skip
    for place, (status, score) in enumerate(steps):
        number = propose(store, 0 if place else None, name="imported")
        judge(store, number, status, score=score, name="imported")
    rows = columns(CampaignData(CampaignReader(store, "imported")))
    assert [rows[n]["near_miss"] for n in rows] == [False, True, False, False, True]


ACTIONS = st.sampled_from(
    ["propose", "run", "kept", "discarded", "aborted", "anew", "held", "fell"]
)


REPLACED = [
    ("propose", False), ("propose", False), ("aborted", True), ("anew", False), ("discarded", True),
]  # fmt: skip
"""Another trial takes the place in the order of one that runs again."""

JUDGED_AGAIN = [("propose", False), ("aborted", True), ("anew", False), ("kept", True)]
"""The same trial takes it."""


@pytest.mark.parametrize("kind", DATABASES)
def test_changes_add_up_to_the_whole(kind: str, make_database: MakeDatabase) -> None:
    """Whatever happens between two looks, who applies what has changed has what there is."""
    names = (f"night-{number}" for number in itertools.count())
    with LineageStore.open(make_database(kind), create=True) as store:

        @settings(max_examples=25, deadline=None)
        @given(st.lists(st.tuples(ACTIONS, st.booleans()), max_size=14))
        @example(REPLACED)
        @example(JUDGED_AGAIN)
        def add_up(steps: list[tuple[str, bool]]) -> None:
            name = next(names)
            new_campaign(store, name)
            judge(store, propose(store, None, name=name), Status.BASELINE, score=10.0, name=name)
            known = store.trial_columns(name)
            replica: dict[int, ColumnRow] = {row.number: row for row in known.rows}
            mark = known.mark
            for action, looks in steps:
                act(store, name, action)
                if not looks:
                    continue
                told = store.trial_columns(name, ChangeMark.parsed(str(mark)))
                mark = told.mark
                replica = ({} if told.whole else replica) | {row.number: row for row in told.rows}
                assert replica == {row.number: row for row in store.trial_columns(name).rows}
                assert store.trial_columns(name, mark).rows == []

        add_up()


def act(store: LineageStore, name: str, action: str) -> None:
    """Let something happen in a campaign, if it can."""
    flying = [brief.number for brief in store.in_flight_briefs(name)]
    by_status: dict[str | None, list[int]] = {}
    for row in store.trial_columns(name).rows:
        by_status.setdefault(row.status, []).append(row.number)
    if action == "propose":
        propose(store, name=name)
    elif action == "run" and flying:
        store.advance(name, flying[0], TrialState.RUNNING, Phase.TRAIN)
    elif action in ("kept", "discarded", "aborted") and flying:
        more: dict[str, Any] = {}
        if action == "kept":
            more["evidence"] = Evidence(0, 1, 1, standing=Standing.PROVISIONAL)
        number = flying[0 if action == "discarded" else -1]
        judge(store, number, Status(action), name=name, **more)
    elif action == "anew" and "aborted" in by_status:
        store.advance(name, by_status["aborted"][-1], TrialState.QUEUED)
    elif action in ("held", "fell") and "kept" in by_status:
        held = action == "held"
        store.add_checkpoint(name, Checkpoint(by_status["kept"][-1], 0, held, not held, "", 4))


@pytest.mark.parametrize("token", ["", "x", "1.2", "1.2.3.4.5.6", "9999.1.1.1.1", "-5.-5.0.0.0"])
def test_a_token_that_was_never_given_gets_all(data: CampaignData, token: str) -> None:
    told = data.trials(token)
    assert len(told["columns"]["number"]) == 6


def test_a_campaign_whose_pack_is_gone_says_so_and_tells_the_rest(data: CampaignData) -> None:
    told = json.loads(page_json(data.campaign()))
    assert "pack is not on this machine" in told["missing"][0]
    assert (told["baseline"], told["best"], told["certified"]) == (0, 1, 0)
    assert told["best_gain"] == pytest.approx(100 * (10.0 - 8.0) / 10.0)
    assert told["certified_gain"] == 0.0
    assert told["metric"]["title"] == "loss (s)"
    assert told["noise"] == {"sd": pytest.approx(2**-0.5), "smallest_visible": None, "seeds": 2}
    assert [(g["name"], g["at_most"], g["baseline"]) for g in told["gates"]] == [
        ("size", True, 70.0), ("fit", False, 0.99),
    ]  # fmt: skip
    assert [f["fixed_by"] for f in told["failures"]] == [[3]]
    budget = {row["kind"]: (row["used"], row["limit"]) for row in told["budget"]}
    assert budget["trials"] == (4, 10) and budget["money"] == (0.0, None)
    assert told["notes"][0]["specialist"] == "left" and told["messages"] == 5


def test_false_claims_are_paid_by_tests_that_claim_nothing(
    store: LineageStore, data: CampaignData
) -> None:
    """A test that holds passes its level on; see docs/evidence.md."""
    before = data.campaign()["evidence"]
    assert before["spent"] == 0.002 and before["claims"] == 0
    store.add_checkpoint(CAMPAIGN, Checkpoint(1, 0, True, False, "", 8, p=0.001, level=0.01))
    judge(
        store, propose(store), Status.DISCARDED, score=9.0,
        evidence=Evidence(1, 3, 3, confirmed=4, p=0.2, level=0.003),
    )  # fmt: skip
    after = data.campaign()["evidence"]
    assert after["spent"] == pytest.approx(0.005) and after["claims"] == 1
    assert [(t["kind"], t["trial"], t["held"]) for t in after["tests"]] == [
        ("trial", 6, False), ("checkpoint", 1, False), ("checkpoint", 1, True),
    ]  # fmt: skip


def test_turns_without_a_trial_are_passes(store: LineageStore, data: CampaignData) -> None:
    turn = store.add_turn(CAMPAIGN, "left", view=VIEW, round_number=None)
    told = {row["name"]: row["passes"] for row in data.campaign()["by_specialist"]}
    assert told["left"] == 0  # It has said nothing yet, so it may still go on.
    said = NewMessage("left", "TextMessage", {"content": "nothing to try"}, turn=turn)
    store.add_messages(CAMPAIGN, [said], round_number=None)
    told = {row["name"]: row["passes"] for row in data.campaign()["by_specialist"]}
    assert told["left"] == 1


def test_a_campaign_without_a_baseline_can_be_shown(store: LineageStore) -> None:
    new_campaign(store, "fresh")
    fresh = CampaignData(CampaignReader(store, "fresh"))
    told = fresh.campaign()
    assert told["baseline"] is told["best"] is told["noise"] is None
    assert fresh.trials()["columns"]["number"] == []


def test_campaigns_are_told_apart(store: LineageStore, data: CampaignData) -> None:
    new_campaign(store, "fresh")
    night, fresh = campaigns_data(store, data.reader.home)
    assert (night["name"], night["trials"], night["running"]) == (CAMPAIGN, 4, 1)
    assert night["best_gain"] == pytest.approx(20.0) and not night["driver_alive"]
    assert (fresh["name"], fresh["trials"], fresh["best_gain"]) == ("fresh", 0, None)
    assert [arm["name"] for arm in data.campaign()["arms"]] == [CAMPAIGN, "fresh"]


def detail(store: LineageStore, number: int) -> dict[str, Any]:
    around = LiveAround(store, CAMPAIGN, lambda n: turn_positions(store, CAMPAIGN, n))
    record = store.trial(CAMPAIGN, number)
    told: dict[str, Any] = json.loads(page_json(trial_data(record, around.of(record))))
    return told


def test_a_trial_is_told_with_all_that_stands_around_it(store: LineageStore) -> None:
    kept, broken, mended = (detail(store, number) for number in (1, 2, 3))
    assert kept["children"] == [2, 4, 5] and kept["siblings"] == []
    assert mended["siblings"] == [] and broken["siblings"] == [4, 5]
    assert broken["fixed_by"] == [3] and mended["fixes"] == [broken["failure"]["signature"]]
    assert kept["beside_trial"] == 0 and [run["seed"] for run in kept["beside"]] == [0, 1]
    assert kept["beside"][0]["measures"] == {"metric": 10.0}
    assert kept["knobs"] == [{"path": "recipe/train.py", "name": "x", "before": 1, "after": 2}]
    assert kept["diff_from_start"] == kept["diff"] and "+x = 4" in mended["diff_from_start"]
    assert kept["chat"] == [1, 3, 4] and mended["chat"] == []
    assert view_data(store, CAMPAIGN, kept["view"])["text"] == VIEW and mended["view"] is None


def test_runs_beside_and_curves_stand_apart_from_measures(store: LineageStore) -> None:
    number = propose(store)
    runs = tuple(
        run(seed, 9.0, **{"beside.metric": 10.0, "curve.10": 2.0 + seed, "curve.20": 1.0})
        for seed in (0, 1)
    )
    evidence = Evidence(0, 2, 2)
    store.record(
        CAMPAIGN, number, Outcome(Status.DISCARDED, "", runs, score=9.0, evidence=evidence)
    )
    told = detail(store, number)
    assert told["seed_runs"][0]["measures"] == {"metric": 9.0}
    assert told["beside"][1] == {"seed": 1, "timings": [], "measures": {"metric": 10.0}}
    assert told["curves"][1] == {"seed": 1, "points": [[10.0, 3.0], [20.0, 1.0]]}
    assert told["curve"] == [[10.0, 2.5], [20.0, 1.0]]


def test_curves_of_other_steps_have_no_mean() -> None:
    assert mean_curve([((1.0, 2.0),), ((2.0, 2.0),)]) is None
    assert mean_curve([]) is None


def test_the_turn_of_an_older_lineage_is_found_in_its_messages(store: LineageStore) -> None:
    """Others speak in between, and what the specialist said before ends the turn before."""
    number = propose(store, 0)
    call = {"content": [{"id": "1", "name": "submit_trial", "arguments": "{}"}]}
    answer = {
        "content": [{"call_id": "1", "name": "submit_trial", "content": f'{{"trial": {number}}}'}]
    }
    first = store.add_messages(
        CAMPAIGN,
        [
            NewMessage("left", "ToolCallRequestEvent", call),
            NewMessage("right", "ToolCallRequestEvent", call),
            NewMessage("left", "ToolCallExecutionEvent", answer, number),
            NewMessage("left", "TextMessage", {"content": "done"}),
        ],
        round_number=None,
    )
    assert turn_positions(store, CAMPAIGN, number) == [first, first + 2]
    index = TurnIndex()
    for message in store.each_message(CAMPAIGN):
        index.add(message)
    assert index.positions(number) == [first, first + 2]


def test_the_chat_is_given_in_parts(store: LineageStore) -> None:
    told = chat_data(store, CAMPAIGN, 1, 2)
    assert (told["from"], told["total"]) == (1, 5)
    assert [message["position"] for message in told["messages"]] == [1, 2]
    assert told["messages"][0]["payload"]["calls"][0]["name"] == "submit_trial"
    assert chat_data(store, CAMPAIGN, 5, 10)["messages"] == []


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"content": None},
        {"content": 7},
        {"content": ["x", 3, {"name": 5, "arguments": {"a": [1]}, "content": "y" * 9000}]},
        {"content": {"deep": "table"}, "models_usage": "much"},
    ],
)
def test_any_payload_can_be_shown(store: LineageStore, payload: dict[str, Any]) -> None:
    """Guests of the chat say what they like."""
    place = store.add_messages(CAMPAIGN, [NewMessage("guest", "Odd", payload)], round_number=None)
    (message,) = store.some_messages(CAMPAIGN, after=place - 1, limit=1)
    told = page_json(message_data(message))
    assert len(told) < 6000 and json.loads(told)["source"] == "guest"


def test_views_are_read_one_after_the_other_as_they_are_one_by_one(store: LineageStore) -> None:
    """Each is stored as what is new in it, so that chains of them have to be put together."""
    for number in range(90):
        text = "\n".join(f"trial {n}: {n * n}" for n in range(number))
        store.add_turn(CAMPAIGN, "left", view=text or "nothing", round_number=None)
    read = {record.hash: text for record, text in store.each_view(CAMPAIGN)}
    assert list(read) == [record.hash for record in store.views(CAMPAIGN)]
    assert all(text == store.view_text(digest) for digest, text in read.items())
    with pytest.raises(LineageError, match="no turn of night-1"):
        view_data(store, CAMPAIGN, "0" * 64)


def test_hostile_text_stays_text_everywhere(tmp_path: Path) -> None:
    with LineageStore.open(tmp_path / "lineage.db", create=True) as store:
        fill(store, hypothesis=HOSTILE)
        data = CampaignData(CampaignReader(store, CAMPAIGN))
        told = json.loads(page_json(data.trials()))["columns"]
        assert told["hypothesis"][1] == SHOWN and told["signature"][2] == SHOWN
        broken = detail(store, 2)
        assert broken["hypothesis"] == broken["log_tail"] == broken["failure"]["excerpt"] == SHOWN
        assert json.loads(page_json(data.campaign()))["notes"][0]["text"] == SHOWN
        chat = json.loads(page_json(chat_data(store, CAMPAIGN, 0, 9)))
        assert chat["messages"][2]["text"] == SHOWN


def test_now_tells_what_waits(data: CampaignData) -> None:
    told = json.loads(page_json(now_data(data.reader)))
    assert told["queued"] == [5] and told["running"] == [] and not told["driver_alive"]
