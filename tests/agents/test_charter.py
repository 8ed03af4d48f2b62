"""Charters: what makes a specialist, and errors that name the place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recipelab.agents.charter import Charter, CharterError, read_charter
from recipelab.agents.charters import charter_names, load_charter
from recipelab.agents.prompt import charter_message, system_message
from recipelab.agents.specialist import workbench_of
from recipelab.core.errors import RecipelabError
from recipelab.evaluation.queue import TrialQueue
from recipelab.packs.pack import Pack
from recipelab.tools.names import BY_NAME, LINEAGE_TOOLS, RUN_TOOLS, TOOLS

KEYS = (
    "guided, max_tokens, model, name, reasoning_effort, share, surfaces, temperature, title, tools"
)
GOOD = "---\nname: arch\ntitle: Architect\nsurfaces: [arch]\n---\nYou draw.\n"


def with_key(line: str) -> str:
    """A good charter with one more line of front matter."""
    return GOOD.replace("surfaces:", f"{line}\nsurfaces:")


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
        (GOOD.replace("title: Architect\n", ""), "title: Field required; valid: one line"),
        (GOOD.replace("name: arch", "name: Arch-1"), "name"),
        (GOOD.replace("name: arch", "name: opt"), "the file is arch.md"),
        (GOOD.replace("title:", "tilte:"), "tilte.*valid: guided, max_tokens, model"),
        (GOOD.replace("[arch]", "[arch"), "not valid YAML"),
        ("---\n- a\n---\nbody", "table of name"),
        ("---\n---\nbody", "table of name"),
        ("---\nname: arch\n", "two lines of ---"),
        (GOOD.replace("title:", "tilte:"), f"tilte: no such key; valid: {KEYS}"),
        (GOOD.replace("title:", "body:"), f"body: no such key; valid: {KEYS}"),
        (GOOD.replace("title:", "name: opt\ntitle:"), "name: the key is there twice"),
        (GOOD.replace("title:", "? [a]\n: b\ntitle:"), "a key must be a word"),
        (GOOD.replace("Architect", ""), "title: .*valid: one line"),
        (GOOD.replace("You draw.", ""), "body: .*instructions below the front matter"),
        (GOOD.replace("[arch]", "arch"), r"surfaces: .*it is 'arch'.*valid: a list of names"),
        (GOOD.replace("[arch]", "[Arch!]"), r"surfaces.0: .*it is 'Arch!'.*valid: a list"),
        (GOOD.replace("[arch]", "[arch, arch]"), "surfaces: 'arch' is there twice"),
        (GOOD.replace("[arch]", "[arch, '*']"), "surfaces: .* it stands alone"),
        (with_key("model: gpt-4o"), "model: no such model .*it is 'gpt-4o'.*openai:NAME"),
        (with_key("model: 'openai:'"), "model: no such model"),
        (with_key("temperature: 2.1"), "temperature: .*valid: a number from 0 to 2"),
        (with_key("temperature: nan"), "temperature: .*valid: a number from 0 to 2"),
        (with_key("temperature: hot"), "temperature: .*it is 'hot'.*valid: a number from 0 to 2"),
        (
            with_key("tools: [lineage_query, submit]"),
            "tools: unknown tool 'submit'; valid: .*query",
        ),
        (with_key("tools: [lineage_query]"), "none of them submits a trial; .*submit_trial"),
        (with_key("tools: [submit_trial]"), "none of them asks the lineage; .*lineage_query"),
        (with_key("tools: [submit_trial, submit_trial]"), "tools: 'submit_trial' is there twice"),
        (with_key("tools: submit_trial"), "tools: .*valid: a list of lineage_query"),
        (with_key("guided: perhaps"), "guided: .*valid: true, false"),
        (with_key("guided: true"), "guided: it needs the key tools"),
        (with_key("a: " + "[" * 5_000), "nested too deep"),
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
    message = system_message(toy) + charter_message(toy, load_charter("left"))
    for words in (
        "lineage_query",
        "minimize",
        "at most 5000",
        "The first coordinate",
        "You move the left coordinate",
        "recipe/*.py",
    ):
        assert words in message
    assert "The second coordinate" not in message


def test_all_mistakes_are_told_in_one_go(tmp_path: Path) -> None:
    file = tmp_path / "arch.md"
    file.write_text(with_key("model: x\ntemperature: -1\ncolor: red"))
    with pytest.raises(CharterError) as caught:
        read_charter(file)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3 and all(line.startswith(f"{file}: ") for line in lines)


def test_every_key_is_read(tmp_path: Path) -> None:
    file = tmp_path / "arch.md"
    more = "model: ollama:qwen3\ntemperature: 0.5\ntools: [near_misses, turn_knob]\nguided: true"
    file.write_bytes(b"\xef\xbb\xbf" + with_key(more).replace("\n", "\r\n").encode())
    charter = read_charter(file)
    assert (charter.model, charter.temperature, charter.guided) == ("ollama:qwen3", 0.5, True)
    assert charter.tools == ("near_misses", "turn_knob")


def test_surfaces_may_be_called_what_yaml_takes_for_a_truth(tmp_path: Path) -> None:
    file = tmp_path / "arch.md"
    file.write_text(GOOD.replace("[arch]", "[on, no, null]"))
    assert read_charter(file).surfaces == ("on", "no", "null")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "arch.md"
    file.write_bytes(b"---\nname: \xff\n---\n")
    with pytest.raises(CharterError, match=r"arch.md: not text in UTF-8: byte 10"):
        read_charter(file)
    with pytest.raises(CharterError, match="cannot be read: No such file"):
        read_charter(tmp_path / "none.md")


_PIECES = st.sampled_from(
    (
        *("---\n", "name: arch\n", "title: T\n", "surfaces: ", "[arch]\n", "tools: ", "model: "),
        *("&a ", "*a\n", "<<: ", "!!python/name:os.system ", "{", "}", "[", "]", "? ", "- ", "\n"),
        *("2001-99-99", "0x_\n", "temperature: ", "1e999\n", "...\n", "\x07", "'", '"', "|\n"),
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.text() | st.lists(_PIECES, max_size=14).map(lambda pieces: "---\n" + "".join(pieces))
)
def test_any_text_is_a_charter_or_a_clear_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "arch.md"
    file.write_text(text, "utf-8", errors="replace")
    try:
        charter = read_charter(file)
    except CharterError as error:
        assert str(error).startswith(f"{file}: ")
    else:
        assert charter.name == "arch" and charter.body


def test_a_star_is_every_surface_of_the_pack(toy: Pack) -> None:
    every = Charter(name="meta", title="M", surfaces=("*",), body="Combine.")
    assert every.on(toy.surface_names).surfaces == ("left", "right")
    own = every.model_copy(update={"surfaces": ("right",)})
    assert own.on(toy.surface_names) == own
    other = every.model_copy(update={"surfaces": ("left", "up")})
    with pytest.raises(
        CharterError, match="charter meta: unknown surface 'up'; valid: left, right"
    ):
        other.on(toy.surface_names)


async def test_the_names_of_tools_are_those_of_the_tools(desk: TrialQueue) -> None:
    charter = load_charter("left").model_copy(update={"tools": TOOLS})
    for_all = await workbench_of(load_charter("left"), desk, (), 1).list_tools()
    chosen = await workbench_of(charter, desk, (), 1).list_tools()
    # Where the pack has no curves, no knowledge and no clock, there are no tools for them.
    there = set(TOOLS) - {"curve", "search_knowledge", "time_beside"}
    assert {tool["name"] for tool in chosen} == there
    assert {tool["name"] for tool in for_all} == there - set(BY_NAME)
    blind = await workbench_of(charter, desk, (), 1, blind=True).list_tools()
    hidden = {*LINEAGE_TOOLS, *RUN_TOOLS, "turn_knob", "wait_for"}
    assert not {tool["name"] for tool in blind} & hidden


def test_a_name_is_not_a_path(project: Path) -> None:
    with pytest.raises(RecipelabError, match=r"unknown charter '\.\./agents/left'"):
        load_charter("../agents/left")
