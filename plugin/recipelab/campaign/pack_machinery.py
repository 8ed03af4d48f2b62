"""What a pack needs besides its files: an image that can be built, and a launcher that works in it.

Both can be proven without the hardware of the pack: pip tells which wheels an index has, and two
processes on a CPU tell whether the launcher's processes find each other.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recipelab.core.errors import RecipelabError, SandboxError
from recipelab.core.trial import Phase
from recipelab.packs.pack import Pack
from recipelab.sandbox.base import PhaseLimits
from recipelab.sandbox.check.launcher import MEETING_SECONDS, RANKS, launcher_of, try_launcher
from recipelab.sandbox.choose import DOCKER, LOCAL, docker_daemon_error, open_sandbox, resolve_kind
from recipelab.sandbox.requirements import image_spec_of
from recipelab.sandbox.spec import ImageSpec, load_image_spec
from recipelab.sandbox.wheels import resolve_requirements

if TYPE_CHECKING:
    from recipelab.sandbox.images import ImageState

_API_SECONDS = 60

STAND_IN = "cpu"
"""The sandbox whose image stands in for one that was not built; it has PyTorch."""


SHOWN_MISSING = 5
"""Requirements that cannot be had of which all is told."""


@dataclass(frozen=True)
class Proof:
    """What was found of a part of the machinery.

    Attributes:
        what: The part.
        holds: Whether it works; ``None`` if that could not be proven here.
        text: What was found.
    """

    what: str
    holds: bool | None
    text: str


def launchers(pack: Pack) -> dict[tuple[str, ...], tuple[Phase, ...]]:
    """Return the launchers of a pack, made to start two processes, and the phases of each."""
    found: dict[tuple[str, ...], tuple[Phase, ...]] = {}
    for phase in Phase:
        launcher = launcher_of(pack.phases[phase].command)
        if launcher is not None:
            found[launcher] = (*found.get(launcher, ()), phase)
    return found


async def machinery_proofs(pack: Pack, *, sandbox: str, run: bool = True) -> AsyncIterator[Proof]:
    """Try the image and the launchers of a pack; one that has no need of them has no proofs.

    Args:
        pack: The pack; of its recipe nothing runs.
        sandbox: ``auto``, or a kind of sandbox.
        run: Whether anything may run; otherwise all is left to prove.
    """
    needed = launchers(pack)
    if not (needed or pack.hardware.gpus):
        return
    spec = image_spec_of(pack.sandbox, pack.requirements)
    if not run:
        parts = ["image"] * (sandbox != LOCAL) + ["launcher"] * bool(needed)
        for part in parts:
            yield Proof(part, None, "not tried, as nothing was to run")
        return
    if sandbox != LOCAL:
        yield await asyncio.to_thread(_image_proof, spec)
    for launcher, phases in needed.items():
        text = f"{', '.join(phases)}: "
        try:
            proof = await _launcher_proof(pack, launcher, sandbox)
        except (RecipelabError, SandboxError) as error:
            proof = Proof("launcher", None, str(error))
        yield Proof(proof.what, proof.holds, text + proof.text)


def _state_of(spec: ImageSpec) -> ImageState | None:
    """Return what the daemon has of an image; ``None`` if no daemon can tell."""
    if docker_daemon_error() is not None:
        return None
    from recipelab.sandbox.docker.containers import daemon
    from recipelab.sandbox.images import image_state

    with daemon(timeout=_API_SECONDS) as api:
        return image_state(api, spec)


def _is_there(spec: ImageSpec) -> bool:
    state = _state_of(spec)
    return state is not None and bool(state.id)


def _image_proof(spec: ImageSpec) -> Proof:
    state = _state_of(spec)
    if state is not None and state.freshness == "built":
        return Proof("image", True, f"{spec.image} is built")
    lacks = f"is built, but {state.reason}" if state is not None and state.id else "is not built"
    try:
        found = resolve_requirements(spec)
    except RecipelabError as error:
        return Proof("image", None, f"{spec.image}: {error}")
    if found.missing:
        lines = [f"{one.requirement}: {one.reason}" for one in found.missing[:SHOWN_MISSING]]
        if rest := len(found.missing) - len(lines):
            lines.append(f"and {rest} more")
        return Proof("image", False, "\n".join([f"{spec.image} cannot be built:", *lines]))
    build = f"recipelab sandbox build {spec.name}"
    if found.unproved:
        first = found.unproved[0]
        text = f"{spec.image} {lacks}, and no index tells of {first.requirement}"
        return Proof("image", None, f"{text} ({first.reason}): {build}")
    text = f"{spec.image} {lacks}; all {len(found.packages)} packages for it can be had: {build}"
    return Proof("image", True, text)


async def _launcher_proof(pack: Pack, launcher: tuple[str, ...], sandbox: str) -> Proof:
    """Try a launcher in the sandbox that will be used, or in one that differs in its image alone.

    Raises:
        RecipelabError: The sandbox cannot be had.
        SandboxError: The machinery of the sandbox failed.
    """
    kind = await asyncio.to_thread(resolve_kind, sandbox, allow_local_fallback=True)
    spec, where = image_spec_of(pack.sandbox, pack.requirements), f"in the {kind} sandbox"
    if kind == DOCKER:
        where = f"in a container of {spec.image}"
        if not await asyncio.to_thread(_is_there, spec):
            spec = load_image_spec(STAND_IN)
            if not await asyncio.to_thread(_is_there, spec):
                text = f"neither {pack.sandbox} nor {STAND_IN} is built"
                return Proof("launcher", None, f"{text}: recipelab sandbox build {pack.sandbox}")
            where = f"in a container of {spec.image}, as {pack.sandbox} is not built"
    opened = await asyncio.to_thread(
        open_sandbox, kind, spec, build=False, say=lambda text: None, allow_local_fallback=True
    )
    limits = PhaseLimits(
        seconds=MEETING_SECONDS,
        memory_mb=pack.limits.memory_mb,
        cpus=min(pack.limits.cpus, float(os.cpu_count() or 1)),
        processes=RANKS,
        pids=pack.limits.pids,
        scratch_mb=pack.limits.scratch_mb,
    )
    labels = {"campaign": f"check-{pack.name}", "trial": "0"}
    async with opened:
        meeting = await try_launcher(launcher, opened, limits, labels)
    head, _, log = meeting.text.partition("\n")
    # The Python of this machine need not be that of the one with the GPUs.
    lacking = meeting.without_torch and kind == LOCAL
    holds = None if lacking else meeting.met
    return Proof("launcher", holds, f"{head}, {where}" + (f"\n{log}" if log else ""))
