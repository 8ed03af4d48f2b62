"""The parts of a pack's check that run: the baseline, and the scorer on spoiled predictions."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import Self

from recipelab.acceptance.items import ITEM_BYTES, agreement, item_mean
from recipelab.core.trial import Outcome, Phase, SeedRun, Status
from recipelab.evaluation.calibration import calibration_of, calibration_text, smallest_claim
from recipelab.evaluation.evaluator import Evaluator
from recipelab.evaluation.failures import SCORER_FAILED
from recipelab.evaluation.metric import METRIC, PROJECTED, noise_of
from recipelab.evaluation.projection import MEASURED, projection_note
from recipelab.evaluation.seeds import SeedSource
from recipelab.evaluation.workspace import TrainedOnce
from recipelab.packs.judging_sections import SANDBOX_MEASURES
from recipelab.packs.pack import Pack
from recipelab.packs.phase_sections import PhaseSpec

FEW_SEEDS = 3
"""Seeds of a trial below which small gains are not seen."""

ITEMS_AGREE = 0.5
"""Correlation of two runs of one seed, item by item, below which their order is in doubt."""

NEAR_BUDGET = 0.7
"""Share of a time budget from which a phase is near its limit."""

NEAR_GATE = 3.0
"""Standard errors of the mean below which a value is near its gate."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class PackFinding:
    """The result of one check.

    Attributes:
        level: How bad it is: ``WARNING`` may be meant so, ``ERROR`` keeps a campaign from working.
        what: What was checked, in a few words.
        text: What was found, and what to do if it is bad.
        value: The number that it is about, where programs want it: the smallest gain that can be
            claimed, for ``noise``.
    """

    level: Level
    what: str
    text: str
    value: float | None = None

    @classmethod
    def ok(cls, what: str, text: str) -> Self:
        """Return a finding that is as it should be."""
        return cls(Level.OK, what, text)

    @classmethod
    def warning(cls, what: str, text: str) -> Self:
        """Return a finding that may be meant so."""
        return cls(Level.WARNING, what, text)

    @classmethod
    def error(cls, what: str, text: str) -> Self:
        """Return a finding that keeps a campaign from working."""
        return cls(Level.ERROR, what, text)


_EACH_FILE = (
    "import os,re\nfor d,_,names in os.walk('out'):\n for n in names:\n  p=os.path.join(d,n)\n"
)

