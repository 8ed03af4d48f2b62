"""Prepares the place where the launcher runs one phase: namespaces, or a folder of the host."""

from __future__ import annotations

import marshal
import os
import site
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from recipelab.sandbox.base import HOST_NAME, OUTPUT_DIRECTORY, PhaseRequest
from recipelab.sandbox.files import (
    copy_read_only,
    copy_writable,
    make_way,
    outer_first,
    readable_for_all,
)
from recipelab.sandbox.gpus import amd_devices, is_amd, visible_amd
from recipelab.sandbox.local.launched import NONE
from recipelab.sandbox.processes import MIB

PHASE_ROOT = "/trial"
NOBODY = 65534
"""The user that runs the command if this process is root's; otherwise it is the same user."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
_SETTINGS = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "fonts")
_SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_PREFIX_PARTS = ("bin", "lib", "lib64", "libexec", "include", "share", "targets", "pyvenv.cfg")
_OWN_PROCESSES = 2
"""Processes of the launcher; they count as the command's if they have the same user."""

WATCH_SOCKET = "watch"
"""Socket in the folder of a phase that is sent the folder which the command writes to."""

_LINKED_BYTES = 64 * MIB
_DRIVER = "libcuda.so*"


@dataclass(frozen=True)
class LaunchSettings:
    """Where the launcher runs the command.

    Attributes:
        directory: Working directory of the launcher.
        paths: ``PATH``, ``HOME`` and ``TMPDIR`` of the command.
        file_bytes: Bound on the size of a file.
        processes: Bound on the number of processes, as the launcher's argument.
        namespaces: File with a :class:`NamespaceSpec`, as the launcher's argument.
        spec: The same, if there are namespaces.
        written: The folder of the host that holds the folders that the command may write to;
            ``None`` if they are in memory.
        kind: Where that is, for the record.
    """

    directory: Path
    paths: Mapping[str, str]
    file_bytes: int
    processes: str = NONE
    namespaces: str = NONE
    spec: NamespaceSpec | None = None
    written: Path | None = None
    kind: str = "without namespaces"


class NamespaceSpec(TypedDict):
    """The namespaces that the launcher makes; a dictionary, because ``marshal`` writes no others.

    Targets are paths inside. Pairs are of a host path, a text or a name, and its target.

    Attributes:
        base: Folder of the host on which the file system is built.
        directory: Working directory of the command.
        host_name: Host name inside.
        user: User that runs the command; ``None`` for the user that runs the launcher.
        maps: Files in ``/proc/PID``, each with what to write to it so that every id stays itself.
        binds: Host paths that are bound read-only.
        devices: Host devices that are bound read-only.
        links: Texts of symbolic links.
        files: Contents of small files.
        scratch: Options of a file system in memory, and its folders, which hold no outputs.
        copies: Folders of the host that are copied into folders of ``scratch``.
        written: The same for outputs and tripwires.
        watch: Socket of the host that is sent the open folder of ``written``; ``None`` for none.
    """

    base: str
    directory: str
    host_name: str
    user: int | None
    maps: list[tuple[str, str]]
    binds: list[tuple[str, str]]
    devices: list[tuple[str, str]]
    links: list[tuple[str, str]]
    files: list[tuple[str, str]]
    scratch: tuple[str, list[tuple[str, str]]]
    copies: list[tuple[str, str]]
    written: tuple[str, list[tuple[str, str]]]
    watch: str | None


def prepare_on_host(request: PhaseRequest, top: Path) -> LaunchSettings:
    """Make the phase root with its inputs in a folder of the host, and a home beside it.

    Args:
        request: A checked request.
        top: An empty folder.
    """
    home, root = top / "home", top / "trial"
    home.mkdir()
    written = [root / name for name in (OUTPUT_DIRECTORY, *request.tripwires)]
    for folder in written:
        folder.mkdir(parents=True)
    for entry in outer_first(request.inputs):
        target = root / entry.target
        make_way(target)
        # A link costs nothing. The command may write through it, as it could write to the source.
        large = entry.source.is_file() and entry.source.stat().st_size > _LINKED_BYTES
        if large or entry.as_is:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(entry.source)
        elif entry.writable:
            target.parent.mkdir(parents=True, exist_ok=True)
            copy_writable(entry.source, target)
        else:
            copy_read_only(entry.source, target)
    changeable = {root / entry.target for entry in request.inputs if entry.writable}
    targets = (*(root / entry.target for entry in request.inputs), *written)
    for folder in {parent for path in targets for parent in path.parents}:
        if folder.is_relative_to(root) and not changeable & {folder, *folder.parents}:
            folder.chmod(0o555)
    return LaunchSettings(
        directory=root / request.directory,
        paths={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "TMPDIR": str(home)},
        file_bytes=request.limits.output_mb * MIB,
        written=root,
    )


