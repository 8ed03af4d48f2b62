"""The best recipe without some of its steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recipelab.ablation.chain import Chain, removal, removals
from recipelab.core.recipe import Recipe

BASE = {"a.py": "".join(f"x{n} = {n}\n" for n in range(8)), "b.py": "y = 1\n"}


def chain(*steps: dict[str, str]) -> Chain:
    """A chain whose steps replace texts of the recipe before."""
    recipes = [Recipe(BASE)]
    for step in steps:
        files = dict(recipes[-1].files)
        for old, new in step.items():
            path = next(path for path, text in files.items() if old in text)
            files[path] = files[path].replace(old, new)
        recipes.append(Recipe(files))
    return Chain(tuple(range(len(recipes))), tuple(recipes))


lines = st.sets(st.integers(0, 7), min_size=1, max_size=6)


@given(order=st.permutations(range(8)), count=st.integers(1, 8), gone=st.sets(st.integers(1, 8)))
def test_edits_of_other_lines_can_be_left_out_in_any_way(
    order: list[int], count: int, gone: set[int]
) -> None:
    changed = [f"x{n} = {n}\n" for n in order[:count]]
    steps = [{line: line.replace(" = ", " = 1")} for line in changed]
    whole = chain(*steps)
    left = [step for place, step in enumerate(steps, start=1) if place not in gone]
    assert whole.without(gone) == chain(*left).best
    assert whole.without(()) == whole.best


def test_a_step_that_builds_on_another_goes_with_it() -> None:
    whole = chain({"x1 = 1\n": "x1 = 5\n"}, {"y = 1": "y = 2"}, {"x1 = 5\n": "x1 = 9\n"})
    first = removal(whole, [1])
    assert first.steps == (1, 3)
    assert first.recipe.files["a.py"] == BASE["a.py"]
    assert first.recipe.files["b.py"] == "y = 2\n"
    assert [item.steps for item in removals(whole)] == [(1, 3), (2,), (3,)]


def test_a_step_that_was_undone_later_changes_nothing() -> None:
    whole = chain({"y = 1": "y = 2"}, {"x0 = 0": "x0 = 7"}, {"y = 2": "y = 1"})
    assert [item.changes for item in removals(whole)] == [False, True, True]


def test_the_last_step_alone_leads_back_to_its_parent() -> None:
    whole = chain({"y = 1": "y = 2"}, {"x0 = 0": "x0 = 7"})
    assert removal(whole, [2]).recipe == whole.recipes[1]
    assert removal(whole, [1, 2]).recipe == whole.recipes[0]
