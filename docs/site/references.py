"""Turns references of docstrings, as ``:class:`X```, into the names that they refer to."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:\w+:)+`~?\.?([^`]+)`")


class PlainReferences(griffe.Extension):
    """An extension of griffe that mkdocstrings loads."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object once it is read."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(_named, obj.docstring.value)


def _named(reference: re.Match[str]) -> str:
    target = reference[1]
    named = target.partition(" <")[0] if "<" in target else target.rpartition(".")[2]
    return f"`{named}`"