def gpu_variables(request: PhaseRequest) -> dict[str, str]:
    """Return the variables that make the GPUs of a request visible, and no others."""
    if is_amd(request.limits.gpus):
        return {"CUDA_VISIBLE_DEVICES": "", **visible_amd(request.limits.gpus, alone=False)}
    visible = {
        "CUDA_VISIBLE_DEVICES": ",".join(request.limits.gpus),
        # nvidia-smi's numbers. CUDA's own order puts the fastest first.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    hidden = {"NVIDIA_VISIBLE_DEVICES": "void", "HIP_VISIBLE_DEVICES": "-1"}
    return visible if request.limits.gpus else {**visible, **hidden}


def driver_variables(request: PhaseRequest) -> dict[str, str]:
    """Return where NVIDIA's driver lies, for a request with GPUs, if only a variable tells that."""
    folders = _driver_folders() if request.limits.gpus else []
    return {"LD_LIBRARY_PATH": ":".join(folders)} if folders else {}


def _driver_folders() -> list[str]:
    """Return the folders of ``LD_LIBRARY_PATH`` that hold NVIDIA's driver, and no others."""
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    absolute = (Path(_walked(folder)) for folder in folders if folder.startswith("/"))
    return [str(folder) for folder in absolute if next(folder.glob(_DRIVER), None)]


def command_line(command: Sequence[str]) -> list[str]:
    """Return a command with the Python that runs now in place of ``python``."""
    program, *arguments = command
    return [interpreter() if program == "python" else program, *arguments]


def interpreter() -> str:
    """Return the path of the Python that runs now, as it can be walked inside.

    Of ``/project/docs/../.venv/bin/python``, which Python takes from whoever started it by
    ``../.venv/bin/python``, the folder ``docs`` is not there inside. The program itself stays a
    link: a virtual environment is found by where the link lies.
    """
    folder, name = os.path.split(sys.executable)
    return os.path.join(_walked(folder), name)


def _walked(folder: str) -> str:
    """Return the path of a folder with one slash at its head, and links resolved if it has ``..``.

    What ``..`` leads to depends on the links before it, so it cannot be struck out as text.
    """
    path = os.path.realpath(folder) if ".." in folder.split("/") else folder
    return "/" + path.lstrip("/") if path.startswith("/") else path


def prepare_in_namespaces(request: PhaseRequest, top: Path) -> LaunchSettings:
    """Write the specification of the namespaces for the launcher.

    Args:
        request: A checked request.
        top: An empty folder.
    """
    (top / "root").mkdir()
    spec = namespace_spec(request, top)
    file = top / "namespaces"
    file.write_bytes(marshal.dumps(cast("dict[str, Any]", spec)))
    limits = request.limits
    own = _OWN_PROCESSES if spec["user"] is None else 0
    programs = (str(Path(interpreter()).parent), "/usr/local/bin", "/usr/bin", "/bin", "/sbin")
    return LaunchSettings(
        directory=top,
        paths={"PATH": ":".join(programs), "HOME": "/tmp", "TMPDIR": "/tmp"},
        file_bytes=max(limits.output_mb, limits.scratch_mb) * MIB,
        processes=str(limits.pids + own),
        namespaces=str(file),
        spec=spec,
        kind="in namespaces",
    )


def namespace_spec(request: PhaseRequest, top: Path) -> NamespaceSpec:
    """Return the namespaces that the launcher is to make.

    Args:
        request: A checked request.
        top: Folder of the phase, for copies of inputs that the command's user could not read.
    """
    is_root = os.geteuid() == 0
    limits = request.limits
    return {
        "base": str(top / "root"),
        "directory": f"{PHASE_ROOT}/{request.directory}".rstrip("/"),
        "host_name": HOST_NAME,
        "user": NOBODY if is_root else None,
        "maps": _id_maps(is_root),
        "binds": [*_without_nested(_bound(limits.gpus)), *_inputs(request, top, is_root)],
        "devices": list(_devices(limits.gpus)),
        "links": _links(),
        "files": _files(NOBODY if is_root else os.geteuid()),
        "scratch": (f"size={limits.scratch_mb}m", _scratch(request)),
        "copies": [
            (str(entry.source.resolve()), f"{PHASE_ROOT}/{entry.target}")
            for entry in request.inputs
            if entry.writable
        ],
        "written": _written(request),
        "watch": str(top / WATCH_SOCKET) if request.watch is not None else None,
    }


def _id_maps(is_root: bool) -> list[tuple[str, str]]:
    """Map each id to itself: all of them for root, one's own for others, who may map no more."""
    if not is_root:
        return [
            ("setgroups", "deny"),
            ("uid_map", f"{os.geteuid()} {os.geteuid()} 1"),
            ("gid_map", f"{os.getegid()} {os.getegid()} 1"),
        ]
    maps = []
    for name in ("uid_map", "gid_map"):
        rows = (line.split() for line in Path("/proc/self", name).read_text().splitlines())
        maps.append((name, "".join(f"{first} {first} {count}\n" for first, _, count in rows)))
    return maps


def _written(request: PhaseRequest) -> tuple[str, list[tuple[str, str]]]:
    """Return the file system for outputs and tripwires."""
    limits = request.limits
    entries = 5 * limits.output_files + 200  # More than are collected, but bounded.
    names = (OUTPUT_DIRECTORY, *request.tripwires)
    folders = [(name, f"{PHASE_ROOT}/{name}") for name in names]
    return f"size={limits.output_mb}m,nr_inodes={entries}", folders


def _scratch(request: PhaseRequest) -> list[tuple[str, str]]:
    """Return the folders for temporary files, and those of copies that the command may change."""
    copies = [entry.target for entry in request.inputs if entry.writable]
    places = [(f"copies/{number}", f"{PHASE_ROOT}/{to}") for number, to in enumerate(copies)]
    return [*((path[1:], path) for path in _SCRATCH), *places]


def _inputs(request: PhaseRequest, top: Path, is_root: bool) -> Iterator[tuple[str, str]]:
    for number, entry in enumerate(outer_first(request.inputs)):
        if entry.writable:
            continue
        source = entry.source.resolve()
        # The command of root runs as another user, who may read less.
        if is_root and not entry.as_is and not readable_for_all(source):
            source = top / "copies" / str(number)
            copy_read_only(entry.source.resolve(), source)
        yield str(source), f"{PHASE_ROOT}/{entry.target}"


def _bound(gpus: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the host paths of system, Python and driver, as they are and with links resolved."""
    paths = [path for path in _SYSTEM if not os.path.islink(path)]
    paths += [f"/etc/{name}" for name in _SETTINGS]
    paths += ["/sys/devices/system"]  # Libraries count the cores there.
    prefixes = (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix)
    for prefix in {*map(_walked, prefixes), str(Path(interpreter()).parents[1])}:
        # Not the whole prefix: a virtual environment can lie in the folder of a project.
        paths += [os.path.join(prefix, part) for part in _PREFIX_PARTS]
    paths += _driver_folders() if gpus else []
    for path in (*paths, *_editable_folders(), *_program_links()):
        if os.path.exists(path):
            yield os.path.realpath(path), path
            yield os.path.realpath(path), os.path.realpath(path)


def _editable_folders() -> Iterator[str]:
    """Yield the folders of packages that are installed in editable mode.

    A folder that holds the home or the working directory is left out: it holds more than code.
    """
    private = [Path(os.path.expanduser("~")).resolve(), Path.cwd()]
    for packages in map(Path, site.getsitepackages()):
        lines = (
            line.strip()
            for file in packages.glob("*.pth")
            for line in file.read_text("utf-8", errors="replace").splitlines()
        )
        # Python strikes out ``..`` in these lines as text, whatever links there are.
        for folder in (Path(os.path.normpath(line)) for line in lines if line.startswith("/")):
            if not any(path.is_relative_to(folder.resolve()) for path in private):
                yield str(folder)


def _program_links() -> Iterator[str]:
    """Yield the links from the running Python to the real one."""
    path = interpreter()
    while os.path.islink(path):
        path = os.path.join(os.path.dirname(path), os.readlink(path))
        path = os.path.join(_walked(os.path.dirname(path)), os.path.basename(path))
        yield path


def _without_nested(pairs: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    """Drop the pairs whose target lies in another target."""
    kept: dict[str, str] = {}
    for source, target in sorted(set(pairs), key=lambda pair: pair[1]):
        if not any(str(parent) in kept for parent in (Path(target), *Path(target).parents)):
            kept[target] = source
    return [(source, target) for target, source in kept.items()]


def _devices(gpus: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for name in _DEVICES:
        yield f"/dev/{name}", f"/dev/{name}"
    if gpus:
        yield "/sys", "/sys"
        nvidia = sorted(Path("/dev").glob("nvidia*"))
        for path in amd_devices(gpus) if is_amd(gpus) else nvidia:
            yield str(path), str(path)


def _links() -> list[tuple[str, str]]:
    """Return links of the system, as ``/bin`` often is, and device names that programs expect."""
    links = [(os.readlink(path), path) for path in _SYSTEM if os.path.islink(path)]
    streams = [("0", "stdin"), ("1", "stdout"), ("2", "stderr")]
    links += [(f"/proc/self/fd/{number}", f"/dev/{name}") for number, name in streams]
    return [*links, ("/proc/self/fd", "/dev/fd")]


def _files(user: int) -> list[tuple[str, str]]:
    group = NOBODY if user == NOBODY else os.getegid()
    return [
        (f"sandbox:x:{user}:{group}::/tmp:/bin/sh\n", "/etc/passwd"),
        (f"sandbox:x:{group}:\n", "/etc/group"),
        (f"127.0.0.1 localhost {HOST_NAME}\n", "/etc/hosts"),
    ]
