"""How a seed gets into a training, and what it turns out to change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from recipelab.adopt.draft import Draft, SeedWay, is_time
from recipelab.core.errors import RecipelabError

_SEED_OPTION = re.compile(r"--?(?:\w+[-_])?seed")
_SEED_VARIABLE = re.compile(r"(?:\w+_)?SEED")


def seed_way(
    draft: Draft,
    *,
    option: str | None = None,
    variable: str | None = None,
    place: str | None = None,
) -> SeedWay:
    """Return how the seed gets in: as the user said, else as the code shows.

    An option of the command line comes before a variable of the environment, and both before a
    seed that is written into the code. A command that names a seed already loses it.

    Args:
        draft: The draft; its command may change.
        option: The option that the user named, ``--seed``.
        variable: The variable that the user named.
        place: The place that the user named, ``FILE:LINE``.

    Raises:
        RecipelabError: More than one is given, or there is no seed at the place.
    """
    if sum(given is not None for given in (option, variable, place)) > 1:
        raise RecipelabError("--seed-arg, --seed-env, --seed-constant: give one of them")
    if place is not None:
        return _at_place(draft, place)
    if variable is not None:
        return SeedWay("environment", variable)
    if option is None:
        option = next(
            (
                found.flag
                for found in draft.survey.options(draft.entry.path)
                if _SEED_OPTION.fullmatch(found.flag)
            ),
            None,
        )
    if option is not None:
        plain = re.sub(rf"\s*{re.escape(option)}[= ]\s*\d+", "", draft.entry.command)
        draft.entry = replace(draft.entry, command=plain)
        return SeedWay("argument", option)
    reached = draft.survey.reached(draft.entry.path)
    facts = [draft.survey.facts[path] for path in reached if path in draft.survey.facts]
    for name in sorted({name for item in facts for name in item.variables}):
        if _SEED_VARIABLE.fullmatch(name):
            return SeedWay("environment", name)
    seeds = draft.survey.seeds(draft.entry.path, draft.entry.command)
    in_yaml = any(s.name == "seed" and s.line.path.endswith((".yaml", ".yml")) for s in seeds)
    if in_yaml and any("hydra" in item.parsers for item in facts):
        return SeedWay("argument", "seed")
    return SeedWay.at(seeds[0], seeds) if seeds else SeedWay("none")


def _at_place(draft: Draft, place: str) -> SeedWay:
    path, _, number = place.rpartition(":")
    everywhere = [seed for facts in draft.survey.facts.values() for seed in facts.seeds]
    for seed in everywhere:
        if (seed.line.path, str(seed.line.number)) == (path.removeprefix("./"), number):
            return SeedWay.at(seed)
    known = ", ".join(f"{s.line.path}:{s.line.number}" for s in everywhere[:12]) or "(none)"
    raise RecipelabError(f"--seed-constant: no seed at {place!r}; valid: {known}")


def said_seed(draft: Draft, scores: Sequence[float | None]) -> Iterator[str]:
    """Yield what three runs say of the seed: the same one twice, then another one.

    Args:
        draft: The draft.
        scores: The scores of these runs.
    """
    first, again, other = scores
    if is_time(draft.metric):
        yield f"seeds: the score is a time, {first:g}, {again:g} and {other:g}; it never repeats"
        return
    if first != again:
        yield (
            f"seeds: the same seed gave {first:g} and {again:g}; something draws numbers that no "
            "seed reaches, which makes small gains harder to see"
        )
    elif first == other:
        what = (
            "and nothing takes a seed: if it draws numbers anywhere, name the place with "
            "--seed-constant FILE:LINE"
            if draft.seed.kind == "none"
            else f"though the seed gets in {draft.seed.words}: fresh seeds prove nothing here"
        )
        yield f"seeds: all runs gave {first:g}, {what}"
    else:
        yield f"seeds: the same seed gave {first:g} twice, another one {other:g}"
