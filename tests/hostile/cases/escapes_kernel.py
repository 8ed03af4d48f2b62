"""Ways out of the container: other processes and the kernel."""

from __future__ import annotations

from functools import partial

from ..case import ATTEMPT, NO_HOLE, Case

CALL = (
    ATTEMPT
    + """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *rest):
    rest = [ctypes.c_char_p(x) if isinstance(x, bytes) else ctypes.c_long(x) for x in rest]
    got = libc.syscall(ctypes.c_long(number), *rest)
    if got < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return got
"""
)
"""System calls by their number on x86-64; elsewhere other calls, which must be refused as well."""

escape = partial(Case, status=NO_HOLE, batch="kernel")

CASES = (
    escape(
        "escape-to-the-monitor",
        "kills, traces, and reads the trusted process beside it",
        log="refused trace",
        train=CALL
        + """
import signal
pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
for pid in [pid for pid in pids if os.stat(f"/proc/{pid}").st_uid != os.getuid()]:
    attempt("kill", lambda: os.kill(pid, signal.SIGKILL))
    attempt("stop", lambda: os.kill(pid, signal.SIGSTOP))
    attempt("trace", lambda: call(101, 16, pid, 0, 0))
    attempt("memory", lambda: open(f"/proc/{pid}/mem", "rb"))
    attempt("input", lambda: open(f"/proc/{pid}/fd/0", "w"))
    attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    attempt("core", lambda: os.sched_setaffinity(pid, {0}))
""",
    ),
    escape(
        "escape-by-the-kernels-settings",
        "writes to /proc/sys, /sys and the control groups",
        log="refused /sys/fs/cgroup/cgroup.procs",
        train=ATTEMPT
        + """
import os
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper",
             "/proc/sys/vm/drop_caches", "/sys/fs/cgroup/release_agent",
             "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max",
             "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory.max"):
    attempt(path, lambda: os.write(os.open(path, os.O_WRONLY), b"1"))
attempt("oom", lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000"))
""",
    ),
    escape(
        "escape-by-mounts-and-namespaces",
        "mounts, leaves its namespaces, or makes new ones in which it is root",
        log="refused user namespace",
        train=CALL
        + """
attempt("user namespace", lambda: call(272, 0x10000000))
attempt("mount namespace", lambda: call(272, 0x20000))
attempt("clone", lambda: call(56, 0x10000000 | 17, 0, 0, 0, 0))
attempt("mount", lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, 0))
attempt("remount", lambda: call(165, b"none", b"/trial/recipe", b"none", 0x1020, 0))
attempt("unmount", lambda: call(166, b"/trial/out", 2))
attempt("new mount", lambda: call(430, b"tmpfs", 0))
attempt("pivot", lambda: call(155, b"/tmp", b"/tmp"))
attempt("chroot", lambda: os.chroot("/tmp"))
attempt("setns", lambda: call(308, os.open("/proc/self/ns/net", 0), 0))
attempt("handle", lambda: call(304, -100, bytes(16), 0))
""",
    ),
    escape(
        "escape-by-the-kernel",
        "calls that load, trace, watch or stop the kernel",
        log="refused bpf",
        train=CALL
        + """
attempt("bpf", lambda: call(321, 5, bytes(128), 128))
attempt("perf", lambda: call(298, bytes(128), 0, -1, -1, 0))
attempt("key", lambda: call(248, b"user", b"weights", b"1234", 4, -3))
attempt("keyring", lambda: call(250, 0, -3, 1))
attempt("module", lambda: call(175, b"x", 1, b""))
attempt("kexec", lambda: call(246, 0, 0, 0, 0))
attempt("reboot", lambda: call(169, 0xFEE1DEAD, 672274793, 0x1234567, 0))
attempt("ports", lambda: call(172, 3))
attempt("swap", lambda: call(167, b"/tmp/a", 0))
attempt("log", lambda: call(103, 3, bytes(99), 99))
""",
    ),
    escape(
        "escape-by-privileges",
        "becomes root, by itself or by programs that may",
        log="refused root",
        train=ATTEMPT
        + """
import os, stat, subprocess
attempt("root", lambda: os.setuid(0))
attempt("monitor", lambda: os.setuid(65533))
attempt("groups", lambda: os.setgroups([0]))
attempt("owner", lambda: os.chown("/tmp", 0, 0))
attempt("device", lambda: os.mknod("/tmp/mem", 0o600 | stat.S_IFCHR, os.makedev(1, 1)))
attempt("disk", lambda: os.mknod("out/sda", 0o600 | stat.S_IFBLK, os.makedev(8, 0)))
su = subprocess.run(["su", "-c", "id"], stdin=subprocess.DEVNULL, capture_output=True)
if b"uid=0" in su.stdout: print("BROKE su")
mounted = subprocess.run(["mount"], capture_output=True, text=True).stdout
shadow = subprocess.run(["passwd", "-S", "root"], capture_output=True, text=True)
if "root P" in shadow.stdout: print("BROKE passwd")
""",
    ),
    escape(
        "escape-by-a-memory-dump",
        "crashes for the host to store the dump, or to hand it to a program of its own",
        log="dumps of at most 1 byte",
        train="""
import resource
print("dumps of at most", max(resource.getrlimit(resource.RLIMIT_CORE)), "byte")
""",
    ),
)
