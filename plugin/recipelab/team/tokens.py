"""Tokens that end what runs, one for each round."""

from __future__ import annotations

from autogen_core import CancellationToken


class RoundTokens:
    """Gives each round a token of its own, which the token of the run cancels too.

    A token of AutoGen holds every future that was ever linked to it, finished ones with all that
    they hold. One token for a campaign would keep each message of it in memory.

    Args:
        run: The token of the whole run.
    """

    def __init__(self, run: CancellationToken) -> None:
        self._run = run
        self._round = CancellationToken()
        run.add_callback(self._cancel)

    def fresh(self) -> CancellationToken:
        """A token for the next round; cancelled at once if the run is."""
        self._round = CancellationToken()
        if self._run.is_cancelled():
            self._round.cancel()
        return self._round

    def _cancel(self) -> None:
        self._round.cancel()
