"""Files as agents read them: plain text behind a line of JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.text import read_table, with_files

TEXT = st.text(max_size=80) | st.sampled_from(["\n--- a.py\n", "{}", 'x = "\\n"\n', ""])
NAMES = st.sampled_from(["a.py", "b/c.py", "d", "\n--- a.py"])


@given(st.dictionaries(NAMES, TEXT), st.integers())
def test_what_is_written_is_read_again(files: dict[str, str], trial: int) -> None:
    assert read_table(with_files({"trial": trial}, files)) == {"trial": trial, "files": files}


@given(st.dictionaries(NAMES, st.text(min_size=1, max_size=80), min_size=1), st.integers(1, 20))
def test_what_was_cut_is_an_error(files: dict[str, str], less: int) -> None:
    whole = with_files({"trial": 1}, files)
    last = len(list(files.values())[-1])
    with pytest.raises(ValueError, match="cut"):
        read_table(whole[: -min(less, last)])


def test_a_file_is_shown_as_it_is() -> None:
    code = 'print("a\\tb")\n'
    assert with_files({"trial": 1}, {"a.py": code}) == (
        '{"trial":1,"files":{"a.py":14}}\n--- a.py\nprint("a\\tb")\n'
    )
