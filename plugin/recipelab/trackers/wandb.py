"""Weights & Biases: the campaign and its trials as runs of one group."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recipelab.core.errors import RecipelabError
from recipelab.trackers.base import CampaignEnd, Opened, SentBook, missing, short_hash
from recipelab.trackers.facts import CampaignFacts, ProgressPoint, TrialFacts

OFFLINE = "offline"
PROJECT = "recipelab"


class WandbTracker:
    """Writes runs to the service, or into the campaign's folder, for ``wandb sync`` to send.

    Runs have ids that follow from campaign and trial, so that one that is sent again is the same.

    Args:
        where: ``offline``, ``PROJECT`` or ``ENTITY/PROJECT``; empty for what ``WANDB_PROJECT`` and
            ``WANDB_MODE`` say.
        folder: The campaign's folder.

    Raises:
        RecipelabError: The library is not installed, or it is to send and has no key.
    """

    def __init__(self, where: str, folder: Path) -> None:
        try:
            import wandb
        except ImportError:
            raise missing("wandb", "wandb") from None
        is_offline = OFFLINE in (where, os.environ.get("WANDB_MODE"))
        if not is_offline and not wandb.api.api_key:
            raise RecipelabError(
                "--track wandb: there is no key: run wandb login, set WANDB_API_KEY, or write "
                "into the campaign's folder with --track wandb:offline"
            )
        entity, _, project = (where if where != OFFLINE else "").rpartition("/")
        self._options: dict[str, Any] = {
            "mode": OFFLINE if is_offline else "online",
            "entity": entity or None,
            "project": project or os.environ.get("WANDB_PROJECT") or PROJECT,
            "dir": str(folder),
            "reinit": "create_new",
            "resume": None if is_offline else "allow",
            "settings": wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                x_disable_stats=True,
                x_disable_meta=True,
                init_timeout=30,
            ),
        }
        self._folder = folder
        # What went to another place has not been sent to this one.
        place = f"{self._options['mode']} {entity} {self._options['project']}"
        self._book = SentBook(folder / "wandb" / f"sent-{short_hash(place)}.txt")
        self._campaign: CampaignFacts | None = None
        self._run: Any = None

    def _begun(self, suffix: str, **options: Any) -> Any:
        import wandb

        campaign = self._campaign
        if campaign is None:
            raise RuntimeError("a campaign has to be opened first")
        self._folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            id=f"{campaign.key}{suffix}", group=campaign.name, **self._options, **options
        )

    def open(self, campaign: CampaignFacts) -> Opened:
        """Begin the run of the campaign, once there is something to write."""
        self._campaign = campaign
        return self._book.read()

    def _parent(self) -> Any:
        if self._run is None and self._campaign is not None:
            facts = self._campaign
            self._run = self._begun(
                "", name=facts.name, job_type="campaign", config={**facts.params, **facts.tags}
            )
            self._run.define_metric("*", step_metric="trials")
        return self._run

    def trial(self, trial: TrialFacts) -> None:
        """Write a judged trial as a run of its own."""
        run = self._begun(
            f"-{trial.number}",
            name=trial.name,
            job_type="trial",
            config={**trial.params, "trial": trial.number},
            notes=trial.tags.get("hypothesis"),
            tags=[trial.tags["status"]],
        )
        for step, seed in enumerate(trial.seeds):
            run.log(dict(seed), step=step)
        run.summary.update({**trial.metrics, **trial.tags, **self._texts(trial)})
        run.finish(exit_code=1 if trial.is_failure else 0)
        self._book.note("trial", trial.number)

    @staticmethod
    def _texts(trial: TrialFacts) -> dict[str, str]:
        """Return the files of a trial: as values, since a file would cost a second upload."""
        return {f"file/{name}": text for name, text in trial.texts.items()}

    def progress(self, points: Sequence[ProgressPoint], first: int) -> None:
        """Write how the best went on, against ``trials``."""
        run = self._parent()
        for point in points:
            run.log({"trials": point.trials, **point.metrics})
        self._book.note("points", first + len(points))

    def end(self, end: CampaignEnd) -> None:
        """Write state and standings, and end the run."""
        if self._book.is_last(end):
            return
        run = self._parent()
        standings = {f"standing/{number}": text for number, text in end.standings.items()}
        run.summary.update({"state": end.state, "reason": end.reason, **standings})
        for name, file in end.papers.items():
            # The library links files that lie elsewhere, and the paper is gone soon.
            shutil.copyfile(file, Path(run.dir) / name)
            run.save(str(Path(run.dir) / name), base_path=run.dir, policy="now")
        self.close()
        self._book.note_end(end)

    def close(self) -> None:
        """End the run of the campaign."""
        if self._run is not None:
            self._run.finish()
            self._run = None
