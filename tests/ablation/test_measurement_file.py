"""What was measured is kept by recipe and seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipelab.ablation import MeasuredRecipe, MeasurementFile
from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import Recipe

ONE, TWO = Recipe({"r.py": "1\n"}), Recipe({"r.py": "2\n"})


def test_what_was_measured_is_there_after_a_stop(tmp_path: Path) -> None:
    file, measured = tmp_path / "folder" / "ablation.json", MeasuredRecipe({1: 1.0}, {1: 2.0})
    MeasurementFile(file, "k").put(ONE, measured)
    MeasurementFile(file, "k").put(TWO, MeasuredRecipe(failure="crashed"))
    again = MeasurementFile(file, "k")
    assert again.get(ONE) == measured
    assert again.get(TWO) == MeasuredRecipe(failure="crashed")
    assert again.get(Recipe({})) == MeasuredRecipe()
    assert MeasurementFile(file, "other").get(ONE) == MeasuredRecipe()


def test_two_that_keep_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ablation.json"
    first, second = MeasurementFile(file, "k"), MeasurementFile(file, "l")
    first.put(ONE, MeasuredRecipe({1: 1.0}, {1: 2.0}))
    second.put(ONE, MeasuredRecipe({1: 3.0}, {1: 4.0}))
    first.put(TWO, MeasuredRecipe({1: 5.0}, {1: 6.0}))
    assert MeasurementFile(file, "k").get(ONE).candidate == {1: 1.0}
    assert MeasurementFile(file, "l").get(ONE).candidate == {1: 3.0}
    assert [path.name for path in tmp_path.iterdir()] == ["ablation.json"]


def test_more_seeds_are_measured_beside_those_there_are() -> None:
    few = MeasuredRecipe({1: 1.0, 2: 2.0}, {1: 5.0, 2: 6.0})
    assert few.missing((1, 2, 3, 4)) == (3, 4)
    more = few.plus(MeasuredRecipe({3: 3.0}, {3: 7.0}))
    assert more.on((1, 3)) == MeasuredRecipe({1: 1.0, 3: 3.0}, {1: 5.0, 3: 7.0})
    assert few.plus(MeasuredRecipe(failure="crashed")) == MeasuredRecipe(failure="crashed")
    assert MeasuredRecipe(failure="crashed").missing((1, 2)) == ()


@pytest.mark.parametrize("text", ["", "[]", '{"k": {"d": {"candidate": {"x": 1}}}}'])
def test_a_file_of_something_else_is_left_alone_and_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "ablation.json"
    file.write_text(text)
    with pytest.raises(RecipelabError, match=r"ablation.json holds no measurements"):
        MeasurementFile(file, "k")
    assert file.read_text() == text
