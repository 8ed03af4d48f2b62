"""The part of the store that answers questions. It never writes, and never waits for a writer."""

from __future__ import annotations

from recipelab.lineage.reading.alike import AlikeReader
from recipelab.lineage.reading.evidence import EvidenceReader
from recipelab.lineage.reading.ledger import LedgerReader
from recipelab.lineage.reading.messages import MessageReader
from recipelab.lineage.reading.parts import PartReader
from recipelab.lineage.reading.summaries import SummaryReader
from recipelab.lineage.reading.trials import TrialReader


class LineageReader(
    TrialReader,
    SummaryReader,
    AlikeReader,
    PartReader,
    LedgerReader,
    MessageReader,
    EvidenceReader,
):
    """Answers questions about campaigns, trials and messages.

    Every method that takes the name of a campaign raises :class:`LineageError`, which lists the
    campaigns there are, if there is none of that name.

    Args:
        engine: The open database.
    """
