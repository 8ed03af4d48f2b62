"""AutoGen Studio takes the gallery, finds each component valid, and its page runs the team."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("RECIPELAB_REQUIRE_STUDIO") != "1" and find_spec("autogenstudio") is None:
    pytest.skip("there is no AutoGen Studio", allow_module_level=True)

from fastapi.testclient import TestClient

pytestmark = [
    pytest.mark.studio,
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
]

EXAMPLES = Path(__file__).parents[2] / "examples"
USER = "guestuser@gmail.com"
"""The user of a page without a login."""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """AutoGen Studio's server with a database of its own; its tables can be defined once only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGENSTUDIO_APPDIR", str(tmp_path_factory.mktemp("studio")))
        yield import_module("autogenstudio.web.app").app


@pytest.fixture
def studio(app: Any, project: Path) -> Iterator[TestClient]:
    """AutoGen Studio's server, started in the folder of a project."""
    with TestClient(app) as client:
        yield client


def components(gallery: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for parts in gallery["components"].values() for one in parts]


def run(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


def test_the_page_takes_the_gallery_and_its_validation_each_component(studio: TestClient) -> None:
    gallery = json.loads((EXAMPLES / "studio/gallery.json").read_text("utf-8"))
    taken = studio.post("/api/gallery/", json={"user_id": USER, "config": gallery})
    assert taken.status_code == 200, taken.text
    (shown,) = studio.get("/api/gallery/", params={"user_id": USER}).json()["data"]
    assert shown["config"]["name"] == "recipelab"
    assert len(components(shown["config"])) == len(components(gallery)) == 5
    for component in components(shown["config"]):
        told = studio.post("/api/validate/", json={"component": component}).json()
        assert told["is_valid"], (component["label"], told)


def test_the_page_runs_the_team_and_validates_what_reads_its_lineage(
    studio: TestClient, project: Path
) -> None:
    run(str(EXAMPLES / "studio_gallery.py"), str(project), "toy")
    team = json.loads((project / "team.json").read_text("utf-8"))
    saved = studio.post("/api/teams/", json={"user_id": USER, "component": team}).json()
    words = {"user_id": USER, "team_id": saved["data"]["id"], "name": "night"}
    session = studio.post("/api/sessions/", json=words).json()["data"]
    asked = {"session_id": session["id"], "user_id": USER}
    number = studio.post("/api/runs/", json=asked).json()["data"]["run_id"]
    told: list[dict[str, Any]] = []
    with studio.websocket_connect(f"/api/ws/runs/{number}") as socket:
        start = {"type": "start", "task": "Prefer small changes.", "team_config": team}
        socket.send_json({**start, "files": []})
        while not told or told[-1]["type"] not in ("completion", "result", "error"):
            told.append(socket.receive_json())
    assert told[-1]["type"] != "error", told[-1]
    texts = [str(item["data"].get("content", "")) for item in told if item["type"] == "message"]
    assert any(text.startswith("Campaign toy-1: 2 trials, best ") for text in texts)

    # Now there is a lineage, so the gallery has an agent and a tool that read it.
    run(str(EXAMPLES / "studio_gallery.py"), str(project), "toy")
    gallery = json.loads((project / "gallery.json").read_text("utf-8"))
    labels = {component["label"] for component in components(gallery)}
    assert {"Reviewer of the lineage", "Query of the lineage"} <= labels
    for component in components(gallery):
        answer = studio.post("/api/validate/", json={"component": component}).json()
        assert answer["is_valid"], (component["label"], answer)
