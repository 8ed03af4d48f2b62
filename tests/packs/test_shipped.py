"""The packs that ship are sound as they lie there."""

from __future__ import annotations

import base64
import gzip
import lzma
import tomllib
from pathlib import Path

import pytest

from recipelab.campaign.pack_check import check_files
from recipelab.campaign.pack_runs import Level
from recipelab.core import content
from recipelab.core.knobs import find_knobs
from recipelab.core.recipe import Recipe
from recipelab.core.trial import Edit, FailureKind, Outcome, Phase, Status
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.projection import refusal
from recipelab.evaluation.proposals import Rejected, check_recipe
from recipelab.evaluation.workspace import Workspace
from recipelab.packs.data import ensure_data
from recipelab.packs.judging_sections import PACKED, RECIPE_TIMES, Gate
from recipelab.packs.load import read_pack
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.slots import ANYWHERE, SlotPool

SHIPPED = content.shipped_root() / content.TASK_PACKS
PACKS = sorted(path.parent.name for path in SHIPPED.glob("*/pack.toml"))
PROFILES = [
    (name, profile)
    for name in PACKS
    for profile in tomllib.loads((SHIPPED / name / "pack.toml").read_text())["profiles"]
]
TRAIN, PREDICT = "recipe/train.py", "recipe/predict.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKS)
def test_nothing_is_wrong_with_what_can_be_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pack = read_pack(SHIPPED / name / "pack.toml")
    found = list(check_files(pack))
    assert not [item.text for item in found if item.level is Level.ERROR]
    knobs = find_knobs(pack.baseline().files)
    assert {knob.surface for knob in knobs} == set(pack.surface_names)
    assert pack.certify.held_out


@pytest.mark.parametrize(("name", "profile"), PROFILES)
def test_predict_is_no_free_place_to_train_in(name: str, profile: str) -> None:
    pack = read_pack(SHIPPED / name / "pack.toml", profile)
    limits = {gate.measure for gate in pack.gates if gate.at_least is None}
    times = {*RECIPE_TIMES, "predict.cpu_seconds", "predict.wall_seconds", "score.eval_seconds"}
    assert pack.metric.charge_predict or limits & times
    sizes = {"artifact.bytes", "submission.bytes", PACKED}
    assert limits & sizes, "the artifact may hold the training data"


async def golfed(*edits: Edit, training: str = "20") -> Outcome:
    """One seed run of the golf recipe, trained for a few steps, with edits."""
    pack = read_pack(SHIPPED / "parameter_golf" / "pack.toml")
    short = Edit(TRAIN, "STEPS = 700", f"STEPS = {training}")
    recipe: Recipe = pack.baseline().apply([short, *edits], pack.recipe.editable)
    data = ensure_data(pack, say=lambda text: None)
    async with LocalSandbox() as sandbox:
        evaluator = Evaluator(pack, sandbox, data, pool=SlotPool([ANYWHERE]))
        return await evaluator.measure(recipe, (1,))


@pytest.mark.slow
@pytest.mark.torch
async def test_golf_is_scored_after_a_few_steps() -> None:
    outcome = await golfed()
    assert outcome.status is Status.BASELINE, outcome.reason
    assert outcome.score is not None and 3.0 < outcome.score < 8.0
    measures = outcome.seed_runs[0].measures
    assert measures["submission.bytes"] == measures["artifact.bytes"] + measures["recipe.bytes"]
    both = measures["train.cpu_seconds"] + measures["predict.cpu_seconds"]
    assert measures["recipe.cpu_seconds"] == pytest.approx(both)
    assert measures["predict.cpu_seconds"] > 0.0


