"""Charters: what makes a specialist, and errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.agents.charter import CharterError, charter_names, load_charter, read_charter
from recipelab.agents.prompt import system_message
from recipelab.errors import RecipelabError
from recipelab.pack import Pack

GOOD = "---\nname: arch\ntitle: Architect\nsurfaces: [arch]\n---\nYou draw.\n"


def test_a_charter_is_read(tmp_path: Path) -> None:
    file = tmp_path / "arch.md"
    file.write_text(GOOD)
    charter = read_charter(file)
    assert (charter.name, charter.surfaces, charter.body) == ("arch", ("arch",), "You draw.")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("You draw.", "front matter"),
        (GOOD.replace("surfaces: [arch]", "surfaces: []"), "surfaces"),
        (GOOD.replace("title: Architect\n", ""), "title: the key is missing; valid: one line"),
        (GOOD.replace("name: arch", "name: Arch-1"), "name"),
        (GOOD.replace("name: arch", "name: opt"), "the file is arch.md"),
        (GOOD.replace("title:", "tilte:"), "tilte.*valid keys: name, title, surfaces"),
        (GOOD.replace("[arch]", "[arch"), "not valid YAML"),
        ("---\n- a\n---\nbody", "table of name"),
    ],
)
def test_an_error_names_file_and_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "arch.md"
    file.write_text(text)
    with pytest.raises(CharterError, match=words) as caught:
        read_charter(file)
    assert str(file) in str(caught.value)


def test_an_unknown_charter_lists_the_valid_ones(project: Path) -> None:
    assert {"left", "right"} <= set(charter_names())
    with pytest.raises(RecipelabError, match=r"unknown charter 'up'; valid: .*left.*right"):
        load_charter("up")


def test_the_instructions_hold_rules_pack_surface_and_charter(toy: Pack) -> None:
    told = system_message(toy, load_charter("left"))
    for words in (
        "lineage_query",
        "minimize",
        "at most 5000",
        "The first coordinate",
        "You move the left coordinate",
        "recipe/*.py",
    ):
        assert words in told
    assert "The second coordinate" not in told
