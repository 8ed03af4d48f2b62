"""What lies in a repository: its code, and the files and folders that may be data.

Nothing of the repository runs, Git's own hooks and monitors included.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recipelab.adopt.code import words
from recipelab.core.content import HOME_FOLDER, SANDBOXES, TASK_PACKS, read_limited
from recipelab.core.errors import RecipelabError
from recipelab.core.recipe import MAX_FILE_CHARACTERS, MAX_PATH_BYTES
from recipelab.core.text_form import TextForm

MOST_FILES = 2_000
"""Files of code that are taken; a repository with more is to be adopted by a folder of it."""
MOST_BYTES = 20_000_000
"""Size of all code that is taken."""
MOST_WALKED = 50_000
"""Files that a walk looks at; what is deeper in a large folder of data does not matter."""

_GIT_SECONDS = 30
_CODE = words(
    ".py .pyi .sh .bash .c .h .cc .cpp .cxx .hpp .cu .cuh .rs .go .jl .r .lua .js .ts .java "
    ".toml .yaml .yml .json .cfg .ini .conf .mk .cmake .md .rst .gin .jinja .sql"
)
_CODE_NAMES = words(
    "makefile dockerfile license readme requirements.txt constraints.txt cmakelists.txt "
    "environment.txt uv.lock poetry.lock pipfile"
)
_DATA = words(
    ".csv .tsv .parquet .arrow .feather .npz .npy .bin .h5 .hdf5 .jsonl .ndjson .db .sqlite .gz "
    ".zst .xz .bz2 .zip .tar .tgz .idx .mat .txt .xls .xlsx .rec .tfrecord .lmdb .svm .libsvm "
    ".arff .fasta .mtx .dat .data"
)
_PICTURES = words(".png .jpg .jpeg .gif .svg .pdf .ipynb .lock")
"""Suffixes of files that are data only in a folder of data, and no code however long they are."""
_WEIGHTS = words(".pt .pth .ckpt .safetensors .onnx .pkl .pickle .joblib")
_DATA_FOLDERS = words("data datasets dataset input inputs corpus shards")
_SKIPPED = words(
    "__pycache__ .git .hg .svn .venv venv env .env node_modules .tox .nox .mypy_cache "
    ".ruff_cache .pytest_cache .ipynb_checkpoints .idea .vscode .eggs build dist wandb mlruns "
    "runs outputs checkpoints lightning_logs tb_logs"
)
_OURS = frozenset([HOME_FOLDER, TASK_PACKS, SANDBOXES])
"""Folders that recipelab itself has put into a working directory."""
_SECRET = re.compile(
    r"\.env(?:\..+)?|\.netrc|id_(?:rsa|dsa|ecdsa|ed25519)|.*\.(?:pem|key|p12|pfx)|"
    r"(?:credentials?|secrets?)(?:\..+)?|\.npmrc|\.pypirc"
)
"""Names of files that hold keys; a recipe is sent to models."""
_SCRIPTS = words(".py .sh .bash .c .cpp .cc")
_LOG_NAMES = ("results.tsv",)
"""Tables that tell of past trials; they are no data of the training."""


@dataclass(frozen=True)
class DataPlace:
    """A file or folder that the training may read.

    Attributes:
        path: Where it is on this machine.
        target: Where the script looks for it, below the repository's root.
        folder: Whether it is a folder.
        files: How many files there are.
        bytes: Their size.
    """

    path: Path
    target: str
    folder: bool
    files: int
    bytes: int


@dataclass(frozen=True)
class Repository:
    """The files of a repository, sorted.

    Attributes:
        root: Its folder.
        texts: The text of each file of code, by its path below the root.
        forms: The same files as they lie on disk.
        carried: Small files that are neither code nor data, and are shown to the recipe as well.
        data: Files and folders that may be data; none lies in another one.
        left_out: Paths that are neither, each with the reason.
        by_git: Whether Git said which files belong to it.
    """

    root: Path
    texts: Mapping[str, str]
    forms: Mapping[str, TextForm]
    carried: tuple[str, ...]
    data: tuple[DataPlace, ...]
    left_out: Mapping[str, str]
    by_git: bool


def read_repository(root: Path, data: Sequence[str] = ()) -> Repository:
    """Read the files of a repository.

    Args:
        root: Its folder.
        data: Files and folders that the user named as data, absolute or below the root.

    Raises:
        RecipelabError: There is no such folder, it holds no code, or too much of it.
    """
    root = root.resolve()
    if not root.is_dir():
        raise RecipelabError(f"{root}: no folder; valid: the folder of the script that trains")
    listed = _git_files(root)
    paths = sorted(_walked(root) if listed is None else (p for p in listed if not _is_skipped(p)))
    places = _named_places(root, data)
    folders = {place.target for place in places if place.folder}
    forms: dict[str, TextForm] = {}
    carried: list[str] = []
    left_out: dict[str, str] = {}
    files: list[str] = []
    for path in paths:
        if any(parent in folders for parent in (path, *_parents(path))):
            continue
        form, reason = _text_of(root, path)
        if form is not None:
            forms[path] = form
        elif reason == "data":
            files.append(path)
        elif reason == "no text":
            carried.append(path)
        else:
            left_out[path] = reason
    if not forms:
        raise RecipelabError(f"{root}: it holds no code; name the folder of the script that trains")
    if len(forms) > MOST_FILES or sum(len(form.raw) for form in forms.values()) > MOST_BYTES:
        raise RecipelabError(
            f"{root}: {len(forms):,} files of code; at most {MOST_FILES:,} with {MOST_BYTES:,} "
            "bytes are taken: name a folder of it"
        )
    places += _found_places(root, files, {place.target for place in places}, forms)
    texts = {path: form.text for path, form in forms.items()}
    # What lies below data is hidden by it.
    hidden = {place.target for place in places if place.folder}
    kept = tuple(path for path in carried if not hidden & set(_parents(path)))
    return Repository(root, texts, forms, kept, tuple(places), left_out, listed is not None)


def is_data_name(path: str) -> bool:
    """Return whether a path is named as data are."""
    return PurePosixPath(path).suffix.lower() in _DATA | _WEIGHTS


def data_place(root: Path, path: Path, target: str) -> DataPlace:
    """Return what is known of a file or folder of data; ``root`` is the repository's."""
    if not path.is_dir():
        return DataPlace(path, target, False, 1, path.stat().st_size)
    count = size = 0
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in names:
            count += 1
            size += os.lstat(os.path.join(folder, name)).st_size
        if count > MOST_WALKED:
            break
    return DataPlace(path, target, True, count, size)


