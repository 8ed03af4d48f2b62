"""The seeds of a campaign, and the secret numbers of its hidden rounds: nobody can foresee them."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from dataclasses import dataclass, field
from secrets import token_bytes

from recipelab.packs.pack import Pack

NONCE_BITS = 48
"""Size of the random number that prepare gets. A float holds it exactly, so it can be recorded."""

AGAIN = 4
"""Fresh seeds of a trial whose recipe was measured before."""

_SEEDS = 2**31
"""Seeds fit into a signed integer of 32 bits, which every library takes."""

_SECRET_BYTES = 16


def new_secret() -> bytes:
    """Return a secret for a campaign."""
    return token_bytes(_SECRET_BYTES)


@dataclass(frozen=True)
class SeedSource:
    """Draws the seeds of one campaign from its secret.

    Every list follows from the secret and from what it is for, by HMAC-SHA256. So what was
    interrupted is repeated as it was, a longer list begins with the shorter one, and whoever does
    not have the secret, which stays in the lineage, can foresee nothing. Without a secret given,
    one is drawn that lasts as long as the object.

    Attributes:
        pack: The campaign's pack.
        campaign: Name of the campaign; empty outside of any.
        secret: The campaign's secret.
        again: Whether they are for a recipe that was measured before, and is to be known better.
    """

    pack: Pack
    campaign: str = ""
    secret: bytes = field(default_factory=new_secret, repr=False)
    again: bool = False

    def fresh(self, purpose: str, count: int, taken: Collection[int] = ()) -> tuple[int, ...]:
        """Return seeds for a purpose.

        Args:
            purpose: What they are for, as ``confirm/7/0``.
            count: How many.
            taken: Seeds that may not be among them, beside the pack's own.
        """
        found: list[int] = []
        position = 0
        while len(found) < count:
            seed = self._number(f"{purpose}/{position}") % _SEEDS
            if seed not in taken and seed not in found and seed not in self.pack.seeds:
                found.append(seed)
            position += 1
        return tuple(found)

    def calibration(self) -> tuple[int, ...]:
        """Return the seeds of the baseline: the pack's, and as many more as calibration asks."""
        missing = self.pack.acceptance.calibration - len(self.pack.seeds)
        return (*self.pack.seeds, *self.fresh("calibration", max(0, missing)))

    def screening(self, best: int, trial: str, *, shared: bool) -> tuple[int, ...]:
        """Return the seeds that a challenger of the best is screened on.

        A best that was kept on some seeds was lucky on them, so its challengers are not compared
        with it on these. Side by side that cannot happen, as it runs anew beside every trial.

        Args:
            best: Number of the best; the pack's own seeds are for the challengers of the baseline.
            trial: Number of the challenger.
            shared: Whether all challengers run the same ones, so that the best runs them once.
        """
        if self.again:
            return self.fresh(f"again/{trial}", AGAIN)
        if best == 0 or self.pack.metric.side_by_side:
            return self.pack.seeds
        purpose = f"screen/{best}" if shared else f"screen/{best}/{trial}"
        return self.fresh(purpose, len(self.pack.seeds))

    def confirmation(
        self, trial: str, count: int, taken: Collection[int], *, best: int
    ) -> tuple[int, ...]:
        """Return the fresh seeds of a trial; more of them begin with the fewer.

        Args:
            trial: Number of the trial.
            count: How many.
            taken: The seeds of its screening.
            best: Number of what it is compared with: a trial that is merged onto a new best was
                chosen by the seeds that it ran before.
        """
        return self.fresh(f"confirm/{trial}/{best}", count, taken)

    def checkpoint(self, position: int, count: int) -> tuple[int, ...]:
        """Return the fresh seeds of a checkpoint, by its place among those of the campaign."""
        return self.fresh(f"checkpoint/{position}", count)

    def certification(self, attempt: int, count: int | None = None) -> tuple[int, ...]:
        """Return the seeds of a certification; no trial and no other certification has them.

        Args:
            attempt: Its place among the certifications of the campaign.
            count: How many; ``None`` for as many as the pack asks for.
        """
        return self.fresh(f"certify/{attempt}", count or self.pack.certify.seeds)

    def ablation(self, count: int) -> tuple[int, ...]:
        """Return the seeds of all recipes of an ablation.

        They are fresh: on the seeds that it was chosen by, the best looks better than it is.
        """
        return self.fresh("ablate", count)

    def is_check(self, trial: str) -> bool:
        """Return whether a trial's runs go on where their curves would have them stopped.

        One trial in twenty: what comes of these tells what stopping costs.
        """
        return self._number(f"check/{trial}") % 20 == 0

    def nonce(self, seed: int) -> int:
        """Return the secret number of a seed run, which trial and best of that seed share.

        So the hidden round is the same for both, and their difference is free of its luck.
        """
        return self._number(f"nonce/{seed}") % (1 << NONCE_BITS)

    def control(self, trial: str, count: int) -> tuple[int, ...]:
        """Return the seeds of the control runs of a trial's recipe."""
        return self.fresh(f"control/{trial}", count)

    @property
    def secret_number(self) -> int:
        """The campaign's secret number, by which its hidden data are drawn."""
        return self._number("draw") % (1 << NONCE_BITS)

    def _number(self, purpose: str) -> int:
        text = f"{self.pack.name}/{self.campaign}/{purpose}".encode()
        digest = bytes(hmac.digest(self.secret, text, "sha256"))
        return int.from_bytes(digest[:8], "big", signed=False)
