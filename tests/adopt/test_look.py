"""What can be seen of a repository without running any of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.adopt.code import facts_of
from recipelab.adopt.constants import candidates, domain_of, surface_of
from recipelab.adopt.draft import goal_of, is_metric_name, score_key
from recipelab.adopt.files import read_repository
from recipelab.adopt.look import Survey, look, pinned_versions
from recipelab.core.errors import RecipelabError
from recipelab.packs.judging_sections import Goal

REPOSITORIES = Path(__file__).parent / "repositories"
SUFFIXES = (".py", ".yaml", ".toml", ".json", ".c", ".sh", ".md", "")


def seen(name: str) -> Survey:
    return look(read_repository(REPOSITORIES / name))


@pytest.mark.parametrize(
    ("name", "command", "editable", "data"),
    [
        ("torch_file", "python train.py", ("train.py",), ["data"]),
        (
            "yaml_package",
            "python -m tinyclass.train --config configs/base.yaml",
            (
                "src/tinyclass/train.py",
                "configs/base.yaml",
                "src/tinyclass/data.py",
                "src/tinyclass/model.py",
            ),
            ["data"],
        ),
        ("tabular_cv", "python train.py", ("train.py",), ["churn.csv"]),
        ("c_makefile", "make run", ("Makefile", "smooth.c"), []),
        ("autoresearch", "python train.py", ("train.py",), []),
    ],
)
def test_the_command_is_found_and_what_agents_may_change(
    name: str, command: str, editable: tuple[str, ...], data: list[str]
) -> None:
    survey = seen(name)
    assert survey.entries[0].command == command
    assert survey.editable(survey.entries[0]) == editable
    assert [place.target for place in survey.repository.data] == data
    assert survey.is_autoresearch == (name == "autoresearch")


def test_imports_that_are_neither_standard_nor_own_are_required() -> None:
    survey = seen("yaml_package")
    needed = survey.requirements("src/tinyclass/train.py")
    assert set(needed) == {"numpy", "yaml"}
    assert needed["yaml"].lower().startswith("pyyaml==")


def test_a_lock_file_pins_versions() -> None:
    lock = '[[package]]\nname = "Einops"\nversion = "0.8.0"\n'
    found = pinned_versions({"uv.lock": lock, "requirements.txt": "einops==0.7\nnumpy==2.1.0\n"})
    assert found == {"einops": "0.8.0", "numpy": "2.1.0"}


@pytest.mark.parametrize(
    ("code", "name", "value"),
    [
        ("SEED = 1337\n", "SEED", 1337),
        ("import torch\ntorch.manual_seed(1337 + offset)\n", "manual_seed", 1337),
        ("g = np.random.default_rng(5)\n", "default_rng", 5),
        ("m = Forest(random_state=42)\n", "random_state", 42),
        ("é = 1; random.seed(9)\n", "seed", 9),
    ],
)
def test_a_seed_in_the_code_is_found_with_its_place(code: str, name: str, value: int) -> None:
    (seed,) = facts_of("a.py", code).seeds
    line = code.split("\n")[seed.line.number - 1]
    assert (seed.name, seed.value) == (name, value)
    assert line[seed.begin : seed.end] == str(value)


def test_what_may_go_wrong_in_a_sandbox_is_told() -> None:
    code = (
        "import wandb\nx = x.to('cuda')\nd = load_dataset('c4')\nf = open('/mnt/data/x.bin')\n"
        "for a, b in KFold(5).split(x): pass\n"
    )
    found = facts_of("a.py", code).lines
    assert {kind: len(lines) for kind, lines in found.items()} == dict.fromkeys(
        ("cuda", "absolute path", "download", "tracker", "folds"), 1
    )


@settings(deadline=None)
@given(text=st.text(), suffix=st.sampled_from(SUFFIXES))
def test_any_text_can_be_looked_at(text: str, suffix: str) -> None:
    path = f"f{suffix}"
    facts = facts_of(path, text)
    found = candidates({path: text}, (path,), {path: facts}, network=True)
    assert all(item.domain for item in found)


CODE = st.lists(
    st.sampled_from(
        ["import a.b", "from . import c", "SEED = 3", "@dataclass\nclass A:\n    n: int = 8",
         "p.add_argument('--lr', default=0.1)", "def f(", "lr: 0.1", '{"lr": 0.1}', "#define W 4",
         "seed: 5", "random.seed(1)", "&a [*a]", "a: &x [*x]", "[t]", "k = 1e999", "\ud800", "\0"]
    )
)  # fmt: skip


@settings(deadline=None)
@given(lines=CODE, suffix=st.sampled_from(SUFFIXES))
def test_any_mixture_of_lines_can_be_looked_at(lines: list[str], suffix: str) -> None:
    path, text = f"f{suffix}", "\n".join(lines)
    candidates({path: text}, (path,), {path: facts_of(path, text)}, network=False)


@settings(deadline=None, max_examples=30)
@given(
    files=st.dictionaries(
        st.sampled_from(
            [
                "train.py",
                "README.md",
                "Makefile",
                "a/b.py",
                "uv.lock",
                "c.yaml",
                "data/x.csv",
                "m.c",
            ]
        ),
        st.binary(max_size=200) | st.sampled_from([b"import train\n", b"python train.py\n"]),
        min_size=1,
    )
)
def test_any_files_can_be_looked_at(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    root = tmp_path_factory.mktemp("repository")
    for path, content in files.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(content)
    try:
        survey = look(read_repository(root))
    except RecipelabError as error:
        assert "holds no code" in str(error)
        return
    for entry in survey.entries:
        survey.editable(entry)
        survey.seeds(entry.path, entry.command)
        survey.requirements(entry.path)
    survey.notes()


def test_git_says_which_files_belong_and_nothing_of_the_repository_runs(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init", "-q")
    (tmp_path / ".gitignore").write_text("data/\nscratch.py\n")
    (tmp_path / "train.py").write_text("print('loss: 1')\n")
    (tmp_path / "scratch.py").write_text("x\n")
    (tmp_path / "new.py").write_text("x = 1\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1\n")
    git("add", "train.py", ".gitignore")
    hook = tmp_path / "hook.sh"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    git("config", "core.fsmonitor", str(hook))
    found = read_repository(tmp_path)
    assert {"train.py", "new.py"} <= set(found.texts)
    assert "scratch.py" not in found.texts
    assert [(place.target, place.files) for place in found.data] == [("data", 1)]
    assert not (tmp_path / "ran").exists()


def test_scripts_in_a_data_folder_stay_and_its_files_are_data(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "chars"
    folder.mkdir(parents=True)
    (tmp_path / "train.py").write_text("x = 1\n")
    (folder / "prepare.py").write_text("x = 1\n")
    (folder / "train.bin").write_bytes(b"\0\1")
    found = read_repository(tmp_path)
    assert set(found.texts) == {"train.py", "data/chars/prepare.py"}
    assert [place.target for place in found.data] == ["data/chars/train.bin"]


def test_links_out_of_the_repository_and_secrets_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_text("x = 1\n")
    root = tmp_path / "repository"
    root.mkdir()
    (root / "train.py").write_text("x = 1\n")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    (root / ".env").write_text("KEY=1\n")
    (root / "id_rsa").write_text("KEY\n")
    found = read_repository(root)
    assert set(found.texts) == {"train.py"}
    assert "leads out" in found.left_out["link.py"]
    assert "secret" in found.left_out["id_rsa"]


@pytest.mark.parametrize(
    ("name", "value", "domain"),
    [
        ("lr", 0.002, "0.0005 .. 0.008 log"),
        ("layers", 4, "1 .. 16 log"),
        ("momentum", 0.9, "0.0 .. 0.975"),
        ("dropout", 0.0, "0.0 .. 0.75"),
        ("nesterov", True, "False | True"),
        ("optimizer", "adamw", "'adamw' | 'sgd'"),
        ("steps", 0, ""),
        ("lr", -1.0, ""),
        ("scale", float("inf"), ""),
        ("activation", "gelu", ""),
    ],
)
def test_a_range_is_guessed_from_name_and_value(
    name: str, value: float | str | bool, domain: str
) -> None:
    assert domain_of(name, value) == domain


def test_constants_are_found_in_every_kind_of_file() -> None:
    texts = {
        "a.py": "LR = 0.1\nSEED = 3\nDATA = 'x'\n",
        "b.py": "p.add_argument('--weight-decay', type=float, default=0.01)\n",
        "c.py": "@dataclass\nclass Config:\n    n_embd: int = 64\n    eval_iters: int = 200\n",
        "d.yaml": "model:\n  hidden: 12\nseed: 7\n",
        "e.toml": "[optimizer]\nlr = 0.5\n",
        "f.json": '{\n  "train": {\n    "batch_size": 32\n  }\n}\n',
        "g.h": "#define TILE 8\n#define SEED 3\n",
    }
    facts = {path: facts_of(path, text) for path, text in texts.items()}
    found = candidates(texts, tuple(texts), facts, network=True)
    assert [(item.path, item.name, item.surface) for item in found] == [
        ("a.py", "LR", "opt"),
        ("b.py", "--weight-decay", "reg"),
        ("c.py", "Config.n_embd", "arch"),
        ("d.yaml", "model.hidden", "arch"),
        ("e.toml", "optimizer.lr", "opt"),
        ("f.json", "train.batch_size", "opt"),
        ("g.h", "TILE", "recipe"),
    ]
    assert surface_of("weight_decay") == "reg"


def test_what_the_command_line_sets_is_no_knob() -> None:
    texts = {
        "train.py": "LR = 0.1\nbatch_size = 8\nheads = 2\n",
        "config.py": "batch_size = 64\nwidth = 32\n",
    }
    facts = {path: facts_of(path, text) for path, text in texts.items()}
    command = "python train.py config.py --width=16"
    found = candidates(texts, tuple(texts), facts, network=True, command=command)
    assert [(item.path, item.name) for item in found] == [
        ("config.py", "batch_size"),
        ("train.py", "LR"),
        ("train.py", "heads"),
    ]


@pytest.mark.parametrize(
    ("name", "goal"),
    [
        ("val_loss", Goal.MINIMIZE),
        ("val_bpb", Goal.MINIMIZE),
        ("cv_rmse", Goal.MINIMIZE),
        ("ppl", Goal.MINIMIZE),
        ("seconds", Goal.MINIMIZE),
        ("error", Goal.MINIMIZE),
        ("val_acc", Goal.MAXIMIZE),
        ("Test Accuracy", Goal.MAXIMIZE),
        ("auc", Goal.MAXIMIZE),
        ("f1", Goal.MAXIMIZE),
        ("r2", Goal.MAXIMIZE),
        ("score", Goal.MAXIMIZE),
        ("tokens_per_sec", Goal.MAXIMIZE),
    ],
)
def test_the_goal_is_told_by_the_name(name: str, goal: Goal) -> None:
    assert goal_of(name) is goal
    assert is_metric_name(name)


@given(st.text())
def test_any_name_becomes_a_key(name: str) -> None:
    key = score_key(name)
    assert key.isidentifier()
    assert key == key.lower()
