"""TensorBoard: event files, one folder for the campaign and one below it for each trial."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from recipelab.trackers.base import CampaignEnd, Opened, SentBook, missing
from recipelab.trackers.facts import CampaignFacts, ProgressPoint, TrialFacts, key_of


class TensorBoardTracker:
    """Writes scalars, hyperparameters and texts where ``tensorboard --logdir`` finds them.

    Args:
        where: The folder for all campaigns; empty for one in the campaign's folder.
        folder: The campaign's folder.

    Raises:
        RecipelabError: The library is not installed.
    """

    def __init__(self, where: str, folder: Path) -> None:
        try:
            from tensorboard.summary.writer.event_file_writer import (  # noqa: F401
                EventFileWriter,
            )
        except ImportError:
            raise missing("tensorboard", "tensorboard") from None
        self._base = Path(where) if where else folder / "tensorboard"
        self._root = self._base
        self._writer: Any = None

    def open(self, campaign: CampaignFacts) -> Opened:
        """Find the folder of the campaign, with what it has."""
        self._root = self._base / f"{key_of(campaign.name)}-{campaign.key[:6]}"
        self._book = SentBook(self._root / "sent.txt")
        self._campaign = campaign
        return self._book.read()

    def _parent(self) -> Any:
        if self._writer is None:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            self._writer = EventFileWriter(str(self._root))
            table = {**self._campaign.params, **self._campaign.tags}
            self._writer.add_event(_event([_text("campaign", _listed(table))], 0, None))
        return self._writer

    def trial(self, trial: TrialFacts) -> None:
        """Write a judged trial into a folder of its own; what a kill has left there is replaced."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        folder = self._root / f"trial-{trial.number:05}"
        shutil.rmtree(folder, ignore_errors=True)
        writer = EventFileWriter(str(folder), max_queue_size=1, flush_secs=3600)
        try:
            began, ended = trial.began.timestamp(), trial.ended
            session = hparams_pb(
                {key: _number(text) for key, text in trial.params.items()},
                trial_id=str(trial.number),
                start_time_secs=began,
            )
            writer.add_event(_event(session.value, 0, ended))
            writer.add_event(_event([_scalar(*item) for item in trial.metrics.items()], 0, ended))
            for step, seed in enumerate(trial.seeds):
                writer.add_event(_event([_scalar(*item) for item in seed.items()], step, ended))
            texts = [_text("trial", _listed(trial.tags))]
            texts += [_text(name, _code(text)) for name, text in trial.texts.items()]
            writer.add_event(_event(texts, 0, ended))
        finally:
            writer.close()
        scores = [
            _scalar(f"trials/{n}", trial.metrics[n])
            for n in ("score", "delta")
            if n in trial.metrics
        ]
        self._parent().add_event(_event(scores, trial.number, trial.ended))
        self._parent().flush()
        self._book.note("trial", trial.number)

    def progress(self, points: Sequence[ProgressPoint], first: int) -> None:
        """Write how the best went on, by trials."""
        for point in points:
            values = [_scalar(f"campaign/{name}", value) for name, value in point.metrics.items()]
            self._parent().add_event(_event(values, point.trials, point.at))
        self._parent().flush()
        self._book.note("points", first + len(points))

    def end(self, end: CampaignEnd) -> None:
        """Write state, standings and papers as texts."""
        if self._book.is_last(end):
            return
        table = {"state": end.state, "reason": end.reason}
        table |= {f"trial {number}": text for number, text in end.standings.items()}
        texts = [_text("end", _listed(table))]
        texts += [_text(name, _code(file.read_text("utf-8"))) for name, file in end.papers.items()]
        self._parent().add_event(_event(texts, 0, None))
        self._parent().flush()
        self._book.note_end(end)

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _event(values: Any, step: int, at: datetime | None) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    wall = (at or datetime.now().astimezone()).timestamp()
    return Event(wall_time=wall, step=step, summary=Summary(value=values))


def _scalar(name: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=name, simple_value=value)


def _text(name: str, text: str) -> Any:
    from tensorboard.plugins.text.summary_v2 import text_pb

    (value,) = text_pb(name, text).value
    return value


def _listed(table: Mapping[str, str]) -> str:
    """Return a table as Markdown in which texts of agents are code, whatever they hold."""
    return "\n\n".join(f"{key}\n\n{_code(text)}" for key, text in table.items() if text)


def _code(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _number(text: str) -> float | str:
    """Return a value as a number where it is one, so that it has an axis of its own."""
    try:
        return float(text)
    except ValueError:
        return text
