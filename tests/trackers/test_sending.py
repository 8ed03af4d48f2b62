"""Sending to a tracker: each trial once, never in the way, and what was missed comes later."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from recipelab import BudgetLimits, Campaign, Plan
from recipelab.analysis.course import course_of
from recipelab.cli.app import app
from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Edit, Failure, FailureKind, Outcome, Proposal, Status
from recipelab.exchange.files import import_campaign
from recipelab.exchange.jsonl import export_lines
from recipelab.lineage import LineageStore, TrialState
from recipelab.plan import TRACKERS
from recipelab.trackers import Follower, Sender, opened_tracker
from recipelab.trackers.base import SentBook
from recipelab.trackers.facts import (
    KEY_CHARACTERS,
    _knobs,
    campaign_facts,
    key_of,
    progress_points,
    trial_facts,
)
from recipelab.trackers.sending import PROGRESS_SECONDS

from ..lineage.helpers import TEXT
from ..report.searched import search
from ..tools.history import add_campaign, tell
from .kept import MADE, KeptTracker


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[KeptTracker]]:
    """A tracker ``kept`` that plans can name."""
    MADE.clear()
    monkeypatch.setitem(TRACKERS._builtin, "kept", "tests.trackers.kept:make")
    yield MADE


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_trial_is_told_with_knobs_gates_seconds_and_seeds(store: LineageStore) -> None:
    add_campaign(store, "night")
    tell(store, "night")
    facts = trial_facts(store, "night", store.trial("night", 1))
    assert facts.name == "trial 1" and not facts.is_failure
    assert facts.params == {
        "specialist": "opt",
        "surface": "opt",
        "parent": "0",
        "knob/RATE": "0.2",
        "knob/WIDTH": "8",
    }
    assert facts.metrics["score"] == 8.0 and facts.metrics["delta"] == -2.0
    assert facts.metrics["gate/accuracy/margin"] == pytest.approx(0.05)
    assert facts.metrics["wall_seconds/train"] == 2.0
    assert facts.tags["status"] == "kept" and facts.tags["parents"] == "0"
    assert facts.texts["diff.patch"].startswith("diff --git")
    crashed = trial_facts(store, "night", store.trial("night", 3))
    assert crashed.is_failure and crashed.tags["failure"] == "oom"
    with pytest.raises(ValueError, match="in flight"):
        trial_facts(store, "night", store.trial("night", 6))


def test_knobs_that_share_a_name_are_told_apart(store: LineageStore) -> None:
    add_campaign(store, "night")
    tell(store, "night")
    knob = "# knob opt: 0 .. 9"
    files = {"recipe/a.py": f"X = 1  {knob}\n", "recipe/b.py": f"X = 2  {knob}\n"}
    assert _knobs(files) == {"knob/recipe/a.py/X": "1", "knob/recipe/b.py/X": "2"}


@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, min_size=1, max_size=4))
def test_names_become_keys_that_trackers_take_and_stay_apart(
    one: list[str], other: list[str]
) -> None:
    first, second = key_of(*one), key_of(*other)
    for part in first.split("/"):
        assert part and part == part.strip() and part not in (".", "..")
        assert part.isascii() and len(part) <= KEY_CHARACTERS + 7
        assert all(letter.isalnum() or letter in "_. -" for letter in part)
    assert first.count("/") == len(one) - 1
    assert (first == second) == (one == other)


def test_each_trial_is_sent_once_and_the_rest_later(store: LineageStore) -> None:
    search(store, "night", 12)
    tracker = KeptTracker()
    assert Sender(store, "night", tracker).catch_up() == 13
    tracker.down = True
    with pytest.raises(ConnectionError):
        Sender(store, "night", tracker).finish({})
    tracker.down = False
    again = Sender(store, "night", tracker)
    again.finish({})
    assert again.sent == 0 and len(tracker.ends) == 1
    assert all(len(times) == 1 for times in tracker.trials.values())
    steps = [point.trials for point in tracker.points]
    assert steps == sorted(steps) and steps[-1] == 12
    assert tracker.points[0].metrics["best"] == store.brief("night", 0).score
    standings = tracker.ends[0].standings
    assert set(standings.values()) <= {"certified", "provisional", "unproven"} and standings


def test_the_last_trial_before_a_long_one_is_a_point_of_progress(
    store: LineageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("recipelab.trackers.sending.time.monotonic", lambda: clock[0])
    search(store, "night", 0)
    tracker = KeptTracker()
    sender = Sender(store, "night", tracker)
    sender.catch_up()
    rest = {"files": {}, "diff": "", "round_number": None, "parents": (0,)}
    number = store.propose("night", Proposal("a", "b", 0, "", 0.0, ()), digest="x", **rest)
    store.record("night", number, Outcome(Status.DISCARDED, "worse", score=11.0))
    assert sender.catch_up() == 1 and len(tracker.points) == 1
    clock[0] += PROGRESS_SECONDS
    assert sender.catch_up() == 0 and len(tracker.points) == 2
    assert sender.catch_up() == 0 and len(tracker.points) == 2


def test_points_of_progress_keep_their_places_while_a_campaign_goes_on(
    tmp_path: Path,
) -> None:
    with LineageStore.open(tmp_path / "l.db", create=True) as store:
        longer = []
        for trials in (10, 25, 40):
            name = f"night-{trials}"
            search(store, name, trials)  # the same draws, so one is the beginning of the next
            course = course_of(store, name)
            points = progress_points(course, store.campaign(name).created_at)
            longer.append(
                [(one.trials, one.metrics["best"], one.metrics["kept"]) for one in points]
            )
    for shorter, more in pairwise(longer):
        assert more[: len(shorter)] == shorter


def test_an_aborted_trial_is_sent_when_it_has_an_outcome(store: LineageStore) -> None:
    search(store, "night", 0)
    rest = {"files": {}, "diff": "", "round_number": None, "parents": (0,)}
    number = store.propose("night", Proposal("a", "b", 0, "", 0.0, ()), digest="x", **rest)
    failure = Failure(None, FailureKind.INFRASTRUCTURE, "daemon gone", "")
    store.record("night", number, Outcome(Status.ABORTED, "the machinery", failure=failure))
    tracker = KeptTracker()
    sender = Sender(store, "night", tracker)
    assert sender.catch_up() == 1
    store.advance("night", number, TrialState.QUEUED)
    other = store.propose("night", Proposal("a", "b", 0, "", 0.0, ()), digest="y", **rest)
    store.record("night", other, Outcome(Status.DISCARDED, "in its place", score=12.0))
    assert sender.catch_up() == 1
    store.record("night", number, Outcome(Status.DISCARDED, "worse", score=11.0))
    assert sender.catch_up() == 1 and sender.catch_up() == 0
    assert [times[0].tags["reason"] for _, times in sorted(tracker.trials.items())] == [
        "it is baseline",
        "worse",
        "in its place",
    ]


def test_a_copy_of_a_campaign_is_the_same_and_a_namesake_is_not(
    store: LineageStore, tmp_path: Path
) -> None:
    search(store, "night", 0)
    with LineageStore.open(tmp_path / "other.db", create=True) as other:
        search(other, "night", 0)
        keys = {campaign_facts(one.campaign("night")).key for one in (store, other)}
    assert len(keys) == 2
    assert campaign_facts(store.campaign("night")).key in keys


def test_an_imported_copy_is_the_same_campaign(store: LineageStore, tmp_path: Path) -> None:
    search(store, "night", 6)
    tracker = KeptTracker()
    Sender(store, "night", tracker).finish({})
    (tmp_path / "a.jsonl").write_text("".join(export_lines(store, "night")))
    with LineageStore.open(tmp_path / "other.db", create=True) as other:
        import_campaign(other, tmp_path / "a.jsonl", "night")
        copy = Sender(other, "night", tracker)
        copy.finish({})
    assert copy.sent == 0 and {one.key for one in tracker.opened} == {tracker.opened[0].key}
    assert len(tracker.opened) == 2


def test_a_tracker_that_is_down_is_told_once_and_gets_all_when_it_is_back(
    store: LineageStore,
) -> None:
    search(store, "night", 3)
    tracker, warnings = KeptTracker(down=True), list[str]()
    follower = Follower(
        "kept", store, "night", tracker, warnings.append, look_seconds=0.01, retry_seconds=0.01
    )
    follower.start()
    eventually(lambda: bool(warnings))
    assert warnings == [
        "kept cannot be written now; the campaign goes on, and it is tried again: "
        "nobody answers at 127.0.0.1"
    ]
    tracker.down = False
    eventually(lambda: len(tracker.trials) == 4)
    follower.end({}, seconds=30)
    assert len(warnings) == 1 and tracker.ends[0].state == "running"
    assert tracker.closed.is_set()


def test_a_tracker_that_hangs_holds_up_the_end_no_longer_than_it_may(store: LineageStore) -> None:
    search(store, "night", 3)
    hung, warnings = threading.Event(), list[str]()
    tracker = KeptTracker(hung=hung)
    follower = Follower("kept:there", store, "night", tracker, warnings.append, look_seconds=0.01)
    follower.start()
    began = time.monotonic()
    follower.end({}, seconds=0.1)
    assert time.monotonic() - began < 10
    assert warnings == [
        "kept:there has not got all of campaign night; send the rest with: "
        "recipelab track night kept:there"
    ]
    hung.set()
    assert tracker.closed.wait(30)  # the thread lets go as soon as it can
    assert len(tracker.trials) <= 1 and not tracker.ends


async def test_a_tracker_that_hangs_does_not_hold_up_who_stops_a_campaign(
    project: Path, kept: list[KeptTracker]
) -> None:
    said: list[str] = []
    limits = BudgetLimits(trials=2)
    plan = Plan(pack="toy", sandbox="local", slots=1, limits=limits, track=("kept:hung",))
    with Campaign.create(plan, say=said.append) as campaign:
        with pytest.raises(KeyError, match="stop"):
            async with campaign.opened():
                began = time.monotonic()
                raise KeyError("stop")
        assert time.monotonic() - began < 12
        assert "recipelab track toy-1 kept:hung" in said[-1]
        (tracker,) = kept
        assert tracker.hung is not None and not tracker.trials
        tracker.hung.set()
        assert tracker.closed.wait(30)


async def test_a_campaign_is_sent_while_it_runs(project: Path, kept: list[KeptTracker]) -> None:
    plan = Plan(
        pack="toy", sandbox="local", slots=1, limits=BudgetLimits(trials=2), track=("kept:x:y",)
    )
    with Campaign.create(plan) as campaign:
        async with campaign.opened():
            (tracker,) = kept
            assert tracker.where == "x:y" and tracker.folder == campaign.folder
            text = campaign.files(0)["recipe/train.py"]
            edit = Edit("recipe/train.py", None, text.replace("X = 1.0", "X = 3.0"))
            record = await campaign.evaluate(
                campaign.proposal("closer", edits=[edit], surface="left")
            )
            eventually(lambda: record.number in tracker.trials)
            assert not tracker.ends
            with pytest.raises(RecipelabError, match="runs, and sends its trials to kept:x:y"):
                campaign.track("kept:x:y")
        assert tracker.trials[record.number][0].params["knob/X"] == "3.0"
        assert (len(tracker.ends) == 1 and "closer" in tracker.papers[0]) or tracker.papers
        assert campaign.track("kept") == {"kept": 2}


def test_trackers_are_named_in_the_plan_kept_and_changed(
    project: Path, kept: list[KeptTracker]
) -> None:
    local = ("--sandbox", "local", "--slots", "1", "--ahead", "0")

    def cli(*words: str) -> str:
        done = CliRunner().invoke(app, [*words])
        assert done.exit_code == 0, done.output
        return done.output

    cli("run", "toy", *local, "--trials", "1", "--track", "kept", "--track", "kept:b")
    assert [tracker.where for tracker in kept] == ["", "b"]
    assert set(kept[0].trials) == set(kept[1].trials) == {0, 1}
    cli("resume", "--trials", "2")
    assert [tracker.where for tracker in kept[2:]] == ["", "b"]
    cli("resume", "--trials", "3", "--track", "none")
    assert len(kept) == 4
    assert "4 trials of toy-1 sent to kept:c" in cli("track", "toy-1", "kept:c")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("run", "toy", "--track", "mlfow"),
            "unknown tracker 'mlfow'; valid: mlflow, tensorboard, wandb",
        ),
        (("run", "toy", "--track", ""), "unknown tracker ''; valid: mlflow"),
        (("track", "nobody", "mlflow"), "no lineage at"),
    ],
)
def test_what_is_no_tracker_is_told_before_anything_runs(
    project: Path, words: tuple[str, ...], told: str
) -> None:
    done = CliRunner().invoke(app, [*words])
    assert done.exit_code == 2 and told in " ".join(done.output.split())


@pytest.mark.parametrize("name", ["mlflow", "wandb", "tensorboard"])
def test_without_its_library_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.summary.writer.event_file_writer", None)
    with pytest.raises(RecipelabError, match=rf"pip install 'recipelab\[{name}\]'"):
        opened_tracker(name, tmp_path)


def test_a_password_is_not_kept_in_the_lineage(tmp_path: Path) -> None:
    with pytest.raises(RecipelabError, match="MLFLOW_TRACKING_PASSWORD"):
        opened_tracker("mlflow:https://me:secret@host/x", tmp_path)


def test_the_book_of_what_was_sent_survives_a_cut_line(tmp_path: Path) -> None:
    book = SentBook(tmp_path / "new" / "sent.txt")
    assert book.read().trials == frozenset() and book.read().points == 0
    for kind, number in (("trial", 4), ("points", 9), ("trial", 12), ("points", 3)):
        book.note(kind, number)
    with (tmp_path / "new" / "sent.txt").open("a") as file:
        file.write("tria")
    assert book.read().trials == {4, 12} and book.read().points == 9
