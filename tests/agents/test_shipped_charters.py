"""The charters that ship: all roles, one structure, and the page that describes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recipelab.agents.charter import Charter, read_charter
from recipelab.agents.prompt import charter_message
from recipelab.core.content import shipped_root
from recipelab.core.trial import Status
from recipelab.packs.pack import Pack
from recipelab.tools.names import BY_NAME, TOOLS

FOLDER = shipped_root() / "agents"
PAGE = Path(__file__).parents[2] / "docs" / "charters.md"
SECTIONS = [
    "In scope",
    "Not in scope",
    "Before you propose",
    "The edit",
    "Hypothesis and expected delta",
    "After the outcome",
]
TASKS = {
    "Parameter Golf": "arch opt quant reg loss eval curr tok ttt meta",
    "NanoChat-D12": "arch opt data sched sys",
    "Airbench96": "arch opt aug loss reg",
}
NAMES = sorted({"generalist"} | {name for names in TASKS.values() for name in names.split()})
# A shipped pack that is modelled on no published task has a charter for all of its surfaces.
OWN = {"search": ("terms", "rank", "learn")}
OUTCOMES = re.compile(r"^- ([^:]+):", re.MULTILINE)
LEGAL = {
    "quant": ["Calibration on validation text", "training text"],
    "eval": ["it sums to one", "from left to right", "from the raw file"],
    "tok": ["takes it from the raw file", "the same bytes back", "sum to one"],
    "ttt": ["Score before update", "One pass from left to right", "sum to one"],
    "data": ["No text of the benchmarks"],
}


def shipped(name: str) -> Charter:
    return read_charter(FOLDER / f"{name}.md")


def test_all_roles_are_there_and_no_other() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.md")) == sorted({*NAMES, *OWN})


@pytest.mark.parametrize("name", [*NAMES, *OWN])
def test_a_shipped_charter_has_the_structure(name: str) -> None:
    charter = shipped(name)
    sections = re.findall(r"^## (.+)$", charter.body, re.MULTILINE)
    assert [section for section in sections if section != "What is legal"] == SECTIONS
    assert 30 <= len((FOLDER / f"{name}.md").read_text().splitlines()) <= 80
    all_of_them = ("*",) if name in ("meta", "generalist") else (name,)
    assert charter.surfaces == OWN.get(name, all_of_them)
    assert (charter.model, charter.tools, charter.temperature) == (None, None, None)
    assert (charter.share > 0) == (name == "meta")
    # What it sends a specialist to is what a specialist has.
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", charter.body)) & set(TOOLS)
    assert not named & set(BY_NAME)


@pytest.mark.parametrize("name", [*NAMES, *OWN])
def test_what_to_do_next_is_said_of_outcomes_that_exist(name: str) -> None:
    last = shipped(name).body.partition("## After the outcome")[2]
    words = {word for found in OUTCOMES.findall(last) for word in re.findall("[a-z_]+", found)}
    known = {status.value for status in Status} | {"nan"}
    assert {"kept", "discarded", "crashed"} <= words
    assert {word for word in words if "_" in word} <= known


@pytest.mark.parametrize("name", LEGAL)
def test_surfaces_near_the_score_say_what_is_legal(name: str) -> None:
    body = shipped(name).body
    assert "- illegal: " in body
    for words in LEGAL[name]:
        assert words in body


def test_a_charter_of_all_surfaces_is_told_all_of_them(toy: Pack) -> None:
    text = charter_message(toy, shipped("meta").on(toy.surface_names))
    assert "# Your surfaces (left, right)" in text
    for words in ("near_misses", "unproven gains", "surface_summary"):
        assert words in text


def test_a_generalist_is_given_no_advice_on_a_surface() -> None:
    words = set(re.findall(r"[a-z]+", shipped("generalist").body.lower()))
    assert not words & {"rate", "optimizer", "layer", "width", "decay", "augmentation", "tokens"}


def test_the_page_has_every_charter_with_its_tasks() -> None:
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\|([^|]*)\|([^|]*)\|([^|]*)\|$", PAGE.read_text(), re.M)
    tasks = {row[0]: [cell.strip() == "x" for cell in row[1:]] for row in rows}
    wanted = {name: [name in names.split() for names in TASKS.values()] for name in NAMES}
    assert tasks == wanted


def test_the_example_of_the_page_is_a_charter(tmp_path: Path) -> None:
    example = re.search(r"^```markdown\n(.+?)^```$", PAGE.read_text(), re.M | re.S)
    assert example is not None
    file = tmp_path / "warmup.md"
    file.write_text(example[1])
    charter = read_charter(file)
    assert (charter.surfaces, charter.temperature) == (("opt",), 0.7)
    assert re.findall(r"^## (.+)$", charter.body, re.MULTILINE) == SECTIONS
