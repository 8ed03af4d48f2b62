"""Certificates in words, and the leaderboard: search score and certified score side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from recipelab.core.text import plain, shorten
from recipelab.lineage import LineageStore, TrialRecord
from recipelab.packs.sections import Goal


def certificate_words(record: TrialRecord, found: Mapping[str, Any]) -> str:
    """What a certification found, in some lines."""
    head = f"Trial {record.number}: {found['status'].replace('_', ' ')}; {found['reason']}."
    if found.get("delta") is None:
        return head
    search = record.outcome.score if record.outcome is not None else None
    where = "held-out answers and fresh seeds" if found["held_out"] else "fresh seeds"
    return "\n".join(
        (
            head,
            f"search score {_number(search)}, certified score {_number(found['score'])} "
            f"(baseline {_number(found['baseline_score'])}) on {found['seeds']} seeds: {where}",
            f"against the baseline {found['delta']:+.5g}, 95 % interval "
            f"{found['delta_low']:+.5g} to {found['delta_high']:+.5g}, p {found['p']:.2g} "
            f"({found['test']})",
        )
    )


def leaderboard_rows(store: LineageStore, campaign: str, goal: Goal) -> list[dict[str, Any]]:
    """The newest certificate of each trial, best certified score first; failed ones last."""
    newest = {item.trial: item for item in store.certificates(campaign)}
    rows = []
    for number, item in newest.items():
        record = store.trial(campaign, number)
        outcome = record.outcome
        rows.append(
            {
                "trial": number,
                "specialist": record.specialist,
                "hypothesis": record.hypothesis,
                "search_score": outcome.score if outcome else None,
                "made_at": item.made_at.isoformat(),
                **item.found,
            }
        )
    return sorted(rows, key=lambda row: _rank(row, goal))


def newest_words(store: LineageStore, campaign: str, number: int) -> str:
    """The newest certificate of a trial in words; how to make one, if there is none."""
    found = [item.found for item in store.certificates(campaign) if item.trial == number]
    if found:
        return certificate_words(store.trial(campaign, number), found[-1])
    return "certify it on seeds and answers that no trial had: recipelab verify best"


def _rank(row: Mapping[str, Any], goal: Goal) -> tuple[bool, float]:
    failed = row.get("delta") is None or row.get("score") is None
    return failed, 0.0 if failed else -goal.sign * float(row["score"])


def leaderboard_table(rows: Sequence[Mapping[str, Any]], *, title: str) -> Table:
    """The leaderboard for a terminal."""
    table = Table(title=Text(title), title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    for head in ("trial", "certified", "search", "against the baseline", "seeds"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("hypothesis", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row["trial"]),
            _number(row.get("score")),
            _number(row["search_score"]),
            _interval(row),
            str(row["seeds"]),
            str(row["status"]).replace("_", " "),
            Text(shorten(row["hypothesis"], 40)),
        )
    return table


def _interval(row: Mapping[str, Any]) -> str:
    if row.get("delta") is None:
        return "-"
    return f"{row['delta']:+.4g} ({row['delta_low']:+.4g} to {row['delta_high']:+.4g})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.5g}"


Facts = Mapping[str, Any]

NAMED = 4
"""So many steps that go with another are named."""


def attribution_parts(facts: Facts, *, metric: str, unit: str) -> Iterator[RenderableType]:
    """What is printed of an attribution.

    Args:
        facts: What :func:`recipelab.attribution.attribution_facts` gives.
        metric: Name of the metric.
        unit: Its unit.
    """
    gain = facts["gain"]
    if gain is None:
        told = f"the baseline fails, so that no gain can be told: {facts['failure']}"
    else:
        noise = "" if gain["certain"] else ", which is within the noise"
        told = f"trial {facts['best']} gains {_value(gain)} {unit} on the baseline{noise}"
    yield Text(plain(f"{metric}: {told}"))
    yield _steps(facts)
    yield from (_failure(step) for step in facts["steps"] if step["failure"] is not None)
    yield _surfaces(facts)
    yield from _rest(facts)


def _steps(facts: Facts) -> Table:
    title = "What the best loses without each step"
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("without", no_wrap=True)
    for head in ("surface", "specialist"):
        table.add_column(head, no_wrap=True)
    for head in ("loss (95 % interval)", "its own part", "share"):
        table.add_column(head, justify="right", no_wrap=True)
    # The only column that may wrap, so that figures and names stay whole.
    table.add_column("what it was")
    for step in facts["steps"]:
        who = [Text(shorten(step[key], 24)) for key in ("surface", "specialist")]
        words = Text(shorten(step["hypothesis"], 60))
        table.add_row(_named(step["without"]), *who, *_figures(step), words)
    return table


def _named(numbers: list[int]) -> str:
    first, *others = map(str, numbers)
    if len(others) > NAMED:
        others = [*others[: NAMED - 1], f"{len(others) - NAMED + 1} more"]
    return f"{first} with {', '.join(others)}" if others else first


def _figures(step: Facts) -> tuple[str, str, str]:
    if not step["changes"]:
        return "no effect in the best", "", ""
    loss = "fails" if step["failure"] is not None else _value(step["loss"])
    group = len(step["without"]) > 1
    own = _value(step["own"]) if group and step["own"] is not None else ""
    return loss, own, _share(step)


def _value(effect: Facts) -> str:
    return f"{effect['value']:.4g} ({effect['low']:.4g} to {effect['high']:.4g})"


def _share(row: Facts) -> str:
    if row["share"] is None:
        return "-"
    noise = "" if row["own"]["certain"] else " (noise)"
    return f"{row['share']:.1%}{noise}"


def _failure(step: Facts) -> Text:
    return Text(f"without {_named(step['without'])}: {shorten(step['failure'], 120)}")


def _surfaces(facts: Facts) -> Table:
    table = Table(title="By surface", title_justify="left", header_style="bold", box=SIMPLE_HEAD)
    table.add_column("surface")
    for head in ("of the gain (95 % interval)", "share"):
        table.add_column(head, justify="right")
    table.add_column("steps")
    for row in facts["surfaces"]:
        value = "-" if row["own"] is None else _value(row["own"])
        steps = ", ".join(
            f"{n} (not known)" if n in row["unknown"] else f"{n}" for n in row["trials"]
        )
        table.add_row(Text(shorten(row["surface"], 24)), value, _share(row), steps)
    return table


def _rest(facts: Facts) -> Iterator[Text]:
    rest = facts["unexplained"]
    if rest is None:
        yield Text("Whether the parts add up to the gain cannot be told, as something fails.")
    elif facts["adds_up"]:
        yield Text("The parts add up to the gain, as far as the noise lets one see.")
    else:
        yield Text(f"The parts do not add up to the gain: {_value(rest)} is left. Steps interact.")
    for item in facts["interactions"]:
        yield Text(_interaction(item))


def _interaction(item: Facts) -> str:
    one, other = (_named(side) for side in item["without"])
    more = item["more"]
    if not more["certain"]:
        return f"  {one} and {other}: within the noise ({_value(more)})"
    why = "either will do" if more["value"] > 0 else "they need each other"
    size = f"{abs(more['value']):.4g}"
    how = "more" if more["value"] > 0 else "less"
    return f"  {one} and {other}: together they cost {size} {how} than one by one: {why}"
