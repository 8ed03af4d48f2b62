"""Commands that look at a campaign: trials, show, lineage, stats, transcript, campaigns."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.live import Live
from rich.text import Text

from recipelab.cli.common import (
    AsJson,
    Force,
    HomeOption,
    NameArgument,
    NameOption,
    clear_errors,
    opened_campaign,
    out,
    print_json,
    print_json_rows,
)
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.text import plain
from recipelab.core.trial import FailureKind, Standing, Status

if TYPE_CHECKING:
    from recipelab.campaign.campaign import Campaign
    from recipelab.report.transcript import Transcript, TranscriptFormat

T = TypeVar("T", Status, Standing, FailureKind)

WATCH_SECONDS = 1.0
"""How often what runs is drawn anew."""

SHOWN_TRIALS = 200
"""Trials in a table unless ``--limit`` says how many."""


def trials(
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Newest trials to show; default 200, with --json all."),
    ] = None,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """List the trials of a campaign, the oldest first."""
    from recipelab.cli.progress import print_trials
    from recipelab.report.trial import campaign_facts, trial_facts

    with opened_campaign(home, name) as campaign:
        if as_json:
            records = campaign.newest_trials(limit) if limit else campaign.each_trial()
            facts = campaign_facts(campaign.store, campaign.record)
            print_json_rows((trial_facts(record) for record in records), facts)
            return
        print_trials(out, campaign, limit or SHOWN_TRIALS)


def show(
    number: Annotated[int, typer.Argument(help="Number of the trial; 0 is the baseline.")],
    log: Annotated[
        str | None,
        typer.Option(help="Print the logs of this phase, as train or preflight, or of all."),
    ] = None,
    seen: Annotated[
        bool, typer.Option("--seen", help="Print what its proposer was shown when the turn began.")
    ] = False,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Show one trial: hypothesis, diff, phases, failure and log."""
    if seen:
        with opened_campaign(home, name) as campaign:
            text = campaign.seen(number)
        if as_json:
            print_json({"trial": number, "seen": text})
        else:
            out.print(Text(plain(text)), soft_wrap=True)
        return
    if log is not None:
        _show_logs(number, log, name, home, as_json=as_json)
        return
    from recipelab.lineage.campaigns import heading_of
    from recipelab.report.live import phase_facts, phases_view
    from recipelab.report.trial import trial_facts, trial_sheet

    with opened_campaign(home, name) as campaign:
        # The phases first: a trial that ends in between has its outcome then.
        phases = campaign.running_phases(number)
        record = campaign.trial(number)
        if as_json:
            running = {"running": [phase_facts(one) for one in phases]} if phases else {}
            print_json(trial_facts(record, full=True) | running)
            return
        if heading := heading_of(campaign.record):
            out.print(Text(heading), style="yellow", soft_wrap=True)
        out.print(trial_sheet(record, unit=campaign.metric.unit))
        if phases:
            out.print(phases_view(phases))


def _show_logs(
    number: int, phase: str, name: str | None, home: Path | None, *, as_json: bool
) -> None:
    """Print what the phases of a trial printed."""
    with opened_campaign(home, name) as campaign:
        logs = campaign.logs(number)
        found = [one for one in logs if phase in ("all", one.phase)]
        if not found:
            names = (*sorted({one.phase for one in logs}), "all")
            valid = f"valid: {', '.join(names)}" if logs else "none of its logs is kept here"
            raise RecipelabError(f"trial {number} has no log of {phase!r}; {valid}")
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        seed = "" if one.seed is None else f", seed {one.seed}"
        out.print(Text(f"{one.phase}{seed}", style="bold"))
        out.print(Text(one.text), soft_wrap=True)


