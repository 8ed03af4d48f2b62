"""The life of a trial: which state may follow which."""

from __future__ import annotations

from enum import StrEnum

from recipelab.core.errors import LineageError
from recipelab.core.trial import Phase, Status


class TrialState(StrEnum):
    """Where a trial stands."""

    PROPOSED = "proposed"
    QUEUED = "queued"
    RUNNING = "running"
    MEASURED = "measured"
    JUDGED = "judged"


_AFTER = {
    TrialState.PROPOSED: (TrialState.QUEUED, TrialState.JUDGED),
    TrialState.QUEUED: (TrialState.RUNNING, TrialState.JUDGED),
    TrialState.RUNNING: (
        TrialState.RUNNING,
        TrialState.MEASURED,
        TrialState.QUEUED,
        TrialState.JUDGED,
    ),
    TrialState.MEASURED: (TrialState.JUDGED, TrialState.QUEUED),
}


def next_states(state: TrialState, status: Status | None = None) -> tuple[TrialState, ...]:
    """The states that may follow; of judged trials only aborted ones may be run again.

    Args:
        state: Where the trial stands.
        status: How it ended, if it is judged.
    """
    if state is TrialState.JUDGED:
        return (TrialState.QUEUED,) if status is Status.ABORTED else ()
    return _AFTER[state]


def check_move(
    trial: str, state: TrialState, status: Status | None, then: TrialState, phase: Phase | None
) -> None:
    """Checks that a trial may go on to a state.

    Args:
        trial: The trial in words, for the message.
        state: Where it stands.
        status: How it ended, if it is judged.
        then: Where it is to go.
        phase: The phase it is to run, given for ``running`` alone.

    Raises:
        LineageError: It may not; the message names its state and the valid ones.
    """
    valid = next_states(state, status)
    if then not in valid:
        stands = f"{state} ({status})" if status else str(state)
        told = ", ".join(valid) or "(none)"
        raise LineageError(f"{trial} is {stands} and cannot become {then}; valid: {told}")
    if (phase is None) == (then is TrialState.RUNNING):
        needs = f"one of {', '.join(Phase)}" if phase is None else "none"
        raise LineageError(f"{trial}: the state {then} takes a phase: {needs}")
