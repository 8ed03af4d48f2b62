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
    from recipelab.trackers import Tracker

END_SECONDS = 15.0
"""How long the end of a campaign waits for trackers that are slow or down."""

STOP_SECONDS = 3.0
"""The same where the campaign was stopped: somebody waits."""


def trackers_of(campaign: Campaign) -> dict[str, Tracker]:
    """Return the trackers of a campaign's plan by how they are named, before anything runs.

    Raises:
        RecipelabError: A tracker's library is not installed, or it cannot be at its place.
    """
    specs = campaign.plan.track
    if not specs:
        return {}
    from recipelab.trackers import opened_tracker

    return {spec: opened_tracker(spec, campaign.folder) for spec in specs}


@asynccontextmanager
async def tracked(
    campaign: Campaign, trackers: Mapping[str, Tracker], warn: Callable[[str], None]
) -> AsyncIterator[None]:
    """Send a campaign's trials to trackers, as long as the context lasts.

    Args:
        campaign: The campaign.
        trackers: The trackers, by how they are named.
        warn: Called in the loop with what a person should know of a tracker that fails.
    """
    if not trackers:
        yield
        return
    from recipelab.trackers import Follower

    loop = asyncio.get_running_loop()

    def told(text: str) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(warn, text)

    followers = [
        Follower(spec, campaign.store, campaign.name, tracker, told)
        for spec, tracker in trackers.items()
    ]
    for follower in followers:
        follower.start()
    seconds = END_SECONDS
    try:
        yield
    except BaseException:
        seconds = STOP_SECONDS
        raise
    finally:
        with _papers(campaign) as papers:
            for follower in followers:
                await asyncio.to_thread(follower.end, papers, seconds / len(followers))
        await asyncio.sleep(0)  # lets the last warnings be heard


def send(campaign: CampaignReader, specs: Sequence[str]) -> dict[str, int]:
    """Send a campaign to trackers now; what they have already is left alone.

    Args:
        campaign: The campaign.
        specs: The trackers, each as ``NAME`` or ``NAME:WHERE``.

    Returns:
        How many trials were sent to each.

    Raises:
        RecipelabError: A tracker's library is not installed, it failed, or the campaign runs and
            sends its trials there itself.
    """
    from recipelab.trackers import Sender, opened_tracker

    own = () if campaign.is_imported or not campaign.is_running else campaign.plan.track
    for spec in specs:
        if spec in own:
            raise RecipelabError(
                f"campaign {campaign.name} runs, and sends its trials to {spec} itself"
            )
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
