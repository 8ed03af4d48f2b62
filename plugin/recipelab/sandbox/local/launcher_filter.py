"""Filter the system calls that namespaces do not cover, for the launcher.

Some socket families ignore network namespaces (one of them reaches the host of a virtual machine),
keys of the user ignore namespaces altogether, and a few calls are needed by no training program but
are where kernels were broken most often. Docker refuses all of them too.

Others let two commands that run at the same time hear each other through a file that both can read,
or through files without a name, which are common to the whole machine: which pages are in memory,
who opens it, locks of byte ranges, leases. What the default profile of containers refuses of these
is refused here (see docker/seccomp.py).

Loaded by launcher_namespaces.py alone, so it imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import struct

_SOCKET_FAMILIES = (1, 2, 10, 16)  # Unix, IPv4, IPv6, netlink: network namespaces separate these.
_EPERM, _ENOLCK, _ENOSYS, _EOPNOTSUPP, _EAFNOSUPPORT = 1, 37, 38, 95, 97
_FOREIGN_CALLS = 0x40000000
"""Calls of the x32 ABI on x86-64 have numbers from here; no other ABI has so many calls."""

_MACHINES = {
    # The kernel's number of the architecture; socket, fcntl and preadv2; add_key, request_key,
    # keyctl, perf_event_open, bpf, userfaultfd, io_uring_setup; mincore, cachestat, fadvise64,
    # readahead, inotify_init1 (and inotify_init), fanotify_init.
    "x86_64": (
        0xC000003E,
        (41, 72, 327),
        (248, 249, 250, 298, 321, 323, 425, 27, 451, 221, 187, 294, 253, 300),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 25, 286),
        (217, 218, 219, 241, 280, 282, 425, 232, 451, 223, 213, 26, 262),
    ),
}
_ASK, _LOCK = (5, 36, 37, 38), (6, 7)
"""Commands of fcntl for locks of byte ranges that are refused, and that seem to succeed."""

_LEASES = (1024, 1026)
"""Commands of fcntl that set a lease, or ask to be told of changes in a folder."""

_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT, _ARGUMENT_BYTES = 0, 4, 16, 8
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


def refuse_calls() -> None:
    """Make the kernel refuse the calls to this process and to all that it starts.

    On architectures other than x86-64 and 64-bit ARM it does nothing.

    Raises:
        OSError: The kernel does not support such filters.
    """
    known = _MACHINES.get(os.uname().machine)
    if known is None:
        return
    program = _program(*known)
    code = ctypes.create_string_buffer(program)
    wanted = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, wanted, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "filter of system calls")


def _program(machine: int, looked_into: tuple[int, ...], refused: tuple[int, ...]) -> bytes:
    """Return the filter as the kernel's byte code. A jump counts the steps that it skips."""
    socket, fcntl, preadv2 = looked_into
    steps = [(_LOAD, 0, 0, _MACHINE_AT), *_unless(_IF_EQUAL, machine, _ENOSYS)]
    steps += [(_LOAD, 0, 0, _NUMBER_AT), *_when(_IF_AT_LEAST, _FOREIGN_CALLS, _ENOSYS)]
    for number in refused:
        steps += _when(_IF_EQUAL, number, _EPERM)
    commands = [step for command in _ASK for step in _when(_IF_EQUAL, command, _ENOLCK)]
    commands += [step for command in _LOCK for step in _when(_IF_EQUAL, command, 0)]
    commands += [step for command in _LEASES for step in _when(_IF_EQUAL, command, _EPERM)]
    steps += _argument_of(fcntl, 1, commands)
    steps += _argument_of(preadv2, 5, _unless(_IF_EQUAL, 0, _EOPNOTSUPP))
    families = len(_SOCKET_FAMILIES)
    known = [
        (_IF_EQUAL, families - place, 0, family) for place, family in enumerate(_SOCKET_FAMILIES)
    ]
    steps += _argument_of(socket, 0, [*known, (_RETURN, 0, 0, _REFUSE | _EAFNOSUPPORT)])
    return b"".join(struct.pack("HBBI", *step) for step in [*steps, (_RETURN, 0, 0, _ALLOW)])


def _argument_of(
    call: int, argument: int, tests: list[tuple[int, int, int, int]]
) -> list[tuple[int, int, int, int]]:
    """Return the steps that let a call pass unless tests of the lower half of an argument refuse.

    They follow the load of the call's number, and leave it loaded where it is another call's.
    """
    at = _ARGUMENTS_AT + _ARGUMENT_BYTES * argument
    inner = [(_LOAD, 0, 0, at), *tests, (_RETURN, 0, 0, _ALLOW)]
    return [(_IF_EQUAL, 0, len(inner), call), *inner]


def _when(test: int, value: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(test, 0, 1, value), (_RETURN, 0, 0, _REFUSE | error)]


def _unless(test: int, value: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(test, 1, 0, value), (_RETURN, 0, 0, _REFUSE | error)]
