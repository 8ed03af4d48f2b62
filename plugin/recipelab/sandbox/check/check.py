"""Measures what a sandbox really enforces, and compares it with what it promises."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.check.judges import Judged
from recipelab.sandbox.check.phases import Measurements, Unmeasured, measure
from recipelab.sandbox.check.promises import (
    DOCKER,
    GPUS,
    LOCAL,
    NAMESPACES,
    NO_GPU,
    PROMISES,
    Promise,
)
from recipelab.sandbox.local.sandbox import IN_NAMESPACES, LocalSandbox
from recipelab.sandbox.owner import owner_identity
from recipelab.sandbox.profile import ContainerProfile

_API_SECONDS = 60


class Verdict(StrEnum):
    """What came of one promise."""

    OK = "ok"
    FAILED = "FAILED"
    NOT_PROMISED = "not promised"


@dataclass(frozen=True)
class Finding:
    """One thing that was measured.

    Attributes:
        what: What was looked at.
        promised: What it should be where it is promised.
        verdict: Whether the promise holds, if it is one.
        measured: What it is.
    """

    what: str
    promised: str
    verdict: Verdict
    measured: str


async def check_sandbox(
    sandbox: Sandbox, profile: ContainerProfile, *, core: int = 0, gpus: tuple[str, ...] = ()
) -> tuple[Finding, ...]:
    """Runs probes in a sandbox, as a recipe's phases run, and judges what they saw.

    It takes some ten seconds.

    Args:
        sandbox: A started sandbox.
        profile: What its containers should have.
        core: A core that this process may use; one probe is pinned to it.
        gpus: Ids of the GPUs to ask for.
    """
    kind = await asyncio.to_thread(kind_of, sandbox)
    seen = await measure(sandbox, profile, isolated=kind != LOCAL, core=core, gpus=gpus)
    promises = (*PROMISES, NO_GPU, *((GPUS,) if gpus else ()))
    findings = [_finding(promise, seen, kind) for promise in promises]
    if kind == DOCKER:
        findings.append(_finding(_NO_CONTAINER, seen, kind))
    return tuple(findings)


def kind_of(sandbox: Sandbox) -> str:
    """Which promises a sandbox gives: ``docker``, ``namespaces`` or ``local``."""
    if isinstance(sandbox, LocalSandbox):
        return NAMESPACES if sandbox.notice_here() == IN_NAMESPACES else LOCAL
    return sandbox.name


def _finding(promise: Promise, seen: Measurements, kind: str) -> Finding:
    try:
        holds, words = promise.judge(seen)
    except Unmeasured as error:
        holds, words = False, f"could not be measured: {error}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # The report comes from inside an image, and so can be anything.
        holds, words = False, f"the probe's report makes no sense: {error!r}"
    verdict = Verdict.OK if holds else Verdict.FAILED
    if kind not in promise.by:
        verdict = Verdict.NOT_PROMISED
    return Finding(promise.what, promise.promised, verdict, words)


def _no_container(seen: Measurements) -> Judged:
    from recipelab.sandbox.docker.client import daemon
    from recipelab.sandbox.docker.containers import list_containers

    with daemon(timeout=_API_SECONDS) as api:
        left = [found for found in list_containers(api) if found.owner == owner_identity()]
    return not left, ", ".join(container.short_id for container in left) or "none"


_NO_CONTAINER = Promise("containers left", "none", _no_container)
