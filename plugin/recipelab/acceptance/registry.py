"""Acceptance policies by name, as packs ask for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from recipelab.acceptance.confirmed import Confirmed
from recipelab.acceptance.line import Line
from recipelab.acceptance.policy import Acceptance
from recipelab.acceptance.simple import KeepIfBetter, PairedTwoSigma
from recipelab.packs.judging_sections import ACCEPTANCE_POLICIES, AcceptanceSpec

AcceptanceFactory = Callable[[AcceptanceSpec], Acceptance]
"""Makes a policy from the ``[acceptance]`` section of a pack.

This is what an entry point of the group ``recipelab.acceptance`` refers to: a function, or a class
whose constructor takes the section. The name of the entry point is the policy's name in
``pack.toml``.
"""


def acceptance_policy(spec: AcceptanceSpec) -> Acceptance:
    """Return the policy that a pack asks for.

    Raises:
        RecipelabError: No policy has that name, or the distribution that brings it cannot be
            imported.
    """
    return cast("AcceptanceFactory", ACCEPTANCE_POLICIES.get(spec.policy))(spec)


def line(spec: AcceptanceSpec) -> Line:
    """Return the default policy with the false-keep rate, the looks and the lead of the pack."""
    return Line(
        false_keep_rate=spec.false_keep_rate,
        looks=spec.confirm,
        fresh=spec.fresh,
        lead=spec.lead,
    )


def confirmed(spec: AcceptanceSpec) -> Confirmed:
    """Return the policy that confirms every keep, with the rate and the looks of the pack."""
    return Confirmed(false_keep_rate=spec.false_keep_rate, looks=spec.confirm)


def paired_two_sigma(spec: AcceptanceSpec) -> PairedTwoSigma:
    """Return the policy that keeps a gain of more than two standard errors."""
    return PairedTwoSigma()


def keep_if_better(spec: AcceptanceSpec) -> KeepIfBetter:
    """Return the policy that keeps a candidate whose mean is better at all."""
    return KeepIfBetter()
