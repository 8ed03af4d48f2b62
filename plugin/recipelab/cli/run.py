"""``recipelab run``: dry run, questions before trials, and the end of a campaign."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from recipelab.campaign.planning import IfExists
from recipelab.cli.common import (
    FAILED,
    STOPPED,
    AnswerLines,
    AsJson,
    BaseUrl,
    HomeOption,
    ModelOption,
    PlaceOption,
    PlaceSettings,
    SandboxOption,
    ShareDevices,
    Slots,
    clear_errors,
    err,
    out,
    place_options,
    print_json,
    run_stoppable,
    say,
    slot_count,
)
from recipelab.core.errors import unknown_name
from recipelab.core.text import plain
from recipelab.plan import CREDIT, LOCAL_PLACE, SPEAKERS, Arm, KeepArtifacts

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign
    from recipelab.campaign.planning import Estimate
    from recipelab.cli.progress import Progress
    from recipelab.lineage import TrialRecord
    from recipelab.team import Ended

DEFAULT_TRIALS = 12
"""Trials of a campaign that is given no limit."""

DIFF_CHARACTERS = 8_000
"""Characters of a diff that are shown before a trial is approved."""

AcceptSelfReported = Annotated[
    bool,
    typer.Option(
        "--accept-self-reported",
        help="Let a real model work on a pack whose recipe prints its own score.",
    ),
]


def _finite(value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not valid; valid: a finite number")
    return value


Hours = Annotated[
    float | None, typer.Option(min=0.001, callback=_finite, help="Wall-clock hours to spend.")
]
DeviceHours = Annotated[
    float | None,
    typer.Option(
        min=0.001, callback=_finite, help="Hours that trials may hold GPUs or sets of cores."
    ),
]
Tokens = Annotated[int | None, typer.Option(min=1, help="Tokens to spend on models.")]
Money = Annotated[
    float | None,
    typer.Option(
        min=0.000001, callback=_finite, help="US dollars to spend on models with a price."
    ),
]
Target = Annotated[
    float | None,
    typer.Option(callback=_finite, help="Stop when the best score is this good, in its unit."),
]
Plateau = Annotated[
    int | None, typer.Option(min=1, help="Stop after so many trials without one kept.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens of one answer of a model at most; default as its provider."),
]
PricesOption = Annotated[
    str | None, typer.Option("--prices", help="TOML file with prices of models.")
]
KeepOption = Annotated[
    KeepArtifacts | None,
    typer.Option(help="Trials whose artifacts are kept; best (head and certified) by default."),
]
Ahead = Annotated[
    int | None,
    typer.Option(min=0, help="Trials proposed before a slot is free; default as many as needed."),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="TRACKER",
        help="Send trials to mlflow[:URI], wandb[:PROJECT|offline] or tensorboard[:FOLDER] as they "
        "end; repeatable.",
    ),
]


def _speaker_policy(name: str) -> str:
    if name not in SPEAKERS:
        raise typer.BadParameter(unknown_name(SPEAKERS.what, name, SPEAKERS.names()))
    return name


def run(
    pack: Annotated[str, typer.Argument(help="Name or folder of a task pack.")],
    profile: Annotated[str | None, typer.Option(help="Profile of the pack.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials to spend.")] = None,
    hours: Hours = None,
    device_hours: DeviceHours = None,
    tokens: Tokens = None,
    money: Money = None,
    target: Target = None,
    plateau: Plateau = None,
    model: ModelOption = None,
    base_url: BaseUrl = None,
    max_tokens: MaxTokens = None,
    prices: PricesOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the offline model's choices.")] = 0,
    arm: Annotated[
        Arm,
        typer.Option(help="Who proposes; all but specialists are controls to compare with."),
    ] = Arm.SPECIALISTS,
    specialist: Annotated[
        list[str] | None,
        typer.Option(
            "--specialist", help="Charter to work with, in place of the pack's; repeatable."
        ),
    ] = None,
    speakers: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Policy that picks the next speaker: credit (measured gains), round-robin, model, "
            "or one of another package.",
            callback=_speaker_policy,
        ),
    ] = CREDIT,
    sandbox: SandboxOption = "auto",
    place: PlaceOption = None,
    place_option: PlaceSettings = None,
    slots: Slots = "auto",
    share_devices: ShareDevices = False,
    ahead: Ahead = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            "--prior", help="Campaign that agents may ask as prior knowledge; repeatable."
        ),
    ] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Ask before each trial.")] = False,
    keep_artifacts: KeepOption = None,
    accept_self_reported: AcceptSelfReported = False,
    track: Track = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the campaign would take, and run nothing.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the campaign.")] = None,
    if_exists: Annotated[
        IfExists,
        typer.Option(help="continue: resume a campaign that has budget left, else start the next."),
    ] = IfExists.FAIL,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Start a campaign: specialists propose, a sandbox trains, the evaluator judges."""
    with clear_errors():
        from recipelab.budget import BudgetLimits
        from recipelab.campaign.campaign import Campaign
        from recipelab.models import OFFLINE, parse_models
        from recipelab.plan import Plan, asked

        limits = asked(
            BudgetLimits,
            trials=trials,
            hours=hours,
            device_hours=device_hours,
            tokens=tokens,
            money=money,
            target=target,
            plateau=plateau,
        )
        if not limits.bounded:
            limits = limits.model_copy(update={"trials": DEFAULT_TRIALS})
        default, own = parse_models(model or ())
        plan = asked(
            Plan,
            name=name,
            pack=pack,
            profile=profile,
            model=default or OFFLINE,
            models=dict(own),
            base_url=base_url,
            max_tokens=max_tokens,
            prices=prices,
            seed=seed,
            limits=limits,
            sandbox=sandbox,
            place=place or LOCAL_PLACE,
            place_options=place_options(place_option),
            slots=slot_count(slots),
            share_devices=share_devices,
            priors=tuple(prior or ()),
            arm=arm,
            specialists=tuple(specialist or ()),
            speakers=speakers,
            ahead=ahead,
            approve=approve,
            keep_artifacts=keep_artifacts or KeepArtifacts.BEST,
            accept_self_reported=accept_self_reported,
            track=tuple(track or ()),
        )
        if dry_run:
            _print_estimate(Campaign.estimate(plan, home=home), as_json=as_json)
            return
        with Campaign.create(plan, home=home, if_exists=if_exists, say=say) as campaign:
            run_shown(campaign, as_json=as_json)


