"""The snippets of the documents run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from recipelab.lineage import LineageStore
from recipelab.report.transcript import Transcript, TranscriptFormat
from tests.report.conversation import CAMPAIGN, two_at_once

DOCS = Path(__file__).parents[2] / "docs"


def snippets(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / name).read_text(), re.M | re.S)


def run(code: str, folder: Path) -> str:
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_json_lines_read_back_as_the_document_says(store: LineageStore, tmp_path: Path) -> None:
    two_at_once(store)
    told = Transcript(store, store.campaign(CAMPAIGN))
    told.write(tmp_path / "transcript.jsonl", TranscriptFormat.JSONL)
    (code,) = snippets("transcripts.md")
    assert run(code, tmp_path) == "left 1\n"


def test_an_app_that_binds_as_the_document_says_prints_nothing(tmp_path: Path) -> None:
    assert run(snippets("observability.md")[0], tmp_path) == ""


def test_the_spans_of_the_document_are_printed(tmp_path: Path) -> None:
    more = "\nfrom recipelab.core.logs import TRIAL_SPAN, span\nwith span(TRIAL_SPAN, {}): pass\n"
    assert '"name": "recipelab.trial"' in run(snippets("observability.md")[1] + more, tmp_path)
