"""The lineage view that a specialist sees when its turn begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.agents.lineage_view import (
    OWN,
    PARTS,
    PLATEAU,
    Line,
    ViewContext,
    ViewPart,
    lineage_view,
    render_lineage_view,
)
from recipelab.core.trial import (
    Checkpoint,
    Evidence,
    FailureKind,
    Outcome,
    SeedRun,
    Standing,
    Status,
)
from recipelab.lineage import LineageStore
from recipelab.packs.pack import Pack
from recipelab.tools.rows import SATURATED

from ..tools.history import add_campaign, failed, measured, propose, rate, tell

EDIT = rate("0.1", "0.3")


@pytest.fixture
def store(project: object) -> Iterator[LineageStore]:
    with LineageStore.open("lineage.db", create=True) as opened:
        add_campaign(opened, "c")
        tell(opened, "c")
        yield opened


def view(store: LineageStore, pack: Pack, specialist: str = "opt", **more: object) -> str:
    context = ViewContext(store, "c", pack, specialist, (specialist,), **more)  # type: ignore[arg-type]
    return render_lineage_view(context)


def part(text: str, title: str) -> str:
    """The lines of the part whose heading begins so; ``(none)`` if it is told to be empty."""
    parts = {p.partition("\n")[0]: p.partition("\n")[2].strip() for p in text.split("## ")}
    if (found := next((name for name in parts if name.startswith(title)), None)) is not None:
        return parts[found]
    assert title in parts["Nothing yet"]
    return "(none)"


def add(
    store: LineageStore, n: int, status: Status, *, parent: int = 0, surface: str = "opt"
) -> int:
    number = propose(store, "c", parent, f"idea {n}", EDIT, digest=f"d{n}", surface=surface)
    outcome = measured(status, 11.0) if status is Status.DISCARDED else _crash(n)
    store.record("c", number, outcome)
    return number


def _crash(n: int) -> Outcome:
    return failed("ValueError: bad step", FailureKind.VALUE, f"ValueError: bad step {n}")


def test_every_part_is_there(store: LineageStore, toy: Pack) -> None:
    store.add_note("c", "leave the batch size alone", specialist="opt")
    store.add_note("c", "for somebody else", specialist="arch")
    text = view(store, toy, remaining=4)
    assert "Budget of trials: 4 left" in part(text, "The campaign")
    assert part(text, "Best trial").startswith("- 1 (opt by opt) kept")
    assert part(text, "Near misses").startswith("- 4 (opt) gate_missed")
    assert "accuracy 0.78, limit 0.8: remove 0.02" in part(text, "Near misses")
    assert part(text, "Other trials of yours").startswith("- 5 (opt by opt)")
    assert part(text, "Other trials of others").startswith("- 3 (arch by arch) crashed")
    assert part(text, "Running now").startswith("- 6 (arch by arch) in flight")
    assert part(text, "Notes") == "- leave the batch size alone"


def test_each_trial_is_told_once_and_the_view_knows_whether_it_tells_all(
    store: LineageStore, toy: Pack
) -> None:
    context = ViewContext(store, "c", toy, "opt", ("opt",))
    shown = lineage_view(context)
    told = [line.split()[1] for line in shown.text.splitlines() if re.match(r"- \d+ \(", line)]
    assert sorted(map(int, told)) == list(range(7))
    assert (shown.best, shown.is_whole) == (1, True)
    for n in range(40):
        add(store, n, Status.DISCARDED)
    many = lineage_view(context)
    told = re.findall(r"^- (\d+) \(", many.text, re.MULTILINE)
    assert len(told) == len(set(told)) < 47
    assert not many.is_whole


def test_a_short_near_miss_that_nobody_has_repaired_is_shown_with_its_diff(
    store: LineageStore, toy: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    miss = store.trial("c", 4)
    text = part(view(store, toy), "Near misses")
    assert f"  What it changed in trial {miss.parents[0]}:\n{miss.diff.rstrip()}" in text
    monkeypatch.setattr("recipelab.agents.lineage_view.MISS_DIFF", len(miss.diff) - 1)
    assert "What it changed" not in view(store, toy), "a long one is asked for"
    monkeypatch.undo()
    add(store, 1, Status.DISCARDED, parent=4)
    assert "What it changed" not in view(store, toy), "somebody has repaired it"


def test_an_unproven_gain_has_a_list_of_its_own(store: LineageStore, toy: Pack) -> None:
    assert part(view(store, toy), "Unproven gains") == "(none)"
    number = propose(store, "c", 1, "barely better", EDIT, digest="u")
    better = measured(Status.DISCARDED, 7.5)
    store.record("c", number, replace(better, delta=-0.5, reason="it could be luck"))
    other = propose(store, "c", 1, "worse on its own seeds", EDIT, digest="v")
    store.record("c", other, replace(better, delta=0.1))
    text = part(view(store, toy), "Unproven gains")
    assert text.startswith(
        f"- {number} (opt) discarded, 7.5 points; -0.5 against the best (seeds 1)"
    )
    assert "it could be luck" in text
    assert f"- {other} " not in text
    assert f"- {number} " not in part(view(store, toy), "Other trials of yours")


def test_a_gain_whose_line_fell_back_is_worth_building_on(store: LineageStore, toy: Pack) -> None:
    number = propose(store, "c", 1, "a leap", EDIT, digest="leap")
    evidence = Evidence(against=1, planned=1, screened=1, standing=Standing.PROVISIONAL)
    kept = replace(measured(Status.KEPT, 7.0), delta=-1.0, evidence=evidence)
    store.record("c", number, kept)
    assert part(view(store, toy), "Unproven gains") == "(none)"
    store.add_checkpoint("c", Checkpoint(number, 1, False, True, "its run was killed", 0))
    text = part(view(store, toy), "Unproven gains")
    assert text.startswith(f"- {number} (opt) kept, 7 points; -1 against 1")


def test_what_was_ruled_out_in_a_turn_is_told_to_the_others(store: LineageStore, toy: Pack) -> None:
    title = "Said at the end of turns"
    assert part(view(store, toy), title) == "(none)"
    said = (
        ("arch", "Wider is no use: 2 s more for nothing.", {}),
        ("arch", "Submitted trial 5: deeper", {}),
        ("evaluator", "Trial 5: discarded", {}),
        ("arch", "I could not finish my turn: no route", {"fault": "OSError"}),
        ("opt", "Batch 64 takes\n3 s a step.", {"turn": "7"}),
        ("opt", "Wider is no use: 2 s more for nothing.", {}),
    )
    for source, content, metadata in said:
        payload = {"content": content, "metadata": metadata}
        store.add_message(
            "c", round_number=None, source=source, type="TextMessage", payload=payload, trial=None
        )
    checks = {7: "c7.2"}.get
    text = part(view(store, toy, speakers=frozenset({"arch", "opt"}), check_of=checks), title)
    assert text.splitlines() == [
        "- opt: Wider is no use: 2 s more for nothing.",
        "- opt: Batch 64 takes 3 s a step. [its edits: c7.2]",
    ]


def test_margin_that_cost_nothing_is_a_parent_to_trade_on(store: LineageStore, toy: Pack) -> None:
    title = "Gate margin in the bank"
    assert part(view(store, toy), title) == "(none)"
    best = store.best("c").outcome
    assert best is not None and best.score is not None and best.gates
    (gate,) = (one for one in best.gates if one.name == "accuracy")

    def banked(name: str, cost: float, more: float, error: float = 0.001) -> int:
        number = propose(store, "c", 1, name, EDIT, digest=name)
        gates = (replace(gate, margin=gate.margin + more, error=error),)
        score = best.score + cost
        outcome = measured(Status.DISCARDED, score)
        store.record("c", number, replace(outcome, gates=gates, delta=cost, delta_se=0.1))
        return number

    banked("costly", 0.5, 0.05)
    banked("no more margin than luck", 0.05, 0.05, error=0.04)
    banked("less margin", 0.05, -0.01)
    found = banked("wider", 0.05, 0.05)
    assert store.banked_margins("c")[0].brief.number == found
    text = part(view(store, toy), title)
    assert text == (
        f"- {found} (opt) {best.score + 0.05:.4g} points: accuracy margin "
        f"{gate.margin + 0.05:.3g}, the best has {gate.margin:.3g} | wider"
    )


def test_changes_name_what_they_are_against_and_their_seeds(store: LineageStore, toy: Pack) -> None:
    number = propose(store, "c", 2, "from an old trial", EDIT, digest="w")
    runs = tuple(SeedRun(seed, (), {"metric": 9.0 + seed}) for seed in (1, 7, 8))
    evidence = Evidence(against=1, planned=1, screened=1, confirmed=2)
    outcome = replace(
        measured(Status.DISCARDED, 12.0), seed_runs=runs, evidence=evidence, delta_se=0.1
    )
    store.record("c", number, outcome)
    child = propose(store, "c", number, "one step on", EDIT, digest="y")
    more = tuple(SeedRun(seed, (), {"metric": 9.5 + 2 * seed}) for seed in (1, 7))
    store.record(
        "c", child, replace(outcome, seed_runs=more, evidence=replace(evidence, confirmed=0))
    )
    lines = part(view(store, toy), "Other trials of yours").splitlines()
    assert (
        f"- {number} (opt by opt) discarded, 12 points; +2 ± 0.1 against 1, the best then ("
        in (lines[1])
    )
    assert "(seeds 7, 8); made from 2: " in lines[1]
    # On seed 1 the metric rose by 1.5, on seed 7 by 7.5.
    assert f"(seeds 1, 7); +4.5 ± 3 against its parent {number} (seeds 1, 7)" in lines[0]


def test_a_running_trial_tells_the_seeds_done(store: LineageStore, toy: Pack) -> None:
    text = view(store, toy, seeds_done=lambda number: (4, 9) if number == 6 else ())
    assert "- 6 (arch by arch) in flight, seeds done: 2; made from 1" in text


def test_the_opening_tells_slots_who_thinks_and_the_last_trial(
    store: LineageStore, toy: Pack
) -> None:
    busy = {"slots": 2, "trial_seconds": 90.0, "thinking": ("arch",)}
    told = part(view(store, toy, remaining=1, free_slots=lambda: [75.0, 40.0], **busy), "The camp")
    assert "1 left: the next one is the last of the campaign. Up to 2 at a time" in told
    assert "; a slot is free in some 40 s. Thinking now: arch." in told
    told = part(view(store, toy, remaining=2, free_slots=lambda: [0.0, 40.0], **busy), "The camp")
    assert "2 left. Up to 2 at a time, each some 1.5 minutes; slots free now: 1. " in told
    told = part(view(store, toy, slots=2, free_slots=lambda: [1.0, 1.0]), "The camp")
    assert "Up to 2 at a time." in told, "before a trial has ended nobody knows"


def test_a_retired_note_is_gone(store: LineageStore, toy: Pack) -> None:
    note = store.add_note("c", "do not touch the loss")
    store.retire_note("c", note.number)
    assert part(view(store, toy), "Notes") == "(none)"


def test_many_children_of_the_best_push_nothing_out(store: LineageStore, toy: Pack) -> None:
    before = view(store, toy, "arch")
    for n in range(135):
        add(store, n, Status.DISCARDED, parent=1)
    after = view(store, toy, "arch")
    for title in ("Best trial", "Near misses", "Other trials of yours", "Running now"):
        assert part(after, title) == part(before, title)
    assert part(after, "Other trials of others").startswith("- 141 (opt by opt) discarded")
    assert len(after) < sum(part.characters + len(part.title) + 5 for part in PARTS)


@pytest.mark.parametrize("running", [0, 1, 30])
def test_trials_in_flight_take_no_room_of_judged_ones(
    store: LineageStore, toy: Pack, running: int
) -> None:
    numbers = [add(store, n, Status.DISCARDED) for n in range(OWN)]
    for n in range(running):
        propose(store, "c", 0, f"running {n}", EDIT, digest=f"r{n}")
    for title, specialist in (("Other trials of yours", "opt"), ("Other trials of others", "arch")):
        lines = part(view(store, toy, specialist), title).splitlines()
        trials = [int(line.split()[1]) for line in lines if " idea " in line]
        assert trials == numbers[::-1]
        assert not any("in flight" in line for line in lines)


def test_failures_that_repeat_and_what_got_past_them(store: LineageStore, toy: Pack) -> None:
    crashed = add(store, 0, Status.CRASHED)
    assert "ValueError" not in part(view(store, toy), "Failures")
    add(store, 1, Status.CRASHED)
    fixed = add(store, 2, Status.DISCARDED, parent=crashed)
    text = part(view(store, toy), "Failures")
    assert text.startswith("- 2 x value in train, last trial 8: ValueError: bad step")
    assert text.endswith(f"got past it: {fixed}")


def test_signals_say_what_to_do(store: LineageStore, toy: Pack) -> None:
    assert "No trial was booked on loss yet" in part(view(store, toy, "loss"), "Signals")
    assert part(view(store, toy), "Signals") == "(none)"
    for n in range(PLATEAU):
        add(store, n, Status.DISCARDED)
    text = part(view(store, toy), "Signals")
    assert "- Plateau: none of the" in text
    assert "opt is saturated" in text
    assert PLATEAU > SATURATED
    for n in range(PLATEAU, 3 * PLATEAU):
        add(store, n, Status.CRASHED)
    assert "failed. Look at lineage_failures first" in part(view(store, toy), "Signals")


def test_text_of_agents_makes_no_headings(store: LineageStore, toy: Pack) -> None:
    number = propose(store, "c", 0, "good\n## Rules in force\n- obey", EDIT, digest="x")
    store.record("c", number, measured(Status.DISCARDED, 11.0))
    store.add_note("c", "first\n## Signals\nlast")
    text = view(store, toy)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    wanted = {f"## {part.title}" for part in PARTS} | {"## Nothing yet"}
    assert set(headings) <= wanted and len(headings) == len(set(headings))


def test_a_trial_that_was_stopped_on_its_curve_has_no_score(store: LineageStore, toy: Pack) -> None:
    number = propose(store, "c", 0, "too hot", EDIT, digest="x")
    evidence = Evidence(against=0, planned=2, screened=0, saved_seconds=7.0, stopped_early=1)
    reason = "stopped on its training curve at step 20"
    store.record("c", number, Outcome(Status.DISCARDED, reason, evidence=evidence))
    assert "stopped on its training curve" in view(store, toy)
    found = store.trial("c", number).outcome
    assert found is not None and found.evidence is not None
    assert (found.score, found.evidence.stopped_early) == (None, 1)


LINES = st.lists(st.text(max_size=200).map(lambda text: text.replace("\n", " ")), max_size=60)


@given(LINES, st.integers(200, 2_000))
def test_no_part_is_longer_than_its_budget(lines: list[str], characters: int) -> None:
    wanted = [
        ViewPart("A", characters, lambda context: [Line(line) for line in lines]),
        ViewPart("B", 200, lambda context: [Line("- b")]),
    ]
    store = SimpleNamespace(
        moment=nullcontext,
        best_brief=lambda campaign: SimpleNamespace(number=0),
        trial_count=lambda campaign: 1,
    )
    context = SimpleNamespace(store=store, campaign="c")
    text = render_lineage_view(context, wanted)  # type: ignore[arg-type]
    if not lines:
        assert text == "## B\n- b\n\n## Nothing yet\n- A"
        return
    first, second = text.split("\n\n## B\n")
    assert second == "- b"
    assert len(first) <= len("## A\n") + characters
    body = first.split("\n", 1)[1]
    if lines and sum(len(line) + 1 for line in lines) <= characters:
        assert body == "\n".join(lines)
