"""Writes a Git repository around a new task pack, so that others can install it by name."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain
from recipelab.packs.template import PackDraft, check_identifier, write_pack

TEMPLATE = Path(__file__).parent / "new-repository"
"""The files around the pack; the suffix keeps tools from taking them for files of ours."""

_RENAMED = {"gitignore": ".gitignore", "check.yml": ".github/workflows/check.yml"}


@dataclass(frozen=True)
class PackRepository:
    """The repository of a pack.

    Attributes:
        draft: Name, title and metric of the pack.
    """

    draft: PackDraft

    @property
    def distribution(self) -> str:
        """The name by which pip installs it."""
        return f"recipelab-pack-{self.draft.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        """The Python package that holds the pack's folder."""
        return f"recipelab_pack_{self.draft.name}"

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write the repository into a new folder, and make it one of Git's where Git is.

        Args:
            folder: Its folder, which must not exist yet.

        Returns:
            The files, relative to the folder.

        Raises:
            RecipelabError: The folder exists, or a name is not valid.
        """
        for name in (self.draft.name, self.draft.metric):
            check_identifier(name)
        if folder.exists():
            raise RecipelabError(f"{folder} exists already; choose another name, or move it away")
        package = folder / "src" / self.package
        try:
            write_pack(self.draft, package / self.draft.name)
            (package / "__init__.py").write_text(f'"""{self._title}: a task pack."""\n', "utf-8")
            for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
                if "__pycache__" not in source.parts:
                    self._fill_in(source, folder)
            self._move_test(package / self.draft.name, folder / "tests")
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if shutil.which("git"):
            command = ["git", "init", "-q", "-b", "main", str(folder)]
            subprocess.run(command, check=True, capture_output=True)
        return tuple(path.relative_to(folder).as_posix() for path in files)

    @property
    def _title(self) -> str:
        """The title on one line, safe between the quotes of TOML and Python."""
        return " ".join(plain(self.draft.title).replace("\\", "/").replace('"', "'").split())

    def _fill_in(self, source: Path, folder: Path) -> None:
        from recipelab import __version__

        relative = source.relative_to(TEMPLATE).as_posix().removesuffix(".in")
        target = folder / _RENAMED.get(relative, relative)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text("utf-8")
        marks = {
            "DISTRIBUTION": self.distribution,
            "PACKAGE": self.package,
            "METRIC": self.draft.metric,
            "SINCE": __version__,
            "NAME": self.draft.name,
            "TITLE": self._title,  # The last one, as it may hold any word.
        }
        for mark, value in marks.items():
            text = text.replace(mark, value)
        target.write_text(text, "utf-8")

    def _move_test(self, pack: Path, tests: Path) -> None:
        """Move the scorer's test out of the pack, which ships, to the other tests."""
        name = f"test_{self.draft.name}.py"
        text = (pack / name).read_text("utf-8")
        here = f'PACK = Path(__file__).parents[1] / "src/{self.package}/{self.draft.name}"'
        (tests / name).write_text(text.replace("PACK = Path(__file__).parent", here), "utf-8")
        (pack / name).unlink()
        readme = pack / "README.md"
        lines = readme.read_text("utf-8").split("\n\n")
        readme.write_text("\n\n".join(line for line in lines if name not in line) + "\n", "utf-8")
