"""Multi-fidelity: short trainings say what is worth a whole one, as long as they say it truly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.acceptance import Noise, Spread
from recipelab.core.errors import PackError
from recipelab.core.trial import Edit, Outcome, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.fidelity import FidelityBook, LowResult, correlation, low_result
from recipelab.evaluation.metric import Incumbent
from recipelab.evaluation.seeds import SeedSource
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import FidelitySpec
from recipelab.sandbox import LocalSandbox, PhaseRequest, PhaseResult

SPEC = FidelitySpec(command=("true",), share=0.1, correlation=0.5, trials=4)
BAD, GOOD = LowResult(-1.0, 0.2), LowResult(-0.1, 0.2)
TRAIN = "recipe/train.py"


def test_what_is_within_a_standard_error_of_the_best_is_promoted() -> None:
    assert low_result([2.0, 4.0], [3.0, 3.0], -1) == LowResult(0.0, 1.0)
    assert low_result([2.0], [3.0], -1).gain == 1.0
    book = FidelityBook(SPEC)
    assert book.promotes(GOOD, is_check=False)
    assert not book.promotes(BAD, is_check=False)
    assert book.promotes(BAD, is_check=True)


PAIRS = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)))


@given(PAIRS)
def test_a_correlation_is_between_its_bounds_whatever_the_pairs(
    pairs: list[tuple[float, float]],
) -> None:
    found = correlation(pairs)
    assert found is None or -1.0 <= found <= 1.0
    assert found == pytest.approx(correlation([(y, x) for x, y in pairs]))


def test_rounding_leads_no_correlation_past_its_bounds() -> None:
    ends = (0.1, 0.2, 1.4)
    assert correlation([(end, end) for end in ends]) == 1.0
    assert correlation([(end, -end) for end in ends]) == -1.0


def test_a_correlation_that_is_poor_switches_it_off_after_enough_trials() -> None:
    book = FidelityBook(SPEC)
    for number, full in enumerate((0.0, 3.0, 1.0)):
        book.add(str(number), LowResult(float(number), 0.1), full)
    assert book.off == ""
    book.add("3", LowResult(3.0, 0.1), -9.0)
    assert "over 4 trials their correlation with whole ones is -0.70, below 0.5" in book.off
    assert book.promotes(BAD, is_check=False)
    true = FidelityBook(SPEC)
    for number in range(9):
        true.add(str(number), LowResult(float(number), 0.1), 2.0 * number)
    assert true.off == "" and true.correlation == pytest.approx(1.0)
    alike = FidelityBook(SPEC)
    for number in range(4):
        alike.add(str(number), LowResult(0.0, 0.1), 1.0)
    assert "does not vary" in alike.off


class Watched(LocalSandbox):
    """Notes the trainings, and whose they are."""

    def __init__(self) -> None:
        super().__init__()
        self.trained: list[str] = []

    async def run(self, request: PhaseRequest) -> PhaseResult:
        if request.phase == "train":
            length = "short" if "--smoke" in request.command else "whole"
            whose = "best" if "beside" in request.labels else "trial"
            self.trained.append(f"{length} {whose}")
        return await super().run(request)


def short_pack() -> Pack:
    """The toy pack with a short training."""
    table = Path("task_packs/toy/pack.toml")
    command = '"python", "recipe/train.py", "--out", "out", "--seed", "{seed}", "--smoke"'
    table.write_text(f"{table.read_text()}\n[fidelity]\nshare = 0.1\ncommand = [{command}]\n")
    return load_pack("toy")


async def judged(pack: Pack, *edits: tuple[str, str]) -> tuple[list[str], list[Outcome]]:
    """Trainings and outcomes of recipes with one edit each, against the starting recipe."""
    async with Watched() as sandbox:
        data = ensure_data(pack, say=lambda text: None)
        evaluator = Evaluator(pack, sandbox, data, retry_seconds=0.01)
        baseline = await evaluator.evaluate(pack.baseline(), None)
        noise = Noise(Spread(0.0, 0.1, 4), {}, Spread(34.0, 0.1, 4))
        runs = {run.seed: run for run in baseline.seed_runs}
        best = Incumbent(0, pack.baseline(), runs, baseline.seed_runs, noise=noise)
        source = SeedSource(pack, "c")
        sandbox.trained.clear()
        outcomes = [
            await evaluator.evaluate(
                pack.baseline().apply([Edit(TRAIN, *edit)], pack.recipe.editable),
                lambda: best,
                seeds=source,
            )
            for edit in edits
        ]
        return sandbox.trained, outcomes


async def test_only_what_is_promising_when_short_trains_at_full_length(project: Path) -> None:
    trained, (bad, good) = await judged(
        short_pack(), ("X = 1.0", "X = 0.0"), ("X = 1.0", "X = 3.0")
    )
    assert bad.status is Status.DISCARDED and bad.score is None
    assert "not trained at full length: in short trainings it is" in bad.reason
    assert bad.evidence is not None and bad.evidence.saved_seconds > 0
    assert good.status is Status.KEPT, good.reason
    # The best's short training is made once, for both.
    assert sorted(trained[:2]) == ["short best", "short trial"]
    assert trained[2:] == ["short trial", "whole trial", "whole trial"]


def test_it_is_not_for_times_of_training(project: Path) -> None:
    table = Path("task_packs/toy/pack.toml")
    text = table.read_text().replace('measure = "score.loss"', 'measure = "train.cpu_seconds"')
    table.write_text(f'{text}\n[fidelity]\nshare = 0.1\ncommand = ["true"]\n')
    with pytest.raises(PackError, match=r"tells nothing of train\.cpu_seconds"):
        load_pack("toy")
