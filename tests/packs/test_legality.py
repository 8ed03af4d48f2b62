"""Each profile says its rules, and every static rule that it names is code of the pack."""

from __future__ import annotations

import pytest

from recipelab.packs.load import read_pack

from .scripts import SHIPPED, loaded

THREE = ("airbench96", "parameter_golf", "nanochat_d12")


@pytest.mark.parametrize("name", THREE)
@pytest.mark.parametrize("profile", ["mini", "full"])
def test_every_profile_says_its_rules(name: str, profile: str) -> None:
    pack = read_pack(SHIPPED / name / "pack.toml", profile)
    assert len(pack.legality) >= 5
    assert all(rule.proves for rule in pack.legality)
    assert "acceptance" in {rule.by for rule in pack.legality}


@pytest.mark.parametrize("name", THREE)
def test_static_rules_are_code_of_the_pack(name: str) -> None:
    pack = read_pack(SHIPPED / name / "pack.toml", "full")
    code = {rule.__name__ for rule in loaded(name, "rules").RULES}
    named = {rule.name for rule in pack.legality if rule.by == "rules"}
    # What cannot be read breaks a rule that has no function of its own.
    assert named - {"unreadable"} == code


@pytest.mark.parametrize("name", THREE)
def test_nothing_of_upstream_is_in_the_pack(name: str) -> None:
    """Its license may allow it; our promise does not."""
    pack = read_pack(SHIPPED / name / "pack.toml", "full")
    assert pack.upstream is not None
    ours = {path.name for path in (pack.root / pack.recipe.folder).rglob("*.py")}
    assert ours == {"phases.py"}
    assert not {item.target for item in pack.upstream.files} & ours
