"""Text without the paths of this machine: a client may be on another, and of another person."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from recipelab.campaign.reader import CampaignReader
from recipelab.lineage.opening import sqlite_file

SHORTEST = 4
"""Characters of the shortest root that is looked for: ``/`` begins every path."""


class Concealer:
    """Puts a word in the place of each folder of this machine that a text names.

    Args:
        folders: A word by each folder.
        texts: Words by other texts that are not to be told, as the address of a lineage.
    """

    def __init__(self, folders: Mapping[str, Path], texts: Mapping[str, str]) -> None:
        words: dict[str, str] = {}
        for word, folder in folders.items():
            for path in (str(folder), os.path.realpath(folder)):
                if len(path) >= SHORTEST:
                    words.setdefault(path, f"({word})")
        words |= {text: f"({word})" for word, text in texts.items() if text}
        self._words = words
        longest = sorted(words, key=len, reverse=True)
        # A folder's name may go on, and is another's then.
        self._pattern = re.compile(rf"(?:{'|'.join(map(re.escape, longest))})(?![\w.-])")

    @classmethod
    def of(cls, campaign: CampaignReader, folders: Iterable[tuple[str, Path]] = ()) -> Concealer:
        """Return what conceals the folders of a campaign, and those of this process.

        Args:
            campaign: The campaign.
            folders: Words and folders besides these.
        """
        url = campaign.store.url
        texts = {"lineage": url}
        if (file := sqlite_file(url)) is not None:
            texts["lineage file"] = str(file)
        found = {
            **dict(folders),
            "home": campaign.home.root,
            "working directory": Path.cwd(),
            "recipelab": Path(__file__).parents[1],
            "python": Path(sys.prefix),
            "user": Path.home(),
            "tmp": Path(tempfile.gettempdir()),
        }
        return cls(found, texts)

    def __call__(self, text: str) -> str:
        """Return the text with words in the places of folders."""
        return self._pattern.sub(lambda found: self._words[found[0]], text)
