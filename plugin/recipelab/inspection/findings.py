"""What an inspection finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: How bad it is.
        what: What was looked at, in a few words.
        told: What was found, and what to do if it is bad.
    """

    level: Level
    what: str
    told: str


def ok(what: str, told: str) -> Finding:
    """Something that is as it should be."""
    return Finding(Level.OK, what, told)


def warning(what: str, told: str) -> Finding:
    """Something that may be meant so."""
    return Finding(Level.WARNING, what, told)


def error(what: str, told: str) -> Finding:
    """Something with which no campaign should begin."""
    return Finding(Level.ERROR, what, told)
