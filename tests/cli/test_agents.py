"""``recipelab agents``: the charters that ship, those of a user, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipelab.agents.charter import load_charter
from recipelab.evaluation.desk import TrialDesk
from recipelab.tool_names import LINEAGE_TOOLS, TOOLS

from .conftest import Cli

ROLES = "arch opt quant reg loss eval curr tok ttt meta data sched sys aug generalist".split()  # noqa: SIM905
SECTIONS = ("## Not in scope", "## The edit", "## Hypothesis and expected delta")


@pytest.mark.parametrize("name", ROLES)
def test_every_role_of_the_three_tasks_has_a_charter(name: str, project: Path) -> None:
    charter = load_charter(name)
    for section in (*SECTIONS, "Before you propose", "After the outcome"):
        assert section in charter.body
    assert 25 <= len(charter.body.splitlines()) <= 80


def test_charters_are_listed_with_where_they_come_from(cli: Cli) -> None:
    rows = {row["name"]: row for row in json.loads(cli("agents", "list", "--json").stdout)}
    assert {*ROLES, "left"} <= set(rows)
    assert rows["left"]["from"] == "agents/left.md"
    assert rows["meta"]["from"] == "recipelab"
    assert "meta" in cli("agents", "list").output


def test_a_users_own_charter_comes_first(cli: Cli, project: Path) -> None:
    text = "---\nname: opt\ntitle: Mine\nsurfaces: [opt]\nmodel: ollama:x\n---\nMy way.\n"
    (project / "agents/opt.md").write_text(text)
    assert cli("agents", "show", "opt").output.strip() == "My way."
    rows = {row["name"]: row for row in json.loads(cli("agents", "list", "--json").stdout)}
    assert (rows["opt"]["title"], rows["opt"]["model"]) == ("Mine", "ollama:x")


def test_a_specialist_can_be_seen_in_a_pack(cli: Cli) -> None:
    told = cli("agents", "show", "meta", "--pack", "toy").output
    for words in ("# Your surfaces (left, right)", "The first coordinate", "Combinations"):
        assert words in told


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tools: [lineage_query, submit]", "unknown tool 'submit'; valid: best_chain"),
        ("tools: [lineage_query]", "one of these must be among them: submit_trial, turn_knob"),
        ("tools: [submit_trial]", "one of these must be among them: lineage_query"),
        ("temperature: 3", "temperature: Input should be less than or equal to 2"),
        ("guided: true", "guided needs tools"),
        ("color: red", "color: Extra inputs are not permitted; valid keys: name, title"),
    ],
)
def test_check_tells_all_that_is_wrong(cli: Cli, project: Path, line: str, told: str) -> None:
    file = project / "agents/odd.md"
    file.write_text(f"---\nname: odd\ntitle: Odd\nsurfaces: [left]\n{line}\n---\nBody.\n")
    result = cli("agents", "check")
    assert result.exit_code == 2
    assert told in result.output
    assert "odd.md" in result.output
    assert cli("agents", "check", "left", "opt").exit_code == 0
    assert cli("agents", "check", "agents/odd.md").exit_code == 2


def test_check_sees_to_it_that_every_surface_has_an_owner(cli: Cli, project: Path) -> None:
    assert cli("agents", "check", "--pack", "toy").exit_code == 0
    pack = project / "task_packs/toy/pack.toml"
    pack.write_text(pack.read_text().replace('["left", "right"]', '["left", "opt"]'))
    result = cli("agents", "check", "--pack", "toy")
    assert result.exit_code == 2
    assert "charter opt: unknown surface 'opt'; valid: left, right" in result.output
    assert "no specialist owns the surface right" in result.output


async def test_the_names_of_tools_are_those_of_the_tools(desk: TrialDesk) -> None:
    from recipelab.agents.bench import workbench_of

    charter = load_charter("left")
    every = charter.model_copy(update={"tools": TOOLS})
    shown = await workbench_of(every, desk, (), 1).list_tools()
    assert [tool["name"] for tool in shown] == list(TOOLS)
    usual = await workbench_of(charter, desk, (), 1).list_tools()
    assert set(TOOLS) - {tool["name"] for tool in usual} == {"turn_knob"}
    blind = await workbench_of(every, desk, (), 1, blind=True).list_tools()
    assert not {tool["name"] for tool in blind} & {*LINEAGE_TOOLS, "turn_knob"}
