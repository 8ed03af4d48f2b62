"""Who works on a campaign, and who picks the next speaker: the closed lists."""

from __future__ import annotations

from enum import StrEnum


class Arm(StrEnum):
    """Who works on a campaign; all but ``specialists`` are controls to compare with."""

    SPECIALISTS = "specialists"
    GENERIC = "generic"
    SINGLE = "single"
    NO_LINEAGE = "no-lineage"


class Speakers(StrEnum):
    """Who picks the next speaker."""

    CREDIT = "credit"
    ROUND_ROBIN = "round-robin"
    MODEL = "model"
