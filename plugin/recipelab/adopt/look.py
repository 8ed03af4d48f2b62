"""Looks at a repository without running any of it: how it is started, and what it needs."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import PurePosixPath

from recipelab.adopt.code import CodeFacts, Line, Option, SeedPlace, facts_of
from recipelab.adopt.files import Repository

NOTES = ("cuda", "absolute path", "download", "tracker", "folds")
"""Kinds of lines that a user is told of."""

AUTORESEARCH = ("prepare.py", "train.py", "program.md")
"""The files by which a repository of autoresearch's layout is known."""

_NAMES = ("train", "main", "run", "fit", "experiment", "bench", "benchmark")
"""Names of scripts that train, the likeliest first."""
_NOT_ENTRIES = re.compile(
    r"(?:^|/)(?:tests?|docs?|examples?|notebooks?)/|(?:^|/)(?:test_|setup|conf)"
)
_TARGETS = ("train", "run", "bench", "benchmark")
_TARGET = re.compile(r"^([A-Za-z][\w-]*)\s*:(?!=)", re.MULTILINE)
_STARTERS = re.compile(
    r"(?:\$\s+)?(?P<line>(?:uv run |poetry run |python|torchrun|make|sh|bash|\./).*)"
)
_LAUNCHER = re.compile(
    r"^(?:torchrun|accelerate launch)\s+(?:--?[\w-]+(?:[= ]\d+)?\s+)*(?=\S+\.py)"
)
_PLACEHOLDER = re.compile(r"<[^>]+>|\.\.\.|\{|\[|/path/")
_CONFIGS = (".yaml", ".yml", ".toml", ".json", ".cfg", ".ini", ".gin")
_FIXED_FILE = re.compile(
    r"(?:^|[/_.-])(?:prepare|eval|evaluate|evaluation|evaluator|score|scoring|metrics?|validate|"
    r"validation|test|tests|conftest|setup|benchmark_data)(?:[_.-]|\.py$|$)"
)
_DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "skimage": "scikit-image",
    "attr": "attrs",
    "dateutil": "python-dateutil",
    "umap": "umap-learn",
}
"""Distributions whose name is not that of their module, where the user's environment lacks them."""


@dataclass(frozen=True)
class Entry:
    """A way to start the training.

    Attributes:
        command: The command line, from the repository's root.
        path: The script; empty for a command of no script of the repository.
        why: What speaks for it.
        from_readme: Whether the repository's README tells people to type it.
    """

    command: str
    path: str
    why: str
    from_readme: bool = False


