"""Writes the pages of the site that no person writes: the reference."""

from __future__ import annotations

from collections.abc import Iterable

import reference
from reference import Entry, Group

import recipelab

COMMANDS = "reference/commands.md"
SETTINGS = "reference/settings.md"
PACK = "reference/pack-toml.md"
PYTHON = "reference/python.md"
CONTRACTS = "reference/contracts.md"
SCORING = "reference/scoring.md"

_CONTRACTS = (
    "recipelab.sandbox.base.Sandbox",
    "recipelab.sandbox.base.PhaseRequest",
    "recipelab.sandbox.base.PhaseResult",
    "recipelab.places.base.Place",
    "recipelab.acceptance.policy.Acceptance",
    "recipelab.team.speakers.SpeakerPolicy",
    "recipelab.trackers.base.Tracker",
)
"""What other distributions implement, or are handed."""


def reference_pages() -> dict[str, str]:
    """Return the text of each page by its path in the site."""
    return {
        COMMANDS: _commands(),
        SETTINGS: _settings(),
        PACK: _pack(),
        PYTHON: _python(),
        CONTRACTS: _contracts(),
        SCORING: _scoring(),
    }


def _commands() -> str:
    parts = [
        "# Commands",
        "Every command with its arguments and options, read from the code. Options stand in any "
        "order. "
        "An option without a value is a switch, and off unless given. "
        "Exit codes: 0 done, 1 stopped early or a check failed, 2 bad input, 130 stopped by hand.",
    ]
    for group in reference.commands():
        parts += [f"## {group.name}", group.text, _usage(group)]
        columns = ("option", "meaning", "value", "default")
        rows = [
            (_code(entry.name), entry.text, _code(entry.values), _shown(entry.default))
            for entry in group.entries
        ]
        parts.append(_table(columns, rows))
    return _page(parts)


def _usage(group: Group) -> str:
    arguments = [
        entry.name if entry.default == "required" else f"[{entry.name}]"
        for entry in group.entries
        if not entry.name.startswith("-")
    ]
    return f"```text\n{' '.join((group.name, *arguments))} [OPTIONS]\n```"


def _settings() -> str:
    parts = [
        "# Settings",
        "What is set outside of the command line, read from the code. What a campaign is asked "
        "for is in "
        "[Commands](commands.md), under `recipelab run`; a task's own settings are in "
        "[pack.toml](pack-toml.md).",
        "## Environment variables",
        _table(
            ("variable", "meaning"),
            [(_code(entry.name), entry.text) for entry in reference.environment().entries],
        ),
        "## sandbox.toml",
        "A sandbox is a folder with a `sandbox.toml`, a `Dockerfile` and a `requirements.txt`: "
        "[Sandboxes](../sandboxes.md).",
    ]
    for group in reference.sandbox_keys():
        parts += [f"### {group.name}", group.text, _values_table(group.entries)]
    parts += [
        "## Charters",
        "A charter is a Markdown file, `agents/NAME.md`, whose front matter has these keys: "
        "[Charters](../charters.md).",
        _values_table(reference.charter_keys().entries),
    ]
    return _page(parts)


def _values_table(entries: Iterable[Entry]) -> str:
    rows = [
        (_code(entry.name), entry.text, entry.values, _shown(entry.default)) for entry in entries
    ]
    return _table(("key", "meaning", "valid", "default"), rows)


def _pack() -> str:
    parts = [
        "# pack.toml",
        "Every table and key, read from the code. [Task packs](../task-packs.md) is the "
        "tutorial. A profile may "
        "set any key of its own under `[profiles.NAME]`, so a key that is required has to be "
        "there once the "
        "profile is applied. Editors read the same texts from the JSON schema that "
        "`recipelab packs schema` prints.",
    ]
    for group in reference.pack_keys():
        parts += [f"## {group.name}", group.text]
        if group.places:
            parts.append(f"It stands at {', '.join(map(_code, group.places))}.")
        rows = [
            (_code(entry.name), entry.text, entry.values, _shown(entry.default))
            for entry in group.entries
        ]
        parts.append(_table(("key", "meaning", "value", "default"), rows))
    return _page(parts)


def _python() -> str:
    parts = [
        "# Python",
        "What `import recipelab` gives, from the docstrings. Each name is imported when it is "
        "first used.",
    ]
    named = [getattr(recipelab, name) for name in recipelab.__all__ if name != "__version__"]
    parts += [_documented(f"{one.__module__}.{one.__name__}") for one in named]
    return _page(parts)


def _contracts() -> str:
    parts = [
        "# Contracts",
        "What a package of your own implements to add a sandbox, a place, an acceptance policy, "
        "a speaker "
        "policy or a tracker. Its entry points are in [Contributing](../project/contributing.md).",
        *map(_documented, _CONTRACTS),
    ]
    return _page(parts)


def _scoring() -> str:
    parts = [
        "# Scoring",
        "What scorers share. In a pack's evaluator it is imported as `recipelab_scoring`.",
        _documented("recipelab.scoring", "members: true", "show_submodules: true"),
    ]
    return _page(parts)


def _documented(path: str, *options: str) -> str:
    lines = [f"::: {path}"]
    if options:
        lines += ["    options:", *(f"      {option}" for option in options)]
    return "\n".join(lines)


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _shown(default: str) -> str:
    value, also, variable = default.partition("; or ")
    shown = value if value in ("", "required", "off", "on") else _code(value)
    return f"{shown}, or `{variable}`" if also else shown


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    if text.startswith("`"):
        return text
    escaped = text.replace("``", "`").replace("|", "\\|").replace("<", "&lt;")
    return escaped.replace("*", "\\*").replace("\n", " ")
