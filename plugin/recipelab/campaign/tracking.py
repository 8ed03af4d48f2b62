"""Send a campaign to trackers of experiments: while it runs, or afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from recipelab.core.errors import RecipelabError
from recipelab.core.text import shorten

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign
    from recipelab.campaign.reader import CampaignReader

END_SECONDS = 15.0
"""How long the end of a campaign waits for a tracker that is slow or down."""


@asynccontextmanager
async def tracked(
    campaign: Campaign, warn: Callable[[str], None], *, end_seconds: float = END_SECONDS
) -> AsyncIterator[None]:
    """Send a campaign's trials to the trackers of its plan, as long as the context lasts.

    Args:
        campaign: The campaign.
        warn: Called in the loop with what a person should know of a tracker that fails.
        end_seconds: How long the end may wait for all trackers.

    Raises:
        RecipelabError: A tracker's library is not installed, or it cannot be at its place.
    """
    specs = campaign.plan.track
    if not specs:
        yield
        return
    from recipelab.trackers import Follower, opened_tracker

    loop = asyncio.get_running_loop()

    def told(text: str) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(warn, text)

    trackers = [opened_tracker(spec, campaign.folder) for spec in specs]
    followers = [
        Follower(spec, campaign.store, campaign.name, tracker, told)
        for spec, tracker in zip(specs, trackers, strict=True)
    ]
    for follower in followers:
        follower.start()
    try:
        yield
    finally:
        with _papers(campaign) as papers:
            each = end_seconds / len(followers)
            for follower in followers:
                await asyncio.to_thread(follower.end, papers, each)
        await asyncio.sleep(0)  # lets the last warnings be heard


def send(campaign: CampaignReader, specs: Sequence[str]) -> dict[str, int]:
    """Send a campaign to trackers now; what they have already is left alone.

    Args:
        campaign: The campaign.
        specs: The trackers, each as ``NAME`` or ``NAME:WHERE``.

    Returns:
        How many trials were sent to each.

    Raises:
        RecipelabError: A tracker's library is not installed, or it failed.
    """
    from recipelab.trackers import Sender, opened_tracker

    trackers = {spec: opened_tracker(spec, campaign.folder) for spec in specs}
    sent: dict[str, int] = {}
    with _papers(campaign) as papers:
        for spec, tracker in trackers.items():
            sender = Sender(campaign.store, campaign.name, tracker)
            try:
                sender.finish(papers)
            except RecipelabError:
                raise
            except Exception as error:
                words = shorten(str(error) or type(error).__name__, 400)
                raise RecipelabError(
                    f"{spec} failed after {sender.sent} trials of {campaign.name}: {words}"
                ) from error
            finally:
                tracker.close()
            sent[spec] = sender.sent
    return sent


@contextmanager
def _papers(campaign: CampaignReader) -> Iterator[Mapping[str, Path]]:
    """Give the transcript of a campaign in a file that lasts as long as the context."""
    from recipelab.report.figures import TRANSCRIPT
    from recipelab.report.transcript import TranscriptFormat

    with TemporaryDirectory(prefix="recipelab-") as folder:
        file = Path(folder) / TRANSCRIPT
        if campaign.name not in {record.name for record in campaign.store.campaigns()}:
            yield {}
            return
        campaign.transcript().write(file, TranscriptFormat.MARKDOWN)
        yield {TRANSCRIPT: file}
