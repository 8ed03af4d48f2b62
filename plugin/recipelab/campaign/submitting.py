"""Proposals from outside the group chat: from people, from scripts and from tests."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from recipelab.core.errors import BudgetSpent, RecipelabError, unknown_name
from recipelab.core.trial import Edit, Proposal
from recipelab.evaluation.proposals import ProposalChecker, Rejected
from recipelab.exchange.patches import edits_of_patch
from recipelab.packs.pack import Pack

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign

HYPOTHESIS_CHARACTERS = 4_000

_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
_RESERVED = re.compile(r"campaign|evaluator|user|selector|generalist|generic_\d+")
"""Names that stand for an agent or a part of the campaign in every lineage."""


class Pickup(StrEnum):
    """What makes a submitted trial run."""

    NOW = "now"
    """The campaign runs: the trial is taken up within a second."""
    UNPAUSED = "unpaused"
    """The campaign runs but is paused: the trial waits until that is over."""
    RESUMED = "resumed"
    """No process runs the campaign: the trial waits until one resumes it."""


@dataclass(frozen=True)
class Submission:
    """What came of a proposal. Rejected ones have a number too: they are in the lineage.

    Attributes:
        number: The trial's number.
        rejection: Why it is not tried; ``None`` if it is queued.
        alike: Earlier trials with an edit like this one, a line each.
        pickup: What makes it run; ``None`` if it was rejected.
    """

    number: int
    rejection: Rejected | None
    alike: tuple[str, ...]
    pickup: Pickup | None


def checked_proposal(
    campaign: Campaign,
    hypothesis: str,
    *,
    edits: Sequence[Edit],
    patch: bytes | None,
    parent: int | None,
    surface: str | None,
    expected_delta: float,
    proposer: str,
) -> Proposal:
    """Make a proposal of what a person or a script gives; see :meth:`Campaign.proposal`.

    Raises:
        RecipelabError: An argument is not valid, or the patch does not apply. The message lists
            the valid choices.
    """
    pack = campaign.pack
    check_proposer(campaign, proposer)
    if not hypothesis.strip() or len(hypothesis) > HYPOTHESIS_CHARACTERS:
        raise RecipelabError(
            f"hypothesis: {len(hypothesis):,} characters are not valid; valid: 1 to "
            f"{HYPOTHESIS_CHARACTERS:,}, not blank"
        )
    if not math.isfinite(expected_delta):
        raise RecipelabError(
            f"expected delta: {expected_delta} is not valid; valid: a finite number"
        )
    about = _checked_surface(surface, pack)
    number = campaign.store.best_brief(campaign.name).number if parent is None else parent
    if patch is not None:
        if edits:
            raise RecipelabError("give edits or a patch, not both")
        files = proposal_checker(campaign).recipe_of(number)
        edits = edits_of_patch(files, patch, campaign.text_forms())
    return Proposal(
        specialist=proposer,
        surface=about,
        parent=number,
        hypothesis=hypothesis.strip(),
        expected_delta=expected_delta,
        edits=tuple(edits),
    )


def check_proposer(campaign: Campaign, name: str) -> None:
    """Check the name of somebody who is none of the campaign's agents.

    Raises:
        RecipelabError: It is no name, or an agent has it.
    """
    agents = (*campaign.pack.specialists, *campaign.plan.specialists)
    if not _NAME.fullmatch(name) or _RESERVED.fullmatch(name) or name in agents:
        raise RecipelabError(
            f"proposer: {name!r} is not the name of a person; valid: 1 to 40 letters, digits, "
            "'.', '_' and '-', and not the name of an agent"
        )


def _checked_surface(name: str | None, pack: Pack) -> str:
    names = pack.surface_names
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise RecipelabError(
            f"the pack has several surfaces, so give a surface; valid: {', '.join(names)}"
        )
    if name not in names:
        raise RecipelabError(unknown_name("surface", name, names))
    return name


def proposal_checker(campaign: Campaign) -> ProposalChecker:
    """Return what checks proposals of a campaign and records them, in this or any process."""
    return ProposalChecker(
        campaign.store, campaign.name, campaign.pack, repeats=campaign.plan.blind
    )


def check_room(campaign: Campaign) -> None:
    """Make sure that a campaign that another process runs has room for one more trial.

    A campaign that no process runs can be resumed with a larger budget, so it takes any.

    Raises:
        BudgetSpent: All its trials are spent or in flight.
    """
    limit = campaign.record.trials
    if limit is None or not campaign.is_running:
        return
    counts = campaign.store.counts(campaign.name)
    used = sum(n for status, n in counts.items() if status is None or status.counts)
    if used >= limit:
        raise BudgetSpent(
            f"all {limit} trials of {campaign.name} are spent or in flight; submit when it has "
            f"ended, then: recipelab resume {campaign.name} --trials {limit + 1}"
        )


def submit_to_lineage(campaign: Campaign, proposal: Proposal) -> Submission:
    """Check a proposal and write it to the lineage, where the process that runs trials finds it.

    Raises:
        BudgetSpent: The campaign runs, and all its trials are spent or in flight. A campaign that
            does not run can be resumed with more.
    """
    check_room(campaign)
    number, checked = proposal_checker(campaign).take(proposal, round_number=None)
    if isinstance(checked, Rejected):
        return Submission(number, checked, (), None)
    runs = campaign.is_running
    pickup = Pickup.NOW if runs else Pickup.RESUMED
    if runs and campaign.is_paused:
        pickup = Pickup.UNPAUSED
    return Submission(number, None, checked.alike, pickup)
