"""The options of commands that start campaigns."""

from __future__ import annotations

from typing import Annotated

import typer

from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.plan import SPEAKERS, Arm

Trials = Annotated[int | None, typer.Option(min=1, help="Trials to spend.")]
Hours = Annotated[float | None, typer.Option(min=0.001, help="Wall-clock hours to spend.")]
DeviceHours = Annotated[
    float | None, typer.Option(min=0.001, help="Hours that trials may hold GPUs or sets of cores.")
]
Tokens = Annotated[int | None, typer.Option(min=1, help="Tokens to spend on models.")]
Money = Annotated[
    float | None, typer.Option(min=0.000001, help="US dollars to spend on models with a price.")
]
Target = Annotated[float | None, typer.Option(help="Stop when the best score is this good.")]
Plateau = Annotated[
    int | None, typer.Option(min=1, help="Stop after so many trials without one kept.")
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="offline, openai:NAME, anthropic:NAME, ollama:NAME, azure:NAME or a component's "
        "FILE.json; SPECIALIST=... for one of them alone; repeatable.",
    ),
]
BaseUrl = Annotated[
    str | None, typer.Option("--base-url", help="Address of an OpenAI-compatible server.")
]
PricesOption = Annotated[
    str | None, typer.Option("--prices", help="TOML file with prices of models.")
]
Seed = Annotated[int, typer.Option(help="Seed of the offline model's choices.")]
ArmOption = Annotated[
    Arm,
    typer.Option(
        help="Who proposes; all but specialists are controls to compare with.",
    ),
]
SpecialistOption = Annotated[
    list[str] | None,
    typer.Option("--specialist", help="Charter to work with, in place of the pack's; repeatable."),
]
SpeakersOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Policy that picks the next speaker: credit (measured gains), round-robin, model, or "
        "that of another package.",
        callback=lambda name: speaker_policy(name),
    ),
]
SandboxOption = Annotated[
    str, typer.Option(help="auto, docker, or local (not isolated).", show_default=True)
]
Slots = Annotated[
    str,
    typer.Option(
        metavar="auto|N", help="Phases at the same time, each on a GPU or cores of its own."
    ),
]
ShareDevices = Annotated[
    bool, typer.Option("--share-devices", help="Let slots and campaigns share devices.")
]
Ahead = Annotated[
    int | None,
    typer.Option(min=0, help="Trials proposed before a slot is free; default as many as needed."),
]
Prior = Annotated[
    list[str] | None,
    typer.Option("--prior", help="Campaign that agents may ask as prior knowledge; repeatable."),
]
Approve = Annotated[bool, typer.Option("--approve", help="Ask before each trial.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what the campaign would take, and run nothing.")
]

AUTO = "auto"


def speaker_policy(name: str) -> str:
    """Return the name of a speaker policy.

    Raises:
        typer.BadParameter: No policy has that name; the message lists the valid ones.
    """
    if name not in SPEAKERS:
        raise typer.BadParameter(unknown_name(SPEAKERS.what, name, SPEAKERS.names()))
    return name


def slot_count(text: str) -> int | None:
    """The number of slots; ``None`` for what the machine has.

    Raises:
        RecipelabError: It is neither.
    """
    if text == AUTO:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise RecipelabError(f"--slots: {text!r} is not valid; valid: auto, or a number from 1 up")
    return int(text)