def run_shown(campaign: Campaign, *, as_json: bool) -> None:
    """Run a campaign to its end, and print how it ended.

    Raises:
        typer.Exit: It was stopped by hand, or ended before its budget was spent.
    """
    from recipelab.cli.progress import print_summary
    from recipelab.core.logs import hide_told_errors
    from recipelab.report.trial import campaign_facts

    hide_told_errors()
    try:
        ended = run_stoppable(_shown_run(campaign, quiet=as_json))
    except KeyboardInterrupt:
        with suppress(OSError):  # The terminal may be gone.
            err.print(
                f"\nStopped. Nothing measured is lost. Go on with: recipelab resume {campaign.name}"
            )
        raise typer.Exit(STOPPED) from None
    if as_json:
        facts = campaign_facts(campaign.store, campaign.record)
        print_json(facts | {"folder": str(campaign.folder)})
    else:
        print_summary(out, campaign)
    if not ended.finished:
        text = f"The campaign stopped early: {ended.reason}."
        err.print(text, style="yellow", markup=False, soft_wrap=True)
        err.print(f"Go on with: recipelab resume {campaign.name}", markup=False)
        raise typer.Exit(FAILED)


async def _shown_run(campaign: Campaign, *, quiet: bool) -> Ended:
    from recipelab.cli.progress import Progress

    plan, task = campaign.plan, asyncio.current_task()
    with Progress(err if quiet else out, campaign.now, best=_best_of(campaign)) as progress:
        ask = Approver(progress, task.cancel) if plan.approve and task else None
        return await campaign.run(listener=progress, approve=ask)


def _best_of(campaign: Campaign) -> str:
    """Return the best so far of a campaign that goes on; empty for a new one."""
    from recipelab.cli.progress import best_words
    from recipelab.core.errors import RecipelabError

    with suppress(RecipelabError):  # The lineage has no trial of it yet.
        best = campaign.best
        if best.outcome is not None:
            return best_words(best.number, best.outcome)
    return ""


@dataclass
class Approver:
    """Asks a person on the terminal before each trial, one question at a time.

    Attributes:
        progress: The display; it is silent while a question waits.
        stop: Ends the command. It is called when standard input has ended: with nobody to ask,
            agents would propose for ever, and nothing would be tried.
    """

    progress: Progress
    stop: Callable[[], object]
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _lines: AnswerLines = field(default_factory=AnswerLines)

    async def __call__(self, record: TrialRecord) -> str | None:
        """Return ``None`` to let a trial run, or why it may not."""
        async with self._turn:
            with self.progress.silent():
                answer = await self._answer(record)
            if answer is None:
                self.progress.note("nobody is there to ask: standard input has ended")
                self.stop()
                await asyncio.Event().wait()
            return None if answer == "yes" else answer

    async def _answer(self, record: TrialRecord) -> str | None:
        """Return ``yes``, or why not; ``None`` at the end of the input."""
        self._lines.forget()
        head = f"Trial {record.number} ({record.surface} by {record.specialist})"
        diff = record.diff[:DIFF_CHARACTERS]
        rest = ""
        if len(diff) < len(record.diff):
            rest = f"\n... ({len(record.diff):,} characters in all)"
        err.print(Text(f"\n{plain(head)}\n{plain(record.hypothesis)}\n{plain(diff)}{rest}"))
        while True:
            err.print("Run it? [y]es, or say why not: ", markup=False, end="")
            line = await self._lines.next()
            if line is None:
                return None
            answer = line.strip()
            if answer.lower() in ("y", "yes"):
                return "yes"
            if answer:
                return "" if answer.lower() in ("n", "no") else answer


def _print_estimate(estimate: Estimate, *, as_json: bool) -> None:
    price = "unknown: give --prices, without a price no limit of money can be held"
    if estimate.price is not None:
        sent, received = estimate.price
        price = f"${sent:g} in, ${received:g} out a million tokens"
    none = "none of this pack in the lineage, so only bounds are known"
    facts: dict[str, Any] = {
        "pack": f"{estimate.pack} ({estimate.profile})",
        "specialists": list(estimate.specialists),
        "model": estimate.model,
        "limits": [f"{name} {value:g}" for name, value in estimate.limits.items()],
        "slots": estimate.slots,
        "trials_at_once": estimate.trials_at_once,
        "seed_runs_a_trial": estimate.seed_runs_a_trial,
        "device_hours_at_most": estimate.device_hours_at_most,
        "wall_hours_at_most": estimate.wall_hours_at_most,
        "device_hours_expected": estimate.device_hours_expected,
        "wall_hours_expected": estimate.wall_hours_expected,
        "tokens_expected": estimate.tokens_expected,
        "dollars_expected": estimate.dollars_expected,
        "price": price,
        "from_past_trials": estimate.past_trials or none,
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if value is not None:
            words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            out.print(Text(f"{name.replace('_', ' '):<26}{words}"), soft_wrap=True)
