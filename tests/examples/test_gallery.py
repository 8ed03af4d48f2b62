"""The gallery that is in the repository is what its script writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["gallery.json", "team.json"])
def test_the_gallery_is_up_to_date(tmp_path: Path, name: str) -> None:
    script = [sys.executable, str(EXAMPLES / "studio_gallery.py"), str(tmp_path)]
    subprocess.run(script, cwd=tmp_path, check=True, capture_output=True)
    kept, written = (
        json.loads((folder / name).read_text("utf-8")) for folder in (EXAMPLES / "studio", tmp_path)
    )
    assert kept == written, (
        "in an empty folder: python .../examples/studio_gallery.py .../examples/studio"
    )
