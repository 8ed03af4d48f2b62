"""What is searched: recipes by pattern, differences by file, knowledge by words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.agents.charters import load_charter
from recipelab.agents.specialist import workbench_of
from recipelab.core.errors import PackError, RecipelabError
from recipelab.evaluation.queue import TrialQueue
from recipelab.packs.knowledge import Source, load_knowledge, passages_of, search, sources_of
from recipelab.packs.pack import Pack
from recipelab.tools import SpecialistWorkbench
from recipelab.tools.search import difference
from tests.tools.test_runs import call, refused

NOTES = """\
# Steps

Small steps are slow.

## Momentum

A step that remembers the last one goes further.

```
# no heading
```

## Decay of weights

Decay pulls to zero.
"""


@pytest.fixture
def knowing(toy: Pack) -> Pack:
    """The toy pack with two files of knowledge."""
    folder = toy.root / "knowledge"
    folder.mkdir()
    (folder / "steps.md").write_text(NOTES)
    (folder / "Bottoms.md").write_text("The bottom lies where nothing pulls. Steps end there.\n")
    return toy


@pytest.fixture
def bench(knowing: Pack, desk: TrialQueue) -> SpecialistWorkbench:
    """The tools of the specialist of the left surface."""
    return workbench_of(load_charter("left"), desk, (), 1)


async def test_a_recipe_is_searched_by_pattern(
    bench: SpecialistWorkbench, desk: TrialQueue
) -> None:
    told = await call(bench, "search_recipe", regex=r"^[XY] = ")
    assert told["trial"] == 0
    (lines,) = told["lines"].values()
    text = desk.recipe_of(0)["recipe/train.py"].split("\n")
    wanted = [f"{n}: {line}" for n, line in enumerate(text, 1) if line.startswith(("X = ", "Y = "))]
    assert lines == wanted
    assert len(wanted) == 2
    assert (await call(bench, "search_recipe", regex="open", path="recipe/predict.py"))["matches"]
    assert (await call(bench, "search_recipe", regex="open", path="recipe"))["matches"] > 1
    assert "recipe/train.py" in await refused(bench, "search_recipe", regex="X", path="train.py")


def test_a_difference_is_told_by_file() -> None:
    before = {"a.py": "x = 1\n", "b.py": "y = 1\n" * 50, "c.py": "z = 1\n"}
    after = {"a.py": "x = 2\n", "b.py": "y = 2\n" * 50, "d.py": "w = 1\n"} | {"c.py": "z = 1\n"}
    told = difference(before, after, None, 0, 300)
    assert told["files"] == {"a.py": "+1 -1", "b.py": "+50 -50", "d.py": "+1 -0"}
    assert len(told["diff"]) == 300
    assert "ask with offset=300" in told["diff_more"]
    alone = difference(before, after, "d.py", 0, 300)
    assert "w = 1" in alone["diff"]
    assert "x = 2" not in alone["diff"]
    with pytest.raises(RecipelabError, match=r"unknown changed file 'c\.py'; valid: a\.py, b\.py"):
        difference(before, after, "c.py", 0, 300)


def test_a_large_repository_does_not_fill_a_turn() -> None:
    before = {f"m{n}.py": "old = 1\n" * 100 for n in range(400)}
    after = {name: "new = 1\n" * 100 for name in before}
    told = difference(before, after, None, 0, 12_000)
    assert len(json.dumps(told)) < 20_000
    assert told["more_files"] == 340


async def test_knowledge_is_found_by_words(bench: SpecialistWorkbench) -> None:
    told = await call(bench, "search_knowledge", words="Decay weight")
    best = told["passages"][0]
    assert (best["source"], best["heading"]) == ("steps", "Steps > Decay of weights")
    assert best["lines"] == "13-15"
    assert "pulls to zero" in best["text"]
    assert told["came_of"] == {"steps": {"trials": 0}}
    whole = await call(bench, "search_knowledge", source="bottoms.md")
    assert [passage["source"] for passage in whole["passages"]] == ["bottoms"]
    assert "valid: bottoms, steps" in await refused(bench, "search_knowledge", source="none")


async def test_what_came_of_a_source_is_told(bench: SpecialistWorkbench, desk: TrialQueue) -> None:
    await call(bench, "lineage_query")
    await call(
        bench,
        "submit_trial",
        parent=0,
        hypothesis="A larger step gets nearer to the bottom [source: Steps].",
        expected_delta=-5.0,
        edits=[{"path": "recipe/train.py", "search": "X = 1.0", "replace": "X = 3.0"}],
    )
    await desk.next_ended()
    told = await call(bench, "search_knowledge", words="momentum")
    assert told["came_of"]["steps"] == {"trials": 1, "kept": 1, "certified": 0, "failed": 0}
    assert (await call(bench, "trial_detail", trial=1))["sources"] == ["steps"]
    blind = workbench_of(load_charter("left"), desk, (), 1, blind=True)
    assert "came_of" not in await call(blind, "search_knowledge", words="momentum")


def test_citations_are_parsed() -> None:
    text = "As [source: Muon] and [Source:steps.md] say; [source: muon] again, [source: a b]."
    assert sources_of(text) == ("muon", "steps")
    assert sources_of("none") == ()


@given(st.lists(st.sampled_from(["# a", "## b", "```", "~~~", "text", "", "#no", "### c "])))
def test_every_line_is_in_one_passage(lines: list[str]) -> None:
    passages = list(passages_of("s", "\n".join(lines)))
    covered = [
        number
        for passage in passages
        for number in range(passage.line, passage.line + len(passage.lines))
    ]
    assert len(covered) == len(set(covered))
    kept = {number for number, line in enumerate("\n".join(lines).splitlines(), 1) if line.strip()}
    assert kept <= set(covered)


def test_more_of_the_words_come_first() -> None:
    texts = {"one": "muon muon muon", "two": "muon with decay"}
    sources = [Source(name, name, tuple(passages_of(name, text))) for name, text in texts.items()]
    assert [found.source for found in search(sources, "muon decay")] == ["two", "one"]
    assert search(sources, "adam") == []
    assert search(sources, "!?") == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a b.md", b"x", "it is cited by its name"),
        ("a.md", b"\xff\xfe", "not text in UTF-8: byte 0"),
        ("a.md", b"x" * 1_000_001, "longer than 1,000,000 bytes"),
    ],
)
def test_what_cannot_be_cited_is_told(toy: Pack, name: str, content: bytes, words: str) -> None:
    (toy.root / "knowledge").mkdir()
    (toy.root / "knowledge" / name).write_bytes(content)
    with pytest.raises(PackError, match=words):
        load_knowledge(toy)


def test_knowledge_does_not_lead_out_of_the_pack(toy: Pack, tmp_path: Path) -> None:
    (tmp_path / "secret.md").write_text("secret")
    (toy.root / "knowledge").mkdir()
    (toy.root / "knowledge" / "a.md").symlink_to(tmp_path / "secret.md")
    with pytest.raises(PackError, match="no file of the pack's own"):
        load_knowledge(toy)
