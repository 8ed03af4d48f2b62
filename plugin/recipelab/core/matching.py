"""Lines that match a regular expression, within a bound of time: models write patterns, too.

A pattern such as ``(a+)+$`` takes ages on thirty letters, and nothing ends Python's ``re`` but the
end of its process. So the search runs in a process of its own, which is killed when its time is up.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from recipelab.core.errors import RecipelabError

SECONDS = 2.0
"""How long a search may take, the start of its process included."""

MOST_PATTERN = 500
"""Characters of a pattern at most."""

_SEARCH = """
import json, re, sys
asked = json.load(sys.stdin)
pattern, left, found, total = re.compile(asked["pattern"]), asked["most"], [], 0
for name, text in asked["texts"].items():
    for number, line in enumerate(text.split("\\n"), 1):
        if pattern.search(line):
            total += 1
            if left > 0:
                left -= 1
                found.append([name, number, line])
json.dump([found, total], sys.stdout)
"""


@dataclass(frozen=True)
class Match:
    """A line that matches.

    Attributes:
        name: The text that it is in.
        line: Its number there, from 1.
        text: The line, without its end.
    """

    name: str
    line: int
    text: str


def matching_lines(
    texts: Mapping[str, str], pattern: str, *, most: int, seconds: float = SECONDS
) -> tuple[tuple[Match, ...], int]:
    """Return the first lines in which a pattern is found, and how many there are in all.

    Args:
        texts: The texts, by name.
        pattern: A regular expression of Python's ``re``, looked for in each line by itself.
        most: How many lines to return at most.
        seconds: How long the search may take.

    Raises:
        RecipelabError: The pattern is not valid, or takes too long.
    """
    if len(pattern) > MOST_PATTERN:
        raise RecipelabError(f"the pattern has {len(pattern):,} characters; at most {MOST_PATTERN}")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise RecipelabError(f"{pattern!r} is no regular expression: {error}") from None
    asked = json.dumps({"texts": dict(texts), "pattern": pattern, "most": most})
    # Neither the user's site nor the working folder: nothing of theirs is needed.
    command = [sys.executable, "-I", "-S", "-c", _SEARCH]
    try:
        ended = subprocess.run(
            command, input=asked.encode(), capture_output=True, timeout=seconds, check=True
        )
    except subprocess.TimeoutExpired:
        raise RecipelabError(
            f"{pattern!r} takes longer than {seconds:g} seconds; write a simpler pattern, as one "
            "without a repetition inside a repetition"
        ) from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise RecipelabError(f"the search for {pattern!r} failed: {error}") from None
    found, total = json.loads(ended.stdout)
    return tuple(Match(*one) for one in found), int(total)
