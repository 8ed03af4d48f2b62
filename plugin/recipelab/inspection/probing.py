"""Feeds a pack's scorer what a hostile recipe may leave, and sees whether it stands."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Mapping

from recipelab.evaluation.evaluator import Evaluator
from recipelab.inspection.findings import Finding, error, ok, warning
from recipelab.pack import Pack
from recipelab.pack_measures import Goal
from recipelab.pack_phases import PhaseSpec
from recipelab.trial import Outcome, Status

_EACH = "import os,re\nfor d,_,names in os.walk('out'):\n for n in names:\n  p=os.path.join(d,n)\n"

PROBES: Mapping[str, str] = {
    "no file": "  os.unlink(p)",
    "empty files": "  open(p,'wb').close()",
    "the first half": "  b=open(p,'rb').read();open(p,'wb').write(b[:len(b)//2])",
    "bytes without sense": "  open(p,'wb').write(bytes(range(256))*64)",
    "nan for every number": (
        "  b=open(p,'rb').read();open(p,'wb').write(re.sub(rb'-?[0-9.]+(e-?[0-9]+)?',b'nan',b))"
    ),
    "a word for every number": (
        "  b=open(p,'rb').read();open(p,'wb').write(re.sub(rb'-?[0-9.]+(e-?[0-9]+)?',b'north',b))"
    ),
    "far too much": "  b=open(p,'rb').read();open(p,'ab').write(b*9+b'1\\n'*100000)",
    "a link": "  os.unlink(p);os.symlink('/etc/hostname',p)",
}
"""What is done to the files that an honest predict has left, by name."""


async def probe_scorer(evaluator: Evaluator, labels: Mapping[str, str]) -> AsyncIterator[Finding]:
    """Spoils the predictions of the baseline in several ways and has them scored.

    Args:
        evaluator: Of the pack; its baseline passes.
        labels: What it belongs to.
    """
    pack, seeds = evaluator.pack, evaluator.pack.seeds[:1]
    honest = await evaluator.measure(pack.baseline(), seeds, labels=labels)
    for name, code in PROBES.items():
        spoiled = evaluator.with_pack(_spoiled(pack, code))
        outcome = await spoiled.measure(pack.baseline(), seeds, labels=labels)
        yield _judged(name, outcome, honest, pack)


def _spoiled(pack: Pack, code: str) -> Pack:
    """The pack with a predict phase that spoils what it left."""
    honest = pack.phases.predict
    script = f"{shlex.join(honest.command)} && python -c {shlex.quote(_EACH + code)}"
    spec = PhaseSpec(command=("sh", "-c", script), data=honest.data)
    phases = pack.phases.model_copy(update={"predict": spec})
    return pack.model_copy(update={"phases": phases})


def _judged(name: str, outcome: Outcome, honest: Outcome, pack: Pack) -> Finding:
    what = f"scorer: {name}"
    if outcome.status is Status.ABORTED:
        told = "the scorer broke; answer malformed predictions with exit status 3 and a line"
        return error(what, f"{told}\n{outcome.log_tail.strip()[-600:]}")
    if outcome.status is not Status.BASELINE:
        return ok(what, f"{outcome.status}: {outcome.reason}")
    if _better(outcome, honest, pack.metric.goal):
        return error(what, f"scores {outcome.score:.5g}, better than the honest {honest.score:.5g}")
    return warning(what, f"is taken, and scores {outcome.score:.5g}")


def _better(outcome: Outcome, honest: Outcome, goal: Goal) -> bool:
    if outcome.score is None or honest.score is None:
        return False
    return goal.sign * (outcome.score - honest.score) > 0.0
