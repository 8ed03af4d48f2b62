"""Commands with which people steer a campaign that runs: note, pause, submit."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from recipelab.cli.common import (
    FAILED,
    AsJson,
    HomeOption,
    NameArgument,
    NameOption,
    opened_campaign,
    out,
    print_json,
)
from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain

KILL_SECONDS, LOOK_SECONDS = 30.0, 0.2
"""How long the end of a trial is waited for, and the time between two looks."""

if TYPE_CHECKING:
    from recipelab.campaign.submitting import Submission
    from recipelab.lineage import Note


def note(
    text: Annotated[
        str | None, typer.Argument(help="What to tell; leave out to list the notes.")
    ] = None,
    to: Annotated[str | None, typer.Option(help="The specialist that it is for.")] = None,
    trial: Annotated[int | None, typer.Option(min=0, help="The trial that it is about.")] = None,
    retire: Annotated[int | None, typer.Option(min=1, help="Number of a note to retire.")] = None,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Leave a note for the specialists, who see it from their next turn on until it is retired."""
    with opened_campaign(home, name) as campaign:
        if text is not None and retire is not None:
            raise RecipelabError("leave a note, or retire one: not both at once")
        if text is None and (to is not None or trial is not None):
            raise RecipelabError("--to and --trial are for a new note: give its text")
        if text is not None:
            campaign.note(text, specialist=to, trial=trial)
        if retire is not None:
            campaign.retire_note(retire)
        notes = campaign.notes()
        if as_json:
            print_json([_note_facts(item) for item in notes])
            return
        for item in notes:
            out.print(Text(_note_line(item)), soft_wrap=True)
        if not notes:
            out.print(f"no notes in {campaign.name}", markup=False)


def _note_facts(item: Note) -> dict[str, Any]:
    facts = asdict(item)
    return facts | {key: facts[key] and str(facts[key]) for key in ("created_at", "retired_at")}


def _note_line(item: Note) -> str:
    addressee = f" to {item.specialist}" if item.specialist else ""
    about = f" on trial {item.trial}" if item.trial is not None else ""
    return f"{item.number}{addressee}{about}: {plain(item.text)}"


def pause(name: NameArgument = None, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Let a running campaign rest: trials that run go on, none is begun until it is resumed."""
    with opened_campaign(home, name) as campaign:
        campaign.pause()
        in_flight = len(campaign.store.in_flight_briefs(campaign.name))
        if as_json:
            print_json({"campaign": campaign.name, "state": "paused", "in_flight": in_flight})
            return
        out.print(
            f"Campaign {campaign.name} begins no trial; {in_flight} are queued or run to their "
            f"end. Go on with: recipelab resume {campaign.name}",
            markup=False,
        )


def stop(name: NameArgument = None, home: HomeOption = None, as_json: AsJson = False) -> None:
    """End a running campaign, as Ctrl-C does where it runs; resume goes on with it.

    Exit code 1 if it does not end within half a minute.
    """
    with opened_campaign(home, name) as campaign:
        campaign.stop()
        given_up = time.monotonic() + KILL_SECONDS
        while campaign.is_running and time.monotonic() < given_up:
            time.sleep(LOOK_SECONDS)
        has_ended = not campaign.is_running
        if as_json:
            print_json({"campaign": campaign.name, "state": campaign.record.state})
        elif has_ended:
            words = f"has stopped. Go on with: recipelab resume {campaign.name}"
            out.print(f"Campaign {campaign.name} {words}", markup=False)
        else:
            out.print(f"Campaign {campaign.name} was asked to stop, and runs still", markup=False)
        if not has_ended:
            raise typer.Exit(FAILED)


def kill(
    number: Annotated[int, typer.Argument(help="Number of the trial.")],
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """End one trial that is in flight; the campaign goes on with the others.

    It is aborted, keeps its log, costs its proposer nothing, and is not run again. Exit code 1 if
    it does not end within half a minute.
    """
    with opened_campaign(home, name) as campaign:
        campaign.kill(number)
        given_up = time.monotonic() + KILL_SECONDS
        while (record := campaign.trial(number)).in_flight and time.monotonic() < given_up:
            time.sleep(LOOK_SECONDS)
        status = None if record.outcome is None else record.outcome.status.value
        if as_json:
            print_json({"campaign": campaign.name, "trial": number, "status": status})
        else:
            words = "is still in flight: the process that runs it does not answer"
            text = f"trial {number} {words if status is None else f'has ended: {status}'}"
            out.print(text, markup=False)
        if not record.was_killed:
            raise typer.Exit(FAILED)


def submit(
    hypothesis: Annotated[str, typer.Option(help="Why the change should help.")],
    patch: Annotated[str, typer.Option(metavar="FILE|-", help="The change, as git diff has it.")],
    parent: Annotated[
        int | None, typer.Option(min=0, help="Trial whose recipe is changed; default the best.")
    ] = None,
    surface: Annotated[
        str | None, typer.Option(help="What it is about; needed if the pack has several.")
    ] = None,
    expected_delta: Annotated[
        float, typer.Option(help="Expected change of the metric, signed, in its unit.")
    ] = 0.0,
    proposer: Annotated[str, typer.Option("--as", metavar="NAME", help="Who proposes.")] = "person",
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Propose a trial, like any specialist. A running campaign takes it up within a second.

    Exit code 1 if it was rejected: it is in the lineage, and is not run.
    """
    with opened_campaign(home, name) as campaign:
        proposal = campaign.proposal(
            hypothesis,
            patch=_patch(patch),
            parent=parent,
            surface=surface,
            expected_delta=expected_delta,
            proposer=proposer,
        )
        submission = campaign.submit(proposal)
        facts = _submission_facts(campaign.name, submission)
        if as_json:
            print_json(facts)
        else:
            out.print(Text(_submission_words(facts)), soft_wrap=True)
        if submission.rejection is not None:
            raise typer.Exit(FAILED)


def _patch(file: str) -> bytes:
    from recipelab.exchange.patches import MAX_PATCH_BYTES

    if file == "-":
        return sys.stdin.buffer.read(MAX_PATCH_BYTES + 1)
    try:
        # One byte too many is enough to refuse it; a device has no end.
        with open(file, "rb") as stream:
            return stream.read(MAX_PATCH_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipelabError(f"cannot read the patch {file}: {reason}") from None


def _submission_facts(campaign: str, submission: Submission) -> dict[str, Any]:
    from recipelab.campaign.submitting import Pickup

    facts: dict[str, Any] = {"campaign": campaign, "trial": submission.number}
    if (rejection := submission.rejection) is not None:
        return facts | {"status": "rejected", "kind": rejection.kind, "reason": rejection.reason}
    following = {
        Pickup.NOW: "it is taken up within a second",
        Pickup.UNPAUSED: f"the campaign is paused; go on with: recipelab resume {campaign}",
        Pickup.RESUMED: f"run it with: recipelab resume {campaign}",
    }
    words = following[submission.pickup or Pickup.RESUMED]
    return facts | {"status": "in_flight", "alike": list(submission.alike), "next": words}


def _submission_words(facts: dict[str, Any]) -> str:
    head = f"trial {facts['trial']} of {facts['campaign']}"
    if facts["status"] == "rejected":
        return plain(f"{head} is rejected ({facts['kind']}): {facts['reason']}")
    return plain("\n".join([f"{head} is queued; {facts['next']}", *facts["alike"]]))
