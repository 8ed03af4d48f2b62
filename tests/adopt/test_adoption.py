"""What can be wrong with a repository, how it is said, and what is mended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from recipelab.adopt.adoption import Adoption, Wishes
from recipelab.adopt.draft import Draft
from recipelab.adopt.files import read_repository
from recipelab.adopt.look import look
from recipelab.adopt.mending import mend
from recipelab.packs.load import load_pack
from recipelab.sandbox.base import Ending, PhaseResult
from recipelab.sandbox.spec import load_image_spec

from .conftest import LOCAL, Adopt, Cli

Made = Callable[..., Path]


def fails(cli: Cli, folder: Path, *words: object) -> str:
    """Return what is said of a repository that cannot be adopted; nothing is left of it."""
    done = cli("packs", "adopt", folder, "--yes", *LOCAL, *words)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.stderr.replace("Traceback (most recent", "", 1)
    assert not Path("task_packs", folder.name).exists()
    return done.stderr


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_module\n", "-m pip install no_such_module"),
        ("print('done')\n", "printed no number under a name"),
        ("open('nothing.csv')\nprint('loss: 1')\n", "FileNotFoundError"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import urllib.request as u\nu.urlopen('http://example.org')\n", "wants the network"),
        ("open('/usr/x', 'w')\nprint('loss: 1')\n", "writes to"),
    ],
)
def test_a_command_that_fails_is_told_with_its_cause(
    cli: Cli, repository: Made, code: str, words: str
) -> None:
    assert words in fails(cli, repository("broken", {"train.py": code}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--goal", "up"), "--goal: unknown goal 'up'; valid: max, maximize, min, minimize"),
        (("--level", "high"), "--level: unknown level 'high'; valid: protected, self-reported"),
        (("--to", "heaven"), "--to: unknown level 'heaven'; valid: isolated, protected"),
        (("--data", "nothing"), "--data: no file or folder 'nothing'"),
        (("--seed-constant", "a.py:3"), "--seed-constant: no seed at 'a.py:3'; valid: (none)"),
        (("--seed-arg", "--s", "--seed-env", "S"), "give one of them"),
        (("--name", "A b"), "is no name"),
    ],
)
def test_a_bad_wish_is_refused(
    cli: Cli, repository: Made, options: tuple[str, ...], words: str
) -> None:
    assert words in fails(cli, repository("wishes", {"train.py": "print('loss: 1')\n"}), *options)


def test_a_folder_without_code_or_command_is_refused(cli: Cli, repository: Made) -> None:
    assert "no code" in fails(cli, repository("empty", {"a.csv": "1\n"}))
    text = fails(cli, repository("library", {"lib.py": "def f():\n    return 1\n"}))
    assert "name the command" in text
    assert "no folder" in cli("packs", "adopt", "/nowhere/at/all").stderr.replace(
        "no such file or folder", "no folder"
    )


@pytest.mark.campaign
def test_data_outside_are_shown_where_the_script_looks_and_a_useless_seed_is_told(
    adopt: Adopt, repository: Made, tmp_path: Path
) -> None:
    outside = tmp_path / "elsewhere" / "numbers.txt"
    outside.parent.mkdir()
    outside.write_text("1 2 3\n")
    code = (
        "import random\nrandom.seed(3)\n"
        f"print('loss:', sum(map(int, open('{outside}').read().split())))\n"
    )
    facts = adopt(repository("far", {"train.py": code}))
    assert facts["smallest_gain"] is None
    assert any("fresh seeds prove nothing here" in note for note in facts["notes"])
    assert load_pack("far").acceptance.deterministic
    assert facts["data"] == ["recipelab_data/numbers.txt"]
    assert any(str(outside) in note for note in facts["notes"])
    assert f"open('{outside}')" in (tmp_path / "far" / "train.py").read_text()
    assert (
        "open('recipelab_data/numbers.txt')" in Path("task_packs/far/recipe/train.py").read_text()
    )


@pytest.mark.slow
@pytest.mark.campaign
def test_wishes_are_followed(cli: Cli, adopt: Adopt, repository: Made) -> None:
    files = {
        "a.py": "import os, random\nimport b\nprint('gain', os.environ['MY_SEED'], 'loss', b.X)\n"
        "print('gain', random.random())\n",
        "b.py": "X = 3\n",
        "c.py": "Y = 3\n",
    }
    facts = adopt(
        repository("wished", files),
        *("--command", "python a.py", "--metric", "gain", "--goal", "max", "--edit", "?.py"),
        *("--fixed", "b.py", "--seed-env", "MY_SEED", "--name", "other", "--time", 50),
    )
    assert (facts["pack"], facts["metric"], facts["goal"]) == ("other", "gain", "maximize")
    assert facts["editable"] == ["a.py", "c.py"]
    assert facts["questions"] == 0
    (note,) = [text for text in facts["notes"] if text.startswith("Seeds: ")]
    assert "the same seed gave" in note
    assert "no seed reaches" in note
    pack = load_pack("other")
    assert pack.budgets.train == 50
    assert not pack.acceptance.deterministic
    again = cli("packs", "adopt", Path("..") / "wished", "--name", "other", "--yes")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    lost = cli("packs", "adopt", "other", "--to", "protected")
    assert lost.exit_code == 2
    assert "no function evaluates by its name" in lost.stderr


@pytest.mark.slow
@pytest.mark.campaign
async def test_a_person_is_asked_three_things_at_most(cli: Cli, repository: Made) -> None:
    """Who answers decides: the command, the score, and the files that agents may change."""
    files = {
        "train_a.py": "print('loss', 1)\n",
        "train_b.py": "import c\nWIDTH = 4\nprint('loss', c.X / WIDTH, 'gain', WIDTH)\n",
        "c.py": "X = 1\n",
    }
    asked: list[tuple[str, str, tuple[str, ...]]] = []
    answers = iter(["python train_b.py", "gain", "train_b.py"])

    def ask(question: str, default: str, offered: Sequence[str]) -> str:
        asked.append((question, default, tuple(offered)))
        return next(answers)

    said: list[str] = []
    wishes = Wishes(repository("asked", files), sandbox="local", slots=1, share_devices=True)
    adopted = await Adoption(wishes, ask=ask, say=said.append).run()
    assert [(default, offered) for _, default, offered in asked] == [
        ("python train_a.py", ("python train_a.py", "python train_b.py")),
        ("loss", ("loss", "gain")),
        ("train_b.py c.py", ()),
    ]
    assert adopted.questions == 3
    assert adopted.draft.editable == ("train_b.py",)
    assert (adopted.draft.metric, adopted.errors) == ("gain", 0)
    assert "metric: gain = 4, minimize" in said


def result(log: str, ending: Ending = Ending.EXITED) -> PhaseResult:
    return PhaseResult(ending, 1, 1.0, 1.0, None, log)


def draft(folder: Path) -> Draft:
    survey = look(read_repository(folder))
    return Draft("name", survey, survey.entries[0], list(survey.repository.data))


def test_limits_are_raised_by_what_was_seen(repository: Made) -> None:
    made = draft(repository("limits", {"train.py": "print('loss: 1')\n"}))
    before = (made.memory_mb, made.output_mb, made.scratch_mb)
    full = mend(made, result("OSError: [Errno 28] No space left on device"), kind="local")
    assert "limits.output_mb" in str(full)
    assert "limits.scratch_mb" in str(full)
    assert full.done
    little = mend(made, result("", Ending.MEMORY), kind="local")
    assert "limits.memory_mb" in str(little)
    assert little.done
    after = (made.memory_mb, made.output_mb, made.scratch_mb)
    assert after == tuple(4 * value for value in before)
    late = mend(made, result("", Ending.DEADLINE), kind="local")
    assert "--time SECONDS" in str(late)
    assert not late.done


def test_a_gpu_is_left_out_where_the_command_line_says_so(repository: Made) -> None:
    code = "p.add_argument('--device', default='cuda')\nprint('loss: 1')\n"
    made = draft(repository("gpu", {"train.py": f"import argparse\n{code}"}))
    found = mend(made, result("RuntimeError: No CUDA GPUs are available"), kind="local")
    assert found.done
    assert made.entry.command == "python train.py --device cpu"


def test_missing_packages_get_an_image_of_their_own(cli: Cli, repository: Made) -> None:
    files = {
        "train.py": "import einops, torch, yaml\nprint('loss: 1')\n",
        "requirements.txt": "einops==0.8.0\n",
    }
    made = draft(repository("packages", files))
    log = "ModuleNotFoundError: No module named 'einops'"
    found = mend(made, result(log), kind="docker")
    assert found.done
    assert made.sandbox == "name"
    folder = Path("sandboxes/name")
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert lines[0] == "einops==0.8.0"
    assert [line.partition("==")[0].lower() for line in lines] == ["einops", "pyyaml"]
    assert load_image_spec("name").base == "recipelab/cpu"
    again = mend(made, result(log), kind="docker")
    assert not again.done
