"""The check of a pack as a function: what it finds, and in which order it gives up."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.campaign import pack_check, pack_machinery
from recipelab.campaign.pack_check import check_files, check_pack
from recipelab.campaign.pack_runs import (
    SPOILS,
    Level,
    PackFinding,
    check_baseline,
    check_goal,
    check_scorer,
)
from recipelab.core.trial import Phase
from recipelab.evaluation.evaluator import Evaluator
from recipelab.packs.data import ensure_data
from recipelab.packs.data_sections import DataFile, UrlSource
from recipelab.packs.judging_sections import Goal
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import PhaseSpec, PrepareSpec
from recipelab.packs.sections import Hardware
from recipelab.sandbox import LocalSandbox
from recipelab.sandbox.choose import docker_daemon_error
from recipelab.sandbox.wheels import Resolution, UnmetRequirement


async def found(pack: Pack) -> dict[str, PackFinding]:
    return {item.what: item async for item in check_pack(pack, sandbox="local", slots=1)}


def test_the_files_of_a_sound_pack_are_ok(toy: Pack) -> None:
    assert [item for item in check_files(toy) if item.level is Level.ERROR] == []
    assert {item.what for item in check_files(toy)} == {
        *(
            "pack.toml",
            "trust",
            "leaks",
            "recipe",
            "specialists",
            "knobs",
            "playbook",
            "seeds",
            "certification",
        )
    }


def test_small_gains_need_seeds_and_surfaces_need_knobs(toy: Pack, project: Path) -> None:
    train = project / "task_packs/toy/recipe/train.py"
    train.write_text(train.read_text().replace("# knob left:", "# left"))
    levels = {item.what: item for item in check_files(load_pack("toy", "two"))}
    assert levels["seeds"].level is Level.WARNING
    assert "2 for each trial" in levels["seeds"].text
    assert "surfaces without a knob: left" in levels["knobs"].text


async def test_an_error_in_the_files_keeps_the_baseline_from_running(
    toy: Pack, project: Path
) -> None:
    train = project / "task_packs/toy/recipe/train.py"
    train.write_text("def broken(")
    findings = await found(load_pack("toy"))
    assert findings["playbook"].level is Level.ERROR
    assert "baseline" not in findings


async def test_without_the_gpus_it_says_what_is_left_to_prove(
    toy: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_check, "list_gpus", lambda: [])
    far = UrlSource(kind="url", url="http://127.0.0.1:9/x")
    data = tuple(item.model_copy(update={"sources": (far,)}) for item in toy.data)
    hardware = Hardware(gpus=8, kind="H100")
    needy = toy.model_copy(update={"hardware": hardware, "data": data})
    findings = {item.what: item async for item in check_pack(needy, run=False, slots=1)}
    assert "needs 8 x H100, and this machine has 0 GPUs" in findings["left to prove"].text
    assert findings["data"].level is Level.WARNING, "data of a large pack are asked for first"
    assert "baseline" not in findings


async def test_the_baseline_tells_budgets_gates_noise_and_repeats(evaluator: Evaluator) -> None:
    findings = [item async for item in check_baseline(evaluator)]
    what = {"baseline", "seed", "budgets", "gates", "noise", "repeats", "items", "control"}
    assert {item.what for item in findings} == what
    assert {item.level for item in findings if item.what != "control"} == {Level.OK}
    (control,) = (item for item in findings if item.what == "control")
    assert control.level is Level.WARNING
    assert "answers in the code would be taken for learned ones" in control.text


async def test_projections_are_held_against_what_the_training_measured(
    toy: Pack, project: Path
) -> None:
    """One is right within its error, one is not, and one is not there."""
    file, train = (project / "task_packs/toy" / name for name in ("pack.toml", "recipe/train.py"))
    smoke = '"--smoke"]\n'
    table = "projects = { artifact_bytes = 0.5, train_seconds = 0.1, peak_memory_mb = 0.1 }\n"
    file.write_text(file.read_text().replace(smoke, smoke + table))
    last = '    print("loss 0.0 accuracy 1.0")'
    left = '{"artifact_bytes": 50, "train_seconds": 9}'
    write = f"    args.smoke and open('out/projection.json', 'w').write('{left}')"
    train.write_text(train.read_text().replace(last, write))
    pack = load_pack("toy")
    async with LocalSandbox() as sandbox:
        evaluator = Evaluator(pack, sandbox, ensure_data(pack, say=lambda text: None))
        texts = [
            (item.level, item.text)
            async for item in check_baseline(evaluator)
            if item.what == "projections"
        ]
    levels = [level for level, _ in texts]
    assert levels == [Level.WARNING, Level.OK, Level.WARNING]
    words = " ".join(text for _, text in texts)
    assert "no usable projection of peak_memory_mb" in words
    assert "further off than the pack states" in texts[2][1]


@pytest.mark.slow
async def test_every_way_to_spoil_predictions_is_scored(evaluator: Evaluator) -> None:
    findings = [item async for item in check_scorer(evaluator)]
    assert [item.what for item in findings] == [f"scorer: {name}" for name in SPOILS]
    (broken,) = [item for item in findings if item.level is Level.ERROR]
    assert broken.what == "scorer: bytes without sense", "it decodes them as if they were text"
    assert "exit status 3" in broken.text
    assert {item.level for item in findings if item is not broken} == {Level.OK}


# The machinery: image and launcher, which no GPU is needed for.

LAUNCHED = ("python", "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=8", "t.py")


@pytest.fixture
def needy(toy: Pack, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """The toy pack as if it trained on eight GPUs by torchrun, of which this machine has none."""
    monkeypatch.setattr(pack_check, "list_gpus", lambda: [])
    monkeypatch.setattr(pack_machinery, "docker_daemon_error", lambda: "no daemon")
    train = toy.phases.train.model_copy(update={"command": LAUNCHED})
    phases = toy.phases.model_copy(update={"train": train})
    limits = toy.limits.model_copy(update={"memory_mb": 4096, "pids": 512, "cpus": 2.0})
    needs = Hardware(gpus=8, kind="H100")
    return toy.model_copy(update={"phases": phases, "hardware": needs, "limits": limits})


async def told(pack: Pack, *, sandbox: str = "auto", **more: bool) -> list[tuple[str, str, str]]:
    findings = [item async for item in check_pack(pack, sandbox=sandbox, slots=1, **more)]
    return [(item.level.value, item.what, item.text) for item in findings]


def left(findings: list[tuple[str, str, str]]) -> list[str]:
    return [text for level, what, text in findings if (level, what) == ("warning", "left to prove")]


@pytest.mark.slow
@pytest.mark.torch
async def test_the_launcher_of_a_pack_is_tried_where_there_are_no_gpus(needy: Pack) -> None:
    findings = await told(needy, sandbox="local")
    (launcher,) = [item for item in findings if item[1] == "launcher"]
    assert launcher[0] == "ok", launcher
    assert launcher[2].startswith("train: 2 processes meet, in ")
    assert launcher[2].endswith(", in the local sandbox")
    assert not any(what == "image" for _, what, _ in findings), "the local sandbox has none"
    assert [text.partition(":")[0] for text in left(findings)] == [
        "phases",
        "baseline, gates, budgets, noise, and the scorer on spoiled predictions",
    ]


async def test_a_launcher_whose_processes_do_not_meet_is_an_error(
    needy: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ("python", "-c", "raise SystemExit('cannot resolve the host name')")
    monkeypatch.setattr(pack_machinery, "launchers", lambda pack: {broken: (Phase.TRAIN,)})
    findings = await told(needy, sandbox="local")
    (launcher,) = [item for item in findings if item[1] == "launcher"]
    assert launcher[0] == "error"
    assert "cannot resolve the host name" in launcher[2]


WHEEL = UnmetRequirement("flash_attn_3", "no wheel of flash-attn-3 for Python 3.12")
SILENT = UnmetRequirement("torch==2.9.1", "https://index/ does not answer")


@pytest.mark.parametrize(
    ("resolution", "level", "words"),
    [
        (Resolution(("a==1", "b==2")), "ok", "all 2 packages for it can be had"),
        (Resolution((), missing=(WHEEL,)), "error", "cannot be built:\nflash_attn_3: no wheel"),
        (Resolution((), (WHEEL,), (SILENT,)), "error", "flash_attn_3: no wheel of"),
        (Resolution((), unproved=(SILENT,)), "left", "no index tells of torch==2.9.1"),
    ],
)
async def test_the_requirements_of_an_image_are_resolved(
    needy: Pack, monkeypatch: pytest.MonkeyPatch, resolution: Resolution, level: str, words: str
) -> None:
    monkeypatch.setattr(pack_machinery, "resolve_requirements", lambda spec: resolution)
    monkeypatch.setattr(pack_machinery, "launchers", lambda pack: {})
    findings = await told(needy)
    if level == "left":
        assert any(text.startswith("image: ") and words in text for text in left(findings))
    else:
        (image,) = [item for item in findings if item[1] == "image"]
        assert image[0] == level
        assert words in image[2]


async def test_what_was_not_tried_is_left_to_prove(needy: Pack) -> None:
    texts = left(await told(needy, run=False))
    assert texts == [
        "image: not tried, as nothing was to run",
        "launcher: not tried, as nothing was to run",
        "phases: none has run, and the profile has no [rehearsal] for a CPU",
        "baseline, gates, budgets, noise, and the scorer on spoiled predictions: needs 8 x H100, "
        "and this machine has 0 GPUs",
    ]


async def test_a_pack_for_a_cpu_has_nothing_left_to_prove(
    toy: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: object) -> None:
        raise AssertionError("nothing of this concerns a pack for a CPU")

    monkeypatch.setattr(pack_machinery, "load_image_spec", never)
    assert [proof async for proof in pack_machinery.machinery_proofs(toy, sandbox="auto")] == []


@pytest.mark.slow
@pytest.mark.docker
async def test_a_container_of_another_image_shows_that_the_launcher_works(needy: Pack) -> None:
    """The network of a container is the same whatever its image holds."""
    proofs = await _in_docker(needy.model_copy(update={"sandbox": "cuda-golf"}))
    assert proofs.holds, proofs.text
    assert "in a container of recipelab/cpu, as cuda-golf is not built" in proofs.text


async def _in_docker(pack: Pack) -> pack_machinery.Proof:
    if fault := docker_daemon_error():
        pytest.skip(f"no Docker: {fault}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_machinery, "docker_daemon_error", docker_daemon_error)
        patch.setattr(pack_machinery, "resolve_requirements", lambda spec: Resolution(()))
        found = [one async for one in pack_machinery.machinery_proofs(pack, sandbox="docker")]
    (proof,) = [one for one in found if one.what == "launcher"]
    if "is built:" in proof.text:
        pytest.skip(proof.text)
    return proof


# Leaks.


def leaks(pack: Pack) -> dict[str, Level]:
    return {item.text: item.level for item in check_files(pack) if item.what == "leaks"}


def unhashed(toy: Pack, name: str, content: str) -> None:
    """Gives a data file of the toy pack another content, and takes its hash away."""
    (toy.root / "data" / name).write_text(content)
    file = toy.root / "pack.toml"
    head, found, tail = file.read_text().partition(f'file = "{name}"\n')
    assert found
    file.write_text(head + found + "".join(tail.splitlines(keepends=True)[2:]))


def with_training(toy: Pack, content: str) -> Pack:
    """The toy pack, whose training sees a file."""
    (toy.root / "data/train.csv").write_text(content)
    file = toy.root / "pack.toml"
    table = '[[data]]\nfile = "train.csv"\nsources = [{ kind = "path", path = "data/train.csv" }]\n'
    text = file.read_text().replace("[evaluator]\n", f"{table}\n[evaluator]\n", 1)
    train = '"--seed", "{seed}"]\n\n[phases.predict]'
    assert train in text
    file.write_text(text.replace(train, train.replace("\n\n", '\ndata = ["train.csv"]\n\n')))
    return load_pack("toy")


def test_answers_under_another_name_are_found(toy: Pack) -> None:
    found = leaks(with_training(toy, (toy.root / "data/answers.txt").read_text()))
    told = "training data train.csv is the same as the answers answers.txt, byte for byte"
    assert found == {told: Level.ERROR}


def test_answers_in_the_recipe_are_found(toy: Pack) -> None:
    (toy.root / "recipe/notes.txt").write_bytes((toy.root / "data/answers.txt").read_bytes())
    told = "recipe/notes.txt is the same as the answers answers.txt, byte for byte"
    assert leaks(load_pack("toy")) == {told: Level.ERROR}


@pytest.mark.parametrize("row", ["{x},{y}", "{x};{y}", "id,{y}\t{x}", "{y} {x}"])
def test_hidden_rows_among_training_rows_are_found(toy: Pack, row: str) -> None:
    """Beside their answers, as whoever makes a data set anew has them."""
    inputs = [f"{n * 1.37:.4f}" for n in range(1, 40)]
    rows = [row.format(x=x, y=f"{float(x) ** 2:.5f}") for x in inputs]
    unhashed(toy, "inputs.txt", "".join(f"{x}\n" for x in inputs))
    others = [row.format(x=f"{n * 2.11:.4f}", y="1.00000") for n in range(1, 90)]
    (found,) = leaks(with_training(toy, "\n".join([*others, *rows]))).items()
    assert found[0].startswith("training data train.csv holds 39 of 39 lines of the hidden inputs")
    assert found[1] is Level.WARNING


def test_labels_and_chance_are_no_leak(toy: Pack) -> None:
    unhashed(toy, "answers.txt", "".join(f"{n % 10}\n" for n in range(500)))
    pack = with_training(toy, "".join(f"{n / 7:.4f},{n % 10}\n" for n in range(900)))
    assert list(leaks(pack).values()) == [Level.OK]


def test_answers_of_other_folds_are_training_data_and_those_of_the_own_fold_a_leak(
    toy: Pack,
) -> None:
    folds = [[f"row {fold}{n} of the table" for n in range(20)] for fold in range(3)]
    for fold, own in enumerate(folds):
        rest = [row for other in folds if other is not own for row in other]
        (toy.root / f"data/fold-{fold}").write_text("\n".join(own))
        (toy.root / f"data/rest-{fold}").write_text("\n".join(rest))

    def files(kind: str) -> tuple[DataFile, ...]:
        return tuple(
            DataFile.model_validate(
                {
                    "file": f"{kind}-{fold}",
                    "sources": [{"kind": "path", "path": f"data/{kind}-{fold}"}],
                }
            )
            for fold in range(3)
        )

    train = toy.phases.train.model_copy(update={"data": {"data/rows": "rest-{fold}"}})
    score = toy.phases.score.model_copy(update={"data": {"answers/a": "fold-{fold}"}})
    phases = toy.phases.model_copy(update={"train": train, "score": score})
    more = {"folds": 3, "phases": phases, "data": (*toy.data, *files("rest"), *files("fold"))}
    pack = toy.model_copy(update=more)
    assert list(leaks(pack).values()) == [Level.OK]
    with (toy.root / "data/rest-1").open("a") as file:
        file.write("\n" + "\n".join(folds[1]))
    (found,) = leaks(pack).items()
    assert "training data rest-1 holds" in found[0] and "fold-1" in found[0]
    assert found[1] is Level.ERROR


def test_a_surface_without_specialist_names_charters_that_fit(toy: Pack) -> None:
    pack = toy.model_copy(update={"specialists": ("left",)})
    (told,) = [item for item in check_files(pack) if item.what == "specialists"]
    assert told.level is Level.ERROR
    assert "no specialist of the pack owns it; add to specialists: right or " in told.text


# What the baseline and its scorer tell.


async def test_a_seed_that_changes_nothing_is_told(toy: Pack, evaluator: Evaluator) -> None:
    train = toy.root / "recipe/train.py"
    train.write_text(train.read_text().replace("Random(args.seed)", "Random(1337)"))
    told = {item.what: item async for item in check_baseline(evaluator)}["seed"]
    assert told.level is Level.WARNING
    assert "the seed changes nothing: 2 of them left the same artifact" in told.text
    command = tuple(word.replace("{seed}", "1") for word in toy.phases.train.command)
    spec = toy.phases.train.model_copy(update={"command": command})
    fixed = toy.model_copy(update={"phases": toy.phases.model_copy(update={"train": spec})})
    told = {x.what: x async for x in check_baseline(evaluator.with_pack(fixed))}["seed"]
    assert "no word of phases.train.command, nor of its environment, holds {seed}" in told.text


async def test_answers_as_predictions_have_to_win(toy: Pack, evaluator: Evaluator) -> None:
    (told,) = [item async for item in check_goal(evaluator)]
    assert told.level is Level.OK and "minimize it is" in told.text
    metric = toy.metric.model_copy(update={"goal": Goal.MAXIMIZE})
    wrong = evaluator.with_pack(toy.model_copy(update={"metric": metric}))
    (told,) = [item async for item in check_goal(wrong)]
    assert told.level is Level.ERROR and "is metric.goal = 'maximize' meant?" in told.text


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("while True: pass", ["train was killed at its budget of 1 s", "budgets.train"]),
        ("[open(f'out/{n}', 'w').close() for n in range(9)]", ["limits.output_files"]),
        ("raise ValueError('wanted 4321 rows')", ["wanted 4321 rows"]),
        ("raise OSError(28, 'No space left on device')", ["limits.output_mb", "scratch_mb"]),
    ],
)
async def test_a_baseline_that_fails_names_the_key(
    toy: Pack, evaluator: Evaluator, code: str, words: list[str]
) -> None:
    spec = toy.phases.train.model_copy(update={"command": ("python", "-c", code)})
    changed = {
        "warm": (),
        "phases": toy.phases.model_copy(update={"train": spec}),
        "budgets": toy.budgets.model_copy(update={"train": 1.0 if "while" in code else 60.0}),
    }
    broken = evaluator.with_pack(toy.model_copy(update=changed))
    (told,) = [item async for item in check_baseline(broken)]
    assert told.level is Level.ERROR
    assert all(word in told.text for word in words), told.text


async def test_an_author_sees_the_whole_log_of_his_own_baseline(
    toy: Pack, evaluator: Evaluator
) -> None:
    """Where predict sees hidden text agents see none of it."""
    code = "import os; os.makedirs('out/rounds/one'); open('out/rounds/one/a', 'w').close()"
    prepare = PrepareSpec(command=("python", "-c", code))
    predict = PhaseSpec(command=("python", "-c", "raise OSError('disk of 4321 is full')"))
    phases = toy.phases.model_copy(update={"prepare": prepare, "predict": predict})
    rounds = evaluator.with_pack(toy.model_copy(update={"phases": phases, "warm": ()}))
    (kept,) = [item async for item in check_baseline(rounds)]
    assert "4321" not in kept.text and "withheld" in kept.text
    (told,) = [item async for item in check_baseline(rounds.for_author())]
    assert "disk of 4321 is full" in told.text
