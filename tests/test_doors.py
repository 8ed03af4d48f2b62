# ruff: noqa: E501
"""Malformed and hostile patches, imports, charters, packs, calls and answers of models: refused.

``benchmarks/doors.py`` tries thousands of each; here are some, and one for each fault found.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.agents.charter import MAX_CHARTER_BYTES, read_charter
from recipelab.agents.charters import charter_problems
from recipelab.core.content import read_limited
from recipelab.core.errors import EditError, PackError, RecipelabError
from recipelab.core.knobs import find_knobs, parse_knob
from recipelab.core.recipe import MAX_FILE_CHARACTERS, Recipe
from recipelab.core.trial import Edit, FailureKind, Proposal
from recipelab.evaluation.proposals import Candidate, ProposalChecker, Rejected, made_code
from recipelab.exchange.files import import_campaign
from recipelab.exchange.jsonl import export_lines
from recipelab.exchange.patches import edits_of_patch
from recipelab.lineage import LineageStore
from recipelab.lineage.similar import keys_of
from recipelab.models.open import model_from_file
from recipelab.packs.load import load_pack, read_pack
from recipelab.packs.pack import Pack
from recipelab.sandbox.spec import read_image_spec

from .lineage.helpers import CAMPAIGN, add_campaign, propose

TOP = Path(__file__).parents[1]
LONG_SECONDS = 30
"""What took minutes or had no end; now it takes a second, and this machine may be busy."""

FIFO, ZERO, LOOP, FOLDER = "pipe", "device", "loop", "folder"


def put_special(kind: str, path: Path) -> None:
    """Puts something that is no file, but has a file's name."""
    if kind == FIFO:
        os.mkfifo(path)
    elif kind == ZERO:
        path.symlink_to("/dev/zero")
    elif kind == LOOP:
        path.symlink_to(path.name)
    else:
        path.mkdir()


