"""The playbook of a pack: code edits that people think are worth a trial.

Plays are shown to every specialist beside the recipe; whether one helps is for a trial to say.
"""

from __future__ import annotations

import tomllib

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recipelab.errors import PackError
from recipelab.pack import NAME, Pack
from recipelab.trial import Edit

PLAYBOOK_FILE = "playbook.toml"


class PlayEdit(BaseModel):
    """One search/replace block of a play."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    search: str = Field(min_length=1)
    replace: str

    def to_edit(self) -> Edit:
        """The edit as the core knows it."""
        return Edit(self.path, self.search, self.replace)


class Play(BaseModel):
    """An idea as a code edit.

    Attributes:
        id: Short name, unique in the playbook.
        surface: The surface it belongs to.
        title: What it does, in a few words.
        hypothesis: Why it should help.
        expected_delta: Expected change of the metric, signed, in the metric's unit.
        edits: The blocks, applied in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    surface: str = Field(pattern=NAME)
    title: str
    hypothesis: str
    expected_delta: float
    edits: tuple[PlayEdit, ...] = Field(min_length=1)


class Playbook(BaseModel):
    """All plays of a pack."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plays: tuple[Play, ...] = ()


def load_playbook(pack: Pack) -> tuple[Play, ...]:
    """Reads the plays of a pack; a pack without a playbook has none.

    Raises:
        PackError: The file cannot be read, or a play names a surface that the pack lacks.
    """
    # Beside the recipe that it is about: a pack may have several, one for each profile.
    file = (pack.root / pack.recipe.folder).parent / PLAYBOOK_FILE
    if not file.is_file():
        return ()
    try:
        book = Playbook.model_validate(tomllib.loads(file.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PackError(f"{file}: not valid TOML: {error}") from None
    except ValidationError as error:
        lines = [
            f"{file}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        ]
        raise PackError("\n".join(lines)) from None
    for play in book.plays:
        if play.surface not in pack.surface_names:
            raise PackError(
                f"{file}: play {play.id}: unknown surface {play.surface!r}; "
                f"valid: {', '.join(pack.surface_names)}"
            )
    return book.plays
