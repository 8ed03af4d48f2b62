"""``recipelab agents``: list, show and check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Cli

MINE = "---\nname: {name}\ntitle: My own\nsurfaces: [{surfaces}]\n---\nDo it my way.\n"


def write(project: Path, name: str, text: str) -> Path:
    """A charter file of the project."""
    file = project / "agents" / f"{name}.md"
    file.write_text(text)
    return file


def listed(cli: Cli) -> dict[str, dict[str, Any]]:
    """What ``list`` says, by name."""
    return {row["name"]: row for row in json.loads(cli("agents", "list", "--json").stdout)}


def test_list_says_where_each_comes_from(cli: Cli) -> None:
    rows = listed(cli)
    assert (rows["left"]["from"], rows["meta"]["from"]) == ("project", "shipped")
    assert rows["meta"]["surfaces"] == ["*"] and rows["meta"]["model"] is None
    shown = cli("agents", "list")
    assert shown.exit_code == 0
    assert "The left specialist" in shown.stdout and "shipped" in shown.stdout


def test_a_file_of_the_project_takes_the_place_of_a_shipped_one(cli: Cli, project: Path) -> None:
    assert "Do it my way" not in cli("agents", "show", "opt").stdout
    write(project, "opt", MINE.format(name="opt", surfaces="opt"))
    row = listed(cli)["opt"]
    assert (row["title"], row["from"], row["replaces"]) == ("My own", "project", True)
    assert "Do it my way" in cli("agents", "show", "opt").stdout
    assert "in place of the shipped one" in cli("agents", "list").stdout


def test_one_that_cannot_be_read_does_not_hide_the_others(cli: Cli, project: Path) -> None:
    write(project, "odd", "no front matter \x1b[31m")
    rows = listed(cli)
    assert "front matter" in rows["odd"]["problem"] and "left" in rows
    shown = cli("agents", "list")
    assert shown.exit_code == 0 and "not valid" in shown.stdout


def test_show_prints_keys_and_body(cli: Cli, project: Path) -> None:
    more = "model: offline\ntemperature: 0.5\ntools: [best_chain, submit_trial]\nsurfaces"
    write(project, "own", MINE.format(name="own", surfaces="left").replace("surfaces", more))
    shown = cli("agents", "show", "own").stdout
    for words in ("own: My own", "surfaces: left", "model: offline", "temperature: 0.5"):
        assert words in shown
    assert "tools: best_chain, submit_trial" in shown and "Do it my way." in shown
    assert json.loads(cli("agents", "show", "own", "--json").stdout)["temperature"] == 0.5


def test_show_with_a_pack_is_all_that_the_specialist_is_told(cli: Cli) -> None:
    shown = cli("agents", "show", "meta", "--pack", "toy")
    assert shown.exit_code == 0
    assert "# Your surfaces (left, right)" in shown.stdout
    assert "Gate size: " in shown.stdout and "Ablations" in shown.stdout
    facts = json.loads(cli("agents", "show", "meta", "--pack", "toy", "--json").stdout)
    assert facts["surfaces"] == ["left", "right"]
    assert facts["system_message"].rstrip() == shown.stdout.rstrip()


def test_what_is_shown_cannot_steer_a_terminal(cli: Cli, project: Path) -> None:
    write(project, "left", MINE.format(name="left", surfaces="left") + "\x1b[2J gone\n")
    for words in (("show", "left"), ("show", "left", "--pack", "toy"), ("list",)):
        assert "\x1b" not in cli("agents", *words).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "up"), "unknown charter 'up'; valid: "),
        (("show", "agents/up.md"), "agents/up.md: cannot be read: No such file"),
        (("show", "left", "--pack", "tiy"), "unknown task pack 'tiy'; valid: "),
        (("show", "left", "--pack", "toy", "--profile", "x"), "unknown profile 'x'; valid: "),
        (
            ("show", "opt", "--pack", "toy"),
            "charter opt: unknown surface 'opt'; valid: left, right",
        ),
        (("check", "up"), "unknown charter 'up'; valid: "),
        (("check", "--pack", "tiy"), "unknown task pack 'tiy'; valid: "),
    ],
)
def test_bad_input(cli: Cli, words: tuple[str, ...], message: str) -> None:
    result = cli("agents", *words)
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.stderr


def test_all_is_well(cli: Cli) -> None:
    result = cli("agents", "check", "--pack", "toy")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "18 charters are valid" in result.stdout
    facts = json.loads(cli("agents", "check", "left", "--json").stdout)
    assert facts == {"ok": True, "charters": ["left"], "problems": []}


def test_check_tells_every_problem_in_one_go(cli: Cli, project: Path) -> None:
    write(project, "odd", "no front matter")
    write(project, "evaluator", MINE.format(name="evaluator", surfaces="left"))
    text = MINE.format(name="mine", surfaces="left").replace("surf", "model: gone.json\nsurf")
    write(project, "mine", text)
    bad = text.replace("gone.json", "gone").replace("name: mine", "name: bad\ntemperature: 9")
    elsewhere = project / "bad.md"
    elsewhere.write_text(bad)
    result = cli("agents", "check", "--json")
    problems = json.loads(result.stdout)["problems"]
    assert result.exit_code == 2
    assert [line for line in problems if "odd.md: it must begin with front matter" in line]
    assert [line for line in problems if "charter evaluator: name:" in line]
    assert [line for line in problems if "charter mine: model: there is no file gone.json" in line]
    assert len(problems) == 3
    of_file = cli("agents", "check", "left", "./bad.md")
    assert of_file.exit_code == 2
    assert "bad.md: temperature:" in of_file.stderr and "bad.md: model:" in of_file.stderr


def test_check_of_a_pack(cli: Cli, project: Path) -> None:
    file = project / "task_packs" / "toy" / "pack.toml"
    names = 'specialists = ["left", "right"]'
    file.write_text(file.read_text().replace(names, 'specialists = ["left", "left", "up", "opt"]'))
    result = cli("agents", "check", "--pack", "toy")
    assert result.exit_code == 2
    for words in (
        "pack toy: specialists: 'left' is there twice",
        "pack toy: specialists: unknown charter 'up'; valid: ",
        "pack toy: specialists: charter opt: unknown surface 'opt'; valid: left, right",
        "pack toy: surface right: no specialist of the pack owns it",
    ):
        assert words in result.stderr
    file.write_text(file.read_text().replace('"left", "left", "up", "opt"', '"meta"'))
    assert cli("agents", "check", "--pack", "toy").exit_code == 0
