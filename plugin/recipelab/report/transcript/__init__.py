"""The transcript of a campaign: a review to read, or AutoGen's messages as JSON lines."""

from recipelab.report.transcript.transcript import Transcript, TranscriptFormat, format_of
from recipelab.report.transcript.turns import (
    Said,
    TranscriptCall,
    TranscriptTurn,
    jsonl,
    tied,
    turns_of,
)

__all__ = [
    "Said",
    "Transcript",
    "TranscriptCall",
    "TranscriptFormat",
    "TranscriptTurn",
    "format_of",
    "jsonl",
    "tied",
    "turns_of",
]
