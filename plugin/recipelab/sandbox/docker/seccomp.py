"""The default seccomp profile of containers: which system calls a command may make, and how.

It is written as what programs that train need, so a call that is new in some kernel is refused
until somebody has looked at it. What it allows is what Docker's own profile allows a container
without capabilities, less what lets two phases that run at the same time hear each other:

- ``mincore``, ``cachestat``, ``fadvise64``, ``readahead`` and flags of ``preadv2``: they tell or
  change which pages of a common file are in memory;
- ``inotify``: it tells who opens a common file;
- locks of byte ranges and leases (commands of ``fcntl``): everybody who has a common file open sees
  them, and each is a number of 63 bits. All files that the kernel has no name for (``eventfd``,
  ``epoll``) are one such file for the whole machine. Databases in a file do not work without such
  locks, so those of a process seem to succeed, and lock nothing; those of an open file are refused.
  Locks of whole files (``flock``) are what they are.

Nor does it allow calls of foreign architectures, as 32-bit ones on a 64-bit machine.
"""

from __future__ import annotations

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from recipelab.core.content import cache_root

_FILES = """
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat
    faccessat2 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fdatasync fgetxattr
    flistxattr flock fremovexattr fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents
    getdents64 getxattr getxattrat io_cancel io_destroy io_getevents io_pgetevents io_setup
    io_submit lchown lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lseek
    lsetxattr lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pread64 preadv
    pwrite64 pwritev pwritev2 read readlink readlinkat readv removexattr removexattrat rename
    renameat renameat2 rmdir sendfile setxattr setxattrat splice stat statfs statx symlink symlinkat
    sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes vmsplice
    write writev name_to_handle_at
"""
_WAITING = """
    alarm clock_adjtime clock_getres clock_gettime clock_nanosleep adjtimex epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 futex futex_requeue futex_wait futex_waitv futex_wake getitimer gettimeofday nanosleep
    pause pipe pipe2 poll ppoll pselect6 restart_syscall select setitimer signalfd signalfd4 time
    timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
    timerfd_gettime timerfd_settime times
"""
_MEMORY = """
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mlock mlock2 mlockall mmap
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
    remap_file_pages mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend
    mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
"""
_PROCESSES = """
    arch_prctl capget capset execve execveat exit exit_group fork get_robust_list get_thread_area
    getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom
    getresgid getresuid getrlimit getrusage getsid gettid getuid ioctl ioprio_get ioprio_set kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self modify_ldt
    pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease process_vm_readv process_vm_writev
    ptrace rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
    set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setpgid
    setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid sigaltstack sysinfo
    tgkill tkill uname vfork wait4 waitid riscv_flush_icache riscv_hwprobe s390_pci_mmio_read
    s390_pci_mmio_write s390_runtime_instr
"""
_NETWORK = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg
    sendmmsg sendmsg sendto setsockopt shutdown socketpair
"""

_FCNTL = (
    *range(5),  # Duplicate, and flags of files.
    *(8, 9, 10, 11, 15, 16, 17),  # Owners and signals.
    *(1027, 1028, 1030, 1031, 1032, 1033, 1034, 1035, 1036, 1037, 1038),  # Pipes, seals, hints.
)
"""Commands of ``fcntl`` that are allowed."""

_ASK, _LOCK = (5, 36, 37, 38), (6, 7)
"""Commands of ``fcntl`` for locks of byte ranges that are refused, and that seem to succeed."""

_ENOSYS, _ENOLCK = 38, 37
_ALLOW, _REFUSE = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_INT = 0xFFFFFFFF
_NEW_NAMESPACES = 0x7E020000
_VSOCK = 40
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


@lru_cache(maxsize=1)
def default_profile() -> str:
    """Return the profile as JSON, as the daemon takes it."""
    plain = " ".join((_FILES, _WAITING, _MEMORY, _PROCESSES, _NETWORK)).split()
    rules = [
        {"names": sorted(plain), "action": _ALLOW},
        # Libraries fall back to clone, whose flags can be seen here.
        {"names": ["clone3"], "action": _REFUSE, "errnoRet": _ENOSYS},
        _allowed("clone", 0, _NEW_NAMESPACES, 0),
        # It reaches the host of a virtual machine.
        _rule("socket", _ALLOW, {"index": 0, "value": _VSOCK, "op": "SCMP_CMP_NE"}),
        _allowed("preadv2", 5, _INT, 0),
        *(_allowed("fcntl", 1, _INT, command) for command in _FCNTL),
        *(_allowed("personality", 0, _INT, kind) for kind in _PERSONALITIES),
        *(
            {**_allowed("fcntl", 1, _INT, command), "action": _REFUSE, "errnoRet": number}
            for commands, number in ((_ASK, _ENOLCK), (_LOCK, 0))
            for command in commands
        ),
    ]
    return json.dumps({"defaultAction": _REFUSE, "defaultErrnoRet": 1, "syscalls": rules})


def _allowed(call: str, index: int, mask: int, value: int) -> dict[str, Any]:
    """Return the rule that a call is allowed where these bits of an argument are this value."""
    wanted = {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
    return _rule(call, _ALLOW, wanted)


def _rule(call: str, action: str, argument: dict[str, Any]) -> dict[str, Any]:
    return {"names": [call], "action": action, "args": [argument]}


def profile_file() -> Path:
    """Return a file with the default profile, for a daemon that wants its path: Podman does.

    Raises:
        OSError: It cannot be written below the cache folder.
    """
    folder = cache_root() / "seccomp"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "default.json"
    # Replaced as a whole: another process may be about to read it.
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as new:
        new.write(default_profile())
    Path(new.name).replace(file)
    return file
