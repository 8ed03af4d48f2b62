"""``recipelab import``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from recipelab.cli.common import AsJson, HomeOption, clear_errors, out, print_json
from recipelab.core.content import Home

if TYPE_CHECKING:
    from recipelab.exchange.files import Imported

SHOWN_CHARACTERS = 60

Source = Annotated[
    Path,
    typer.Argument(help="Folder of a released run, its results.tsv, or a JSONL export."),
]


def import_(
    source: Source,
    name: Annotated[str, typer.Option("--as", help="Name that the campaign gets here.")],
    home: HomeOption = None,
    as_json: AsJson = False,
) -> None:
    """Import a campaign: a released run, or an export of this program."""
    from recipelab.exchange.files import import_campaign
    from recipelab.lineage import LineageStore

    with clear_errors():
        with LineageStore.open(Home.find(home).lineage) as store:
            imported = import_campaign(store, source, name)
            counts = {status or "in_flight": n for status, n in store.counts(name).items()}
        if as_json:
            print_json(_facts(imported, counts))
            return
        _print(imported, counts)


def _facts(imported: Imported, counts: dict[Any, int]) -> dict[str, Any]:
    damage = imported.damage
    return {
        "campaign": imported.copy.campaign.name,
        "from": imported.kind,
        "trials": len(imported.copy.trials),
        "counts": counts,
        "damaged": len(damage),
        "repaired": sum(item.repair is not None for item in damage),
        "not_repairable": sum(item.repair is None for item in damage),
        "rows": [asdict(item) for item in damage],
    }


def _print(imported: Imported, counts: dict[Any, int]) -> None:
    from recipelab.core.text import plain, shorten

    facts = _facts(imported, counts)
    if imported.damage:
        table = Table(title="Damaged rows", title_justify="left", box=SIMPLE_HEAD)
        for head in ("file", "line", "trial", "what is wrong", "repair", "begins"):
            table.add_column(head, overflow="fold")
        for item in imported.damage:
            line = "-" if item.line is None else str(item.line)
            repair = item.repair or "not repairable"
            cells = (item.file, line, item.trial or "-", item.problem, repair)
            begins = shorten(item.text, SHOWN_CHARACTERS)
            table.add_row(*(Text(plain(cell)) for cell in (*cells, begins)))
        out.print(table)
    told = ", ".join(f"{many} {status}" for status, many in counts.items())
    out.print(
        Text(
            f"Imported {facts['campaign']} ({imported.kind}): {facts['trials']} trials, {told}. "
            f"Damaged rows: {facts['damaged']}, repaired {facts['repaired']}, not repairable "
            f"{facts['not_repairable']}."
        ),
        soft_wrap=True,
    )
