"""Look around inside a phase: what can be seen, reached and written there.

`recipelab sandbox check` gives this file to a phase as an input, beside a ``config.json``. It runs
under the image's own Python, so it imports the standard library alone. It judges nothing: it writes
what it found to ``out/report.json``. The probes that run into limits are in ``probe_limits.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import glob
import json
import mmap
import os
import socket
import stat
import threading
from typing import Any

Config = dict[str, Any]
_SECONDS = 1.0
_METADATA = ("169.254.169.254", 80)
_DAEMONS = ("docker.sock", "containerd/containerd.sock", "podman/podman.sock", "crio/crio.sock")
_GET_NO_NEW_PRIVS = 39
_STATUS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
_MASKED = (
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/sched_debug",
    "/proc/latency_stats",
    "/proc/acpi",
    "/proc/scsi",
    "/sys/firmware",
)
_CONTROLS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/uevent_helper",
    "/sys/power/state",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
_LIMITS = (
    *("memory.max", "memory.swap.max", "cpu.max", "pids.max", "pids/pids.max"),
    *("memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes"),
    *("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
)
"""Files of control groups v2 and v1; each machine has some of them."""


def _interfaces(config: Config) -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def _connected(address: tuple[str, int]) -> str:
    """Return ``connected`` if something listens there, or why not."""
    try:
        socket.create_connection(address, timeout=_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return "connected"


def _gateways() -> list[str]:
    """Return the addresses of routers; behind a Docker bridge that is the host."""
    with open("/proc/net/route") as file:
        rows = [line.split() for line in file][1:]
    numbers = [bytes.fromhex(row[2])[::-1] for row in rows]
    return [socket.inet_ntoa(number) for number in numbers if any(number)]


def _host(config: Config) -> list[str]:
    """Return the addresses of the host at which its listener was reached."""
    addresses = list(config["addresses"])
    with contextlib.suppress(OSError):
        addresses += _gateways()
    port = config["port"]
    return [host for host in addresses if _connected((host, port)) == "connected"]


def _abstract_socket(config: Config) -> bool:
    if not config["abstract"]:
        return False
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex("\0" + config["abstract"]) == 0


def _metadata(config: Config) -> str:
    # Without isolation this would try the machine's own network, which nobody asked for.
    return _connected(_METADATA) if config["isolated"] else "not tried"


def _resolved(config: Config) -> list[str]:
    if not config["isolated"]:
        return ["not tried"]
    found: list[str] = []

    def ask() -> None:
        with contextlib.suppress(OSError):
            found.append(socket.gethostbyname("example.com"))

    # The resolver can be slow and cannot be interrupted.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(3 * _SECONDS)
    return list(found)


def _daemons(config: Config) -> list[str]:
    paths = [os.path.join(top, name) for top in ("/run", "/var/run") for name in _DAEMONS]
    return [path for path in paths if os.path.exists(path)]


def _status(config: Config) -> dict[str, str]:
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    found = {name: lines[name].strip() for name in _STATUS if name in lines}
    # gVisor tells this by the call alone.
    refuses = ctypes.CDLL(None).prctl(_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
    return {"NoNewPrivs": str(refuses), **found}


def _ids(config: Config) -> dict[str, list[int]]:
    users, groups = set(os.getresuid()), set(os.getresgid())
    return {"users": sorted(users), "groups": sorted(groups | set(os.getgroups()))}


def _namespaces(config: Config) -> dict[str, str]:
    names = ("pid", "net", "mnt", "ipc", "uts")
    # gVisor has not all of them, and those that it has are its own.
    there = [name for name in names if os.path.islink("/proc/self/ns/" + name)]
    return {name: os.readlink("/proc/self/ns/" + name) for name in there}


def _session(config: Config) -> int:
    return os.getsid(0)


def _limits(config: Config) -> dict[str, str]:
    found = {}
    for name in _LIMITS:
        with contextlib.suppress(OSError), open("/sys/fs/cgroup/" + name) as file:
            found[name.rpartition("/")[2]] = file.read().strip()
    return found


def _cores(config: Config) -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _read_only_root(config: Config) -> bool:
    with open("/proc/self/mounts") as file:
        mounted = [line.split() for line in file]
    # What is mounted last on a place counts. gVisor's file systems have no flag that says it.
    options = [words[3].split(",") for words in mounted if words[1] == "/"][-1:]
    return bool(os.statvfs("/").f_flag & os.ST_RDONLY) or any("ro" in one for one in options)


def _shared_memory(config: Config) -> int:
    found = os.statvfs("/dev/shm")
    return found.f_blocks * found.f_frsize


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo") as file:
        return [line.split()[4].encode().decode("unicode_escape") for line in file]


def _can_write(path: str) -> bool:
    """Try it: make a file in a folder and remove it, or open a file and write nothing."""
    made = os.path.join(path, ".recipelab-check") if os.path.isdir(path) else ""
    flags = os.O_WRONLY | (os.O_CREAT if made else 0)
    try:
        os.close(os.open(made or path, flags, 0o600))
    except OSError:
        return False
    if made:
        os.unlink(made)
    return True


def _writable(config: Config) -> list[str] | None:
    """Return the folders, and the files that are mounts, that can be written to."""
    if not config["isolated"]:
        return None
    places = set(_mount_points())
    for folder, names, _ in os.walk("/"):
        places.add(folder)
        if folder == "/":
            names[:] = [name for name in names if name not in ("proc", "sys")]
    return sorted(place for place in places if _is_plain(place) and _can_write(place))


def _is_plain(path: str) -> bool:
    """Return whether it is a folder or a regular file; writing to a device leaves nothing."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) or stat.S_ISREG(mode)


