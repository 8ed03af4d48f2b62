"""``recipelab doctor``: what the machine can do, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Cli

SMI = "#!/bin/sh\necho '0, GPU-aaaa, NVIDIA X, 81559, 4'\n"


def test_it_lists_gpus_and_what_is_missing(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    result = cli("doctor", "--json")
    assert result.exit_code == 0
    found = {item["what"]: item for item in json.loads(result.stdout)}
    assert found["GPU"] == {"what": "GPU", "ok": True, "told": "0 NVIDIA X (81,559 MiB)"}
    assert not found["Docker"]["ok"]
    tool.unlink()
    assert "missing  GPU: nvidia-smi finds none" in cli("doctor").stdout
