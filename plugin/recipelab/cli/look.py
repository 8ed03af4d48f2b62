"""Commands that look at a campaign: trials, show, lineage, campaigns."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer

from recipelab.cli.common import (
    AsJson,
    HomeOption,
    NameOption,
    clear_errors,
    opened,
    out,
    print_json,
)
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.trial import FailureKind, Status

T = TypeVar("T", Status, FailureKind)

Number = Annotated[int, typer.Argument(help="Number of the trial; 0 is the baseline.")]


def trials(name: NameOption = None, home: HomeOption = None, as_json: AsJson = False) -> None:
    """List all trials of a campaign."""
    from recipelab.exchange.campaign_copy import each_trial
    from recipelab.exchange.metric import metric_of
    from recipelab.report.trial import campaign_facts, trial_facts, trials_table

    with clear_errors(), opened(home, name) as (store, campaign):
        records = list(each_trial(store, campaign.name))
        if as_json:
            facts = campaign_facts(store, campaign)
            print_json(facts | {"rows": [trial_facts(record) for record in records]})
            return
        unit = metric_of(campaign).unit
        title = f"Campaign {campaign.name}"
        out.print(trials_table(records, unit=unit, title=title, width=out.width))


def show(
    number: Number, name: NameOption = None, home: HomeOption = None, as_json: AsJson = False
) -> None:
    """Show one trial: hypothesis, diff, phases, failure and log."""
    from recipelab.exchange.metric import metric_of
    from recipelab.report.trial import trial_facts, trial_sheet

    with clear_errors(), opened(home, name) as (store, campaign):
        record = store.trial(campaign.name, number)
        if as_json:
            print_json(trial_facts(record, full=True))
            return
        unit = metric_of(campaign).unit
        out.print(trial_sheet(record, unit=unit))


def lineage(
    status: Annotated[list[str] | None, typer.Option(help="Only trials that ended so.")] = None,
    surface: Annotated[list[str] | None, typer.Option(help="Only these surfaces.")] = None,
    specialist: Annotated[list[str] | None, typer.Option(help="Only these specialists.")] = None,
    failure_kind: Annotated[list[str] | None, typer.Option(help="Only these failures.")] = None,
    signature: Annotated[str | None, typer.Option(help="Text in the signature.")] = None,
    parent: Annotated[int | None, typer.Option(help="Only children of this trial.")] = None,
    ancestor: Annotated[int | None, typer.Option(help="Only descendants of this trial.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Only scores from here up.")] = None,
    max_score: Annotated[float | None, typer.Option(help="Only scores up to here.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only proposed since (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(help="Only proposed before (UTC).")] = None,
    text: Annotated[str | None, typer.Option(help="Words anywhere in the trial.")] = None,
    order: Annotated[str, typer.Option(help="newest, oldest, best or worst.")] = "newest",
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    offset: Annotated[int, typer.Option(min=0, help="How many to pass over.")] = 0,
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Ask the lineage, with the filters that agents have."""
    from recipelab.exchange.metric import metric_of
    from recipelab.lineage import TrialFilter
    from recipelab.report.trial import trial_facts, trials_table

    with clear_errors(), opened(home, name) as (store, campaign):
        metric = metric_of(campaign)
        wanted = TrialFilter(
            statuses=tuple(_choices("status", status, Status)),
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
            order=_order(order),
            goal=metric.goal,
            limit=limit,
            offset=offset,
        )
        page = store.query(campaign.name, wanted)
        if as_json:
            rows = [trial_facts(record) for record in page.items]
            print_json({"total": page.total, "capped": page.capped, "rows": rows})
            return
        total = f"{page.total} or more" if page.capped else str(page.total)
        title = f"{len(page.items)} of {total} matching trials of {campaign.name}"
        out.print(trials_table(page.items, unit=metric.unit, title=title, width=out.width))


def campaigns(home: HomeOption = None, as_json: AsJson = False) -> None:
    """List the campaigns of this lineage."""
    from recipelab.report.trial import campaign_facts

    with clear_errors(), opened(home, None) as (store, _):
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


def _choices(what: str, given: list[str] | None, kind: type[T]) -> list[T]:
    values = {item.value: item for item in kind}
    for name in given or ():
        if name not in values:
            raise RecipelabError(unknown_name(what, name, values))
    return [values[name] for name in given or ()]


def _order(name: str) -> Any:
    valid = ("newest", "oldest", "best", "worst")
    if name not in valid:
        raise RecipelabError(unknown_name("order", name, valid))
    return name