@pytest.mark.slow
def test_a_thousandth_of_the_benchmark_passes(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/doors.py", "--tries", "120", "--seed", "7"]
    counts = tmp_path / "counts.json"
    done = subprocess.run(
        [*command, "--json", counts], cwd=TOP, capture_output=True, text=True, timeout=300
    )
    table = json.loads(counts.read_text())
    # Whether an input is slow on a busy machine is not asked here.
    assert {(c["tried"], c["tracebacks"], c["outside"]) for c in table.values()} == {(20, 0, 0)}, (
        done.stdout + done.stderr
    )
    assert set(table) == {"patch", "import", "charter", "pack", "call", "reply"}
    assert all(count["refused"] for count in table.values())


@pytest.mark.parametrize("kind", [FIFO, ZERO, LOOP, FOLDER])
def test_nothing_but_a_file_is_read_as_one(kind: str, project: Path) -> None:
    sandbox = project / "sandboxes/own"
    sandbox.mkdir(parents=True)
    for name in ("Dockerfile", "requirements.txt"):
        (sandbox / name).write_text("")
    (sandbox / "sandbox.toml").write_text(
        'format = 1\nname = "own"\ndescription = "d"\nimage = "i"\ndockerfile = "Dockerfile"\n'
        'base = "b"\npython = "3.11"\n[container]\nseccomp = "s.json"\n'
    )
    toy = project / "task_packs/toy"
    readers: dict[Path, Callable[[Path], Any]] = {
        project / "agents/odd.md": read_charter,
        project / "model.json": model_from_file,
        sandbox / "s.json": lambda path: read_image_spec(path.parent / "sandbox.toml"),
        toy / "pack.toml": read_pack,
    }
    for path, read in readers.items():
        path.unlink(missing_ok=True)
        put_special(kind, path)
        with pytest.raises(RecipelabError, match=r"cannot be read|is not JSON|there must be"):
            read(path)


@pytest.mark.parametrize("kind", [FIFO, ZERO, LOOP, FOLDER])
@pytest.mark.parametrize("name", ["x.jsonl", "results.tsv"])
def test_nothing_but_a_file_is_imported(
    kind: str, name: str, store: LineageStore, tmp_path: Path
) -> None:
    put_special(kind, tmp_path / name)
    with pytest.raises(RecipelabError, match=r"there is no|neither a file|cannot read|has no"):
        import_campaign(store, tmp_path / name, "odd")


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_limited(tmp_path / "x", 5) == b"12345"
    with pytest.raises(OSError, match="longer than 4 bytes"):
        read_limited(tmp_path / "x", 4)
    with pytest.raises(OSError, match="null"):
        read_limited(Path("a\0b"))
    charter = tmp_path / "c.md"
    charter.write_text("---\n" + "x" * MAX_CHARTER_BYTES)
    with pytest.raises(RecipelabError, match="longer than 400,000 bytes"):
        read_charter(charter)
    charter.write_text("---\n" + "a: b\n" * 30_000 + "---\nBody.\n")
    with pytest.raises(RecipelabError, match="at most 20,000 characters"):
        read_charter(charter)


def test_a_name_that_no_file_can_have_is_unknown(project: Path) -> None:
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(RecipelabError, match="unknown task pack"):
            load_pack(name)
        with pytest.raises(PackError, match="no task pack at"):
            load_pack(f"./{name}")
    charter = project / "agents/left.md"
    text = charter.read_text().replace("name: left", f"name: left\nmodel: {'a' * 5000}.json")
    charter.write_text(text)
    assert "there is no file" in charter_problems(["left"])[0]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('default_profile = "mini"', "default_profile = [1]", r"default_profile: unknown profile"),
        ("[profiles.mini]\nseeds = [1, 2]", "[profiles]\nmini = 1", "profiles.mini: it must be"),
        ("[profiles.mini]", "[profiles.mini]\nextends = [1]", "mini.extends: unknown profile"),
        ("format = 1", "data = 7\nformat = 1", "data"),
        ("format = 1", f"format = {'9' * 5000}", "not valid TOML"),
        ("format = 1", f"x = {'[' * 5000}", "nested too deep"),
        ("format = 1", f"a{'.b' * 20_000} = 1", "a key has 64 parts"),
        (
            'file = "inputs.txt"',
            'file = "{n}"\nnumbers = { first = 0, last = 1000000000000, digits = 1 }',
            "at most 10,000 files",
        ),
    ],
)
def test_a_pack_of_wrong_types_is_refused(project: Path, old: str, new: str, told: str) -> None:
    file = project / "task_packs/toy/pack.toml"
    text = file.read_text()
    assert old in text
    if "data = 7" in new:
        text = text[: text.index("[[data]]")] + text[text.index("[evaluator]") :]
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(PackError, match=told):
        read_pack(file)


