"""Task packs: what is read, and errors that name file, key and valid values."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from recipelab.core.errors import PackError, RecipelabError
from recipelab.core.trial import Trust
from recipelab.packs.judging_sections import Goal
from recipelab.packs.load import load_pack, load_playbook, pack_names, read_pack

TOY = Path(__file__).parents[1] / "project" / "task_packs" / "toy"
SMOKE = 'command = ["python", "recipe/train.py", "--out", "out", "--seed", "{seed}", "--smoke"]'
KEEPS = "keeps = 'cache'\nkeep_mb = 8"


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    shutil.copytree(TOY, tmp_path / "toy")
    return tmp_path / "toy" / "pack.toml"


def test_a_pack_is_read_with_its_default_profile(toy: Path) -> None:
    pack = read_pack(toy)
    assert (pack.name, pack.profile, pack.seeds) == ("toy", "mini", (1, 2, 3))
    assert pack.metric.goal is Goal.MINIMIZE
    assert pack.gates[0].margin(4000) == 1000
    assert set(pack.baseline().files) == {"recipe/train.py", "recipe/predict.py"}


def test_a_profile_overrides_key_by_key(toy: Path) -> None:
    pack = read_pack(toy, "two")
    assert pack.seeds == (1, 2)
    assert (pack.budgets.train, pack.budgets.predict) == (2, 10)


def test_a_profile_may_extend_another(toy: Path) -> None:
    more = '\n[profiles.long]\nextends = "two"\nbudgets.train = 7\n'
    toy.write_text(
        f'{toy.read_text()}{more}[profiles.longer]\nextends = "long"\nbudgets.score = 9\n'
    )
    pack = read_pack(toy, "longer")
    assert (pack.profile, pack.seeds) == ("longer", (1, 2))
    assert (pack.budgets.train, pack.budgets.score, pack.budgets.predict) == (7, 9, 10)
    assert read_pack(toy, "two").budgets.train == 2


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("tow", "profiles.round.extends: unknown profile 'tow'; valid: back, confirmed"),
        ("round", "'round' extends 'round'"),
        ("back", "profiles.back.extends: 'round' extends 'back'"),
    ],
)
def test_what_a_profile_cannot_extend_is_named(base: str, words: str, toy: Path) -> None:
    table = f'[profiles.round]\nextends = "{base}"\n[profiles.back]\nextends = "round"\n'
    toy.write_text(f"{toy.read_text()}\n{table}")
    with pytest.raises(PackError, match=re.escape(words)):
        read_pack(toy, "round")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('goal = "minimize"', 'goal = "down"', ["metric.goal", "minimize", "maximize", "down"]),
        ('goal = "minimize"', 'gaol = "minimize"', ["metric.gaol", "goal", "measure"]),
        (
            'measure = "score.loss"',
            'measure = "score.loss"\nside_by_side = true',
            ["metric", "side_by_side is for the measures train.cpu_seconds"],
        ),
        ("train = 10", "train = -1", ["budgets.train", "greater than 0", "-1"]),
        ("train = 10", 'train = "soon"', ["budgets.train", "soon"]),
        ("at_most = 5000", "at_most = 1\nat_least = 2", ["gates.0", "at_least, at_most"]),
        ('measure = "score.fit"', 'measure = "fit"', ["gates.1.measure", "cpu_seconds", "score."]),
        ('kind = "path"', 'kind = "ftp"', ["data.0.sources.0", "debian", "pypi", "url", "path"]),
        ('= "inputs.txt" }', '= "input.txt" }', ["phases.predict.data", "answers.txt, inputs.txt"]),
        ('= "inputs.txt" }', '= "answers.txt" }', ["phases.predict.data", "answer", "the recipe"]),
        ('default_profile = "mini"', 'default_profile = "max"', ["default_profile", "mini, two"]),
        ("seeds = [1, 2, 3]", "seeds = [1, 1]", ["seeds", "twice"]),
        ("seeds = [1, 2, 3]", "seeds = [1]", ["seeds", "at least 2"]),
        ('folder = "evaluator"', 'folder = "judge"', ["evaluator.folder", "judge"]),
        ('folder = "evaluator"', 'folder = "../.."', ["evaluator.folder"]),
        ("format = 1", "format = 2", ["format", "1"]),
        ("format = 1", "format = [", ["not valid TOML"]),
        ("[limits]", "[limit]", ["limit", "limits"]),
        (SMOKE, f"{SMOKE}\nkeeps = 'cache'", ["phases.preflight", "keep_mb go together"]),
        (SMOKE, f"{SMOKE}\n{KEEPS}\ndata = {{ 'i' = 'inputs.txt' }}", ["preflight", "warm-up"]),
        (SMOKE, f"{SMOKE}\nkeeps = 'evaluator'\nkeep_mb = 1", ["preflight.keeps", "answers, "]),
        (SMOKE, f"{SMOKE}\nprojects.train_seconds = 1", ["projects.train_seconds", "less than 1"]),
        (SMOKE, f"{SMOKE}\nprojects.bytes = 0", ["projects.bytes", "artifact_bytes"]),
        (
            "format = 1",
            "format = 1\nwarm = ['torch', '-m']",
            ["warm", "'-m' is no name of a module"],
        ),
        ("[limits]", "[limits]\nprocesses = 33", ["limits", "at most pids, which is 32"]),
    ],
)
def test_an_error_names_file_key_and_valid_values(
    toy: Path, old: str, new: str, words: list[str]
) -> None:
    text = toy.read_text()
    assert old in text
    toy.write_text(text.replace(old, new, 1))
    with pytest.raises(PackError) as caught:
        read_pack(toy)
    for word in [str(toy), *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize("phase", ["preflight", "train", "predict"])
def test_modules_are_imported_for_scripts_alone(toy: Path, phase: str) -> None:
    warm = "[profiles.warm]\nextends = 'mini'\nwarm = ['torch']\n"
    ranks = f"[profiles.ranks]\nextends = 'warm'\nphases.{phase}.command = ['torchrun', 'a.py']\n"
    toy.write_text(f"{toy.read_text()}\n{warm}{ranks}")
    assert read_pack(toy, "warm").warm == ("torch",)
    with pytest.raises(PackError, match=rf"warm \(for phases.{phase}.command\).*'torchrun a.py'"):
        read_pack(toy, "ranks")


def test_a_preflight_says_what_it_projects_and_keeps(toy: Path) -> None:
    assert read_pack(toy).phases.preflight.projects.errors == {}
    more = f"{KEEPS}\nprojects = {{ artifact_bytes = 0.02, peak_memory_mb = 0.1 }}"
    toy.write_text(toy.read_text().replace(SMOKE, f"{SMOKE}\n{more}"))
    preflight = read_pack(toy).phases.preflight
    assert preflight.projects.errors == {"artifact_bytes": 0.02, "peak_memory_mb": 0.1}
    assert (preflight.keeps, preflight.keep_mb) == ("cache", 8)


def test_an_unknown_profile_lists_the_valid_ones(toy: Path) -> None:
    with pytest.raises(PackError, match="'full'; valid: confirmed, line, mini, two"):
        read_pack(toy, "full")


def test_an_unknown_pack_lists_the_valid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(TOY.parents[1])
    assert {"toy"} <= set(pack_names())
    with pytest.raises(RecipelabError, match=r"unknown task pack 'tony'; valid: .*toy"):
        load_pack("tony")


def test_the_users_own_pack_comes_first(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = toy.parents[1] / "task_packs" / "airbench96"
    shutil.copytree(toy.parent, own)
    monkeypatch.chdir(toy.parents[1])
    assert load_pack("airbench96").title == "A parabola in pure Python"


@pytest.mark.parametrize("name", ["../toy", "/etc", "toy/../../etc"])
def test_a_path_without_a_pack_is_refused(
    name: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toy.parent)
    with pytest.raises(PackError, match="no task pack at"):
        load_pack(name + "/nothing")


def test_a_playbook_error_names_the_play(toy: Path) -> None:
    book = toy.parent / "playbook.toml"
    book.write_text(book.read_text().replace('surface = "left"', 'surface = "up"'))
    with pytest.raises(PackError, match=r"straight-there.*'up'; valid: left, right"):
        load_playbook(read_pack(toy))


ANSWERS = 'data = { "answers/answers.txt" = "answers.txt" }'


def test_trust_follows_from_what_the_evaluator_alone_sees(toy: Path) -> None:
    assert read_pack(toy).trust is Trust.ISOLATED
    assert "answers.txt" in read_pack(toy).trust_reason
    toy.write_text(toy.read_text().replace(ANSWERS, ""))
    pack = read_pack(toy)
    assert pack.trust is Trust.SELF_REPORTED
    assert "[phases.score] data" in pack.trust_reason and "[[protected]]" in pack.trust_reason
    assert pack.trust.warning is not None


def test_what_the_sandbox_measures_is_not_self_reported(toy: Path) -> None:
    head, gate, rest = toy.read_text().replace(ANSWERS, "").partition('[[gates]]\nname = "fit"')
    measured = head.replace('measure = "score.loss"', 'measure = "train.cpu_seconds"')
    toy.write_text(measured + gate + rest)
    assert read_pack(toy).trust is Trust.SELF_REPORTED  # The gate is a number of the scorer's.
    toy.write_text(measured + rest[rest.index("[budgets]") :])
    assert read_pack(toy).trust is Trust.ISOLATED


@pytest.mark.parametrize(("answers", "derived"), [(ANSWERS, "isolated"), ("", "self-reported")])
@pytest.mark.parametrize("typed", ["isolated", "protected", "self-reported"])
def test_trust_cannot_be_typed(typed: str, answers: str, derived: str, toy: Path) -> None:
    text = toy.read_text().replace(ANSWERS, answers)
    toy.write_text(text.replace('sandbox = "cpu"', f'sandbox = "cpu"\ntrust = "{typed}"'))
    with pytest.raises(PackError, match=f"trust: .*delete the line.* is {derived}: "):
        read_pack(toy)


FOLDS = """
[[data]]
file = "rest-{n}"
numbers = { first = 0, last = 2, digits = 1 }
sources = [{ kind = "path", path = "data/rest-{n}" }]

