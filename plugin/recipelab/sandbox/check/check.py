"""Checks a sandbox: runs probes in it, as a recipe's phases run, and holds it to its promises."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum

from recipelab.sandbox.base import Sandbox
from recipelab.sandbox.check.measure import Measurements, MissingMeasurement, measure
from recipelab.sandbox.check.promises import GPUS, NO_GPU, PROMISES, Isolation, Promise, Ruling
from recipelab.sandbox.choose import DOCKER
from recipelab.sandbox.local.sandbox import IN_NAMESPACES, LocalSandbox
from recipelab.sandbox.processes import owner_identity
from recipelab.sandbox.spec import ContainerProfile

_API_SECONDS = 60


class PromiseVerdict(StrEnum):
    """Whether a promise holds."""

    OK = "ok"
    FAILED = "FAILED"
    NOT_PROMISED = "not promised"


@dataclass(frozen=True)
class PromiseFinding:
    """What was measured of one promise.

    Attributes:
        what: Its subject.
        promised: What it should be.
        verdict: Whether it holds, or that this sandbox does not promise it.
        measured: What it is.
    """

    what: str
    promised: str
    verdict: PromiseVerdict
    measured: str


async def check_sandbox(
    sandbox: Sandbox, profile: ContainerProfile, *, core: int = 0, gpus: tuple[str, ...] = ()
) -> tuple[PromiseFinding, ...]:
    """Run probes in a sandbox, and hold what they measured against what it promises.

    It takes some ten seconds.

    Args:
        sandbox: A started sandbox.
        profile: What its containers should have.
        core: A core that this process may use; one probe is pinned to it.
        gpus: Ids of the GPUs to ask for.
    """
    isolation = await asyncio.to_thread(isolation_of, sandbox)
    isolated = isolation is not Isolation.NONE
    sentry = isolation is Isolation.SENTRY
    measurements = await measure(
        sandbox, profile, isolated=isolated, core=core, gpus=gpus, sentry=sentry
    )
    promises = [*PROMISES, NO_GPU, *((GPUS,) if gpus else ())]
    if sandbox.name == DOCKER:
        promises.append(_NO_CONTAINER)
    return tuple(_finding(promise, measurements, isolation) for promise in promises)


def isolation_of(sandbox: Sandbox) -> Isolation:
    """Return how far a sandbox isolates here; its promises go by that."""
    if sandbox.name == DOCKER:
        return Isolation.SENTRY if getattr(sandbox, "sentry", False) else Isolation.CONTAINER
    if isinstance(sandbox, LocalSandbox):
        isolated = sandbox.notice() == IN_NAMESPACES
    else:
        isolated = sandbox.isolated
    return Isolation.NAMESPACES if isolated else Isolation.NONE


def _finding(promise: Promise, measurements: Measurements, isolation: Isolation) -> PromiseFinding:
    try:
        holds, text = promise.rule(measurements)
    except MissingMeasurement as error:
        holds, text = False, f"could not be measured: {error}"
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # The report comes from inside an image, and so can be anything.
        holds, text = False, f"the probe's report makes no sense: {error!r}"
    verdict = PromiseVerdict.OK if holds else PromiseVerdict.FAILED
    if isolation not in promise.by:
        verdict = PromiseVerdict.NOT_PROMISED
    return PromiseFinding(promise.what, promise.promised, verdict, text)


def _no_container(measurements: Measurements) -> Ruling:
    from recipelab.sandbox.docker.containers import daemon, list_containers

    with daemon(timeout=_API_SECONDS) as api:
        left = [found for found in list_containers(api) if found.owner == owner_identity()]
    return not left, ", ".join(container.short_id for container in left) or "none"


_NO_CONTAINER = Promise("containers left", "none", _no_container)