def _git_files(root: Path) -> list[str] | None:
    """Return the files that Git knows or would add; ``None`` where there is no repository."""
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard")
    # Settings of the repository may name programs, and nothing of it may run.
    settings = ("-c", "core.fsmonitor=false", "-c", "safe.directory=*", "-c", "core.hooksPath=/")
    try:
        done = subprocess.run(
            ["git", *settings, "-C", os.fspath(root), *words],
            capture_output=True,
            timeout=_GIT_SECONDS,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})


def _walked(root: Path) -> Iterator[str]:
    seen = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(set(folders) - _SKIPPED - (_OURS if folder == str(root) else set()))
        for name in sorted(names):
            seen += 1
            yield Path(folder, name).relative_to(root).as_posix()
        if seen > MOST_WALKED:
            return


def _is_skipped(path: str) -> bool:
    return PurePosixPath(path).parts[0] in _OURS


def _parents(path: str) -> list[str]:
    return [parent.as_posix() for parent in PurePosixPath(path).parents][:-1]


def _text_of(root: Path, path: str) -> tuple[TextForm | None, str]:
    """Return the text of a file of code; else why it is none, ``data`` if it may be data."""
    name, suffix = PurePosixPath(path).name.lower(), PurePosixPath(path).suffix.lower()
    file = root / path
    if len(os.fsencode(path)) > MAX_PATH_BYTES or not path.isprintable():
        return None, "its path is too long, or cannot be printed"
    if _SECRET.fullmatch(name):
        return None, "it may hold a secret"
    if file.is_symlink() and not _stays(file, root):
        return None, "a link that leads out of the repository"
    if not file.is_file():
        return None, "no file (a submodule, or it was deleted)"
    known = suffix in _CODE or name in _CODE_NAMES or (not suffix and name.isalpha())
    if (suffix in _DATA and name not in _CODE_NAMES) or suffix in _WEIGHTS:
        return None, "a table of past trials" if name in _LOG_NAMES else "data"
    try:
        raw = read_limited(file, MAX_FILE_CHARACTERS)
    except OSError as error:
        too_long = file.stat().st_size > MAX_FILE_CHARACTERS
        if too_long and (known or suffix in _PICTURES):
            return None, "longer than code is"
        return None, "data" if too_long else f"cannot be read: {error.strerror}"
    form = TextForm.read(raw)
    if form is None or not known:
        return None, "data" if _in_data_folder(path) else "no text"
    return form, ""


def _stays(file: Path, root: Path) -> bool:
    try:
        return file.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _in_data_folder(path: str) -> bool:
    return any(part.lower() in _DATA_FOLDERS for part in PurePosixPath(path).parts[:-1])


def _named_places(root: Path, data: Sequence[str]) -> list[DataPlace]:
    """Return the places that the user named.

    Raises:
        RecipelabError: One is not there.
    """
    found = []
    for name in data:
        path = (root / Path(name).expanduser()).resolve()
        if not path.exists():
            here = Path(name).expanduser().resolve()
            path = here if here.exists() else path
        if not path.exists():
            raise RecipelabError(f"--data: no file or folder {name!r}, here or in {root}")
        inside = path.is_relative_to(root)
        target = path.relative_to(root).as_posix() if inside else path.name
        if path.parent == root.parent and not inside:
            target = f"../{path.name}"
        if target == ".":
            raise RecipelabError(f"--data: {name!r} is the whole repository; name a folder of it")
        found.append(data_place(root, path, target))
    return found


def _found_places(
    root: Path, files: Sequence[str], taken: set[str], texts: dict[str, TextForm]
) -> list[DataPlace]:
    """Return data that nobody named: whole folders where all in them is data, else files.

    Folders that Git ignores are looked for by their names, as data mostly are ignored. Where such a
    folder holds scripts too, its other files are taken one by one; notes in one that holds none are
    taken out of ``texts``.
    """
    whole: set[str] = set()
    single = set(files)
    for folder in sorted(root.iterdir()):
        if folder.name.lower() not in _DATA_FOLDERS or not folder.is_dir():
            continue
        inside = [path for path in texts if path.startswith(f"{folder.name}/")]
        if any(PurePosixPath(path).suffix in _SCRIPTS for path in inside):
            single |= {
                path
                for name in _walked(folder)
                if (path := f"{folder.name}/{name}") not in texts and is_data_name(path)
            }
        elif any(folder.iterdir()):
            whole.add(folder.name)
            for path in inside:
                del texts[path]
    wanted = whole | {path for path in single if not whole & set(_parents(path))}
    return [
        data_place(root, (root / path).resolve(), path)
        for path in sorted(wanted)
        if not {path, *_parents(path)} & taken and (root / path).exists()
    ]
