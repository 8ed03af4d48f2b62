"""``recipelab ablate``: the arms of a comparison on equal budgets, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from recipelab.cli.common import AsJson, HomeOption, clear_errors, err, out, print_json
from recipelab.cli.options import (
    BaseUrl,
    ModelOption,
    SandboxOption,
    ShareDevices,
    Slots,
    slot_count,
)
from recipelab.core.content import Home
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.plan import Arm

if TYPE_CHECKING:
    from recipelab.lineage import LineageStore
    from recipelab.plan import Plan

COLUMNS = ("gain_percent", "kept", "failures", "repeated", "overruns", "duplicates")
SPENT = ("tokens", "device_seconds")


def ablate(
    pack: Annotated[str, typer.Argument(help="Name or folder of a task pack.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials of each campaign.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Campaigns of each arm.")] = 3,
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
        from recipelab.analysis.arms import METHOD, compare, run_figures
        from recipelab.lineage import LineageStore
        from recipelab.models import parse_models
        from recipelab.packs.load import load_pack
        from recipelab.plan import Plan
        from recipelab.report.figures import check_plot, draw

        if plot is not None:
            check_plot(plot)
        default, own = parse_models(model or ())
        goal = load_pack(pack, profile).metric.goal
        wanted = _arms(arms)
        common = Plan(
            pack=pack,
            profile=profile,
            model=default,
            models=dict(own),
            base_url=base_url,
            sandbox=sandbox,
            slots=slot_count(slots),
            share_devices=share_devices,
        )
        place = Home.find(home)
        prefix = name or f"{Path(pack).name}-ablation"
        with LineageStore.open(place.lineage) as store:
            found: dict[str, dict[int, Any]] = {arm: {} for arm in wanted}
            for plan in _plans(common, prefix, wanted, range(1, seeds + 1), trials):
                _run(plan, place, store)
                found[plan.arm][plan.seed] = run_figures(store, str(plan.name))
        facts = compare(found, goal.sign)
    if plot is not None:
        draw(plot, found)
    if as_json:
        print_json({"method": METHOD, "arms": facts})
        return
    out.print(_table(facts))
    for line in _tests(facts):
        out.print(line, markup=False)


def _arms(text: str) -> list[Arm]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in list(Arm):
            raise RecipelabError(f"--arms: {unknown_name('arm', name, Arm)}")
    if not names:
        raise RecipelabError(f"--arms: name at least one; valid: {', '.join(Arm)}")
    return [Arm(name) for name in dict.fromkeys(names)]


def _plans(common: Plan, prefix: str, arms: list[Arm], seeds: range, trials: int) -> Iterator[Plan]:
    from recipelab.budget import BudgetLimits

    for seed in seeds:
        for arm in arms:
            update = {
                "name": f"{prefix}-{arm}-{seed}",
                "arm": arm,
                "seed": seed,
                "limits": BudgetLimits(trials=trials),
            }
            yield common.model_copy(update=update)


def _run(plan: Plan, place: Home, store: LineageStore) -> None:
    """Runs one campaign, or what is left of it.

    Raises:
        RecipelabError: It stopped early.
    """
    from recipelab.evaluation.session import Overrides
    from recipelab.team import ResearchGroupChat

    async def ran() -> str | None:
        team = ResearchGroupChat(plan, home=place, overrides=Overrides(store=store))
        try:
            async for _ in team.run_stream():
                pass
        finally:
            await team.close()
        return None if team.ended and team.ended.finished else str(team.ended)

    known = next((c for c in store.campaigns() if c.name == plan.name), None)
    if known is not None and known.state == "finished" and known.trials == plan.limits.trials:
        err.print(f"{plan.name}: there already", markup=False)
        return
    err.print(f"{plan.name}: {plan.limits.trials} trials", markup=False)
    fault = asyncio.run(ran())
    if fault:
        raise RecipelabError(f"{plan.name} stopped early: {fault}")


def _table(facts: dict[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("arm", "seeds", *COLUMNS, "trials to 90 %", *SPENT):
        table.add_column(heading.replace("_", " "), justify="right")
    for arm, one in facts.items():
        cells = [_figure(one[column]) for column in COLUMNS]
        to_90 = "-" if one["trials_to_90"] is None else f"{one['trials_to_90']:g}"
        spent = [_figure(one[column]) for column in SPENT]
        table.add_row(arm, str(one["seeds"]), *cells, to_90, *spent)
    return table


def _figure(told: dict[str, float | None]) -> str:
    if told["mean"] is None:
        return "-"
    spread = f" ± {told['sd']:.3g}" if told["sd"] is not None else ""
    return f"{told['mean']:.4g}{spread}"


def _tests(facts: dict[str, Any]) -> Iterator[str]:
    from recipelab.analysis.arms import BASE

    for arm, one in facts.items():
        for name, test in one["against"].items():
            if test["difference"] is not None:
                what = name.replace("_", " ")
                yield (
                    f"{arm} against {BASE}: {what} {test['difference']:+.3g}, p {test['p']:.2g} "
                    f"({test['pairs']} seeds)"
                )