def test_a_recipe_that_is_no_text_of_the_pack_is_refused(project: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a key")
    recipe = project / "task_packs/toy/recipe"
    (recipe / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(PackError, match=r"notes.txt: a link that leads out of the pack"):
        load_pack("toy").baseline()
    (recipe / "notes.txt").unlink()
    (recipe / "notes.txt").symlink_to("train.py")
    files = load_pack("toy").baseline().files
    assert files["recipe/notes.txt"] == files["recipe/train.py"]
    (recipe / "notes.txt").unlink()
    (recipe / "notes.txt").write_bytes(b"a\0\xff")
    assert set(load_pack("toy").folder().carried) == {"recipe/notes.txt"}
    assert "recipe/notes.txt" not in load_pack("toy").baseline().files
    shutil.rmtree(recipe)
    recipe.symlink_to("recipe")
    with pytest.raises(PackError, match="no folder 'recipe'"):
        load_pack("toy")


MOST = MAX_FILE_CHARACTERS
HEX = f"0x{'f' * 9000}"
SLOW = {
    "quotes without end": 'x = 1\n"' + '\\"' * (MOST // 2 - 9),
    "lines that repeat": "".join(f"#{number * 7919 % 120}\n" for number in range(MOST // 5)),
    "lines that differ": "".join(f"{number}\n" for number in range(MOST // 7)),
    "blanks before a mark": f"X ={' ' * (MOST - 30)}# kno",
    "dots": f"X = 1  # knob left: {'.' * (MOST - 60)} x y",
    "one long line": "".join(chr(0x4E00 + n * 7919 % 120) for n in range(MOST - 9)),
}


@pytest.mark.parametrize("text", SLOW.values(), ids=SLOW)
def test_no_text_of_an_agent_takes_long_to_compare(text: str) -> None:
    began = time.process_time()
    lines = text.splitlines(keepends=True)
    changed = "".join(f"{line[:-1]}~\n" if n % 2 else line for n, line in enumerate(lines))
    one, other = Recipe({"a.py": text}), Recipe({"a.py": changed or "~"})
    diff = one.diff(other)
    keys_of(diff)
    find_knobs(one.files)
    Recipe({"a.py": "x\n" + text}).merged(one, other)
    with pytest.raises(EditError, match="does not occur"):
        one.apply([Edit("a.py", "~" + text[::-1], "")], ["*"])
    assert time.process_time() - began < LONG_SECONDS


def test_what_is_compared_in_part_is_still_a_patch_of_the_whole() -> None:
    before = "".join(f"#{number * 7919 % 120}\n" for number in range(20_000))
    after = "".join(f"#{number * 104729 % 119}\n" for number in range(20_000))
    patch = Recipe({"a.py": before}).diff(Recipe({"a.py": after}))
    edits = edits_of_patch({"a.py": before}, patch.encode())
    assert [edit.replace for edit in edits] == [after]


@pytest.mark.parametrize(
    "line",
    [
        *(f"X = {HEX}", f"X = {{{HEX}: 1}}", f"X = {HEX}  # knob left: 0 .. 9"),
        *(f"X = 1  # knob left: 0 .. {HEX}", "X = 1e999  # knob left: 0 .. 1e999"),
        "from __future__ import barry_as_FLUFL\nX = 1 <> 2",
    ],
)
def test_numbers_that_python_does_not_write_out_are_no_error(line: str) -> None:
    one, other = Recipe({"a.py": "X = 2\n"}), Recipe({"a.py": f"{line}\n"})
    assert one.meaning != other.meaning
    assert keys_of(one.diff(other)).form
    assert [knob.value for knob in find_knobs(other.files)] in ([], [1], [float("inf")])


WORDS = st.sampled_from([" ", "\t", "=", "#", "knob", "a:", "1", "..", "|", "log", "X", "2.5", "'"])


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=14).map("".join))
def test_a_line_is_a_knob_or_it_is_none(line: str) -> None:
    knob = parse_knob("a.py", 1, line)
    if knob is not None:
        assert knob.choices or knob.low <= float(knob.value) <= knob.high
        assert parse_knob("a.py", 1, knob.edit(knob.value).replace) is not None


TRAIN = "recipe/train.py"


@pytest.fixture
def checker(toy: Pack, store: LineageStore) -> ProposalChecker:
    made = ProposalChecker(store, "c", toy)
    made.take_baseline()
    return made


def tried(checker: ProposalChecker, *pairs: tuple[str, str]) -> Candidate | Rejected:
    """What is told of an edit of the baseline, which is then in the lineage."""
    edits = tuple(Edit(TRAIN, old, new) for old, new in pairs)
    return checker.take(Proposal("left", "left", 0, "idea", -1.0, edits), round_number=None)[1]


def alike(checked: Candidate | Rejected) -> list[str]:
    assert isinstance(checked, Candidate), checked
    return [line for line in checked.alike if line.startswith("same recipe but for numbers")]


def test_a_recipe_sent_again_with_a_number_moved_a_little_is_told(checker: ProposalChecker) -> None:
    far, near = ("X = 1.0", "X = 30.0"), ("X = 1.0", "X = 30.5")
    assert alike(tried(checker, far)) == []
    assert "trial 1 by left" in alike(tried(checker, near))[0]
    # The baseline itself, moved by one percent.
    assert "trial 0 by campaign" in alike(tried(checker, ("X = 1.0", "X = 1.01")))[0]
    assert alike(tried(checker, ("X = 1.0", "X = 2.0"))) == []
    assert alike(tried(checker, ("X = 1.0", "X = 30.1; Z = 1"))) == []


def test_numbers_far_apart_in_one_place_are_not_alike(checker: ProposalChecker) -> None:
    text = checker.recipe_of(0)[TRAIN]
    assert "X = 1.0" in text
    two = ("X = 1.0", "A = 5\nX = 40.0"), ("X = 1.0", "A = 9\nX = 40.0")
    assert [alike(tried(checker, pair)) for pair in two] == [[], []]


PACKED = "exec(__import__('zlib').decompress(b'x'))"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (PACKED, "exec"),
        ("import builtins; builtins.exec(TEXT)", "exec"),
        ("eval(compile(TEXT, 'x', 'exec'))", "compile"),
        ("eval(TEXT)", "eval"),
        ("exec('Y = 2')", None),
        ("model.eval(1); torch.compile(model)", None),
        ("# exec(TEXT)\nTEXT = 'eval(TEXT)'", None),
        ("def eval(self): return 1", None),
    ],
)
def test_code_that_nobody_can_read_is_not_tried(
    line: str, name: str | None, checker: ProposalChecker
) -> None:
    checked = tried(checker, ("X = 1.0", f"{line}\nX = 1.0"))
    if name is None:
        assert isinstance(checked, Candidate)
        return
    assert isinstance(checked, Rejected)
    assert checked.kind is FailureKind.RULE
    assert f"{TRAIN}:" in checked.reason
    assert f"{name} runs text that is made when it runs; write the code out" in checked.reason


def test_what_the_parent_has_of_it_may_stay() -> None:
    parent = Recipe({"a.py": f"{PACKED}\nX = 1\n", "b.py": ""})
    assert made_code(parent, Recipe({"a.py": f"{PACKED}\nX = 2\n", "b.py": ""})) is None
    assert made_code(parent, Recipe({"a.py": "X = 2\n", "b.py": PACKED})) is not None


def new_files(count: int) -> str:
    return "".join(
        f"diff --git a/n{n} b/n{n}\nnew file mode 100644\n--- /dev/null\n+++ b/n{n}\n@@ -0,0 +1 @@\n+\n"
        for n in range(count)
    )


def test_a_patch_of_too_many_files_is_refused() -> None:
    assert len(edits_of_patch({"a.py": ""}, new_files(500).encode())) == 500
    with pytest.raises(EditError, match="of some 501 files; at most 500"):
        edits_of_patch({"a.py": ""}, new_files(501).encode())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c, t: c["settings"].update(imported=[1]), "settings.imported: it must be a table"),
        (lambda c, t: c["settings"].update(imported={"metric": [1]}), "imported.metric: not a met"),
        (lambda c, t: c["settings"].update(metric=[1]), "settings.metric: not a metric"),
        (
            lambda c, t: c["settings"].update(imported={"earlier": {"original": {"name": 1}}}),
            "imported.earlier.original: it must have",
        ),
        (lambda c, t: c["settings"].update(imported={"source_ids": 7}), "source_ids: it must be"),
        (lambda c, t: c["settings"].update(imported={"source_ids": ["a"]}), "1 source_ids, but 2"),
        (lambda c, t: t.update(parents=[0, 0]), "trial 1 has a parent twice"),
    ],
)
def test_an_export_that_contradicts_itself_is_refused(
    change: Callable[[Any, Any], None], told: str, store: LineageStore, tmp_path: Path
) -> None:
    add_campaign(store)
    propose(store)
    propose(store, 0)
    tables = [json.loads(line) for line in export_lines(store, CAMPAIGN)]
    trials = [table["trial"] for table in tables if table["line"] == "trial"]
    change(tables[0]["campaign"], trials[1])
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(table) + "\n" for table in tables))
    with pytest.raises(RecipelabError, match=told):
        import_campaign(store, file, "odd")
