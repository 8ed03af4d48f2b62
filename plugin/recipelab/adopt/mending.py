"""Why a run of the user's command failed, and what mends it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from recipelab.adopt.draft import Draft
from recipelab.adopt.files import data_place
from recipelab.adopt.look import requirement_of
from recipelab.adopt.writing import HOME, RECIPE
from recipelab.core.content import SANDBOXES, shipped_root
from recipelab.core.errors import RecipelabError
from recipelab.core.text import plain
from recipelab.sandbox.base import Ending, PhaseResult
from recipelab.sandbox.choose import LOCAL

MOST_MB = 32_768
"""The most that a limit is raised to by itself."""

_LAST_LINES = 15
_MODULE = re.compile(r"No module named '([\w.]+)'")
_MISSING = re.compile(
    r"(?:No such file or directory|FileNotFoundError|not found|does not exist|cannot open)"
    r"[^'\"\n]{0,80}['\"]([^'\"\n]{1,300})['\"]|['\"]?(/[^\s'\":]{2,300}|[\w./-]+/[\w./-]+|[\w-]+\.\w+)"
    r"['\"]?:? (?:No such file or directory|not found\.|does not exist)"
)
_READ_ONLY = re.compile(
    r"(?:Read-only file system|Permission denied)[^'\"\n]{0,40}['\"]([^'\"\n]+)['\"]"
)
_FULL = re.compile(r"No space left on device|Errno 28|File too large|Errno 27|Disk quota exceeded")
_MEMORY = re.compile(
    r"MemoryError|Cannot allocate memory|Unable to allocate|std::bad_alloc|"
    r"DefaultCPUAllocator"
)
_NO_GPU = re.compile(
    r"not compiled with CUDA|No CUDA GPUs are available|Found no NVIDIA driver|"
    r"CUDA is not available|no CUDA-capable device|libcuda\.so"
)
_NETWORK = re.compile(
    r"Temporary failure in name resolution|Name or service not known|Network is unreachable|"
    r"Max retries exceeded|ConnectionError|URLError|OfflineModeIsEnabled|LocalEntryNotFoundError|"
    r"getaddrinfo failed|Could not resolve host"
)
_NO_PROGRAM = re.compile(r"(?:sh: )?(?:\d+: )?([\w./+-]+): (?:command )?not found")
_IMAGE = """# The packages of one recipe, on top of the image recipelab/cpu.
format = 1
name = "{name}"
description = "recipelab/cpu with what the recipe {name} imports"
image = "recipelab/{name}"
dockerfile = "Dockerfile"
base = "recipelab/cpu"
python = "3.11"
"""


@dataclass(frozen=True)
class Mend:
    """Why a run failed, and what is done about it.

    Attributes:
        cause: Why, in a sentence.
        remedy: What mends it, as it was done, or as the user can do it.
        done: Whether the draft was changed, so that the command may be run again.
    """

    cause: str
    remedy: str
    done: bool

    def __str__(self) -> str:
        return f"{self.cause}: {self.remedy}" if self.remedy else self.cause


def mend(draft: Draft, result: PhaseResult, *, kind: str) -> Mend:
    """Return why a run failed, and change the draft where that mends it.

    Args:
        draft: The draft that ran.
        result: What the sandbox measured and logged of the run.
        kind: Kind of the sandbox, ``docker`` or ``local``.
    """
    log = result.log
    for found in (
        _at_limit(draft, result, log),
        _module(draft, log, kind),
        _hardware(draft, log),
        _network(draft, log),
        _missing_file(draft, log),
        _elsewhere(log),
        _program(log, kind),
    ):
        if found is not None:
            return found
    how = f"exit status {result.exit_code}" if result.exit_code is not None else result.ending
    return Mend(f"the command `{draft.entry.command}` failed with {how}", "", False)


def last_lines(log: str) -> str:
    """Return the end of a log, safe to be shown."""
    lines = [line for line in log.strip().splitlines() if line.strip()]
    return plain("\n".join(lines[-_LAST_LINES:]))


def _at_limit(draft: Draft, result: PhaseResult, log: str) -> Mend | None:
    if result.ending is Ending.DEADLINE:
        seconds = f"{draft.train_seconds:g} s"
        return Mend(
            f"the training did not end within {seconds}",
            "give it more with --time SECONDS, or fewer steps in --command",
            False,
        )
    if result.ending is Ending.OUTPUT or _FULL.search(log):
        return _raised(draft, "the disk of the sandbox was full", "output_mb", "scratch_mb")
    if result.ending is Ending.MEMORY or _MEMORY.search(log):
        return _raised(draft, "the memory was not enough", "memory_mb")
    return None


def _raised(draft: Draft, cause: str, *names: str) -> Mend:
    before = {name: getattr(draft, name) for name in names}
    if max(before.values()) >= MOST_MB:
        told = ", ".join(f"limits.{name} = {value}" for name, value in before.items())
        return Mend(cause, f"with {told}; free some, or let it write less", False)
    for name, value in before.items():
        setattr(draft, name, min(MOST_MB, value * 4))
    told = ", ".join(f"limits.{name} = {getattr(draft, name)}" for name in names)
    return Mend(cause, f"raised to {told}", True)


def _module(draft: Draft, log: str, kind: str) -> Mend | None:
    missing = _MODULE.findall(log)
    if not missing:
        return None
    module = missing[-1].split(".")[0]
    cause = f"the sandbox has no Python package for `import {module}`"
    wanted = draft.survey.requirements(draft.entry.path)
    requirement = wanted.get(module) or requirement_of(draft.survey, module)
    if any(path.split("/")[0] == module for path in draft.survey.repository.texts):
        remedy = f"its folder is not on the path: --command 'PYTHONPATH=. {draft.entry.command}'"
        return Mend(f"{cause}, which is one of the repository", remedy, False)
    if kind == LOCAL:
        install = f"{sys.executable} -m pip install {requirement.split('==')[0]}"
        return Mend(cause, f"the local sandbox has those of this Python: {install}", False)
    have = _base_packages()
    needed = {name: text for name, text in wanted.items() if name not in have}
    needed.setdefault(module, requirement)
    folder = Path.cwd() / SANDBOXES / draft.name
    listed = sorted(needed.values(), key=str.lower)
    if draft.sandbox == draft.name:
        return Mend(cause, f"add it to {folder / 'requirements.txt'}", False)
    write_sandbox(folder, draft.name, listed)
    draft.sandbox = draft.name
    told = f"wrote {folder} with base recipelab/cpu and {', '.join(listed)}"
    draft.notes.append(f"Its image holds {', '.join(listed)} besides those of recipelab/cpu.")
    return Mend(cause, told, True)


def write_sandbox(folder: Path, name: str, requirements: list[str]) -> None:
    """Write a sandbox that has some packages on top of recipelab/cpu.

    Raises:
        RecipelabError: There is one of that name, or it cannot be written.
    """
    if folder.exists():
        raise RecipelabError(f"{folder} exists already; take another --name, or move it away")
    dockerfile = shipped_root() / SANDBOXES / "cpu" / "Dockerfile"
    try:
        folder.mkdir(parents=True)
        (folder / "sandbox.toml").write_text(_IMAGE.format(name=name), "utf-8")
        (folder / "requirements.txt").write_text("\n".join(requirements) + "\n", "utf-8")
        (folder / "Dockerfile").write_text(dockerfile.read_text("utf-8"), "utf-8")
    except OSError as error:
        raise RecipelabError(f"{folder}: cannot be written: {error.strerror}") from None


def _base_packages() -> set[str]:
    file = shipped_root() / SANDBOXES / "cpu" / "requirements.txt"
    names = re.findall(r"^([A-Za-z][\w-]*)", file.read_text("utf-8"), re.MULTILINE)
    return {name.lower() for name in names}


def _hardware(draft: Draft, log: str) -> Mend | None:
    if not _NO_GPU.search(log):
        return None
    flag = next(
        (o.flag for o in draft.survey.options(draft.entry.path) if "device" in o.flag), None
    )
    cause = "it wants a GPU, and the sandbox has none"
    if flag is not None and flag not in draft.entry.command:
        draft.entry = replace(draft.entry, command=f"{draft.entry.command} {flag} cpu")
        return Mend(cause, f"runs with {flag} cpu instead", True)
    lines = draft.survey.notes().get("cuda", ())[:3]
    where = "; ".join(map(str, lines))
    return Mend(cause, f"adopt it on a machine with a GPU, or let it take the CPU: {where}", False)


def _network(draft: Draft, log: str) -> Mend | None:
    if not _NETWORK.search(log):
        return None
    lines = "; ".join(map(str, draft.survey.notes().get("download", ())[:3]))
    where = f" ({lines})" if lines else ""
    return Mend(
        f"it wants the network, and a sandbox has none{where}",
        "fetch what it needs once by hand, then name the folder with --data",
        False,
    )


def _missing_file(draft: Draft, log: str) -> Mend | None:
    root = draft.survey.repository.root
    for name in reversed([first or second for first, second in _MISSING.findall(log)]):
        for path, target in _host_paths(draft, name, root):
            # A placeholder of what is there already would be found again and again.
            known = {place.target for place in draft.data}
            if path.exists() and target not in known and not _covers(known, target):
                absolute = name.startswith("/") and not target.startswith(f"{HOME}/")
                if absolute and not _replaced(draft, name, path, target):
                    continue
                draft.data.append(data_place(root, path, target))
                told = target.replace(f"{HOME}/", "~/") if target.startswith(HOME) else target
                return Mend(f"it reads {told}", f"shown as data, from {path}", True)
    return None


def _covers(known: set[str], target: str) -> bool:
    return any(parent.as_posix() in known for parent in PurePosixPath(target).parents)


def _host_paths(draft: Draft, name: str, root: Path) -> Iterator[tuple[Path, str]]:
    """Yield where a file of the sandbox may be on this machine, and where the recipe sees it.

    A whole folder is taken where it holds nothing but the file's neighbours: not the home itself,
    and not the repository.
    """
    _, mark, below = name.partition(f"/{HOME}/")
    if mark:
        path = Path.home() / below
        top = 2 if below.startswith(".") else 1
        parts = PurePosixPath(below).parts
        if len(parts) > top:
            short = "/".join(parts[:top])
            yield Path.home() / short, f"{HOME}/{short}"
        yield path, f"{HOME}/{below}"
    elif f"/{RECIPE}/" in name or not name.startswith("/"):
        inner = name.partition(f"/{RECIPE}/")[2] if name.startswith("/") else name
        pure = PurePosixPath(inner)
        if pure.parts[:1] == ("..",) and len(pure.parts) > 1 and ".." not in pure.parts[1:]:
            # A folder beside the repository is one beside recipe/.
            yield root.parent / pure.parts[1], f"../{pure.parts[1]}"
        elif ".." not in pure.parts and pure.as_posix() not in draft.survey.repository.texts:
            yield root / pure, pure.as_posix()
    else:
        path = Path(name)
        inside = path.is_relative_to(root)
        target = path.relative_to(root).as_posix() if inside else f"recipelab_data/{path.name}"
        yield path, target


def _replaced(draft: Draft, name: str, path: Path, target: str) -> bool:
    """Put the place of data where a copied file names an absolute path; whether one does."""
    for file, text in draft.survey.repository.texts.items():
        if name in text and file.endswith((".py", ".yaml", ".yml", ".toml", ".json", ".sh")):
            draft.replaced.setdefault(file, []).append((name, target))
            note = f"In the pack's copy of {file}, `{name}` is `{target}`, where the data is shown."
            draft.notes.append(note)
            return True
    return False


def _elsewhere(log: str) -> Mend | None:
    match = _READ_ONLY.search(log)
    if match is None:
        return None
    return Mend(
        f"it writes to {match[1]}, and may write to its own folder and the temporary one alone",
        "let --command name a folder below the repository for what it writes",
        False,
    )


def _program(log: str, kind: str) -> Mend | None:
    match = _NO_PROGRAM.search(log)
    if match is None:
        return None
    where = "this machine" if kind == LOCAL else "the image"
    remedy = "install it" if kind == LOCAL else "take --sandbox local, or an image that has it"
    return Mend(f"{where} has no program {match[1]}", remedy, False)
