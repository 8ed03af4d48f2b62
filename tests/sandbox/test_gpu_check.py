"""The script for a machine with a GPU, rehearsed with a fake driver's tool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_check.py"
TOOL = """#!/bin/sh
case "$*" in *"--id 9"*) exit 6;; esac
echo "0, GPU-fake, Made-up card, 81559, 4"
"""


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(TOOL)
    tool.chmod(0o755)
    return tool.parent


def checked(tmp_path: Path, bin_folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}"}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    places = ("--out", str(tmp_path / "out"), "--upstream", str(tmp_path))
    command = [sys.executable, str(SCRIPT), *places, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_what_needs_cuda_is_skipped_and_the_rest_is_found(tmp_path: Path, bin_folder: Path) -> None:
    done = checked(tmp_path, bin_folder, "--only", "slots", "golf")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    slots = found["slots"]
    assert slots["status"] in ("skipped: no CUDA", "skipped: no PyTorch", "ok")
    assert "Made-up card" in slots["gpus"][0] and slots["slots"] == "gpu-GPU-fake"
    assert slots["hidden"] != slots["slots"]
    assert slots["fault_of_first"] is None
    assert slots["fault_of_missing"] == "GPU 9 does not answer nvidia-smi"
    # It comes after one that did not end well, and its result is its own.
    golf = json.loads((tmp_path / "out" / "golf.json").read_text())
    assert golf["status"] == found["golf"]["status"] != "cut off"
    assert (tmp_path / "out" / "golf.txt").is_file()


def test_a_step_without_time_is_not_begun(tmp_path: Path, bin_folder: Path) -> None:
    done = checked(tmp_path, bin_folder, "--only", "slots", "--budget", "3")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert found == {"slots": {"status": "no time left"}}


def test_bad_input(tmp_path: Path, bin_folder: Path) -> None:
    done = checked(tmp_path, bin_folder, "--only", "slot")
    assert done.returncode == 2 and "choose from" in done.stderr
    done = checked(tmp_path, bin_folder, "--wheels", str(tmp_path))
    assert done.returncode != 0 and f"no wheels in {tmp_path}" in done.stderr
