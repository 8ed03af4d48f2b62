"""MLflow: the campaign as a parent run, its trials as child runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from recipelab.core.errors import RecipelabError
from recipelab.core.logs import logger
from recipelab.trackers.base import CampaignEnd, Opened, missing
from recipelab.trackers.facts import CampaignFacts, ProgressPoint, TrialFacts

T = TypeVar("T")

TAG = "recipelab."
"""What the names of our tags begin with."""

KEY, KIND, TRIAL, POINTS = f"{TAG}key", f"{TAG}kind", f"{TAG}trial", f"{TAG}points"

MOST_METRICS, MOST_OTHERS = 1000, 100
"""What one request takes of metrics, and of parameters or tags."""

WHOLE = ("FINISHED", "FAILED", "KILLED")
"""States of a run that was written to its end."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "15", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
"""What MLflow reads from the environment, where the user does not say otherwise: its own are two
minutes and seven times."""

_log = logger(__name__)


class MLflowTracker:
    """Writes to an MLflow server, or whatever else ``MLFLOW_TRACKING_URI`` may name.

    Args:
        where: Address of the server or a database's URL; empty for what MLflow itself takes.
        folder: Not used: MLflow keeps everything.

    Raises:
        RecipelabError: MLflow is not installed.
    """

    def __init__(self, where: str, folder: Path) -> None:
        try:
            import mlflow  # noqa: F401
        except ImportError:
            raise missing("mlflow", "mlflow-skinny") from None
        if where.startswith(("sqlite:", "postgresql", "mysql", "mssql")):
            try:
                import alembic  # noqa: F401
            except ImportError:
                raise RecipelabError(
                    f"--track mlflow:{where}: a database needs all of MLflow: pip install mlflow; "
                    "for a server, mlflow-skinny is enough"
                ) from None
        self._where = where
        self._client: Any = None
        self._experiment = ""
        self._parent = ""
        self._runs: dict[int, str] = {}
        self._standings: dict[int, str] = {}

    def open(self, campaign: CampaignFacts) -> Opened:
        """Find or make the run of a campaign."""
        from mlflow import MlflowClient

        for name, value in PATIENCE.items():
            os.environ.setdefault(name, value)
        for noisy in ("mlflow", "alembic", "urllib3.connectionpool"):
            # What matters of it is raised, and told once.
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._client = MlflowClient(tracking_uri=self._where or None)
        self._experiment = self._experiment_id(campaign)
        mine = f"tags.`{KEY}` = '{campaign.key}'"
        parents = list(self._found(f"{mine} and tags.`{KIND}` = 'campaign'"))
        if parents:
            self._parent, points = parents[0].info.run_id, parents[0].data.tags.get(POINTS, "0")
            self._client.update_run(self._parent, status="RUNNING")
        else:
            points = "0"
            tags = {KEY: campaign.key, KIND: "campaign", f"{TAG}campaign": campaign.name}
            run = self._client.create_run(
                self._experiment,
                start_time=_milliseconds(campaign.began),
                run_name=campaign.name,
                tags=tags | {f"{TAG}{name}": text for name, text in campaign.tags.items()},
            )
            self._parent = run.info.run_id
        self._write(self._parent, params=campaign.params)
        whole: set[int] = set()
        for run in self._found(f"{mine} and tags.`{KIND}` = 'trial'"):
            number = int(run.data.tags[TRIAL])
            self._runs[number] = run.info.run_id
            self._standings[number] = run.data.tags.get(f"{TAG}standing", "")
            if run.info.status in WHOLE:
                whole.add(number)
        self._key = campaign.key
        return Opened(frozenset(whole), int(points) if points.isdigit() else 0)

    def _experiment_id(self, campaign: CampaignFacts) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"recipelab-{campaign.pack}"
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _found(self, condition: str) -> Iterator[Any]:
        """Yield the runs of our experiment that meet a condition, the oldest first."""
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                filter_string=condition,
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            if not (token := page.token):
                return

    def trial(self, trial: TrialFacts) -> None:
        """Write a judged trial as a child run; one that was begun before is written to its end."""
        tags = {f"{TAG}{name}": text for name, text in trial.tags.items()}
        if trial.number not in self._runs:
            marks = {KEY: self._key, KIND: "trial", TRIAL: str(trial.number)}
            run = self._client.create_run(
                self._experiment,
                start_time=_milliseconds(trial.began),
                run_name=trial.name,
                tags={**marks, "mlflow.parentRunId": self._parent},
            )
            self._runs[trial.number] = run.info.run_id
        run_id, ended = self._runs[trial.number], _milliseconds(trial.ended)
        series = [(name, value, 0) for name, value in trial.metrics.items()]
        for step, seed in enumerate(trial.seeds):
            series += [(name, value, step) for name, value in seed.items()]
        self._write(run_id, params=trial.params, tags=tags, metrics=series, at=ended)
        for name, text in trial.texts.items():
            self._keep(run_id, name, lambda name=name, text=text: (text, name))
        self._standings[trial.number] = trial.tags.get("standing", "")
        # The last call: a run that has ended is whole.
        self._client.set_terminated(run_id, "FAILED" if trial.is_failure else "FINISHED", ended)

    def progress(self, points: Sequence[ProgressPoint], first: int) -> None:
        """Write how the best went on, as metrics of the campaign's run by trials."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, _milliseconds(point.at), point.trials)
            for point in points
            for name, value in point.metrics.items()
        ]
        for part in _parts(metrics, MOST_METRICS):
            self._client.log_batch(self._parent, metrics=part)
        self._client.set_tag(self._parent, POINTS, str(first + len(points)))

    def end(self, end: CampaignEnd) -> None:
        """Write state, standings and papers."""
        for number, standing in end.standings.items():
            if number in self._runs and self._standings.get(number) != standing:
                self._client.set_tag(self._runs[number], f"{TAG}standing", standing)
                self._standings[number] = standing
        self._write(self._parent, tags={f"{TAG}state": end.state, f"{TAG}reason": end.reason})
        for name, file in end.papers.items():
            self._keep(self._parent, name, lambda file=file: (file.read_text("utf-8"), file.name))
        self._client.set_terminated(
            self._parent, {"finished": "FINISHED", "stopped": "KILLED"}.get(end.state, "RUNNING")
        )

    def close(self) -> None:
        """Do nothing: MLflow's client holds nothing open."""

    def _keep(self, run_id: str, name: str, given: Any) -> None:
        """Write a file; a server whose artifacts lie where we cannot write has its figures."""
        try:
            text, file = given()
            self._client.log_text(run_id, text, file)
        except Exception as error:
            _log.warning("MLflow did not take a file", file=name, run=run_id, error=error)

    def _write(
        self,
        run_id: str,
        *,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Sequence[tuple[str, float, int]] = (),
        at: int = 0,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        for one in _parts([Param(*item) for item in (params or {}).items()], MOST_OTHERS):
            self._client.log_batch(run_id, params=one)
        for two in _parts([RunTag(*item) for item in (tags or {}).items()], MOST_OTHERS):
            self._client.log_batch(run_id, tags=two)
        found = [Metric(name, value, at, step) for name, value, step in metrics]
        for three in _parts(found, MOST_METRICS):
            self._client.log_batch(run_id, metrics=three)


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
