"""Recipes that start from somebody else's repository: pinned, checked, and never in a pack."""

from __future__ import annotations

import base64
import hashlib
import lzma
import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recipelab.cli.app import app
from recipelab.core.errors import DataError, PackError
from recipelab.core.trial import Edit, Status, Trust
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.proposals import Rejected, check_edits
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.packs.sections import Protected, Upstream
from recipelab.packs.upstream import changed_names, missing_files, take_from_clone, upstream_texts

SOURCE = "def score():\n    return 1\n\n\ndef train():\n    return score()\n"
TABLE = """
[profiles.theirs]
seeds = [1, 2]

[profiles.theirs.recipe]
folder = "recipe"
editable = ["recipe/*.py"]

[[profiles.theirs.protected]]
path = "recipe/theirs.py"
names = ["score"]

[profiles.theirs.upstream]
name = "somebody/recipe"
url = "{url}"
commit = "{commit}"
license = "MIT"

[[profiles.theirs.upstream.files]]
path = "code/theirs.py"
target = "theirs.py"
sha256 = "{sha256}"
bytes = {size}
"""


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Somebody's repository whose newest commit is not the one that the pack wants."""
    folder = tmp_path / "clone"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "theirs.py").write_text(SOURCE)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "pinned")
    git(folder, "tag", "pinned")
    (folder / "code" / "theirs.py").write_text("x = 2\n")
    git(folder, "commit", "--quiet", "-am", "newer")
    return folder


@pytest.fixture
def theirs(toy: Pack, clone: Path) -> Path:
    """The toy pack with a profile that starts from the clone."""
    commit = git(clone, "rev-parse", "pinned")
    digest = hashlib.sha256(SOURCE.encode()).hexdigest()
    file = toy.root / "pack.toml"
    table = TABLE.format(url=clone.as_uri(), commit=commit, sha256=digest, size=len(SOURCE))
    file.write_text(file.read_text() + table)
    return file


def called(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["packs", *words])
    return result.exit_code, result.output


def test_without_its_upstream_a_profile_says_how_to_fetch_it(theirs: Path) -> None:
    pack = load_pack("toy", "theirs")
    with pytest.raises(PackError, match="recipelab packs fetch toy --profile theirs"):
        pack.baseline()
    code, told = called("check", "toy", "--profile", "theirs")
    assert code == 0 and "is not here" in told
    assert "known when upstream is fetched" in called("show", "toy", "--profile", "theirs")[1]


def test_the_pinned_commit_is_taken_from_a_clone_that_is_ahead(theirs: Path, clone: Path) -> None:
    code, told = called("fetch", "toy", "--profile", "theirs", "--source", str(clone))
    assert code == 0, told
    assert "somebody/recipe" in told and "MIT" in told
    pack = load_pack("toy", "theirs")
    assert pack.baseline().files["recipe/theirs.py"] == SOURCE
    assert "all here" in called("fetch", "toy", "--profile", "theirs")[1]


def test_git_is_asked_only_with_a_yes(theirs: Path) -> None:
    code, told = called("fetch", "toy", "--profile", "theirs")
    assert code == 2 and "--yes" in told and "--source" in told
    code, told = called("fetch", "toy", "--profile", "theirs", "--yes")
    assert code == 0, told
    assert load_pack("toy", "theirs").baseline().files["recipe/theirs.py"] == SOURCE


def test_a_clone_with_other_files_is_refused(theirs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "code").mkdir(parents=True)
    assert load_pack("toy", "theirs").upstream is not None
    code, told = called("fetch", "toy", "--profile", "theirs", "--source", str(other))
    assert code == 2 and "code/theirs.py is not there" in told
    (other / "code" / "theirs.py").write_text("x = 3\n")
    code, told = called("fetch", "toy", "--profile", "theirs", "--source", str(other))
    assert code == 2 and "is another file" in told
    code, told = called("fetch", "toy", "--profile", "theirs", "--source", str(tmp_path / "none"))
    assert code == 2 and "no folder" in told