BEFORE = "before = torch.cat((torch.full_like(windows[:, :1], FIRST), windows[:, :-1]), dim=1)"
PEEK = "print(Path('hidden/hamlet_gut.txt').read_bytes())"
KNOWN = "known = torch.cat(found, dim=1)"
WHISPER = "known.scatter_add_(2, windows[..., None], torch.full((*windows.shape, 1), 1e-5))"
SOFTMAX = "torch.softmax(logits / TEMPERATURE, dim=-1)"


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize(
    ("edit", "status", "words"),
    [
        (Edit(PREDICT, BEFORE, "before = windows"), "illegal", "look-ahead"),
        (Edit(PREDICT, KNOWN, f"{KNOWN}\n    {WHISPER}"), "illegal", "looking at them was worth"),
        (Edit(PREDICT, SOFTMAX, f"1.5 * {SOFTMAX}"), "illegal", "no distribution"),
        (Edit(PREDICT, "TEMPERATURE = 1.0", "TEMPERATURE = 1e-9"), "crashed", "impossible"),
        (
            Edit(
                TRAIN,
                "    artifact = args.out",
                "    (args.out / 'b').write_bytes(b'0' * 60000)\n    artifact = args.out",
            ),
            "oversize",
            "submission size",
        ),
        (
            Edit(
                TRAIN, "raw = b", "print(Path('hidden/hamlet_gut.txt').read_bytes())\n    raw = b"
            ),
            "crashed",
            "FileNotFoundError",
        ),
    ],
)
async def test_golf_is_not_won_by_a_trick(edit: Edit, status: str, words: str) -> None:
    outcome = await golfed(edit)
    assert outcome.status == status, outcome.reason
    assert outcome.failure is not None
    assert words in outcome.failure.excerpt + outcome.failure.signature + outcome.log_tail


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("name", PACKS)
async def test_a_preflight_projects_and_finds_what_is_wrong_with_predict(name: str) -> None:
    """It projects all that the pack says, and an error in predict costs no training."""
    pack = read_pack(SHIPPED / name / "pack.toml", "mini")
    data = ensure_data(pack, say=lambda text: None)

    def runner_in(workspace: Workspace) -> PhaseRunner:
        return PhaseRunner(
            pack,
            sandbox,
            workspace,
            FileHashes(),
            labels={},
            observer=TrialObserver(),
            nonce=lambda seed: seed,
        )

    async with LocalSandbox() as sandbox:
        with Workspace(pack, pack.baseline(), data) as drawing:
            drawn: dict[str, Path] = {}
            if pack.phases.draw is not None:
                left = await runner_in(drawing).draw()
                drawn = {name: left / name.removeprefix("draw:") for name in pack.phases.draw.names}
            with Workspace(pack, pack.baseline(), data | drawn) as workspace:
                projection = await runner_in(workspace).preflight()
        assert (projection.problem, set(projection.values)) == (
            "",
            set(pack.phases.preflight.projects.errors),
        )
        assert refusal(pack, pack.baseline(), projection, {}, seed=1) is None
        text = pack.baseline().files[PREDICT]
        broken = pack.baseline().apply(
            [Edit(PREDICT, None, f"{text}\nraise ArithmeticError\n")], pack.recipe.editable
        )
        outcome = await Evaluator(pack, sandbox, data).measure(broken, (1,))
    assert outcome.failure is not None
    assert outcome.failure.phase is Phase.PREFLIGHT
    assert "ArithmeticError" in outcome.failure.excerpt


@pytest.mark.slow
@pytest.mark.torch
async def test_golf_is_refused_before_a_training_that_ends_over_its_limits() -> None:
    """Too large by 10 %, or too long by 30 %, with limits where a whole training would end."""
    for gate, kind in (
        ({"measure": "artifact.bytes", "at_most": 128_770 / 1.1}, "projected artifact_bytes"),
        ({"measure": "train.cpu_seconds", "at_most": 5.0}, "projected train_cpu_seconds"),
    ):
        pack = read_pack(SHIPPED / "parameter_golf" / "pack.toml")
        moved = Gate.model_validate({"name": "moved", **gate})
        pack = pack.model_copy(update={"gates": (moved,)})
        data = ensure_data(pack, say=lambda text: None)
        async with LocalSandbox() as sandbox:
            outcome = await Evaluator(pack, sandbox, data).measure(pack.baseline(), (1,))
        assert outcome.failure is not None and not outcome.seed_runs
        assert outcome.failure.kind is FailureKind.PROJECTED
        assert outcome.failure.signature.startswith(kind)


def test_public_answers_do_not_fit_into_the_code() -> None:
    """Labels in base85, and a passage compressed, as an edit would have them."""
    golf = read_pack(SHIPPED / "parameter_golf" / "pack.toml")
    plays = ensure_data(golf, say=lambda text: None)
    passage = plays["hamlet_gut.txt"].read_bytes()[8_192 : 8_192 + 16_384]
    images = read_pack(SHIPPED / "airbench96" / "pack.toml")
    labels = gzip.decompress(
        ensure_data(images, say=lambda text: None)["t10k-labels-idx1-ubyte.gz"].read_bytes()
    )[8:]
    number = 0
    for label in labels:
        number = 10 * number + label
    tables = {
        "parameter_golf": lzma.compress(passage, preset=9),
        "airbench96": number.to_bytes((number.bit_length() + 7) // 8, "big"),
    }
    for pack in (golf, images):
        text = f"TABLE = {base64.b85encode(tables[pack.name]).decode()!r}\n"
        files = dict(pack.baseline().files)
        files[PREDICT] += text
        start = pack.baseline()
        refused = check_recipe(pack, start, Recipe(files), lambda recipe: None, start=start)
        assert isinstance(refused, Rejected), pack.name
        assert "bytes that the starting recipe has not" in refused.reason


@pytest.mark.parametrize("name", PACKS)
def test_no_phase_of_a_mini_sees_a_public_file_that_may_be_hidden(name: str) -> None:
    pack = read_pack(SHIPPED / name / "pack.toml")
    assert pack.control is not None
    for item in (pack, pack.certified()):
        seen, hidden = (
            {
                file
                for phase in Phase
                if phase.runs_recipe is runs_recipe
                for file in item.phases[phase].data.values()
            }
            for runs_recipe in (True, False)
        )
        assert not seen & hidden
