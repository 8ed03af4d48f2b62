"""Lines that match a pattern: the right ones, with their numbers, and never for long."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.core.errors import RecipelabError
from recipelab.core.matching import matching_lines


@settings(max_examples=5, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), st.text("xy\n ö", max_size=40), max_size=3))
def test_it_finds_what_re_finds(texts: dict[str, str]) -> None:
    found, total = matching_lines(texts, "x+y", most=1_000)
    wanted = [
        (name, number, line)
        for name, text in texts.items()
        for number, line in enumerate(text.split("\n"), 1)
        if re.search("x+y", line)
    ]
    assert [(one.name, one.line, one.text) for one in found] == wanted
    assert total == len(wanted)


def test_it_returns_the_first_and_counts_all() -> None:
    found, total = matching_lines({"log": "a\n" * 10}, "a", most=3)
    assert [one.line for one in found] == [1, 2, 3]
    assert total == 10


def test_a_catastrophic_pattern_ends() -> None:
    began = time.monotonic()
    with pytest.raises(RecipelabError, match=r"takes longer than 0\.5 seconds"):
        matching_lines({"log": "a" * 60 + "b"}, "(a+)+$", most=1, seconds=0.5)
    assert time.monotonic() - began < 20.0


@pytest.mark.parametrize("pattern", ["(", "*", "a{99999999999}", "(?P<1>a)"])
def test_what_is_no_pattern_is_told(pattern: str) -> None:
    with pytest.raises(RecipelabError, match="is no regular expression"):
        matching_lines({"log": "a"}, pattern, most=1)