def test_a_download_without_git_history_will_do(theirs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "theirs.py").write_text(SOURCE)
    upstream = load_pack("toy", "theirs").upstream
    assert upstream is not None and missing_files(upstream)
    take_from_clone(upstream, folder)
    assert not missing_files(upstream)


def test_what_scores_may_not_be_edited(theirs: Path, clone: Path) -> None:
    pack = load_pack("toy", "theirs")
    assert pack.upstream is not None
    take_from_clone(pack.upstream, clone)
    files = pack.baseline().files

    def check(search: str, replace: str) -> object:
        edit = Edit("recipe/theirs.py", search, replace)
        return check_edits(pack, files, [edit], lambda recipe: None, start=pack.baseline())

    refused = check("    return 1", "    return 2")
    assert isinstance(refused, Rejected)
    assert "as it scores: recipe/theirs.py: score" in refused.reason
    assert not isinstance(check("    return score()", "    return 2 * score()"), Rejected)


def test_compressed_sources_are_unpacked_and_get_the_settings_of_the_pack(
    project: Path, tmp_path: Path
) -> None:
    body = lzma.compress(
        SOURCE.encode(), format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}]
    )
    packed = base64.b85encode(body).decode()
    text = f'import lzma as L,base64 as B\nexec(L.decompress(B.b85decode("{packed}")))\n'
    (tmp_path / "packed.py").write_text(text)
    item = {
        "path": "packed.py",
        "target": "train.py",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "bytes": len(text),
        "unpack": "lzma-b85",
    }
    where = {"name": "a/b", "url": "https://example.org/a", "commit": "0" * 40, "license": "MIT"}
    upstream = Upstream.model_validate({**where, "files": [item]})
    take_from_clone(upstream, tmp_path)
    assert upstream_texts(upstream, "toy", "theirs") == {"train.py": SOURCE}

    def replaced(*pairs: tuple[str, str]) -> str:
        words = [{"find": find, "replace": replace} for find, replace in pairs]
        changed = Upstream.model_validate({**where, "files": [{**item, "replace": words}]})
        return upstream_texts(changed, "toy", "theirs")["train.py"]

    assert replaced(("return 1", "return 2")) == SOURCE.replace("return 1", "return 2")
    for find, count in (("return 3", 0), ("score()", 2)):
        with pytest.raises(PackError, match=re.escape(f"replace 1: {find!r} is there {count} ")):
            replaced((find, ""))


RULES = """
import pathlib, sys
text = pathlib.Path("recipe/train.py").read_text()
print("train.py: a forbidden word", file=sys.stderr)
sys.exit(4 if "forbidden" in text else 0)
"""


async def test_static_rules_are_read_before_anything_runs(evaluator: Evaluator) -> None:
    pack = evaluator.pack
    (pack.root / pack.evaluator.folder / "rules.py").write_text(RULES)
    command = ("python", f"{pack.evaluator.folder}/rules.py")
    ruled = pack.evaluator.model_copy(update={"rules": command})
    strict = evaluator.with_pack(pack.model_copy(update={"evaluator": ruled}))
    honest = await strict.measure(pack.baseline(), (1,))
    assert honest.status is Status.BASELINE, honest.reason
    files = pack.baseline().files
    path = next(name for name in files if name.endswith("train.py"))
    edit = Edit(path, None, "raise SystemExit('forbidden: this ran')\n")
    broken = await strict.measure(pack.baseline().apply([edit], pack.recipe.editable), (1,))
    assert broken.status is Status.ILLEGAL
    assert broken.failure is not None and "a forbidden word" in broken.failure.excerpt
    assert "this ran" not in broken.log_tail


def test_what_is_held_fixed_makes_a_pack_protected(theirs: Path) -> None:
    pack = load_pack("toy", "theirs")
    assert pack.trust is Trust.PROTECTED
    assert "recipe/theirs.py" in pack.trust_reason


