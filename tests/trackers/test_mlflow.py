"""MLflow itself: a database and a server that is killed in the middle; each run is there once."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from recipelab.core.errors import RecipelabError
from recipelab.core.trial import Status
from recipelab.lineage import LineageStore
from recipelab.trackers import Follower, Sender, opened_tracker
from recipelab.trackers.facts import campaign_facts

from ..report.searched import search
from .test_sending import eventually

pytest.importorskip("mlflow")
if importlib.util.find_spec("alembic") is None:
    pytest.skip("a database and a server need all of mlflow", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("default")

HOSTILE = ("$\\frac{1}$/../x", "<b>&", "a\x1b[31m", "中文", "s" * 300, "  ")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a database; its tables take seconds to make, so all tests share it."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = Path.cwd()
    os.chdir(folder)  # where MLflow lays artifacts that have no other place
    yield f"sqlite:///{folder / 'mlflow.db'}"
    os.chdir(before)


@pytest.fixture
def lineage(tmp_path: Path) -> Iterator[LineageStore]:
    with LineageStore.open(tmp_path / "lineage.db", create=True) as store:
        yield store


def runs_of(uri: str, store: LineageStore, name: str) -> tuple[Any, dict[int, Any], Any]:
    """The campaign's run, the trials' by number, and a client."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("recipelab-toy")
    key = campaign_facts(store.campaign(name)).key
    found = list(
        client.search_runs(
            [experiment.experiment_id], f"tags.`recipelab.key` = '{key}'", max_results=1000
        )
    )
    trials = [run for run in found if run.data.tags["recipelab.kind"] == "trial"]
    (parent,) = [run for run in found if run not in trials]
    by_number = {int(run.data.tags["recipelab.trial"]): run for run in trials}
    assert len(by_number) == len(trials)  # no run twice
    return parent, by_number, client


def test_trials_are_runs_below_the_run_of_their_campaign(
    database: str, lineage: LineageStore, tmp_path: Path
) -> None:
    search(lineage, "night", 8, surfaces=HOSTILE)
    paper = tmp_path / "transcript.md"
    paper.write_text("what was said")
    for sent in (9, 0):
        sender = Sender(lineage, "night", opened_tracker(f"mlflow:{database}", tmp_path))
        sender.finish({"transcript.md": paper})
        assert sender.sent == sent
    parent, trials, client = runs_of(database, lineage, "night")
    assert parent.info.run_name == "night" and parent.data.params["pack"] == "toy"
    assert set(trials) == set(range(9))
    for number, run in trials.items():
        record = lineage.trial("night", number)
        outcome = record.outcome
        assert outcome is not None
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["recipelab.status"] == outcome.status
        assert run.info.status == ("FAILED" if outcome.status.is_failure else "FINISHED")
        assert run.data.metrics.get("score") == outcome.score
        assert run.info.end_time == round(record.judged_at.timestamp() * 1000)  # type: ignore[union-attr]
        assert ("recipelab.standing" in run.data.tags) == (outcome.status is Status.KEPT)
        if outcome.gates:
            margins = [name for name in run.data.metrics if name.endswith("/margin")]
            assert [run.data.metrics[name] for name in margins] == [outcome.gates[0].margin]
            seeds = client.get_metric_history(run.info.run_id, "seed/score")
            assert [point.step for point in seeds] == [0, 1, 2]
    history = client.get_metric_history(parent.info.run_id, "best")
    assert [point.step for point in history] == list(range(9))  # no line is tested so early
    assert [file.path for file in client.list_artifacts(parent.info.run_id)] == ["transcript.md"]


def test_a_run_that_a_kill_cut_is_written_to_its_end(
    database: str, lineage: LineageStore, tmp_path: Path
) -> None:
    search(lineage, "cut", 3)
    Sender(lineage, "cut", opened_tracker(f"mlflow:{database}", tmp_path)).finish({})
    _, trials, client = runs_of(database, lineage, "cut")
    client.update_run(trials[2].info.run_id, status="RUNNING")
    again = Sender(lineage, "cut", opened_tracker(f"mlflow:{database}", tmp_path))
    again.finish({})
    assert again.sent == 1
    _, after, client = runs_of(database, lineage, "cut")
    assert after[2].info.run_id == trials[2].info.run_id
    assert after[2].info.status in ("FINISHED", "FAILED")
    points = client.get_metric_history(after[1].info.run_id, "score")
    assert len(points) <= 1


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def server(database: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A server of MLflow's own, which answers."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database),
            *("--artifacts-destination", str(folder / "artifacts"), "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def answers() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            return True
        return False

    try:
        deadline = time.monotonic() + 120
        while not answers():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_that_is_killed_misses_nothing_in_the_end(
    database: str, lineage: LineageStore, tmp_path: Path
) -> None:
    port = free_port()
    uri, warnings = f"http://127.0.0.1:{port}", list[str]()
    search(lineage, "night", 2)
    follower = Follower(
        f"mlflow:{uri}",
        lineage,
        "night",
        opened_tracker(f"mlflow:{uri}", tmp_path),
        warnings.append,
        look_seconds=0.05,
        retry_seconds=0.05,
    )
    with server(database, tmp_path, port):
        follower.start()
        eventually(lambda: len(sent(uri, lineage)) == 3)
    search_on(lineage, "night", 3)
    eventually(lambda: bool(warnings))
    with server(database, tmp_path, port):
        eventually(lambda: len(sent(uri, lineage)) == 6)
        follower.end({}, seconds=60)
        parent, trials, client = runs_of(uri, lineage, "night")
        assert set(trials) == set(range(6))
        files = client.list_artifacts(trials[4].info.run_id)
        assert [file.path for file in files] == ["diff.patch"]
        assert parent.data.tags["recipelab.state"] == "running"
    assert len(warnings) == 1 and "the campaign goes on" in warnings[0]


def sent(uri: str, store: LineageStore) -> set[int]:
    """The trials that the server has whole; none while it does not answer."""
    try:
        _, trials, _ = runs_of(uri, store, "night")
    except Exception:
        return set()
    return {n for n, run in trials.items() if run.info.status in ("FINISHED", "FAILED")}


def search_on(store: LineageStore, name: str, many: int) -> None:
    """Adds trials to a campaign."""
    from recipelab.core.trial import Outcome, Proposal

    for _ in range(many):
        number = store.propose(
            name,
            Proposal("opt agent", "opt", 0, "on", 0.0, ()),
            parents=(0,),
            files={},
            digest=str(time.monotonic()),
            diff="+x\n",
            round_number=None,
        )
        store.record(name, number, Outcome(Status.DISCARDED, "worse", score=11.0))


def test_a_database_needs_more_than_the_skinny_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    with pytest.raises(RecipelabError, match="pip install mlflow; for a server, mlflow-skinny"):
        opened_tracker("mlflow:sqlite:///x.db", tmp_path)
