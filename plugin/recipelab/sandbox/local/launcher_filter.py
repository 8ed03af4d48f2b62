"""Filter the system calls that namespaces do not cover, for the launcher.

Some socket families ignore network namespaces (one of them reaches the host of a virtual machine),
keys of the user ignore namespaces altogether, and a few calls are needed by no training program but
are where kernels were broken most often. Docker refuses all of them too.

Loaded by launcher_namespaces.py alone, so it imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import struct

_SOCKET_FAMILIES = (1, 2, 10, 16)  # Unix, IPv4, IPv6, netlink: network namespaces separate these.
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_FOREIGN_CALLS = 0x40000000
"""Calls of the x32 ABI on x86-64 have numbers from here; no other ABI has so many calls."""

_MACHINES = {
    # The kernel's number of the architecture; socket; add_key, request_key, keyctl,
    # perf_event_open, bpf, userfaultfd, io_uring_setup.
    "x86_64": (0xC000003E, 41, (248, 249, 250, 298, 321, 323, 425)),
    "aarch64": (0xC00000B7, 198, (217, 218, 219, 241, 280, 282, 425)),
}
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
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


def _program(machine: int, socket: int, refused: tuple[int, ...]) -> bytes:
    """Return the filter as the kernel's byte code. A jump counts the steps that it skips."""
    steps = [(_LOAD, 0, 0, _MACHINE_AT), *_unless(_IF_EQUAL, machine, _ENOSYS)]
    steps += [(_LOAD, 0, 0, _NUMBER_AT), *_when(_IF_AT_LEAST, _FOREIGN_CALLS, _ENOSYS)]
    for number in refused:
        steps += _when(_IF_EQUAL, number, _EPERM)
    families = len(_SOCKET_FAMILIES)
    steps += [(_IF_EQUAL, 0, families + 2, socket), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT)]
    for place, family in enumerate(_SOCKET_FAMILIES):
        steps += [(_IF_EQUAL, families - place, 0, family)]
    steps += [(_RETURN, 0, 0, _REFUSE | _EAFNOSUPPORT), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _when(test: int, value: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(test, 0, 1, value), (_RETURN, 0, 0, _REFUSE | error)]


def _unless(test: int, value: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(test, 1, 0, value), (_RETURN, 0, 0, _REFUSE | error)]