def test_a_whole_file_can_be_held_fixed() -> None:
    files = {"a.py": "X = 1\n", "b.py": "Y = 1\n"}
    whole = (Protected(path="a.py"),)
    assert changed_names(files, {**files, "b.py": "Y = 2\n"}, whole) == ()
    assert changed_names(files, {**files, "a.py": "X = 1  # said\n"}, whole) == ("a.py",)
    assert changed_names(files, {"b.py": "Y = 1\n"}, whole) == ("a.py",)


def test_a_series_stands_for_its_files(toy: Pack, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"shard-{number:02d}.bin").write_bytes(bytes([number]))
    file = toy.root / "pack.toml"
    file.write_text(
        file.read_text()
        + """
[[profiles.many.data]]
file = "shard-{n}.bin"
numbers = { first = 0, last = 2, digits = 2 }
bytes = 1
license = "MIT"
sources = [{ kind = "clone", path = "shard-{n}.bin" }]

[profiles.many.phases.train.data]
"data/all-{n}.bin" = "shard-{n}.bin"
"data/first.bin" = "shard-00.bin"

[profiles.many.certify]
score.data = {}

[profiles.many.phases]
predict.data = {}
score.data = {}
preflight.data = {}

[profiles.many]
seeds = [1, 2]
"""
    )
    pack = load_pack("toy", "many")
    assert [item.file for item in pack.data] == [f"shard-0{n}.bin" for n in range(3)]
    assert set(pack.phases.train.data) == {
        *(f"data/all-0{n}.bin" for n in range(3)),
        "data/first.bin",
    }
    code, told = called("fetch", "toy", "--profile", "many", "--yes")
    assert code == 2 and "give the clone with --source" in told
    code, told = called("fetch", "toy", "--profile", "many", "--source", str(tmp_path))
    assert code == 0, told
    # Nobody publishes their hashes, so what was seen first has to stay.
    (tmp_path / "shard-01.bin").write_bytes(b"x")
    code, told = called("fetch", "toy", "--profile", "many", "--source", str(tmp_path))
    assert code == 0 and "to be fetched" not in told


@pytest.mark.parametrize(
    ("file", "numbers", "words"),
    [
        ("a", "{ first = 1, last = 2, digits = 1 }", "'a' has numbers, so its name must hold {n}"),
        ("a-{n}", "{ first = 1 }", "numbers of 'a-{n}': last: Field required; digits: Field"),
        ("a-{n}", '{ first = "1", last = 2, digits = 1, step = 2 }', "valid: digits, first, last"),
        ("a-{n}", "{ first = 1, last = 2, digits = -1 }", "digits: Input should be greater than"),
        ("a-{n}", "3", "numbers of 'a-{n}': numbers: Input should be a valid dictionary"),
    ],
)
def test_a_series_whose_numbers_are_wrong_is_an_error(
    toy: Pack, file: str, numbers: str, words: str
) -> None:
    pack = toy.root / "pack.toml"
    pack.write_text(
        pack.read_text()
        + "\n[profiles.odd]\nseeds = [1, 2]\n[[profiles.odd.data]]\n"
        + f'file = "{file}"\nnumbers = {numbers}\n'
    )
    with pytest.raises(PackError, match=re.escape(words)):
        load_pack("toy", "odd")


def test_nothing_is_kept_of_a_clone_that_lacks_a_file(theirs: Path, clone: Path) -> None:
    upstream = load_pack("toy", "theirs").upstream
    assert upstream is not None
    lacking = upstream.files[0].model_copy(update={"path": "code/none.py"})
    both = upstream.model_copy(update={"files": (*upstream.files, lacking)})
    with pytest.raises(DataError, match=r"code/none.py is not there"):
        take_from_clone(both, clone)
    assert len(missing_files(both)) == 2
