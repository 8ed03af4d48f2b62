"""The picture of a campaign on a terminal: it fits, tells what goes on, and shows text as text."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, ConsoleRenderable

from recipelab.campaign.reader import CampaignReader
from recipelab.core.content import Home
from recipelab.core.text import plain
from recipelab.core.trial import Evidence, Standing, Status
from recipelab.evaluation.now import (
    BudgetNow,
    Confirming,
    Floor,
    Now,
    Passed,
    RunningPhase,
    SlotsNow,
)
from recipelab.lineage import LineageStore
from recipelab.report.watch import CampaignWatch, Figures, WatchPicture
from tests.lineage.helpers import CAMPAIGN, add_campaign, judged, outcome, propose

MOMENT = 1_800_000_000.0
"""The time at which all of these pictures are drawn."""


@pytest.fixture
def at_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the clock that tells the time of day."""
    monkeypatch.setattr(time, "time", lambda: MOMENT)


def running(trial: int, log: tuple[str, ...] = ("step 1", "step 2", "loss 3.25")) -> RunningPhase:
    began = MOMENT - 31
    return RunningPhase(trial, "train", 3, "gpu0", began, 300.0, False, None, log)


NOW = Now(
    "running",
    MOMENT - 3700,
    False,
    True,
    floor=(Floor("opt", MOMENT - 45, "calling read_recipe", MOMENT - 12),),
    passes=(Passed("aug", MOMENT - 200, "nothing to gain"),),
    queued=(26, 27),
    running=(running(24), running(25)),
    confirming=Confirming(24, 2, 4),
    next_stop="13 of 40 trials are left, some 14 min; the budget of 2 h ends in 55 min",
    seconds_left=840.0,
    warnings=("the model at http://localhost does not answer",),
    slots=SlotsNow(2, 4),
    budget=(BudgetNow("trials", 27, 40), BudgetNow("tokens", 1_250_000, 5_000_000)),
)
FIGURES = Figures("night-1 · toy (mini) · gpt", "s", 27, {}, None, (), {"shape": 3})


HOSTILE = "\x1b[2J[red]x[/red]\x9b31m\u202e\r\n[link=http://e.vil]y"

_STYLES = re.compile("\x1b\\[[0-9;]*m")


def shown(part: ConsoleRenderable, width: int = 80, height: int = 40) -> list[str]:
    """The lines that a terminal of that size shows."""
    file = StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True, highlight=False)
    console.print(part)
    lines = [_STYLES.sub("", line) for line in file.getvalue().split("\n")]
    assert lines.pop() == ""
    return lines


@pytest.mark.usefixtures("at_moment")
def test_a_picture_tells_what_goes_on() -> None:
    text = "\n".join(shown(WatchPicture(NOW, FIGURES)))
    for words in (
        "night-1 · toy (mini) · gpt",
        "runs for 1 h 02 min, some 14 min to the end",
        "trials 27 of 40 · tokens 1,250,000 of 5,000,000",
        "next stop  13 of 40 trials are left, some 14 min",
        "the budget of 2 h ends in 55 min",
        "floor      opt for 45 s: calling read_recipe for 12 s",
        "passed     aug 3 min ago: nothing to gain",
        "confirming trial 24 on fresh seeds, look 2 of 4",
        "slots      2 of 4 busy, queued 26, 27",
        "  24 train     #......... 31 s of 5 min seed 3 on gpu0",
        "loss 3.25",
        "failures   3 shape",
        "warning    the model at http://localhost does not answer",
    ):
        assert words in text, (words, text)


def test_where_nobody_runs_it_that_is_what_is_told() -> None:
    now = Now("running", MOMENT - 5, False, False, next_stop="no process runs it: resume")
    text = "\n".join(shown(WatchPicture(now, FIGURES)))
    assert "running, and no process runs it" in text
    assert "slots" not in text


@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize("height", [4, 8, 14, 40])
def test_a_picture_fits_any_terminal(width: int, height: int) -> None:
    many = replace(NOW, running=tuple(map(running, range(20, 28))), warnings=("x" * 500,) * 3)
    lines = shown(WatchPicture(many, FIGURES), width, height)
    assert len(lines) < height or height == 4
    assert all(cell_len(line) <= width for line in lines)
    assert lines[0].startswith("night-1")


@given(text=st.text(max_size=40) | st.just(HOSTILE))
@settings(max_examples=40, deadline=None)
def test_text_of_others_is_shown_as_text(text: str) -> None:
    now = replace(
        NOW,
        floor=(Floor(text, 0.0, f"calling {text}", 1.0),),
        passes=(Passed(text, 0.0, text),),
        running=(replace(running(1), slot=text, log=(text,)),),
        warnings=(text,),
        next_stop=text,
    )
    lines = shown(WatchPicture(now, replace(FIGURES, title=text, failures={})), 300, 60)
    for line in lines:
        assert plain(line) == line
    assert len(lines) <= 20


def test_the_lineage_is_read_again_only_if_a_trial_has_changed(
    store: LineageStore, tmp_path: Path
) -> None:
    add_campaign(store)
    reader = CampaignReader(store, CAMPAIGN, home=Home(tmp_path))
    watched = CampaignWatch(reader)
    assert watched.figures().chain == {}
    assert "it is not measured yet" in "\n".join(shown(watched.picture()))
    judged(store, Status.BASELINE, score=2.0)
    first = watched.figures()
    assert list(first.chain) == ["baseline"]
    assert watched.figures() is first
    for score, standing in ((1.9, Standing.CERTIFIED), (1.8, Standing.PROVISIONAL)):
        found = replace(outcome(Status.KEPT, score), evidence=Evidence(0, 2, 2, standing=standing))
        store.record(CAMPAIGN, propose(store, 0), found)
    propose(store, 0)
    later = watched.figures()
    assert {name: brief.number for name, brief in later.chain.items()} == {
        "baseline": 0,
        "certified": 1,
        "head": 2,
    }
    assert [brief.number for brief in later.newest] == [2, 1, 0]
    text = "\n".join(shown(watched.picture()))
    assert re.search(r"certified  trial 1: 1\.9 .*-5\.00 %", text), text
    assert re.search(r"head       trial 2: 1\.8 .*-10\.00 %  provisional", text), text
    assert "2 trials count" in text
