"""Commands that measure what was found: checkpoint, verify, leaderboard, ablate-best, ablate."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from recipelab.cli.common import (
    FAILED,
    STOPPED,
    AsJson,
    BaseUrl,
    HomeOption,
    ModelOption,
    NameArgument,
    NameOption,
    SandboxOption,
    ShareDevices,
    Slots,
    clear_errors,
    err,
    opened_campaign,
    out,
    print_json,
    run_stoppable,
    say,
    slot_count,
)
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.plan import Arm

if TYPE_CHECKING:
    from recipelab.campaign.studies import ArmsComparison

T = TypeVar("T")

CampaignSandbox = Annotated[
    str | None, typer.Option("--sandbox", help="auto, docker or local; default as the campaign's.")
]

BEST = "best"

COLUMNS = ("gain_percent", "kept", "failures", "repeated", "overruns", "duplicates")
SPENT = ("tokens", "device_seconds")


def verify(
    trial: Annotated[str, typer.Argument(help="Number of a trial, or best.")] = BEST,
    seeds: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Seed runs; default the pack's.")
    ] = None,
    head: Annotated[
        bool, typer.Option("--head", help="With best: the head of the working line.")
    ] = False,
    sandbox: CampaignSandbox = None,
    slots: Slots = "auto",
    name: NameOption = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Certify a trial on held-out answers and on seeds that no trial had, against the baseline.

    Where the recipe says its own score it is re-measured, and nothing is certified. Exit code 1 if
    the gain does not hold. What is found is kept in the lineage.
    """
    from recipelab.report.certificates import certificate_words

    with opened_campaign(home, name) as campaign:
        if trial != BEST and not (trial.isascii() and trial.isdigit()):
            raise RecipelabError(f"{trial!r} is not a trial; valid: best, or the number of a trial")
        if trial == BEST:
            # Where nothing is certified yet, there is only the head to verify.
            number = (not head and campaign.certified.number) or campaign.best.number
        else:
            number = campaign.trial(int(trial)).number
        found = asyncio.run(
            campaign.certify(number, seeds=seeds, sandbox=sandbox, slots=slot_count(slots))
        )
        if as_json:
            print_json({"campaign": campaign.name, "trial": number, **asdict(found)})
        else:
            words = certificate_words(campaign.trial(number), found)
            out.print(words, markup=False, soft_wrap=True)
        if not found.certified:
            raise typer.Exit(FAILED)


