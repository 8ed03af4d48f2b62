"""The transcript of a campaign: a review to read, or AutoGen's messages as JSON lines."""

from recipelab.report.transcript.lines import jsonl, tied
from recipelab.report.transcript.turns import Call, Said, Turn, turns_of
from recipelab.report.transcript.writing import Format, Transcript, format_of

__all__ = [
    "Call",
    "Format",
    "Said",
    "Transcript",
    "Turn",
    "format_of",
    "jsonl",
    "tied",
    "turns_of",
]
