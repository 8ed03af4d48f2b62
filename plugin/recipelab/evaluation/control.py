"""Control runs: what a recipe knows of the hidden data that it cannot have learned.

The recipe is trained once on data whose relation to the answers was destroyed, as the pack's
``[control]`` says, and predicts as always. Answers that are written into the code, or come from
anywhere but the training data, are right all the same.

A recipe that notices such a training, and then hides what it knows, passes. What it can know is
bounded by how much longer than the starting recipe it may be (``limits.recipe_growth``), and by
hidden data that are drawn from a larger pool (``phases.draw``).
"""

from __future__ import annotations

from recipelab.core.trial import Failure, FailureKind, Outcome, Phase, Standing, Status
from recipelab.evaluation.failures import PhaseFailed
from recipelab.evaluation.metric import METRIC, Incumbent
from recipelab.evaluation.seed_runs import SeedRuns
from recipelab.packs.judging_sections import Scale

CONTROLS = 2
"""Control runs in which a recipe has to know what it did not learn before it is illegal."""

SURPRISE = 10.0
"""Standard deviations of a seed run beyond which a gain is surprising."""


def is_claim(outcome: Outcome, incumbent: Incumbent, scale: Scale) -> bool:
    """Return whether a trial is kept for good, or for a surprising gain.

    It has a control run then. Any other that joins the working line is tested so at the checkpoint
    that claims it.

    Args:
        outcome: The trial's outcome.
        incumbent: What it was compared with.
        scale: The metric's scale.
    """
    evidence, noise = outcome.evidence, incumbent.noise
    if outcome.status is not Status.KEPT or evidence is None:
        return False
    if evidence.standing is not Standing.PROVISIONAL or noise is None or outcome.score is None:
        return True
    gain = abs(scale.on(outcome.score) - scale.on(incumbent.mean(METRIC)))
    return gain > SURPRISE * noise.run.sd


async def control_run(trial: SeedRuns) -> str:
    """Find out what a recipe knows of the hidden data without having learned it.

    One that seems to know something gets a second run, as a single one may be chance.

    Args:
        trial: Runs the recipe.

    Returns:
        What the last run measured, in words; empty where the pack has no control.

    Raises:
        PhaseFailed: Both runs know what was in no training data, or one of them failed.
        SandboxError: The machinery failed.
    """
    spec = trial.pack.control
    if spec is None:
        return ""
    other, words, seed = trial.controlled(), "", 0
    for seed in trial.seeds.control(trial.name, CONTROLS):
        await other.run([seed], None)
        (run,) = other.runs([seed])
        value = run.measures[spec.measure]
        words = f"{spec.measure} {value:.4g}, {spec.bound} for what knows nothing"
        if spec.holds(value):
            return f"control run: {words}"
    text = (
        "control run: the recipe was trained on data that tell nothing of the answers, and knows "
        f"them all the same: {words}"
    )
    failure = Failure(Phase.SCORE, FailureKind.RULE, "knows what it did not learn", text, seed)
    assert other.last is not None, "two runs were made"
    raise PhaseFailed(Status.ILLEGAL, failure, other.last)