@dataclass(frozen=True)
class Survey:
    """What there is to see in a repository.

    Attributes:
        repository: Its files.
        facts: What each file of code tells.
        entries: Ways to start a training, the likeliest first.
    """

    repository: Repository
    facts: Mapping[str, CodeFacts]
    entries: tuple[Entry, ...]

    @property
    def is_autoresearch(self) -> bool:
        """Whether it has autoresearch's layout: a fixed prepare.py beside the train.py to edit."""
        return set(AUTORESEARCH) <= set(self.repository.texts)

    @cached_property
    def packages(self) -> tuple[str, ...]:
        """The folders from which modules of the repository are imported: its root, ``src``."""
        has_src = any(path.startswith("src/") for path in self.repository.texts)
        return ("", "src") if has_src else ("",)

    def reached(self, path: str, command: str = "") -> tuple[str, ...]:
        """Return the files that a script imports or reads, itself first, step by step.

        Files that the command line names are among them.
        """
        words = (path, *re.split(r"[\s=]+", command))
        found = {word: None for word in words if word in self.repository.texts}
        waiting = list(found)
        while waiting:
            at = waiting.pop(0)
            for file in self._next(at):
                if file not in found:
                    found[file] = None
                    waiting.append(file)
        return tuple(found)

    def requirements(self, path: str) -> dict[str, str]:
        """Return the packages that a script needs: module to requirement, ``einops==0.8.0``.

        Versions are those of a lock file or requirements of the repository, else those that are
        installed beside recipelab; none where neither has it.
        """
        own = {name.split(".")[0] for name in self._modules} | set(sys.stdlib_module_names)
        needed = {
            first: None
            for file in self.reached(path) or tuple(self.facts)
            for name in sorted(self.facts[file].modules if file in self.facts else ())
            if (first := name.split(".")[0]) not in {"", *own, *self.facts[file].optional}
            and not any(self._files_of(first, PurePosixPath(file).parent))
        }
        pinned = pinned_versions(self.repository.texts)
        return {module: _requirement(module, pinned) for module in needed}

    def configs(self, path: str, command: str = "") -> tuple[str, ...]:
        """Return the configuration files that a script or its command line names."""
        return tuple(file for file in self.reached(path, command) if file.endswith(_CONFIGS))

    def options(self, path: str) -> tuple[Option, ...]:
        """Return the options of a script's command line, and of what it imports."""
        return tuple(
            option
            for file in self.reached(path)
            if file in self.facts
            for option in self.facts[file].options
        )

    def seeds(self, path: str, command: str = "") -> tuple[SeedPlace, ...]:
        """Return the seeds in what a script reaches, the likeliest first."""
        files = self.reached(path, command)
        found = [seed for file in files if file in self.facts for seed in self.facts[file].seeds]
        return tuple(sorted(found, key=lambda seed: -seed.strength))

    def notes(self) -> dict[str, tuple[Line, ...]]:
        """Return the lines that a user is told of, by kind."""
        return {
            kind: lines
            for kind in NOTES
            if (lines := tuple(x for f in self.facts.values() for x in f.lines.get(kind, ())))
        }

    def editable(self, entry: Entry) -> tuple[str, ...]:
        """Return what agents may change by default: the files that it reaches, no scorers."""
        files = self.reached(entry.path, entry.command) or self._without_script(entry)
        free = tuple(file for file in files if not _FIXED_FILE.search(file.lower()))
        return free or files

    def _without_script(self, entry: Entry) -> tuple[str, ...]:
        """Return what a command of no known script may use: code, and what makes it."""
        wanted = (".c", ".cc", ".cpp", ".h", ".hpp", ".cu", ".rs", ".go", ".jl", ".sh", ".py")
        named = ("makefile", "cmakelists.txt")
        return tuple(
            path
            for path in self.repository.texts
            if path.endswith(wanted) or PurePosixPath(path).name.lower() in named
        )

    @cached_property
    def _modules(self) -> dict[str, str]:
        """The repository's own modules, with their files."""
        found = {}
        for path in self.repository.texts:
            if not path.endswith(".py"):
                continue
            for folder in self.packages:
                if folder and not path.startswith(f"{folder}/"):
                    continue
                inner = path[len(folder) + 1 :] if folder else path
                name = inner.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                found[name] = path
        return found

    def _next(self, path: str) -> Iterator[str]:
        """Yield the files that one file imports, or reads by a literal path."""
        facts = self.facts.get(path)
        if facts is None:
            return
        folder = PurePosixPath(path).parent
        for name in sorted(facts.modules):
            yield from self._files_of(name, folder)
        for text in sorted(facts.literals):
            for base in (PurePosixPath(), folder):
                file = _normal(base / text)
                if file in self.repository.texts and not file.lower().endswith((".md", ".rst")):
                    yield file
        if path.endswith((".sh", ".bash")) or PurePosixPath(path).name == "Makefile":
            words = set(re.split(r"[\s=\"';()]+", self.repository.texts[path]))
            yield from sorted(words & set(self.repository.texts))

    def _files_of(self, name: str, folder: PurePosixPath) -> Iterator[str]:
        if name.startswith("."):
            level = len(name) - len(name.lstrip("."))
            base = folder
            for _ in range(level - 1):
                base = base.parent
            inner = name.lstrip(".").replace(".", "/")
            candidates = [_normal(base / inner)] if inner else [_normal(base)]
        else:
            inner = name.replace(".", "/")
            beside = _normal(folder / inner)
            candidates = [*(f"{top}/{inner}".lstrip("/") for top in self.packages), beside]
        for candidate in candidates:
            for file in (f"{candidate}.py", f"{candidate}/__init__.py"):
                if file.lstrip("/") in self.repository.texts:
                    yield file.lstrip("/")


