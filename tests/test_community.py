"""What a repository shows its community: forms that GitHub takes, and pages whose links lead on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FORMS = sorted(
    file for file in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if file.name != "config.yml"
)
PAGES = ("README", "CONTRIBUTING", "CODE_OF_CONDUCT", "GOVERNANCE", "SECURITY")
INPUTS = {"checkboxes", "dropdown", "input", "textarea"}


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_a_form_is_one_that_github_takes(file: Path) -> None:
    form: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    assert set(form) == {"name", "description", "labels", "body"}
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    assert {item["type"] for item in fields} <= INPUTS
    names = [item["id"] for item in fields]
    assert len(names) == len(set(names))
    assert all(item["attributes"]["label"] for item in fields)
    for item in fields:
        if item["type"] in ("checkboxes", "dropdown"):
            assert item["attributes"]["options"]
        required = item.get("validations", {}).get("required")
        assert required in (None, True)


def test_there_is_a_form_for_bugs_doubts_and_packs() -> None:
    assert [file.stem for file in FORMS] == ["bug", "evidence", "pack"]


@pytest.mark.parametrize("page", [*PAGES, "docs/agent-framework", "docs/packs-by-others"])
def test_links_lead_to_what_is_there(page: str) -> None:
    file = ROOT / f"{page}.md"
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", file.read_text("utf-8"))
    assert links or page == "CODE_OF_CONDUCT"
    for link in links:
        path, _, heading = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        if heading:
            titles = re.findall(r"(?m)^#+ (.+)$", target.read_text("utf-8"))
            slugs = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in titles}
            assert heading in slugs, link
