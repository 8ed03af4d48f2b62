"""What the docstring of a class says of each of its attributes, where they are keys of a file."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"(?ms)^Attributes:\n(.*?)(?:\n(?=\S)|\Z)")
_ENTRY = re.compile(r"(?ms)^    (\w+): (.*?)(?=^    \w|\Z)")
_ROLE = re.compile(r":(?:\w+:)+`~?\.?([^`]+)`")


def key_texts(cls: type) -> dict[str, str]:
    """Return what a class says of its attributes, those that it inherits among them.

    No key of a file can be ``None``, so what is said of that is said of a key that is not set.

    Args:
        cls: A class whose docstring, and those of its bases, are in Google style.

    Returns:
        A text of one paragraph for each attribute that a section ``Attributes:`` names.
    """
    texts: dict[str, str] = {}
    # A base of another package tells of what it is made of, which are no keys.
    ours = [base for base in cls.__mro__ if base.__module__.partition(".")[0] == "recipelab"]
    for base in reversed(ours):
        section = _SECTION.search(inspect.cleandoc(base.__dict__.get("__doc__") or ""))
        entries = _ENTRY.findall(section[1]) if section else ()
        texts |= {
            name: plain_paragraph(text).replace("``None``", "unset") for name, text in entries
        }
    return texts


def summary(cls: type) -> str:
    """Return what a docstring says before its sections, as paragraphs of one line each."""
    prose = _SECTION.sub("", inspect.cleandoc(cls.__dict__.get("__doc__") or ""))
    return "\n\n".join(plain_paragraph(part) for part in prose.split("\n\n") if part.strip())


def plain_paragraph(text: str) -> str:
    """Return a paragraph of a docstring on one line, with names in place of references to them."""
    return " ".join(_ROLE.sub(_named, text).split())


def _named(reference: re.Match[str]) -> str:
    target = reference[1]
    named = target.partition(" <")[0] if "<" in target else target.rpartition(".")[2]
    return f"``{named}``"