def watch(
    number: Annotated[
        int | None, typer.Argument(help="Number of the trial; default all that run.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Print what runs once, on a terminal, too.")
    ] = False,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Look at a campaign that runs: scores, floor, slots, logs, queue, outcomes, what will end it.

    On a terminal it is drawn anew every second until the trial or the campaign ends; Ctrl-C leaves
    it, and the campaign goes on. Elsewhere the phases that run are printed once.
    """
    from recipelab.report.live import phase_facts, phases_view

    with opened_campaign(home, name) as campaign:
        if number is not None:
            campaign.trial(number)  # raises for one that does not exist
        phases = campaign.running_phases(number)
        if as_json:
            print_json([phase_facts(one) for one in phases])
            return
        what = campaign.name if number is None else f"trial {number} of {campaign.name}"
        if not phases and not _is_awaited(campaign, number):
            out.print(f"{what}: nothing runs right now", markup=False)
        elif once or not out.is_terminal:
            out.print(phases_view(phases))
        else:
            _follow(campaign, number)


def _follow(campaign: Campaign, number: int | None) -> None:
    """Draw a campaign, or one of its trials, until that has ended or the user leaves."""
    from recipelab.report.live import phases_view
    from recipelab.report.watch import CampaignWatch

    watched = CampaignWatch(campaign)
    with suppress(KeyboardInterrupt), Live(console=out, auto_refresh=False) as live:
        while goes_on := _is_awaited(campaign, number):
            drawn = watched.picture() if number is None else None
            live.update(drawn or phases_view(campaign.running_phases(number)), refresh=True)
            time.sleep(WATCH_SECONDS)
        if number is None and not goes_on:
            live.update(watched.picture(), refresh=True)


def _is_awaited(campaign: Campaign, number: int | None) -> bool:
    """Return whether a trial, or any, may still have something to show."""
    if not campaign.is_running:
        return False
    return number is None or campaign.store.brief(campaign.name, number).status is None


def lineage(
    status: Annotated[list[str] | None, typer.Option(help="Only trials that ended so.")] = None,
    standing: Annotated[
        list[str] | None, typer.Option(help="Only kept trials that are proven so well.")
    ] = None,
    surface: Annotated[list[str] | None, typer.Option(help="Only these surfaces.")] = None,
    specialist: Annotated[list[str] | None, typer.Option(help="Only these specialists.")] = None,
    failure_kind: Annotated[list[str] | None, typer.Option(help="Only these failures.")] = None,
    signature: Annotated[str | None, typer.Option(help="Text in the signature.")] = None,
    parent: Annotated[int | None, typer.Option(help="Only children of this trial.")] = None,
    ancestor: Annotated[int | None, typer.Option(help="Only descendants of this trial.")] = None,
    min_score: Annotated[
        float | None, typer.Option(help="Only scores from here up, in the metric's unit.")
    ] = None,
    max_score: Annotated[
        float | None, typer.Option(help="Only scores up to here, in the metric's unit.")
    ] = None,
    since: Annotated[datetime | None, typer.Option(help="Only proposed since (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only proposed before (UTC).")] = None,
    text: Annotated[str | None, typer.Option(help="Words anywhere in the trial.")] = None,
    order: Annotated[str, typer.Option(help="newest, oldest, best or worst.")] = "newest",
    limit: Annotated[int, typer.Option(min=1, max=200, help="Trials to show.")] = 50,
    offset: Annotated[
        int, typer.Option(min=0, help="Trials to pass over before the first that is shown.")
    ] = 0,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Ask the lineage, with the filters that agents have."""
    from recipelab.lineage import TrialFilter
    from recipelab.lineage.campaigns import headed
    from recipelab.report.trial import trial_facts, trials_table

    with opened_campaign(home, name) as campaign:
        wanted = TrialFilter(
            statuses=tuple(_choices("status", status, Status)),
            standings=tuple(_choices("standing", standing, Standing)),
            surfaces=tuple(surface or ()),
            specialists=tuple(specialist or ()),
            failure_kinds=tuple(_choices("failure kind", failure_kind, FailureKind)),
            signature=signature,
            parent=parent,
            ancestor=ancestor,
            min_score=min_score,
            max_score=max_score,
            since=since,
            until=until,
            text=text,
            order=order,
            limit=limit,
            offset=offset,
        )
        page = campaign.trials(wanted)
        if as_json:
            rows = [trial_facts(record) for record in page.items]
            print_json({"total": page.total, "capped": page.capped, "rows": rows})
            return
        total = f"{page.total} or more" if page.capped else str(page.total)
        title = f"{len(page.items)} of {total} matching trials of {campaign.name}"
        title = headed(title, campaign.record)
        unit = campaign.metric.unit
        out.print(trials_table(page.items, unit=unit, title=title, width=out.width))


def _choices(what: str, given: list[str] | None, kind: type[T]) -> list[T]:
    values = {item.value: item for item in kind}
    for name in given or ():
        if name not in values:
            raise RecipelabError(unknown_name(what, name, values))
    return [values[name] for name in given or ()]


def stats(name: NameArgument = None, home: HomeOption = None, as_json: AsJson = False) -> None:
    """Figures of a campaign: statuses, best so far, failures, chains, time, near misses, ideas."""
    from recipelab.lineage.campaigns import heading_of
    from recipelab.report.figures import figures

    with opened_campaign(home, name) as campaign:
        facts = campaign.stats()
        if as_json:
            print_json(facts)
            return
        if heading := heading_of(campaign.record):
            out.print(Text(heading), style="yellow", soft_wrap=True)
        for part in figures(facts):
            out.print(part)


def transcript(
    round_number: Annotated[
        int | None, typer.Option("--round", help="Only the round of this number.")
    ] = None,
    trial: Annotated[
        int | None, typer.Option("--trial", help="Only the turns that tell of this trial.")
    ] = None,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="text|markdown|html|jsonl",
            help="Default: by the ending of --output; else text on a terminal, Markdown elsewhere.",
        ),
    ] = None,
    views: Annotated[
        bool, typer.Option("--views", help="Tell what each turn was shown when it began, too.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this FILE.")
    ] = None,
    force: Force = False,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Print the group chat: who proposed what and why, what was asked, what came of it."""
    from recipelab.exchange.replacing import replacing
    from recipelab.report.transcript import format_of

    with clear_errors():
        if round_number is not None and trial is not None:
            raise RecipelabError(
                "--round and --trial: give one of them; a trial belongs to a round"
            )
        if as_json and (format_name is not None or output is not None):
            raise RecipelabError("--json prints one JSON list; for a file or a format leave it out")
        kind = format_of(format_name, output)
    with opened_campaign(home, name) as campaign:
        review = campaign.transcript(round_number=round_number, trial=trial, views=views)
        if as_json:
            print_json_rows(review.payloads())
        elif output is None or kind is None:
            _print_transcript(review, kind)
        else:
            with replacing(output, force=force) as place:
                review.write(place, kind)
            out.print(Text(f"transcript of {campaign.name}: {output} ({kind})"), soft_wrap=True)


def _print_transcript(review: Transcript, kind: TranscriptFormat | None) -> None:
    from recipelab.report.transcript import TranscriptFormat

    if kind is None:
        kind = TranscriptFormat.TEXT if out.is_terminal else TranscriptFormat.MARKDOWN
    if kind is TranscriptFormat.TEXT:
        review.show(out)
        return
    for piece in review.pieces(kind):
        typer.echo(piece, nl=False)


def campaigns(home: HomeOption = None, as_json: AsJson = False) -> None:
    """List the campaigns of this lineage."""
    from recipelab.report.trial import campaign_facts

    with opened_campaign(home, None) as newest:
        store = newest.store
        facts = [campaign_facts(store, campaign) for campaign in store.campaigns()]
        if as_json:
            print_json(facts)
            return
        for item in facts:
            change = item.get("change_percent")
            gained = f", best {change:+.1f} %" if change else ""
            out.print(
                f"{item['campaign']}: {item['pack']} ({item['profile']}), {item['state']}, "
                f"{item['trials']} trials{gained}",
                markup=False,
            )
