"""Policies by name: those that ship, and those of other distributions."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.acceptance import (
    Confirmed,
    KeepIfBetter,
    Line,
    PairedTwoSigma,
    acceptance_policy,
)
from recipelab.core.errors import PackError, RecipelabError
from recipelab.core.trial import Edit, Proposal, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.queue import TrialQueue
from recipelab.lineage import LineageStore
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import AcceptanceSpec
from recipelab.packs.load import load_pack
from recipelab.sandbox import LocalSandbox

MODULE = '''
from recipelab.acceptance import Verdict


class KeepWorse:
    """Keeps what is worse, by no more than the pack's false-keep rate says."""

    def __init__(self, spec):
        self.rate = spec.false_keep_rate

    def judge(self, observed):
        (first, *_) = observed.screen.differences
        return Verdict(first > 0, first, None, f"worse by {first:.3g}, rate {self.rate}")

    def promise(self, observed, seeds):
        return None
'''


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed distribution that brings two policies, one of them broken."""
    folder = tmp_path / "site"
    info = folder / "contrary-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: contrary\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[recipelab.acceptance]\n"
        "keep-worse = contrary_policies:KeepWorse\n"
        "lost = contrary_policies:Lost\n"
        "confirmed = contrary_policies:KeepWorse\n"
    )
    (folder / "contrary_policies.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    return folder


def choose(project: Path, policy: str) -> None:
    """Makes the toy pack name a policy."""
    file = project / "task_packs/toy/pack.toml"
    named = file.read_text().replace("paired-two-sigma", policy)
    file.write_text(named)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("line", Line(false_keep_rate=0.01, looks=(5, 9), fresh=3, lead=2.5)),
        ("confirmed", Confirmed(false_keep_rate=0.01, looks=(5, 9))),
        ("paired-two-sigma", PairedTwoSigma()),
        ("keep-if-better", KeepIfBetter()),
    ],
)
def test_what_ships_takes_its_figures_from_the_pack(name: str, policy: object) -> None:
    spec = AcceptanceSpec(policy=name, false_keep_rate=0.01, confirm=(5, 9), fresh=3, lead=2.5)
    assert acceptance_policy(spec) == policy


async def test_a_policy_of_another_distribution_decides_trials(
    project: Path, elsewhere: Path, store: LineageStore, sandbox: LocalSandbox
) -> None:
    choose(project, "keep-worse")
    pack = load_pack("toy")
    evaluator = Evaluator(pack, sandbox, ensure_data(pack, say=lambda text: None))
    queue = TrialQueue(store, "c", evaluator)
    queue.propose_baseline()
    await queue.next_ended()
    for x in ("0.5", "2.0"):
        edit = Edit("recipe/train.py", "X = 1.0", f"X = {x}")
        queue.submit(Proposal("left", "left", 0, "It may help.", -1.0, (edit,)), round_number=1)
        await queue.next_ended()
    outcomes = [store.trial("c", number).outcome for number in (1, 2)]
    assert [outcome and outcome.status for outcome in outcomes] == [Status.KEPT, Status.DISCARDED]
    assert outcomes[0] is not None
    assert outcomes[0].reason.startswith("worse by ") and "rate 0.05" in outcomes[0].reason


def test_an_unknown_policy_is_named_with_the_valid_ones(project: Path, elsewhere: Path) -> None:
    choose(project, "keep-best")
    with pytest.raises(PackError) as caught:
        load_pack("toy")
    words = (
        "acceptance.policy: unknown acceptance policy 'keep-best'; valid: confirmed, "
        "keep-if-better, keep-worse, line, lost, paired-two-sigma"
    )
    assert words in str(caught.value)


def test_what_ships_cannot_be_replaced(elsewhere: Path) -> None:
    assert acceptance_policy(AcceptanceSpec(policy="confirmed")) == Confirmed()


def test_a_policy_that_cannot_be_imported_is_told(project: Path, elsewhere: Path) -> None:
    choose(project, "lost")
    pack = load_pack("toy")
    with pytest.raises(RecipelabError, match="'lost' of 'contrary_policies:Lost' cannot be loaded"):
        acceptance_policy(pack.acceptance)