[[data]]
file = "fold-{n}"
numbers = { first = 0, last = LAST, digits = 1 }
sources = [{ kind = "path", path = "data/fold-{n}" }]

[evaluator]"""


def folded(text: str, *, last: int = 2, train: str = "rest-{fold}") -> str:
    """A pack whose seed runs have one of three folds each."""
    text = text.replace("\n[evaluator]", FOLDS.replace("LAST", str(last)))
    text = text.replace(TRAIN, f'{TRAIN}data = {{ "data/rows" = "{train}" }}\n')
    text = text.replace(
        '{ "answers/answers.txt" = "answers.txt" }', '{ "answers/a" = "fold-{fold}" }'
    )
    return text.replace('sandbox = "cpu"', 'sandbox = "cpu"\nfolds = 3')


def test_a_seed_run_sees_the_data_of_its_fold(toy: Path) -> None:
    toy.write_text(folded(toy.read_text()))
    pack = read_pack(toy)
    assert pack.trust is Trust.ISOLATED
    assert pack.files_of(pack.phases.score) == {"fold-0", "fold-1", "fold-2"}
    names = [pack.in_fold_of("rest-{fold}", seed) for seed in (0, 1, 2, 3, 2**40)]
    assert names == ["rest-0", "rest-1", "rest-2", "rest-0", f"rest-{2**40 % 3}"]


def test_a_fold_without_its_data_is_told(toy: Path) -> None:
    text = toy.read_text()
    for changed, words in (
        (folded(text, last=1), "'answers/a' names no data file 'fold-2'"),
        (folded(text, train="fold-1"), "'fold-1' is an answer of a score"),
        (text.replace('sandbox = "cpu"', 'sandbox = "cpu"\nfolds = 3'), "no phase names data with"),
        (folded(text).replace("folds = 3\n", ""), "names no data file 'rest-{fold}'"),
        (folded(text).replace("folds = 3", "folds = 1"), "folds: Input should be greater than"),
    ):
        toy.write_text(changed)
        with pytest.raises(PackError, match=re.escape(words)):
            read_pack(toy)


TRAIN = 'command = ["python", "recipe/train.py", "--out", "out", "--seed", "{seed}"]\n'


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('environment = { PATH = "/opt/bin" }', "PATH is set by the sandbox"),
        (
            'environment = { CUDA_VISIBLE_DEVICES = "0" }',
            "all that begin with CUDA_, HIP_, NVIDIA_",
        ),
        ('environment = { "A B" = "1" }', "'A B' is no name of a variable"),
        ("environment = { SEED = 1 }", "phases.train.environment.SEED"),
        ('workdir = "../elsewhere"', "phases.train.workdir: it must be a folder below"),
        (
            'workdir = "models"',
            "phases.train.workdir: no folder 'models' is there; it sees: recipe",
        ),
        ('workdir = "recipe/src"', "phases.train.workdir: no folder 'recipe/src' in the pack"),
    ],
)
def test_where_a_command_cannot_begin(keys: str, words: str, toy: Path) -> None:
    head, tail = toy.read_text().split(TRAIN)
    toy.write_text(f"{head}{TRAIN}{keys}\n{tail}")
    with pytest.raises(PackError, match=re.escape(words)):
        read_pack(toy)


def test_what_imports_first_may_not_find_modules_of_the_recipe(toy: Path) -> None:
    text = toy.read_text().replace('sandbox = "cpu"', 'sandbox = "cpu"\nwarm = ["json"]')
    toy.write_text(text.replace(TRAIN, f'{TRAIN}environment = {{ PYTHONPATH = "recipe" }}\n'))
    with pytest.raises(PackError, match="no PYTHONPATH beside warm"):
        read_pack(toy)


def test_only_phases_of_the_recipe_have_a_copy_to_write_to(toy: Path) -> None:
    score = 'command = ["python", "evaluator/score.py"]\n'
    toy.write_text(toy.read_text().replace(score, f"{score}scratch = true\n"))
    with pytest.raises(PackError, match=r"phases.score.scratch: only phases of the recipe"):
        read_pack(toy)


@pytest.mark.parametrize("seeds", ["[-1, 2]", "[99999999999999999999, 1]", "[1.5, 2]", "[1]"])
def test_seeds_are_whole_numbers_that_can_be_stored(toy: Path, seeds: str) -> None:
    text, head = toy.read_text(), "[profiles.mini]\nseeds = "
    assert f"{head}[1, 2, 3]" in text
    toy.write_text(text.replace(f"{head}[1, 2, 3]", f"{head}{seeds}"))
    with pytest.raises(PackError, match="seeds"):
        read_pack(toy)