def checkpoint(
    name: NameArgument = None,
    sandbox: CampaignSandbox = None,
    slots: Slots = "auto",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Test the working line: its head against the certified recipe, on fresh seeds.

    A campaign that ends as planned has done so by itself. Exit code 1 if the line does not hold.
    """
    from recipelab.lineage.trial_view import checkpoint_words

    with opened_campaign(home, name) as campaign:
        work = campaign.checkpoint(sandbox=sandbox, slots=slot_count(slots))
        command = f"recipelab checkpoint {campaign.name}"
        found = _run(work, f"Nothing was decided. Test it with: {command}")
        if as_json:
            print_json({"campaign": campaign.name, "checkpoint": found and asdict(found)})
        elif found is None:
            out.print(f"{campaign.name}: no kept trial is untested", markup=False)
        else:
            words = checkpoint_words(found, campaign.metric.name, campaign.metric.unit)
            out.print(words, markup=False, soft_wrap=True)
        if found is not None and not found.held:
            raise typer.Exit(FAILED)


def _run(work: Coroutine[Any, Any, T], if_stopped: str) -> T:
    """Run it; Ctrl-C ends the command with words on what that means."""
    try:
        return run_stoppable(work)
    except KeyboardInterrupt:
        err.print(f"\nStopped. {if_stopped}", markup=False, soft_wrap=True)
        raise typer.Exit(STOPPED) from None


def leaderboard(name: NameOption = None, home: HomeOption = None, as_json: AsJson = False) -> None:
    """List all certifications, the largest relative gain first, corrected for their number."""
    from recipelab.lineage.campaigns import headed
    from recipelab.report.certificates import leaderboard_rows, leaderboard_table

    with opened_campaign(home, name) as campaign:
        rows = leaderboard_rows(campaign.store, campaign.name, campaign.metric.goal)
        if as_json:
            print_json({"campaign": campaign.name, "rows": [row.as_json() for row in rows]})
        elif rows:
            title = headed(f"Certifications of {campaign.name}", campaign.record)
            goal = campaign.metric.goal
            out.print(leaderboard_table(rows, goal=goal, title=title))
        else:
            text = "no trial is certified yet; certify the best with: recipelab verify best"
            out.print(f"{campaign.name}: {text}", markup=False)


def ablate_best(
    name: NameArgument = None,
    seeds: Annotated[int, typer.Option(min=2, max=1000, help="Seeds of each recipe.")] = 4,
    pairs: Annotated[
        int, typer.Option(min=0, max=1000, help="Pairs to measure if steps interact.")
    ] = 6,
    sandbox: CampaignSandbox = None,
    slots: Slots = "auto",
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Measure the best recipe without each of its edits, and say what each gave of the gain.

    What was measured is kept: stopped and started again, or with more seeds, it goes on.
    """
    from recipelab.report.certificates import ablation_parts

    with opened_campaign(home, name) as campaign:
        work = campaign.ablate(seeds=seeds, pairs=pairs, sandbox=sandbox, slots=slot_count(slots))
        command = f"recipelab ablate-best {campaign.name} --seeds {seeds}"
        report = _run(work, f"What was measured is kept. Go on with: {command}")
        if as_json:
            print_json({"campaign": campaign.name, "seeds": seeds, **asdict(report)})
            return
        metric = campaign.metric
        for part in ablation_parts(report, metric=metric.name, unit=metric.unit):
            out.print(part)


def ablate(
    pack: Annotated[str, typer.Argument(help="Name or folder of a task pack.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials of each campaign.")] = 20,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Campaigns of each arm; default as many as the tests need (9 for all arms).",
        ),
    ] = None,
    arms: Annotated[
        str, typer.Option(help="Arms to compare, with commas; default all.")
    ] = ",".join(Arm),
    profile: Annotated[str | None, typer.Option(help="Profile of the pack.")] = None,
    model: ModelOption = None,
    base_url: BaseUrl = None,
    sandbox: SandboxOption = "auto",
    slots: Slots = "auto",
    share_devices: ShareDevices = False,
    name: Annotated[
        str | None, typer.Option(help="Prefix of the campaigns' names; default PACK-ablation.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="File for the curves, as .svg or .png.")] = None,
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Run arms on equal budgets: specialists against controls. Called again, it goes on.

    The campaigns of one seed run one after the other, arm by arm, so that a slow hour of the
    machine hits all arms alike.
    """
    with clear_errors():
        from recipelab.analysis.arms import METHOD
        from recipelab.campaign.studies import compare_arms
        from recipelab.models import OFFLINE, parse_models
        from recipelab.plan import Plan, asked
        from recipelab.report.plots import check_plot

        if plot is not None:
            check_plot(plot, "--plot")
            if not plot.absolute().parent.is_dir():
                raise RecipelabError(f"--plot: {plot.absolute().parent} does not exist")
        default, own = parse_models(model or ())
        plan = asked(
            Plan,
            pack=pack,
            profile=profile,
            model=default or OFFLINE,
            models=dict(own),
            base_url=base_url,
            sandbox=sandbox,
            slots=slot_count(slots),
            share_devices=share_devices,
        )
        comparison = asyncio.run(
            compare_arms(
                plan,
                arms=_arms(arms),
                seeds=seeds,
                trials=trials,
                prefix=name,
                home=Home.find(home),
                say=lambda text: err.print(text, markup=False),
            )
        )
    if plot is not None:
        _plot_arms(plot, comparison, Home.find(home))
    if as_json:
        told = {"method": METHOD, "too_few": comparison.too_few, "arms": comparison.facts}
        print_json(told)
        return
    out.print(_arms_table(comparison.facts))
    for line in _test_lines(comparison.facts):
        out.print(line, markup=False)
    if comparison.too_few is not None:
        out.print(comparison.too_few, markup=False)


def _plot_arms(path: Path, comparison: ArmsComparison, home: Home) -> None:
    """Draw the arms; that nothing was kept is told, and ends nothing that took hours."""
    from recipelab.campaign.planning import open_lineage
    from recipelab.report.plots import draw

    names = [run.campaign for runs in comparison.runs.values() for run in runs.values()]
    try:
        with open_lineage(home, create=False) as store:
            draw("best", store, names, path, width="double", force=True)
    except RecipelabError as error:
        say(f"no plot: {error}")


def _arms(text: str) -> list[Arm]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(Arm):
            raise RecipelabError(f"--arms: {unknown_name('arm', name, Arm)}")
    if not names:
        raise RecipelabError(f"--arms: name at least one; valid: {', '.join(Arm)}")
    return [Arm(name) for name in dict.fromkeys(names)]


def _arms_table(facts: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("arm", "seeds", *COLUMNS, "trials to 90 %", *SPENT):
        table.add_column(heading.replace("_", " "), justify="right")
    for arm, one in facts.items():
        cells = [_mean_and_spread(one[column]) for column in COLUMNS]
        to_90 = "-" if one["trials_to_90"] is None else f"{one['trials_to_90']:g}"
        spent = [_mean_and_spread(one[column]) for column in SPENT]
        table.add_row(arm, str(one["seeds"]), *cells, to_90, *spent)
    return table


def _mean_and_spread(figure: dict[str, float | None]) -> str:
    if figure["mean"] is None:
        return "-"
    spread = f" ± {figure['sd']:.3g}" if figure["sd"] is not None else ""
    return f"{figure['mean']:.4g}{spread}"


def _test_lines(facts: dict[str, Any]) -> Iterator[str]:
    from recipelab.analysis.arms import BASE

    for arm, one in facts.items():
        for name, test in one["against"].items():
            if test["difference"] is not None:
                what = name.replace("_", " ")
                yield (
                    f"{arm} against {BASE}: {what} {test['difference']:+.3g}, p {test['p']:.2g}, "
                    f"corrected {test['p_corrected']:.2g} ({test['pairs']} seeds)"
                )
