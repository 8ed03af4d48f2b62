"""Cheats and accidents: what each recipe tries, and the status that it gets for it.

Every case runs through the real evaluator in real containers. All are evaluated once, a few at the
same time; the tests look at what came of them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recipelab.evaluation.metric import METRIC
from recipelab.sandbox import Ending
from recipelab.sandbox.docker.containers import connect
from recipelab.sandbox.docker.options import OWNER_LABEL
from recipelab.sandbox.processes import owner_identity

from .case import Case
from .cases import ALL
from .conftest import Everything

pytestmark = [pytest.mark.docker, pytest.mark.slow]

GRACE_SECONDS = 4.0
"""How much later than its deadline a phase may end."""


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_case(case: Case, everything: Everything) -> None:
    seen = everything.cases[case.name]
    outcome, failure = seen.outcome, seen.outcome.failure
    told = f"{outcome.status}: {outcome.reason}\n{failure}\n{seen.log[-2000:]}"
    assert outcome.status in case.status.split("|"), told
    assert (failure.kind if failure else "") in case.kind.split("|"), told
    excerpt = failure.excerpt if failure else ""
    assert re.search(case.evidence, f"{excerpt}\n{outcome.reason}"), told
    assert re.search(case.log, seen.log), told
    assert "BROKE" not in seen.log, told
    for name, (low, high) in case.measures.items():
        assert all(low <= run.measures[name] <= high for run in outcome.seed_runs), told
    if case.hostile and case.pack == "toy" and case.profile != "timed" and outcome.score:
        won = {run.seed: run.measures[METRIC] for run in outcome.seed_runs}
        won = {seed: score for seed, score in won.items() if seed in seen.baseline}
        honest = {seed: seen.baseline[seed] for seed in won}
        assert won and won == honest, f"it gained something\n{told}"


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in ALL]
    assert sorted(set(names)) == sorted(names)


def test_every_phase_ends_in_time(everything: Everything) -> None:
    phases = [phase for seen in everything.cases.values() for phase in seen.phases]
    starts = sorted(p.elapsed - p.result.wall_seconds for p in phases if p.result.ok)
    overhead = starts[int(0.95 * len(starts))] if starts else 0.0
    for phase in phases:
        limit = phase.request.limits.seconds + GRACE_SECONDS
        told = f"{phase.request.labels} {phase.request.phase} {phase.result.ending} {overhead:.2f}"
        assert phase.result.wall_seconds <= limit, told
        if phase.result.ending is Ending.DEADLINE:
            assert phase.elapsed - overhead <= limit, told


def test_nothing_is_left(everything: Everything) -> None:
    api = connect(timeout=60)
    try:
        owner = {"label": f"{OWNER_LABEL}={owner_identity()}"}
        assert api.containers(all=True, filters=owner) == []
    finally:
        api.close()
    assert _processes_with(everything.marker) == []
    assert list(everything.folders.glob("recipelab-*")) == []
    assert everything.listener.reached == []


def _processes_with(marker: str) -> list[str]:
    """Processes of this machine with a marker in command line or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                content = (folder / name).read_bytes()
            except OSError:
                continue  # It has ended, or is not ours to look at.
            if marker.encode() in content:
                found.append(f"{folder.name}: {content[:200]!r}")
    return found
