"""Make the namespaces that isolate a command, for the launcher.

Loaded by launcher.py alone, so it imports the standard library alone. The first process, which the
host sees, makes the namespaces and waits outside of their process namespace. Its child is the
first process inside: it builds the file system, starts the command, and when it ends the kernel
kills every process inside. All privileges that the building takes are privileges over the new user
namespace only; the command starts without any of them.

The file that says what to build holds one dictionary, written with ``marshal``, which is read
faster than anything else; ``NamespaceSpec`` in namespaces.py lists its keys.
"""

from __future__ import annotations

import _socket
import array
import ctypes
import fcntl
import marshal
import os
import struct

from launcher_filter import refuse_calls  # type: ignore[import-not-found]

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal  # As in launcher.py.

_NEWNS, _NEWUTS, _NEWIPC = 0x20000, 0x4000000, 0x8000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_READ_ONLY, _NO_SUID, _NO_DEV = 1, 2, 4
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_CAPABILITY_VERSION = 0x20080522
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


class Namespaces:
    """The namespaces of a command, seen from their first process."""

    def __init__(self, user: int | None, written: int) -> None:
        self._user = user
        self._written = written

    def drop_privileges(self) -> None:
        """Give up all capabilities for good, and every way to get one back."""
        number = 0
        while _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
            number += 1
        if self._user is not None:
            os.fchown(
                1, self._user, -1
            )  # So that the command may open /dev/stdout and /dev/stderr.
            os.setgroups([])
            os.setresgid(self._user, self._user, self._user)
            os.setresuid(self._user, self._user, self._user)
        header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
        _call("capset", header, bytes(24))
        _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        refuse_calls()

    def send_report(self, report: int, text: str) -> None:
        """Send the report, and with it the open folder that the command wrote to.

        That folder is in memory and in no file system of the host. A process that holds it open can
        still read it when the namespaces are gone.
        """
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [self._written]))
        _socket.socket(fileno=report).sendmsg([text.encode()], [rights])


def enter(file: str) -> Namespaces:
    """Make the namespaces. Returns in their first process alone; the caller's waits for its end.

    Args:
        file: What to build.

    Raises:
        OSError: The system does not allow it.
    """
    with open(file, "rb") as opened:
        spec: dict[str, Any] = marshal.load(opened)
    fork_inside(spec["maps"])
    return build(spec)


def fork_inside(maps: list[tuple[str, str]]) -> None:
    """Make namespaces that are empty still. Returns in their first process alone.

    Args:
        maps: Maps of ids; see ``NamespaceSpec``.

    Raises:
        OSError: The system does not allow it.
    """
    os.umask(0o022)
    _unshare(maps)
    first = os.fork()
    if first:
        os.waitpid(first, 0)
        os._exit(0)
    die_with_parent()


def build(spec: dict[str, Any]) -> Namespaces:
    """Build what is seen in the namespaces, as their first process.

    Args:
        spec: What to build.

    Raises:
        OSError: The system does not allow it.
    """
    # The kernel drops signals from inside to the first process, except those that it handles.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    set_dumpable(False)
    wipe_command_line()
    _bring_loopback_up()
    name = spec["host_name"].encode()
    _call("sethostname", name, len(name))
    return Namespaces(spec["user"], _build(spec))


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def set_dumpable(can_be: bool) -> None:
    """Set whether processes of the same user may look into this one."""
    _call("prctl", _PR_SET_DUMPABLE, int(can_be), 0, 0, 0)


def _call(name: str, *arguments: object, path: str = "") -> None:
    if getattr(_libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"{name} {path}".strip())


def _unshare(maps: list[tuple[str, str]]) -> None:
    """Make the namespaces. Ids are mapped from outside, so a child that stays there does that."""
    ready, go = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        os.close(go)
        os.read(ready, 1)
        os._exit(_map_ids(os.getppid(), maps))
    try:
        _call("unshare", _NEWUSER | _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS)
    finally:
        os.close(go)
        failed = os.waitpid(mapper, 0)[1]
        os.close(ready)
    if failed:
        raise OSError(0, "refused", "map of user ids")


def _map_ids(pid: int, maps: list[tuple[str, str]]) -> int:
    """Map every id to itself.

    Returns:
        An exit code.
    """
    try:
        for name, text in maps:
            with open(f"/proc/{pid}/{name}", "w") as file:
                file.write(text)
    except OSError:
        return 1
    return 0


