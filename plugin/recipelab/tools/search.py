"""The tools that look for text: in a recipe, between two recipes, in the pack's knowledge."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from recipelab.analysis.stats import by_source
from recipelab.core.errors import RecipelabError, unknown_name
from recipelab.core.matching import matching_lines
from recipelab.core.recipe import Recipe
from recipelab.core.text import shorten
from recipelab.lineage import TrialFilter
from recipelab.lineage.filter import MAX_LIMIT
from recipelab.packs.knowledge import Passage, Source, search
from recipelab.tools.base import Row, TextTool, ToolArguments, paged_text, to_json
from recipelab.tools.desk import Desk
from recipelab.tools.runs import MOST_LINES, match_rows

MOST_FILES = 60
"""Changed files that a difference lists at most."""

MOST_PASSAGES, PASSAGE_CHARACTERS = 8, 6_000
"""Passages of knowledge in one answer, and their characters together."""


class SearchRecipeArguments(ToolArguments):
    """What to look for, and where."""

    regex: str = Field(min_length=1, max_length=500)
    trial: int | None = Field(default=None, ge=0)
    path: str | None = Field(default=None, max_length=300)


class SearchRecipeTool(TextTool[SearchRecipeArguments]):
    """Looks for lines of a recipe.

    Args:
        queue: The campaign's queue of trials.
        blind: Whether only the recipe that is to be edited may be searched.
    """

    def __init__(self, queue: Desk, *, blind: bool = False) -> None:
        super().__init__(
            SearchRecipeArguments,
            "search_recipe",
            "Find lines of a recipe (the best's unless you name a trial) by a Python regex; path: "
            "only there.",
        )
        self._queue = queue
        self._blind = blind

    async def answer(self, args: SearchRecipeArguments) -> str:
        """Return the lines that match.

        Raises:
            LineageError: There is no such trial, or it has no recipe.
            RecipelabError: There is no such file, or the pattern is not valid or takes too long.
        """
        wanted = None if self._blind else args.trial
        number = self._queue.best().number if wanted is None else wanted
        files = _below(self._queue.recipe_of(number), args.path)
        found, total = await asyncio.to_thread(matching_lines, files, args.regex, most=MOST_LINES)
        rows = match_rows([(one.name, one.line, one.text) for one in found], total)
        return to_json(({} if self._blind else {"trial": number}) | rows)


def _below(files: Mapping[str, str], path: str | None) -> Mapping[str, str]:
    """Return the files at or below a path.

    Raises:
        RecipelabError: There are none.
    """
    if path is None:
        return files
    folder = f"{path.rstrip('/')}/"
    found = {name: text for name, text in files.items() if name == path or name.startswith(folder)}
    if not found:
        raise RecipelabError(unknown_name("file", path, files))
    return found


def difference(
    before: Mapping[str, str],
    after: Mapping[str, str],
    path: str | None,
    offset: int,
    characters: int,
) -> Row:
    """Return the difference of two recipes: which files changed by how much, and a part of it.

    Args:
        before: Files of the first recipe.
        after: Files of the second recipe.
        path: Only this file; ``None`` for all.
        offset: Characters of the difference to pass over.
        characters: Characters of the difference to show.

    Raises:
        RecipelabError: No file of that name is another.
    """
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    diffs = {name: _diff_of(name, before, after) for name in changed}
    if path is not None and path not in diffs:
        raise RecipelabError(unknown_name("changed file", path, diffs))
    files = {name: _counts(diff) for name, diff in list(diffs.items())[:MOST_FILES]}
    more = {"more_files": len(diffs) - MOST_FILES} if len(diffs) > MOST_FILES else {}
    shown = diffs[path] if path is not None else "".join(diffs.values())
    return {"files": files} | more | paged_text("diff", shown, offset, characters)


def _diff_of(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    one, other = ({name: files[name]} if name in files else {} for files in (before, after))
    return Recipe(one).diff(Recipe(other))


def _counts(diff: str) -> str:
    lines = [line for line in diff.splitlines() if not line.startswith(("+++", "---"))]
    added = sum(line.startswith("+") for line in lines)
    return f"+{added} -{sum(line.startswith('-') for line in lines)}"


class SearchKnowledgeArguments(ToolArguments):
    """What to look for, or which source to read."""

    words: str = Field(default="", max_length=300)
    source: str | None = Field(default=None, max_length=80)
    offset: int = Field(default=0, ge=0)


class SearchKnowledgeTool(TextTool[SearchKnowledgeArguments]):
    """Looks for passages in the knowledge of the pack.

    Args:
        queue: The campaign's queue of trials.
        sources: The pack's knowledge.
        blind: Whether nothing is told of what came of a source.
    """

    def __init__(self, queue: Desk, sources: Sequence[Source], *, blind: bool = False) -> None:
        names = shorten(", ".join(source.name for source in sources), 160)
        super().__init__(
            SearchKnowledgeArguments,
            "search_knowledge",
            f"Find passages in the pack's notes ({names}). Cite what you use in your hypothesis: "
            "[source: NAME].",
        )
        self._queue = queue
        self._sources = {source.name: source for source in sources}
        self._blind = blind

    async def answer(self, args: SearchKnowledgeArguments) -> str:
        """Return the passages, and what came of each source so far.

        Raises:
            RecipelabError: There is no such source.
        """
        name = args.source.lower().removesuffix(".md") if args.source else None
        if name is not None and name not in self._sources:
            raise RecipelabError(unknown_name("source", name, self._sources))
        sources = list(self._sources.values()) if name is None else [self._sources[name]]
        if args.words.strip():
            found = search(sources, args.words)
        else:
            found = [passage for source in sources for passage in source.passages]
        shown = _passages(found, args.offset)
        cited = {} if self._blind else {"came_of": self._came_of({p["source"] for p in shown})}
        answer: Row = {"total": len(found), "passages": shown}
        seen = args.offset + len(shown)
        more = {"more": f"{len(found) - seen} more; ask with offset={seen}"}
        return to_json(answer | cited | (more if seen < len(found) else {}))

    def _came_of(self, names: set[str]) -> Row:
        """Return what came of the trials that cite a source."""
        store, campaign = self._queue.store, self._queue.campaign
        found: Row = {}
        for name in sorted(names):
            page = store.briefs(campaign, TrialFilter(text=name, limit=MAX_LIMIT))
            found[name] = by_source(page.items).get(name, {"trials": 0})
        return found


def _passages(found: Sequence[Passage], offset: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for passage in found[offset : offset + MOST_PASSAGES]:
        text = passage.text
        size += len(text)
        if size > PASSAGE_CHARACTERS and rows:
            break
        rows.append(
            {
                "source": passage.source,
                "heading": passage.heading,
                "lines": f"{passage.line}-{passage.line + len(passage.lines) - 1}",
                "text": text[:PASSAGE_CHARACTERS],
            }
        )
    return rows
