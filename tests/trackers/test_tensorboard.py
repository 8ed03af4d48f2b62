"""TensorBoard's own reader finds what was written, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recipelab.core.trial import Status
from recipelab.lineage import LineageStore
from recipelab.trackers import Sender, opened_tracker

from ..report.searched import search

pytest.importorskip("tensorboard")
pytestmark = pytest.mark.filterwarnings("default")

HOSTILE = ("$x$/../y", "<b>&", "a\x1b[31m", "中文")


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    return found.Reload()


@pytest.fixture
def folder(store: LineageStore, tmp_path: Path) -> Path:
    """What was written of a campaign of ten trials, twice."""
    search(store, "a.night", 10, surfaces=HOSTILE)
    paper = tmp_path / "transcript.md"
    paper.write_text("# said\n<script>")
    for sent in (11, 0):
        tracker = opened_tracker(f"tensorboard:{tmp_path / 'logs'}", tmp_path)
        sender = Sender(store, "a.night", tracker)
        sender.finish({"transcript.md": paper})
        tracker.close()
        assert sender.sent == sent
    (only,) = (tmp_path / "logs").iterdir()
    assert only.name.startswith("a.night-")
    return only


def test_each_trial_has_its_scalars_seeds_and_knobs(store: LineageStore, folder: Path) -> None:
    assert len(list(folder.glob("trial-*"))) == 11
    for number in range(11):
        outcome = store.trial("a.night", number).outcome
        assert outcome is not None
        found = read(folder / f"trial-{number:05}")
        scalars = found.Tags()["scalars"]
        assert ("score" in scalars) == (outcome.score is not None)
        if outcome.score is not None:
            (point,) = found.Scalars("score")
            assert point.value == pytest.approx(outcome.score)
            assert [one.step for one in found.Scalars("seed/score")] == [0, 1, 2]
        content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        assert b"surface" in content
        text = found.Tensors("trial")[0].tensor_proto.string_val[0].decode()
        assert f"    {outcome.status}" in text


def test_the_campaign_has_the_best_by_trials(store: LineageStore, folder: Path) -> None:
    found = read(folder)
    points = found.Scalars("campaign/best")
    assert [points[0].step, points[-1].step] == [0, 10]
    assert points[-1].value == pytest.approx(store.best("a.night").outcome.score)  # type: ignore[union-attr]
    scores = {one.step for one in found.Scalars("trials/score")}
    measured = store.each_brief("a.night", (Status.BASELINE, Status.KEPT, Status.DISCARDED))
    assert {brief.number for brief in measured} <= scores
    text = found.Tensors("transcript.md")[0].tensor_proto.string_val[0].decode()
    assert text == "    # said\n    <script>"  # as code, so that nothing of it is Markdown


def test_what_a_kill_left_of_a_trial_is_replaced(store: LineageStore, tmp_path: Path) -> None:
    search(store, "c2", 2)
    spec = f"tensorboard:{tmp_path / 'logs'}"
    tracker = opened_tracker(spec, tmp_path)
    Sender(store, "c2", tracker).catch_up()
    tracker.close()
    (root,) = (tmp_path / "logs").iterdir()
    book = root / "sent.txt"
    book.write_text(book.read_text().replace("trial 2\n", ""))
    (root / "trial-00002" / "rest").write_text("cut")
    tracker = opened_tracker(spec, tmp_path)
    sender = Sender(store, "c2", tracker)
    assert sender.catch_up() == 1
    tracker.close()
    assert len(list((root / "trial-00002").iterdir())) == 1