def wipe_command_line() -> None:
    """Overwrite the arguments of this process: all inside can read them, and they name files."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    ctypes.memset(start, 0, end - start)


def _bring_loopback_up() -> None:
    unconnected = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    fcntl.ioctl(unconnected, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    unconnected.close()


def _build(spec: dict[str, Any]) -> int:
    """Build the file system and make it the root.

    Returns:
        The open folder that holds what the command may leave.
    """
    base = spec["base"]
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", base, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    _mount_processes(f"{base}/proc")
    os.close(_mount_shared(base, spec["scratch"], _MS_NOSUID | _MS_NODEV))
    for source, target in spec["copies"]:
        _copy(source, base + target, spec["user"])
    for source, target in spec["binds"]:
        _bind(source, base + target, _READ_ONLY | _NO_SUID | _NO_DEV)
    for source, target in spec["devices"]:
        _bind(source, base + target, _READ_ONLY | _NO_SUID)
    for text, target in spec["links"]:
        os.makedirs(os.path.dirname(base + target), exist_ok=True)
        os.symlink(text, base + target)
    for text, target in spec["files"]:
        _make_point(base + target, is_folder=False)
        with open(base + target, "w") as file:
            file.write(text)
    written = _mount_shared(base, spec["written"], _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    if spec["watch"] is not None:
        _send_folder(spec["watch"], written)
    _protect(base, _READ_ONLY, 0)
    _make_root(base, spec["directory"])
    return written


def _copy(source: str, target: str, user: int | None) -> None:
    """Copy what is in a folder, so that the command's user may change it; links are left out."""
    for entry in os.scandir(source):
        place = f"{target}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            os.mkdir(place)
            _copy(entry.path, place, user)
        elif entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as old, open(place, "wb") as new:
                while piece := old.read(1 << 20):
                    new.write(piece)
            os.chmod(place, 0o755 if entry.stat().st_mode & 0o111 else 0o644)
        else:
            continue
        if user is not None:
            os.chown(place, user, user)


def _send_folder(socket: str, opened: int) -> None:
    """Send an open folder to a socket of the host, which is out of sight from here on."""
    folder, name = os.path.split(socket)
    os.chdir(folder)  # The path of a socket may not be long.
    sender = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
    sender.connect(name)
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [opened]))
    sender.sendmsg([b"w"], [rights])
    sender.close()


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    names = (name and os.fsencode(name) for name in (source, target, kind))
    _call("mount", *names, ctypes.c_ulong(flags), data.encode(), path=target)


def _protect(path: str, attributes: int, flags: int) -> None:
    """Set attributes of a mount. No process inside can clear them: that takes a capability."""
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    number, at = ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD)
    size = ctypes.c_size_t(len(wanted))
    _call("syscall", number, at, os.fsencode(path), ctypes.c_uint(flags), wanted, size, path=path)


def _bind(source: str, target: str, attributes: int) -> None:
    _make_point(target, is_folder=os.path.isdir(source))
    _mount(source, target, None, _MS_BIND | _MS_REC)
    _protect(target, attributes, _AT_RECURSIVE)


def _make_point(path: str, *, is_folder: bool) -> None:
    os.makedirs(path if is_folder else os.path.dirname(path), exist_ok=True)
    # In a folder that is read-only by now, as that of another input, the place is there already.
    if not is_folder and not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _mount_processes(target: str) -> None:
    """Mount ``/proc`` of the processes inside. It must come before the host's is gone."""
    os.mkdir(target)
    _mount("proc", target, "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    # In a further user namespace the command would have capabilities to attack the kernel with.
    with open(f"{target}/sys/user/max_user_namespaces", "w") as file:
        file.write("0")
    _protect(target, _READ_ONLY, 0)


def _mount_shared(base: str, what: tuple[str, list[tuple[str, str]]], flags: int) -> int:
    """Mount folders of one file system in memory, so that its size bounds them together.

    Args:
        base: The root that is being built.
        what: Options of the file system, and its folders with their targets.
        flags: Flags of the mounts.

    Returns:
        The open top folder of the file system, which itself is mounted nowhere.
    """
    options, folders = what
    top = f"{base}/new"
    os.mkdir(top)
    _mount("tmpfs", top, "tmpfs", flags, options)
    for name, target in folders:
        os.makedirs(f"{top}/{name}")
        os.chmod(f"{top}/{name}", 0o1777)
        _make_point(base + target, is_folder=True)
        _mount(f"{top}/{name}", base + target, None, _MS_BIND)
    opened = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    _call("umount2", os.fsencode(top), _MNT_DETACH, path=top)
    os.rmdir(top)
    return opened


def _make_root(base: str, directory: str) -> None:
    """Make a folder the root of all processes inside; the former root is gone for them."""
    os.chdir(base)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _MNT_DETACH)
    os.chdir(directory)
