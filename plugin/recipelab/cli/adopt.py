"""``recipelab packs adopt``: a task pack of a repository, or a pack's next level of trust."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recipelab.cli.common import (
    FAILED,
    AsJson,
    HomeOption,
    SandboxOption,
    ShareDevices,
    Slots,
    clear_errors,
    out,
    print_json,
    run_stoppable,
    say,
    slot_count,
)
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.text import plain
from recipelab.core.trial import Trust
from recipelab.packs.judging_sections import Goal

if TYPE_CHECKING:
    from recipelab.adopt.adoption import Adopted

_GOALS = {"min": Goal.MINIMIZE, "max": Goal.MAXIMIZE, **{str(goal): goal for goal in Goal}}


def adopt(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="Folder of a repository, or its script that trains; a pack's name."
        ),
    ],
    command: Annotated[
        str | None, typer.Option(help="The command that trains and prints the score.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Name under which the score is printed, as val_loss.")
    ] = None,
    goal: Annotated[
        str | None, typer.Option(metavar="min|max", help="Which way the score is better.")
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Files that agents may change; repeatable."),
    ] = None,
    fixed: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Files that they may not; repeatable."),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="File or folder of data; repeatable."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of answers, where the script cross-validates."),
    ] = None,
    seed_arg: Annotated[
        str | None, typer.Option(metavar="--FLAG", help="Option of the command that takes a seed.")
    ] = None,
    seed_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Variable that takes the seed.")
    ] = None,
    seed_constant: Annotated[
        str | None, typer.Option(metavar="FILE:LINE", help="Line where the seed is written.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--time", min=1.0, help="Seconds that a training may take.")
    ] = None,
    level: Annotated[str, typer.Option(metavar="LEVEL", help="self-reported or protected.")] = str(
        Trust.SELF_REPORTED
    ),
    to: Annotated[
        str | None,
        typer.Option(
            metavar="protected|isolated", help="Let an adopted pack climb; PATH is its name."
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="classes|regression|ranking|causal",
            help="With --to isolated: what is predicted.",
        ),
    ] = None,
    hidden: Annotated[
        Path | None, typer.Option(help="With --to isolated: inputs that training does not see.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option(help="With --to isolated: their answers, one a line.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the pack; default the folder's.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where packs are.")] = Path("task_packs"),
    sandbox: SandboxOption = "auto",
    slots: Slots = "auto",
    share_devices: ShareDevices = False,
    home: HomeOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing; take what is offered.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a task pack of a repository: look at it, run it, run it twice more, write, check.

    Nothing in the repository is changed. Exit code 1 if the pack is not sound.
    """
    from recipelab.adopt.adoption import Adoption, Wishes

    if to is not None:
        with clear_errors():
            _climb(path, to, kind, hidden, answers, tuple(fixed or ()), as_json=as_json)
        return
    with clear_errors():
        _choice("--level", "level", level, (Trust.SELF_REPORTED, Trust.PROTECTED))
        if goal is not None:
            _choice("--goal", "goal", goal, tuple(_GOALS))
        wishes = Wishes(
            path=Path(path),
            command=command,
            metric=metric,
            goal=_GOALS[goal] if goal is not None else None,
            edit=tuple(edit or ()),
            fixed=tuple(fixed or ()),
            data=tuple(data or ()),
            target=target,
            seed_arg=seed_arg,
            seed_env=seed_env,
            seed_constant=seed_constant,
            seconds=seconds,
            level=Trust(level),
            name=name,
            packs=folder,
            sandbox=sandbox,
            slots=slot_count(slots),
            home=home,
            share_devices=share_devices,
        )
        quiet = yes or as_json or not sys.stdin.isatty()
        adoption = Adoption(wishes, ask=_default if quiet else _asked, say=say)
        adopted = run_stoppable(adoption.run())
    _print_adopted(adopted, as_json=as_json)


def _climb(
    name: str,
    to: str,
    kind: str | None,
    hidden: Path | None,
    answers: Path | None,
    fixed: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Let a pack climb, and say what is left to do."""
    from recipelab.adopt.climb import ISOLATED, KINDS, isolate, protect

    _choice("--to", "level", to, (Trust.PROTECTED, Trust.ISOLATED))
    if to == Trust.PROTECTED:
        folder, held = protect(name, fixed)
        if as_json:
            print_json({"folder": str(folder), "trust": to, "held": held})
            return
        for path, names in held.items():
            say(f"held as they are: {path}: {', '.join(names) or 'the whole file'}")
        say(f"Check it with: recipelab packs check {name}")
        return
    if kind is None:
        raise RecipelabError(f"--kind: what is predicted? valid: {', '.join(KINDS)}")
    folder, script = isolate(name, kind, hidden, answers)
    if as_json:
        print_json({"folder": str(folder), "trust": to, "profile": ISOLATED, "script": script})
        return
    say(f"Complete {script}, and have the command save to ../out what it needs.")
    say(f"It is done when this passes: recipelab packs check {name} --profile {ISOLATED}")


def _choice(option: str, what: str, given: str, valid: Sequence[str]) -> None:
    if given not in valid:
        raise RecipelabError(f"{option}: {unknown_name(what, given, valid)}")


def _default(question: str, default: str, offered: Sequence[str]) -> str:
    say(f"{question} {plain(default)}")
    return default


def _asked(question: str, default: str, offered: Sequence[str]) -> str:
    """Ask a person; an answer may be the number of what is offered."""
    for number, answer in enumerate(offered, 1):
        say(f"  {number}  {plain(answer)}")
    given: str = typer.prompt(question, default=default, err=True)
    if given.isdigit() and 1 <= int(given) <= len(offered):
        return offered[int(given) - 1]
    return given


def _print_adopted(adopted: Adopted, *, as_json: bool) -> None:
    draft = adopted.draft
    gain = adopted.smallest_gain
    if as_json:
        facts: dict[str, Any] = {
            "pack": draft.name,
            "folder": str(adopted.folder),
            "command": draft.entry.command,
            "metric": draft.metric,
            "goal": str(draft.goal),
            "seed": draft.seed.words,
            "editable": list(draft.editable),
            "data": [place.target for place in draft.data],
            "knobs": len(draft.knobs),
            "folds": draft.folds.count if draft.folds is not None else None,
            "questions": adopted.questions,
            "seconds_a_trial": adopted.trial_seconds,
            "smallest_gain": gain,
            "trust": str(adopted.trust),
            "errors": adopted.errors,
            "prior": adopted.prior,
            "notes": draft.notes,
            "seconds": adopted.seconds,
        }
        print_json(facts)
    else:
        out.print(f"pack: {adopted.folder}", markup=False)
        out.print(f"seconds a trial: {adopted.trial_seconds:.3g}", markup=False)
        seen = f"{gain:.3g}" if gain is not None else "unknown: every run measured the same"
        out.print(f"smallest gain that can be claimed: {seen}", markup=False)
        out.print(f"trust: {adopted.trust}", markup=False)
        prior = f" --prior {adopted.prior}" if adopted.prior is not None else ""
        out.print(f"Run it with: recipelab run {draft.name}{prior}", markup=False)
    if adopted.errors:
        raise typer.Exit(FAILED)