def _inputs(config: Config) -> list[str]:
    own = os.path.abspath(__file__)
    return [path for path in (own, os.path.dirname(own), os.getcwd()) if _can_write(path)]


def _readable(path: str) -> bool:
    if os.path.isdir(path):
        return bool(os.listdir(path))
    with open(path, "rb") as file:
        return bool(file.read(1))


def _masked(config: Config) -> list[str]:
    found = []
    for path in _MASKED:
        with contextlib.suppress(OSError):
            if _readable(path):
                found.append(path)
    return found


def _controls(config: Config) -> list[str]:
    return [path for path in _CONTROLS if os.path.exists(path) and _can_write(path)]


def _environment(config: Config) -> list[str]:
    return sorted(os.environ)


def _processes(config: Config) -> dict[str, int]:
    """Count the processes that are visible, and those of other users that can be signaled."""
    seen = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    signaled = []
    for pid in seen:
        # It may have ended, or signaling it is refused.
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid != os.getuid():
                os.kill(pid, 0)
                signaled.append(pid)
    return {"seen": len(seen), "signaled": len(signaled)}


def _devices(config: Config) -> list[str]:
    return sorted(os.listdir("/dev"))


def _overheard(config: Config) -> list[str]:
    """Return the calls that work through which phases could hear each other."""
    library = ctypes.CDLL(None)
    length = ctypes.c_size_t(mmap.PAGESIZE)
    with open(__file__, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as view:
        start = ctypes.c_char.from_buffer(view)
        place = ctypes.c_void_p(ctypes.addressof(start))
        tried = {
            "mincore": library.mincore(place, length, ctypes.create_string_buffer(1)) == 0,
            "fadvise64": library.posix_fadvise(file.fileno(), 0, 0, 0) == 0,
            "inotify": library.inotify_init1(0) >= 0,
        }
        del start
    tried["locks of byte ranges"] = _lock_is_seen()
    return [name for name, works in tried.items() if works]


def _lock_is_seen() -> bool:
    """Return whether a process sees the lock of another on a file without a name."""
    place, file = os.getpid(), os.eventfd(0)
    with contextlib.suppress(OSError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    child = os.fork()
    if child == 0:
        try:
            fcntl.lockf(os.eventfd(0), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except BlockingIOError:
            os._exit(1)
        except OSError:
            pass
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def _common_inodes(config: Config) -> list[str]:
    """Return the inputs that have the inode of the host, which other phases may have, too."""
    found = os.stat(__file__)
    return ["check"] if [found.st_dev, found.st_ino] == config["inode"] else []


def _gpu_nodes(config: Config) -> list[str]:
    return sorted(glob.glob("/dev/nvidia[0-9]*") + glob.glob("/dev/dri/renderD*"))


def look_around(config: Config) -> dict[str, Any]:
    """Look at everything that can be seen without running into a limit."""
    measures = (
        _interfaces, _host, _abstract_socket, _metadata, _resolved, _daemons, _status, _ids,
        _namespaces, _session, _limits, _cores, _read_only_root, _shared_memory, _writable,
        _inputs, _masked, _controls, _environment, _processes, _devices, _gpu_nodes,
        _overheard, _common_inodes,
    )  # fmt: skip
    found: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for measure in measures:
        name = measure.__name__[1:]
        try:
            found[name] = measure(config)
        except Exception as error:  # A measure that fails must not hide the others.
            errors[name] = f"{type(error).__name__}: {error}"
    return {"found": found, "errors": errors}


def main() -> None:
    """Look around and write the report."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "config.json")) as file:
        config = json.load(file)
    with open("out/report.json", "w") as file:
        json.dump(look_around(config), file)


if __name__ == "__main__":
    main()
