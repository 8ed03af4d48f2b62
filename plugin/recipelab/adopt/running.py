"""Runs the training of a draft in a sandbox, as a campaign would, and reads what it printed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recipelab.adopt.draft import Draft, is_metric_name, score_key
from recipelab.adopt.writing import write_draft
from recipelab.core.trial import Phase
from recipelab.evaluation.failures import PhaseFailed
from recipelab.evaluation.integrity import FileHashes
from recipelab.evaluation.metric import folder_bytes
from recipelab.evaluation.observers import TrialObserver
from recipelab.evaluation.phases import PhaseRunner
from recipelab.evaluation.seeds import SeedSource
from recipelab.evaluation.session import slots_for
from recipelab.evaluation.workspace import Workspace
from recipelab.packs.data import ensure_data
from recipelab.packs.load import load_pack
from recipelab.plan import Plan
from recipelab.sandbox.base import PhaseResult
from recipelab.sandbox.choose import open_sandbox
from recipelab.sandbox.processes import MIB
from recipelab.sandbox.spec import load_image_spec
from recipelab.scoring.printed import LAST_LINE, LOG_FILE, printed_pairs

_HELD_OUT = ("val", "valid", "validation", "test", "eval", "cv", "dev", "heldout", "oof")
"""Words in the names of metrics that are measured on data apart from the training's."""


@dataclass(frozen=True)
class Training:
    """A run of the user's command.

    Attributes:
        result: What the sandbox measured.
        ok: Whether it ended well.
        text: All that it printed.
        output_mb: Size of what it left, in MiB.
    """

    result: PhaseResult
    ok: bool
    text: str
    output_mb: float

    def numbers(self) -> dict[str, float]:
        """Return each name that it printed with the last number behind it, likeliest first.

        The first is the likeliest metric: it is named as one, and measured on data that are held
        out.
        """
        last: dict[str, float] = {}
        for key, value in printed_pairs(self.text):
            last.pop(key, None)
            last[key] = value
        order = {key: place for place, key in enumerate(last)}
        ranked = sorted(last, key=lambda key: (*_doubts(key), -order[key]))
        return {key: last[key] for key in ranked}


def _doubts(key: str) -> tuple[bool, bool, bool]:
    """Return what speaks against a name being that of the metric."""
    words = score_key(key).split("_")
    return (
        not is_metric_name(key),
        "train" in words or "lr" in words,
        not any(word.startswith(_HELD_OUT) for word in words),
    )


async def train(
    draft: Draft,
    folder: Path,
    seed: int,
    *,
    sandbox: str,
    slots: int | None,
    share_devices: bool,
    say: Callable[[str], None],
) -> Training:
    """Write a draft, and run its training once.

    Args:
        draft: The draft.
        folder: Where it is written: an absolute path.
        seed: The seed.
        sandbox: Kind of the sandbox.
        slots: Phases at the same time; ``None`` for what the machine has.
        share_devices: Whether the run may share devices with those of campaigns.
        say: Called with what a person should know.

    Raises:
        RecipelabError: Something the user can fix: data, image, sandbox.
        SandboxError: The machinery failed.
    """
    write_draft(draft, folder)
    pack = load_pack(str(folder))
    spec = load_image_spec(pack.sandbox)
    pool = slots_for(pack, spec, Plan(pack=pack.name, slots=slots, share_devices=share_devices))
    data = await asyncio.to_thread(ensure_data, pack, say=lambda text: None)
    opened = await asyncio.to_thread(
        open_sandbox, sandbox, spec, build=True, say=say, allow_local_fallback=True
    )
    async with opened:
        with Workspace(pack, pack.baseline(), data) as workspace:
            runner = PhaseRunner(
                pack,
                opened,
                workspace,
                FileHashes(),
                labels={"campaign": f"adopt-{pack.name}", "trial": "0"},
                observer=TrialObserver(),
                nonce=SeedSource(pack).nonce,
            )
            async with pool.lease() as slot:
                try:
                    result, ok = await runner.train(seed, slot), True
                except PhaseFailed as failed:
                    result, ok = failed.result, False
            left = workspace.output(Phase.TRAIN, seed)
            return Training(result, ok, _text_in(left) or result.log, folder_bytes(left) / MIB)


def _text_in(left: Path) -> str:
    """Return what the command printed, without the line about its end."""
    log = left / LOG_FILE
    if not log.is_file():
        return ""
    return log.read_text("utf-8", "replace").rpartition(LAST_LINE)[0]
