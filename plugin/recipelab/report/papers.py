"""What a campaign leaves in its folder: the transcript and the best recipe as a patch."""

from __future__ import annotations

from pathlib import Path

from recipelab.lineage import LineageStore
from recipelab.recipe import Recipe
from recipelab.report.transcript import Format, Transcript
from recipelab.trial import Status

TRANSCRIPT, MESSAGES, PATCH = "transcript.md", "transcript.jsonl", "best.patch"


def patch_of(store: LineageStore, campaign: str, number: int) -> str:
    """The diff from the baseline to a trial's recipe, as ``git apply`` takes it.

    Raises:
        LineageError: There is no such trial.
    """
    baseline = Recipe(store.files(campaign, 0))
    return baseline.diff(Recipe(store.files(campaign, number)))


def write_papers(folder: Path, store: LineageStore, campaign: str) -> None:
    """Writes transcript and patch; a campaign without a better recipe gets no patch."""
    folder.mkdir(parents=True, exist_ok=True)
    told = Transcript(store, store.campaign(campaign))
    told.write(folder / TRANSCRIPT, Format.MARKDOWN)
    told.write(folder / MESSAGES, Format.JSONL)
    patch = folder / PATCH
    if store.counts(campaign).get(Status.KEPT):
        best = store.best(campaign)
        patch.write_text(patch_of(store, campaign, best.number), "utf-8", newline="")
    else:
        patch.unlink(missing_ok=True)
