"""A person's proposal: read, checked and recorded like any specialist's."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.text import plain
from recipelab.core.trial import Proposal
from recipelab.evaluation.proposals import Candidate, ProposalChecker, Rejected
from recipelab.exchange.git import edits_of_patch
from recipelab.exchange.metric import mark_of
from recipelab.lineage import CampaignRecord, LineageStore
from recipelab.packs.load import load_pack
from recipelab.packs.pack import Pack
from recipelab.plan import plan_of
from recipelab.report.trial import spent

HYPOTHESIS_CHARACTERS = 4_000

_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
_NOT_PEOPLE = re.compile(r"campaign|evaluator|user|selector|generalist|generic_\d+")
"""Names that stand for something else in a lineage."""


@dataclass(frozen=True)
class Request:
    """What a person submits.

    Attributes:
        patch: The change, a unified diff.
        hypothesis: Why it should help.
        expected_delta: Expected change of the metric, signed, in its unit.
        proposer: Name of the person.
        parent: Trial whose recipe is changed; ``None`` for the best.
        surface: What it is about; ``None`` if the pack has only one.
    """

    patch: bytes
    hypothesis: str
    expected_delta: float
    proposer: str
    parent: int | None
    surface: str | None


def taken(
    store: LineageStore, campaign: CampaignRecord, request: Request, *, runs: bool
) -> dict[str, Any]:
    """Checks a proposal and records it.

    Args:
        store: The lineage.
        campaign: The campaign.
        request: What is submitted.
        runs: Whether some process runs the campaign.

    Returns:
        What came of it, as plain data.

    Raises:
        RecipelabError: It is not even a trial; nothing is recorded.
    """
    if mark_of(campaign) is not None:
        raise RecipelabError(
            f"campaign {campaign.name} was imported and cannot go on, so nothing can be submitted; "
            f"start one that can ask it: recipelab run PACK --prior {campaign.name}"
        )
    if runs:
        _check_room(store, campaign)
    pack = load_pack(campaign.pack, campaign.profile)
    checker = ProposalChecker(store, campaign.name, pack, repeats=plan_of(campaign).blind)
    proposal = _proposal(store, campaign, checker, request)
    number, checked = checker.take(proposal, round_number=None)
    return _facts(campaign, number, checked, runs=runs)


def told(facts: dict[str, Any]) -> str:
    """What came of a proposal, in words."""
    head = f"trial {facts['trial']} of {facts['campaign']}"
    if facts["status"] == "rejected":
        return plain(f"{head} is rejected ({facts['kind']}): {facts['reason']}")
    return plain("\n".join([f"{head} is queued; {facts['next']}", *facts["alike"]]))


def _check_room(store: LineageStore, campaign: CampaignRecord) -> None:
    """Refuses what a running campaign has no room for; one that rests can be given more."""
    counts = store.counts(campaign.name)
    used = spent(counts) + counts.get(None, 0)
    if campaign.trials is not None and used >= campaign.trials:
        raise RecipelabError(
            f"all {campaign.trials} trials of {campaign.name} are spent or in flight; submit when "
            f"it has ended, then: recipelab resume {campaign.name} --trials {campaign.trials + 1}"
        )


def _proposal(
    store: LineageStore, campaign: CampaignRecord, checker: ProposalChecker, request: Request
) -> Proposal:
    parent = request.parent
    if parent is None:
        parent = store.best_brief(campaign.name).number
    return Proposal(
        specialist=_person(request.proposer, checker.pack),
        surface=_surface(request.surface, checker.pack),
        parent=parent,
        hypothesis=_hypothesis(request.hypothesis),
        expected_delta=_finite(request.expected_delta),
        edits=edits_of_patch(checker.recipe_of(parent), request.patch),
    )


def _person(name: str, pack: Pack) -> str:
    if not _NAME.fullmatch(name) or _NOT_PEOPLE.fullmatch(name) or name in pack.specialists:
        raise RecipelabError(
            f"--as: {name!r} is no name of a person; valid: 1 to 40 letters, digits, '.', '_' and "
            "'-' that name no agent"
        )
    return name


def _surface(name: str | None, pack: Pack) -> str:
    names = pack.surface_names
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise RecipelabError(f"say what it is about: --surface; valid: {', '.join(names)}")
    if name not in names:
        raise RecipelabError(unknown_name("surface", name, names))
    return name


def _hypothesis(text: str) -> str:
    if not text.strip() or len(text) > HYPOTHESIS_CHARACTERS:
        raise RecipelabError(
            f"--hypothesis: {len(text):,} characters are not valid; valid: 1 to "
            f"{HYPOTHESIS_CHARACTERS:,}, not blank"
        )
    return text.strip()


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise RecipelabError(f"--expected-delta: {value} is not valid; valid: a finite number")
    return value


def _facts(
    campaign: CampaignRecord, number: int, checked: Candidate | Rejected, *, runs: bool
) -> dict[str, Any]:
    facts: dict[str, Any] = {"campaign": campaign.name, "trial": number}
    if isinstance(checked, Rejected):
        return facts | {"status": "rejected", "kind": checked.kind, "reason": checked.reason}
    resume = f"recipelab resume {campaign.name}"
    then = "it is taken up within a second" if runs else f"run it with: {resume}"
    if runs and campaign.state == "paused":
        then = f"the campaign is paused; go on with: {resume}"
    return facts | {"status": "in_flight", "alike": list(checked.alike), "next": then}
