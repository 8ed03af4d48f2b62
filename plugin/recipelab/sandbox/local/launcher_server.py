"""Import modules once, and fork every phase from the process that has them.

The local sandbox runs this file as a small program of its own, beside launcher.py whose parts it
uses, so it imports the standard library alone. The *server* imports and then does nothing but fork:
for each phase it is given open files and never anything to read, so that nothing of one phase is in
the memory of the next. Each fork makes namespaces as the launcher does. Their first process forks
the command before it reads what the phase is, so that the memory of the command holds what the
server imported and nothing else; then it builds the file system around both.

Arguments: USER CORES MAPS HOME MODULES. USER is the number of the user who runs commands, or a dash
for the server's own. CORES are as in launcher.py. MAPS are the maps of ids (see ``NamespaceSpec``),
written with ``marshal``, in hexadecimal digits. HOME is that of the commands. Standard input is a
socket. The server writes one line to it: ``ready``, ``shared`` and why phases cannot be forked, or
``failed`` and why a module cannot be imported. Then a byte comes for each phase, with four open
files: control pipe, report socket, pipe of the log, and the file that says what the phase is; a
fifth is the entrance of a control group that counts the command, if there is one. A byte goes back
with a file that stands for the process. The server ends when the socket is closed.
"""

from __future__ import annotations

import _socket
import array
import marshal
import os
import sys

import launcher  # type: ignore[import-not-found]
import launcher_namespaces  # type: ignore[import-not-found]
import launcher_usage  # type: ignore[import-not-found]  # noqa: F401 - later it is out of sight.
import starter  # type: ignore[import-not-found]
from starter import run_script  # noqa: F401 - for the program that calls main().

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from typing import Any
else:
    import _signal as signal  # As in launcher.py.

_FILES = 5
_OPEN_FILES = 1024
_OWN = (
    *("launcher", "launcher_filter", "launcher_namespaces", "launcher_server", "launcher_usage"),
    "starter",
)


def main(arguments: list[str]) -> list[str]:
    """Import, and fork a phase whenever the socket asks for one; see the top of this file.

    Returns:
        Script and arguments, in the processes that are to run one; the server's own never returns.
    """
    user, cores, maps, home, modules = arguments
    # The import path is the one of any program of this Python from here on.
    del sys.path[:2]
    launcher_namespaces.wipe_command_line()
    launcher.pin(cores)
    asked = _socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.closerange(asked.fileno() + 1, _OPEN_FILES)
    os.chdir("/")
    if problem := starter.import_all(modules.split(",")):
        asked.sendall(f"failed {problem}\n".encode())
        os._exit(1)
    if shared := _shared(asked.fileno()):
        asked.sendall(f"shared {shared}\n".encode())
        os._exit(1)
    asked.sendall(b"ready\n")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # The kernel reaps the forks.
    while files := _asked_for(asked):
        process = os.fork()
        if process == 0:
            asked.close()
            os.environ["HOME"] = home
            return _launched(files, marshal.loads(bytes.fromhex(maps)), user)
        for file in files:
            os.close(file)
        _tell(asked, process)
    os._exit(0)


def _shared(last: int) -> str:
    """Return what forks of this process would share or lack; empty if there is no such thing.

    Args:
        last: The highest file descriptor that is this program's own.
    """
    if len(os.listdir("/proc/self/task")) > 1:
        return "the modules have started threads, which a fork does not have"
    for file in range(last + 1, _OPEN_FILES):
        try:
            os.fstat(file)
        except OSError:
            continue
        return "the modules have opened files, which forks would share"
    with open("/proc/self/maps") as lines:
        rights = [line.split()[1] for line in lines]
    if any("w" in right and "s" in right for right in rights):
        return "the modules have memory that forks would share"
    return ""


def _asked_for(asked: _socket.socket) -> list[int]:
    """Wait until a phase is asked for.

    Returns:
        Its open files; none if the socket was closed.
    """
    space = _socket.CMSG_SPACE(_FILES * array.array("i").itemsize)
    _, ancillary, _, _ = asked.recvmsg(1, space)
    files = array.array("i")
    for _, _, data in ancillary:
        files.frombytes(data)
    return files.tolist()


def _tell(asked: _socket.socket, process: int) -> None:
    """Send a file that stands for a process; a byte alone if the process has ended already."""
    try:
        opened = os.pidfd_open(process)
    except OSError:
        asked.sendall(b"e")
        return
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [opened]))]
    asked.sendmsg([b"p"], rights)
    os.close(opened)


def _launched(files: list[int], maps: list[tuple[str, str]], user: str) -> list[str]:
    """Make namespaces, and all processes that a launcher has.

    Returns:
        Script and arguments, in the process that is to run it; all others never return.
    """
    control, report, log, request, *groups = files
    group = groups[0] if groups else None
    try:
        launcher_namespaces.die_with_parent()
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        launcher_namespaces.fork_inside(maps)
        wake = launcher.watch_children()
        channel, inner = launcher.pair()
        leader = os.fork()
        if leader:
            os.close(inner)
            isolation = _told(channel, request)
            sampler = launcher.sampler_of(group, whole=True)
            told = launcher.wait(leader, control, wake, report, channel, sampler)
            isolation.send_report(report, told)
            os._exit(0)
    except OSError as error:
        os.write(report, f"failed: {error.filename or ''} {error.strerror}".encode())
        os._exit(1)
    launcher.unwatch_children()
    launcher.join(group, report)
    return _prepared(inner, None if user == "-" else int(user))


def _told(channel: int, request: int) -> Any:
    """Build what the command sees, and tell it what to run; what is on the host it is not told.

    Returns:
        The namespaces.
    """
    with open(request, "rb") as file:
        spec, limits, command = marshal.load(file)
    isolation = launcher_namespaces.build(spec)
    told = marshal.dumps((spec["directory"], limits, command))
    os.write(channel, len(told).to_bytes(4, "big") + told)
    return isolation


def _prepared(inner: int, user: int | None) -> list[str]:
    """Become the command: wait for what it is, give up all privileges, and wait for the word to go.

    Returns:
        Its script and arguments.
    """
    os.dup2(inner, 0)
    os.closerange(3, _OPEN_FILES)
    directory, (file_bytes, data_bytes, cores, processes), command = marshal.loads(
        _read(int.from_bytes(_read(4), "big"))
    )
    launcher.pin(cores)
    launcher_namespaces.Namespaces(user, -1).drop_privileges()
    # A change of the user takes that away, and a program that starts gets it back.
    launcher_namespaces.set_dumpable(True)
    launcher.restrict(file_bytes, data_bytes, processes)
    os.chdir(directory)
    _draw_anew()
    for name in _OWN:
        sys.modules.pop(name, None)
    token, *words = command
    starter.hand_over(0, token)
    script: list[str] = words
    return script


def _read(size: int) -> bytes:
    """Read exactly so many bytes of standard input, or end this process."""
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            os._exit(1)
        data += piece
    return data


def _draw_anew() -> None:
    """Draw anew what was drawn at random when the modules were imported.

    Python itself does so for ``random``, and PyTorch's generators begin with a constant.
    """
    numpy: Any = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
    process: Any = sys.modules.get("multiprocessing.process")
    if process is not None:
        process.current_process().authkey = os.urandom(32)