SPOILS: Mapping[str, str] = {
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
"""The ways to spoil predictions: name, and what is done to each file that predict has left."""


async def check_runs(evaluator: Evaluator) -> AsyncIterator[PackFinding]:
    """Run the baseline, and the scorer on spoiled predictions if the baseline is sound."""
    sound = True
    with TrainedOnce() as kept:
        # Where prepare makes data, they are others in every run, and so is what was learned.
        trained = kept if evaluator.pack.phases.prepare is None else None
        async for finding in check_baseline(evaluator, trained):
            sound = sound and finding.level is not Level.ERROR
            yield finding
        if sound:
            async for finding in check_scorer(evaluator, trained):
                yield finding
            async for finding in check_goal(evaluator, trained):
                yield finding


# What the baseline tells when it runs.


async def check_baseline(
    evaluator: Evaluator, trained: TrainedOnce | None = None
) -> AsyncIterator[PackFinding]:
    """Run the baseline as a campaign does, and once more with a seed that it had.

    Args:
        evaluator: Runs it.
        trained: Keeps what the last training leaves; ``None`` to keep nothing.
    """
    pack = evaluator.pack
    # What is drawn is the same in all of a campaign; what prepare makes is not, and may matter.
    drawn = pack.phases.draw is not None and pack.phases.prepare is None
    seeds = SeedSource(pack) if drawn else None
    outcome = await evaluator.evaluate(pack.baseline(), None, seeds=seeds, labels=labels_of(pack))
    if outcome.status is not Status.BASELINE:
        failure, log = outcome.failure, outcome.log_tail.strip()
        # The reason has its numbers taken out, so that repeats can be counted.
        told = f"{failure.phase or 'machinery'}: {failure.excerpt}" if failure else outcome.reason
        log = f"\nits whole log:\n{log}" if log and log not in told else ""
        yield PackFinding.error("baseline", f"{outcome.status}: {told}{log}")
        return
    yield _check_seed(pack, outcome)
    yield PackFinding.ok(
        "baseline", f"{pack.metric.name} {outcome.score:.5g} {pack.metric.unit}".rstrip()
    )
    held = (*_check_budgets(pack, outcome), *_check_gates(pack, outcome))
    for finding in (*held, *_check_projections(pack, outcome)):
        yield finding
    calibration = calibration_of(pack, outcome.seed_runs)
    if calibration is not None:
        text, gain = calibration_text(pack, calibration), smallest_claim(pack, calibration)
        yield PackFinding(Level.OK, "noise", text, gain)
    labels = {**labels_of(pack), "purpose": "again"}
    first = outcome.seed_runs[0]
    alike = evaluator.with_pack(pack, trained=trained)
    again = await alike.measure(pack.baseline(), (first.seed,), source=seeds, labels=labels)
    yield _check_repeats(first, again)
    yield _check_items(pack, outcome.seed_runs, again)
    if pack.acceptance.deterministic:
        yield _check_deterministic(pack, outcome)
    yield await _check_control(evaluator)


async def _check_control(evaluator: Evaluator) -> PackFinding:
    """Check that the starting recipe knows nothing that it was not taught."""
    pack, what = evaluator.pack, "control"
    if pack.control is None:
        text = "there is none, so that answers in the code would be taken for learned ones"
        return PackFinding.warning(what, f"{text}; see [control]")
    labels = {**labels_of(pack), "purpose": "control"}
    outcome = await evaluator.control_run(pack.baseline(), labels=labels)
    if outcome.status is Status.BASELINE:
        return PackFinding.ok(what, outcome.reason)
    return PackFinding.error(
        what, f"the starting recipe fails it, {outcome.status}: {outcome.reason}"
    )


def _check_seed(pack: Pack, outcome: Outcome) -> PackFinding:
    """Check that another seed makes another run, as fresh seeds prove nothing otherwise."""
    runs = outcome.seed_runs
    train = pack.phases.train
    words = (*train.command, *train.environment.values())
    scores = {run.measures[METRIC] for run in runs}
    same_artifact = len({run.artifact for run in runs}) == 1 and bool(runs[0].artifact)
    if len(runs) < 2 or pack.acceptance.deterministic or (len(scores) > 1 and not same_artifact):
        return PackFinding.ok("seed", "another seed gives another run")
    what = "left the same artifact" if same_artifact else "have the same score"
    if any("{seed}" in word for word in words):
        hint = "let train draw all its random numbers from the seed that it is given"
    else:
        hint = "no word of phases.train.command, nor of its environment, holds {seed}"
    text = f"the seed changes nothing: {len(runs)} of them {what}, so fresh seeds prove nothing"
    return PackFinding.warning("seed", f"{text}; {hint}, or say acceptance.deterministic = true")


def _check_deterministic(pack: Pack, outcome: Outcome) -> PackFinding:
    """Check that the metric is the same for every seed, where the pack says so."""
    found = sorted({run.measures[METRIC] for run in outcome.seed_runs})
    if len(found) == 1:
        return PackFinding.ok(
            "deterministic", f"all {len(outcome.seed_runs)} seeds measured {found[0]:.8g}"
        )
    text = f"{pack.metric.name} was {found[0]:.8g} to {found[-1]:.8g} over the seeds"
    return PackFinding.error("deterministic", f"{text}; take deterministic out of [acceptance]")


def _check_budgets(pack: Pack, outcome: Outcome) -> Iterator[PackFinding]:
    longest: dict[Phase, float] = {}
    for run in outcome.seed_runs:
        for timing in run.timings:
            longest[timing.phase] = max(longest.get(timing.phase, 0.0), timing.wall_seconds)
    for phase, seconds in longest.items():
        budget = pack.seconds(phase)
        text = f"{phase} took up to {seconds:.1f} of {budget:g} s"
        near = seconds > NEAR_BUDGET * budget
        yield (
            PackFinding.warning("budgets", f"{text}: leave more room")
            if near
            else PackFinding.ok("budgets", text)
        )


def _check_gates(pack: Pack, outcome: Outcome) -> Iterator[PackFinding]:
    noise = noise_of(outcome.seed_runs, pack.metric)
    gates = [gate for gate in pack.gates if not gate.relative]
    for gate, result in zip(gates, outcome.gates, strict=True):
        spread = noise.measures.get(gate.measure) if noise is not None else None
        error_of_mean = spread.sd / len(pack.seeds) ** 0.5 if spread is not None else 0.0
        text = f"{gate.name}: {result.value:.5g}, limit {result.limit:g}"
        if error_of_mean and result.margin < NEAR_GATE * error_of_mean:
            errors = abs(result.margin) / error_of_mean
            how = f"only {errors:.1f} standard errors away" if result.passed else "missed"
            yield PackFinding.warning("gates", f"{text}: {how}, luck decides")
        else:
            yield PackFinding.ok("gates", text)


def _check_projections(pack: Pack, outcome: Outcome) -> Iterator[PackFinding]:
    """Hold what the baseline's preflight foretells against what its trainings measured."""
    measures = outcome.seed_runs[0].measures
    if note := projection_note(pack, measures):
        yield PackFinding.warning("projections", note)
    for name, error in pack.phases.preflight.projects.errors.items():
        projected, measured = measures.get(f"{PROJECTED}{name}"), MEASURED[name]
        found = [run.measures[measured] for run in outcome.seed_runs if measured in run.measures]
        if projected is None or not found or not (true := fmean(found)):
            continue
        off = projected / true - 1.0
        text = f"{name}: {projected:,.5g} foretold, {true:,.5g} measured ({off:+.1%}; {error:.1%})"
        if abs(off) > error:
            yield PackFinding.warning("projections", f"{text}: further off than the pack states")
        else:
            yield PackFinding.ok("projections", text)


def _check_repeats(first: SeedRun, again: Outcome) -> PackFinding:
    if not again.seed_runs:
        return PackFinding.error("repeats", f"the same seed fails the second time: {again.reason}")
    second = again.seed_runs[0]
    of_sandbox = {f"{Phase.SCORE}.{name}" for name in SANDBOX_MEASURES}
    scores = [name for name in first.measures if name.startswith(f"{Phase.SCORE}.")]
    differences = ", ".join(
        f"{name} {first.measures[name]:.6g} and {second.measures[name]:.6g}"
        for name in scores
        if name not in of_sandbox and first.measures[name] != second.measures.get(name)
    )
    if not differences:
        return PackFinding.ok("repeats", "the same seed gives the same scores")
    text = f"the same seed differs: {differences}; noise beyond the seed costs power"
    return PackFinding.warning("repeats", text)


def _check_items(pack: Pack, runs: Sequence[SeedRun], again: Outcome) -> PackFinding:
    """Tell of the items that the scorer leaves, and whether their order is always the same."""
    spec, what = pack.evaluator, "items"
    if spec.items is None:
        text = "the scorer leaves none, so that nobody knows how much a finite hidden set tells"
        return PackFinding.ok(what, f"{text}; see evaluator.items")
    found = item_mean([run.items for run in runs], fresh=spec.fresh_items)
    if found is None:
        numbers = sorted({len(run.items) // ITEM_BYTES for run in runs})
        text = f"runs have {' and '.join(map(str, numbers))} items; all must have the same ones"
        return PackFinding.error(what, text)
    text = f"{found.count:,}, their mean is {spec.items}"
    if spec.fresh_items:
        return PackFinding.ok(
            what, f"{text}; every run has others, so that seeds tell their error too"
        )
    second = again.seed_runs[0].items if again.seed_runs else b""
    agree = agreement(runs[0].items, second)
    if agree is not None and agree < ITEMS_AGREE:
        text = f"two runs of one seed hardly agree item by item (correlation {agree:.2f})"
        hint = "the scorer has to put them into one order; or say fresh_items = true"
        return PackFinding.warning(what, f"{text}: {hint}")
    return PackFinding.ok(
        what, f"{text}; so many leave a standard error of {found.error:.2g} in it"
    )


# What the scorer makes of spoiled predictions.


async def check_scorer(
    evaluator: Evaluator, trained: TrainedOnce | None = None
) -> AsyncIterator[PackFinding]:
    """Spoil the predictions of the baseline in several ways and have them scored.

    Args:
        evaluator: Runs it.
        trained: What trainings have left, so that none runs again; ``None`` to train for each.
    """
    pack, seeds, labels = evaluator.pack, evaluator.pack.seeds[:1], labels_of(evaluator.pack)
    alike = evaluator.with_pack(pack, trained=trained)
    honest = await alike.measure(pack.baseline(), seeds, labels=labels)
    for name, code in SPOILS.items():
        spoiling = evaluator.with_pack(_spoiling_pack(pack, code), trained=trained)
        outcome = await spoiling.measure(pack.baseline(), seeds, labels=labels)
        yield _scorer_finding(f"scorer: {name}", outcome, honest, pack)


async def check_goal(
    evaluator: Evaluator, trained: TrainedOnce | None = None
) -> AsyncIterator[PackFinding]:
    """Hand in the answers as predictions, where the scorer takes such files: they must win.

    Args:
        evaluator: Runs it.
        trained: As in :func:`check_scorer`.
    """
    pack = evaluator.pack
    answers = pack.phases.score.data if pack.phases.prepare is None else {}
    if not answers or not pack.metric.measure.startswith(f"{Phase.SCORE}."):
        return
    seeds, labels = pack.seeds[:1], labels_of(pack)
    alike = evaluator.with_pack(pack, trained=trained)
    honest = await alike.measure(pack.baseline(), seeds, labels=labels)
    for name in sorted(set(answers.values())):
        knowing = evaluator.with_pack(_knowing_pack(pack, name), trained=trained)
        outcome = await knowing.measure(pack.baseline(), seeds, labels=labels)
        if outcome.score is None or honest.score is None or outcome.status is not Status.BASELINE:
            continue
        better = pack.metric.goal.sign * (outcome.score - honest.score)
        text = f"{name} as predictions scores {outcome.score:.5g}, the baseline {honest.score:.5g}"
        if better < 0.0:
            hint = f"is metric.goal = {str(pack.metric.goal)!r} meant?"
            yield PackFinding.error("goal", f"{text}: the answers themselves are worse; {hint}")
        else:
            yield PackFinding.ok("goal", f"{text}; {pack.metric.goal} it is")


def _knowing_pack(pack: Pack, name: str) -> Pack:
    """Return the pack with a predict phase that hands in answers, as no other phase could."""
    honest, place = pack.phases.predict, "answers-of-the-check/answers"
    code = f"  import shutil;shutil.copyfile('{honest.upwards}{place}',p)"
    spec = _also(honest, code).model_copy(update={"data": {**honest.data, place: name}})
    phases = pack.phases.model_copy(update={"predict": spec})
    return pack.model_copy(update={"phases": phases, "warm": ()})


def _also(honest: PhaseSpec, code: str) -> PhaseSpec:
    """Return a phase that does something with each of its own files at the end."""
    each_file = _EACH_FILE.replace("'out'", f"'{honest.upwards}out'")
    script = f"{shlex.join(honest.command)} && python -c {shlex.quote(each_file + code)}"
    return honest.model_copy(update={"command": ("sh", "-c", script)})


def _spoiling_pack(pack: Pack, code: str) -> Pack:
    """Return the pack with a predict phase that spoils its own files at the end."""
    spec = _also(pack.phases.predict, code)
    phases = pack.phases.model_copy(update={"predict": spec})
    # What is imported first is imported for a script alone, and this is a shell.
    return pack.model_copy(update={"phases": phases, "warm": ()})


def _scorer_finding(what: str, outcome: Outcome, honest: Outcome, pack: Pack) -> PackFinding:
    broke = outcome.failure is not None and outcome.failure.excerpt.startswith(SCORER_FAILED)
    if outcome.status is Status.ABORTED or broke:
        text = "the scorer broke; answer malformed predictions with exit status 3 and a line"
        return PackFinding.error(what, f"{text}\n{outcome.log_tail.strip()[-600:]}")
    if outcome.status is not Status.BASELINE:
        return PackFinding.ok(what, f"{outcome.status}: {outcome.reason}")
    score, fair = outcome.score, honest.score
    if score is not None and fair is not None and pack.metric.goal.sign * (score - fair) > 0.0:
        return PackFinding.error(what, f"scores {score:.5g}, better than the honest {fair:.5g}")
    return PackFinding.warning(what, f"is accepted, and scores {score:.5g}")


def labels_of(pack: Pack) -> dict[str, str]:
    """Return the labels of what a check runs."""
    return {"campaign": f"check-{pack.name}", "trial": "0"}