def look(repository: Repository) -> Survey:
    """Return what there is to see in a repository; nothing of it runs."""
    facts = {path: facts_of(path, text) for path, text in repository.texts.items()}
    survey = Survey(repository, facts, ())
    return Survey(repository, facts, tuple(_entries(survey)))


def pinned_versions(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the versions that a repository pins, by the normal name of the distribution.

    ``uv.lock`` and ``poetry.lock`` come before ``requirements*.txt`` and ``pyproject.toml``, of
    which only exact pins (``==``) count.
    """
    found: dict[str, str] = {}
    for path in sorted(texts):
        name = PurePosixPath(path).name.lower()
        if name in ("uv.lock", "poetry.lock"):
            found |= _locked(texts[path])
    for path in sorted(texts):
        name = PurePosixPath(path).name.lower()
        if name == "pyproject.toml" or re.fullmatch(r"(?:requirements|constraints).*\.txt", name):
            for match in re.finditer(
                r"([A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([\w.+!-]+)", texts[path]
            ):
                found.setdefault(_normal_name(match[1]), match[2])
    return found


def _locked(text: str) -> dict[str, str]:
    try:
        packages = tomllib.loads(text).get("package", [])
    except (ValueError, RecursionError):
        return {}
    rows = packages if isinstance(packages, list) else []
    return {
        _normal_name(str(row["name"])): str(row["version"])
        for row in rows
        if isinstance(row, dict) and "name" in row and "version" in row
    }


def _normal_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_of(survey: Survey, module: str) -> str:
    """Return the requirement of one package, as ``einops==0.8.0``."""
    return _requirement(module, pinned_versions(survey.repository.texts))


def _requirement(module: str, pinned: Mapping[str, str]) -> str:
    installed = metadata.packages_distributions().get(module, ())
    name = installed[0] if installed else _DISTRIBUTIONS.get(module, module)
    version = pinned.get(_normal_name(name))
    if version is None and installed:
        version = metadata.version(installed[0])
    # A build such as 2.4.0+cu121 is not on every index; its public version is.
    return f"{name}=={version.split('+')[0]}" if version else name


def _normal(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        elif part not in (".", ".."):
            parts.append(part)
    return "/".join(parts)


def _entries(survey: Survey) -> Iterator[Entry]:
    """Yield ways to start the training, the likeliest first, each command once."""
    texts = survey.repository.texts
    seen: set[str] = set()
    if survey.is_autoresearch:
        seen.add("python train.py")
        yield Entry("python train.py", "train.py", "the layout of autoresearch")
    for entry in (*_told(texts), *_scripts(survey), *_others(survey)):
        if entry.command not in seen:
            seen.add(entry.command)
            yield entry


def _told(texts: Mapping[str, str]) -> Iterator[Entry]:
    """Yield the commands that a README tells, those that train first."""
    found = []
    for path in sorted(texts, key=lambda path: (path.count("/"), path)):
        if not PurePosixPath(path).name.lower().startswith("readme") or path.count("/") > 0:
            continue
        for line in texts[path].split("\n"):
            match = _STARTERS.fullmatch(line.strip().strip("`")[:500])
            if match is None or _PLACEHOLDER.search(match["line"]):
                continue
            if entry := _told_entry(match["line"].split(" #")[0].strip(), texts):
                found.append(entry)
    yield from sorted(found, key=lambda entry: _rank(entry.path or entry.command))


def _told_entry(line: str, texts: Mapping[str, str]) -> Entry | None:
    """Return the entry of a command line of a README, if it starts a script that is there."""
    line = _LAUNCHER.sub("python ", re.sub(r"^(?:uv|poetry) run (?!\S+\.py)", "", line))
    line = re.sub(r"^(?:uv|poetry) run ", "python ", line)
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    if len(words) < 2 and not line.startswith("./") and line != "make":
        return None
    script = _script_of(words, texts)
    is_make = words[0] == "make" and any(PurePosixPath(p).name == "Makefile" for p in texts)
    if not script and not is_make:
        return None
    if _rank(script or " ".join(words[1:])) >= len(_NAMES) and not is_make:
        return None
    return Entry(line, script, "a command of the README", from_readme=True)


def _script_of(words: Sequence[str], texts: Mapping[str, str]) -> str:
    """Return the script of the repository that a command line starts; empty if it is none."""
    for at, word in enumerate(words):
        if word == "-m" and at + 1 < len(words):
            inner = words[at + 1].replace(".", "/")
            for file in (
                f"{inner}.py",
                f"src/{inner}.py",
                f"{inner}/__main__.py",
                f"src/{inner}/__main__.py",
            ):
                if file in texts:
                    return file
        if (file := _normal(PurePosixPath(word))) in texts and not file.endswith(_CONFIGS):
            return file
    return ""


def script_of(command: str, texts: Mapping[str, str]) -> str:
    """Return the script of the repository that a command line starts; empty if it is none."""
    try:
        return _script_of(shlex.split(command), texts)
    except ValueError:
        return ""


def _rank(path: str) -> int:
    """Return how far down the list of likely names a script is."""
    stem = PurePosixPath(path.split(" ")[0]).stem.lower()
    parts = re.split(r"[_.-]", stem)
    ranks = [rank for rank, name in enumerate(_NAMES) if name in parts or stem.startswith(name)]
    return min(ranks, default=len(_NAMES))


def _scripts(survey: Survey) -> Iterator[Entry]:
    """Yield the scripts in Python that train."""
    found = []
    for path, facts in survey.facts.items():
        if not path.endswith(".py") or _NOT_ENTRIES.search(path.lower()):
            continue
        starts = facts.has_main or bool(facts.parsers) or not facts.functions
        rank = _rank(path)
        if starts and (rank < len(_NAMES) or facts.trains >= 3):
            found.append((rank, path.count("/"), -facts.trains, path))
    for _, _, _, path in sorted(found):
        yield Entry(
            _python_command(survey, path), path, "a script that trains, by its name and code"
        )


def _python_command(survey: Survey, path: str) -> str:
    """Return the command that starts a script, with a configuration if it asks for one."""
    facts = survey.facts[path]
    relative = any(name.startswith(".") for name in facts.modules)
    in_package = f"{PurePosixPath(path).parent}/__init__.py" in survey.repository.texts
    command = f"python {shlex.quote(path)}"
    if relative or (in_package and path.startswith("src/")):
        inner = path.removeprefix("src/").removesuffix(".py").removesuffix("/__main__")
        command = f"python -m {inner.replace('/', '.')}"
    for option in facts.options:
        if "config" in option.flag and option.default is None:
            configs = [
                p
                for p in survey.repository.texts
                if p.endswith((".yaml", ".yml", ".toml"))
                and PurePosixPath(p).name not in ("pyproject.toml", "uv.lock")
            ]
            if configs:
                best = min(configs, key=lambda p: ("base" not in p and "default" not in p, p))
                return f"{command} {option.flag} {shlex.quote(best)}"
    return command


def _others(survey: Survey) -> Iterator[Entry]:
    """Yield shell scripts, targets of a Makefile, and a C program that is alone."""
    texts = survey.repository.texts
    shells = [
        path for path in texts if path.endswith((".sh", ".bash")) and _rank(path) < len(_NAMES)
    ]
    for path in sorted(shells, key=lambda path: (_rank(path), path.count("/"), path)):
        shell = "bash" if path.endswith(".bash") or "bash" in texts[path][:40] else "sh"
        yield Entry(f"{shell} {shlex.quote(path)}", path, "a shell script that trains, by its name")
    if "Makefile" in texts:
        targets = set(_TARGET.findall(texts["Makefile"]))
        for target in _TARGETS:
            if target in targets:
                yield Entry(f"make {target}", "Makefile", "a target of the Makefile")
    programs = [p for p in texts if p.endswith(".c") and survey.facts[p].has_main]
    if len(programs) == 1:
        source = shlex.quote(programs[0])
        built = f"cc -O2 -o program {source} -lm && ./program"
        yield Entry(built, programs[0], "the only C program")
