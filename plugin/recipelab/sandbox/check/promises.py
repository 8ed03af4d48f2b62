"""What sandboxes promise, and the rules that tell from measurements whether a promise holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from recipelab.sandbox.base import Ending
from recipelab.sandbox.check.measure import CANARY, Measurements
from recipelab.sandbox.processes import MIB

Ruling = tuple[bool, str]
"""Whether a promise holds, and the measured value as text."""

Rule = Callable[[Measurements], Ruling]
"""Compares measurements with a promise. It may raise ``MissingMeasurement``."""

WRITABLE = ("/dev/mqueue", "/dev/shm", "/tmp", "/trial/out", "/var/tmp")

_GRACE_SECONDS = 2.0
_OWN_PROCESSES = 3
_LISTED = 16
_CPU_TOLERANCE = 1.25
_COUNTED = 0.8
_SENTRY_DEVICES = {"fuse", "net"}
"""What gVisor's own kernel shows to everybody, and keeps to itself."""

_DEVICES = {
    *("null", "zero", "full", "random", "urandom"),
    *("console", "ptmx", "pts", "tty", "fd", "stdin", "stdout", "stderr"),
    *("core", "mqueue", "shm"),
}


class Isolation(StrEnum):
    """How far a sandbox keeps code from the host.

    A container with gVisor has a kernel of its own, which filters calls by answering them itself,
    and shows no limits that it does not know of. What the limits do is measured all the same.
    """

    CONTAINER = "container"
    SENTRY = "gVisor"
    NAMESPACES = "namespaces"
    NONE = "none"


_CONTAINERS = (Isolation.CONTAINER, Isolation.SENTRY)
_ISOLATED = (*_CONTAINERS, Isolation.NAMESPACES)
_HOST_KERNEL = (Isolation.CONTAINER,)
_OVERHEARD = (Isolation.CONTAINER, Isolation.NAMESPACES)
_ALL = tuple(Isolation)


@dataclass(frozen=True)
class Promise:
    """One thing that sandboxes promise.

    Attributes:
        what: The subject.
        promised: What it should be.
        rule: Compares that with the measurements.
        by: Levels of isolation that promise it.
    """

    what: str
    promised: str
    rule: Rule
    by: tuple[Isolation, ...] = _CONTAINERS


def _listed(values: list[str]) -> str:
    more = len(values) - _LISTED
    return ", ".join([*values[:_LISTED], *([f"and {more} more"] if more > 0 else [])]) or "none"


def _none_of(name: str) -> Rule:
    """Return the rule that a list is empty."""

    def rule(measurements: Measurements) -> Ruling:
        values = [str(value) for value in measurements.found(name)]
        return not values, _listed(values)

    return rule


def _interfaces(measurements: Measurements) -> Ruling:
    """Check that there is no network but the loopback."""
    names = measurements.found("interfaces")
    return names == ["lo"], _listed(names)


def _abstract_socket(measurements: Measurements) -> Ruling:
    """Check that the host's abstract sockets are out of reach."""
    reached = measurements.found("abstract_socket")
    return not reached, "reached" if reached else "not reached"


def _metadata(measurements: Measurements) -> Ruling:
    """Check that the address at which clouds hand out keys is out of reach."""
    word = measurements.found("metadata")
    return word != "connected", word


def _capabilities(measurements: Measurements) -> Ruling:
    """Check that no set of capabilities holds one."""
    sets = {
        name: word for name, word in measurements.found("status").items() if name.startswith("Cap")
    }
    held = [f"{name} {word}" for name, word in sets.items() if int(word, 16)]
    return bool(sets) and not held, _listed(held)


def _status(name: str, wanted: str) -> Rule:
    """Return the rule for one line of the process's status."""

    def rule(measurements: Measurements) -> Ruling:
        word = measurements.found("status").get(name, "unknown")
        return word == wanted, f"{name} {word}"

    return rule


def _user(measurements: Measurements) -> Ruling:
    """Check that the command runs as the user of the profile, and in no other group."""
    ids, wanted = measurements.found("ids"), [measurements.profile.user]
    text = f"users {ids['users']}, groups {ids['groups']}; the profile says {wanted[0]}"
    return ids["users"] == wanted and ids["groups"] == wanted, text


def _namespaces(measurements: Measurements) -> Ruling:
    """Check that no namespace is the host's."""
    inside = measurements.found("namespaces")
    shared = [name for name in inside if inside[name] == measurements.namespaces.get(name)]
    return not shared, f"shared with the host: {_listed(shared)}"


def _session(measurements: Measurements) -> Ruling:
    """Check that the host cannot be signaled through its process session."""
    separate = _namespaces(measurements)[0] or measurements.found("session") != measurements.session
    return separate, "its own" if separate else "the host's"


def _processes(measurements: Measurements) -> Ruling:
    """Check that only processes of its own container are seen."""
    facts = measurements.found("processes")
    text = f"{facts['seen']} seen, {facts['signaled']} of other users could be signaled"
    return facts["seen"] <= _OWN_PROCESSES + 1 and not facts["signaled"], text


def _memory_setting(measurements: Measurements) -> Ruling:
    """Check that the control group has the memory limit, and no swap."""
    files, wanted = measurements.found("limits"), measurements.runs["look"].limits.memory_mb * MIB
    memory = files.get("memory.max", files.get("memory.limit_in_bytes", "not visible"))
    # With cgroups v1 this limit holds for memory and swap together.
    swap = files.get("memory.swap.max", files.get("memory.memsw.limit_in_bytes", "not visible"))
    fits = memory == str(wanted) and swap in ("0", str(wanted), "not visible")
    return fits, f"memory {memory}, swap {swap}, of {wanted} bytes"


def _memory_met(measurements: Measurements) -> Ruling:
    """Check that a command that takes too much is killed."""
    result = measurements.result("memory")
    peak = result.peak_memory_mb
    text = "" if peak is None else f", peak {peak:.0f} MiB"
    return result.ending is Ending.MEMORY, f"ending {result.ending}{text}"


def _cpu_setting(measurements: Measurements) -> Ruling:
    """Check that the control group has the CPU limit."""
    files, wanted = measurements.found("limits"), measurements.runs["look"].limits.cpus
    quota = [files.get("cpu.cfs_quota_us", "max"), files.get("cpu.cfs_period_us", "100000")]
    got, period = files["cpu.max"].split() if "cpu.max" in files else quota
    text = f"{got} of each {period} microseconds"
    return got.isdigit() and int(got) == round(wanted * int(period)), text


def _cpus(measurements: Measurements) -> Ruling:
    """Check that two busy processes get no more than the CPU limit."""
    got = float(measurements.reported("cores")["cores"])
    result = measurements.result("cores")
    # gVisor's clocks run on for a process that waits for its turn; the host's do not.
    got = min(got, result.cpu_seconds / max(result.wall_seconds, 0.1))
    wanted = measurements.runs["cores"].limits.cpus
    return got <= wanted * _CPU_TOLERANCE, f"{got:.2f} of {wanted:g} cores"


def _unwaited(measurements: Measurements) -> Ruling:
    """Check that the CPU time of a process counts that nobody waited for."""
    used = float(measurements.reported("unwaited")["seconds"])
    charged = measurements.result("unwaited").cpu_seconds
    return charged >= _COUNTED * used, f"{charged:.2f} of {used:.2f} s"


def _core_set(measurements: Measurements) -> Ruling:
    """Check that only the given cores can be used."""
    got, wanted = measurements.found("cores"), list(measurements.runs["look"].limits.cpu_set or ())
    return got == wanted, f"cores {got} of {wanted}"


def _process_limit(measurements: Measurements) -> Ruling:
    """Check that processes beyond the limit are refused."""
    facts, wanted = measurements.reported("processes"), measurements.runs["processes"].limits.pids
    fits = bool(facts["refused"]) and facts["born"] <= wanted
    return fits, f"{facts['born']} started, then {'refused' if facts['refused'] else 'not refused'}"


def _storage(place: str) -> Rule:
    """Return the rule that a folder, which the probe calls ``place``, refuses what does not fit."""

    def rule(measurements: Measurements) -> Ruling:
        facts, limits = measurements.reported("storage")[place], measurements.runs["storage"].limits
        wanted = limits.output_mb if place == "output" else limits.scratch_mb
        fits = facts["error"] == "ENOSPC" and facts["written_mb"] <= wanted
        text = facts["error"] or "no error"
        return fits, f"{facts['written_mb']:.1f} of {wanted} MiB, then {text}"

    return rule


def _shared_memory(measurements: Measurements) -> Ruling:
    """Check that there is no more shared memory than the profile says."""
    size, limits = measurements.found("shared_memory"), measurements.runs["look"].limits
    wanted = measurements.profile.shm_mb or limits.memory_mb
    return size <= wanted * MIB, f"{size / MIB:.0f} of {wanted} MiB"


def _overflow(measurements: Measurements) -> Ruling:
    """Check that no more outputs are taken than the limit."""
    run, ending = measurements.runs["overflow"], measurements.result("overflow").ending
    collected = run.collected_bytes / MIB
    text = f"{collected:.1f} of {run.limits.output_mb} MiB taken, ending {ending}"
    return collected <= run.limits.output_mb, text


def _root(measurements: Measurements) -> Ruling:
    """Check that the root file system is read-only."""
    fixed = measurements.found("read_only_root")
    return fixed, "read-only" if fixed else "writable"


def _writable(measurements: Measurements) -> Ruling:
    """Check that only the places that are meant for it can be written to."""
    places = measurements.found("writable")
    if places is None:
        return False, "not tried: these are your own files"
    return set(places) <= set(WRITABLE), _listed(places)


def _environment(measurements: Measurements) -> Ruling:
    """Check that a variable of the host is not seen."""
    names = measurements.found("environment")
    return CANARY not in names, f"{len(names)} variables: {_listed(names)}"


def _devices(measurements: Measurements) -> Ruling:
    """Check that there are harmless devices only."""
    known = _DEVICES | (_SENTRY_DEVICES if measurements.sentry else set())
    others = [name for name in measurements.found("devices") if name not in known]
    return not others, f"others: {_listed(others)}"


def _gpus(measurements: Measurements) -> Ruling:
    """Check that just the GPUs that were asked for are there."""
    facts, wanted = measurements.reported("gpu"), len(measurements.runs["gpu"].limits.gpus)
    torch = "no PyTorch" if facts["torch"] is None else f"PyTorch sees {facts['torch']}"
    fits = len(facts["nodes"]) == wanted and facts["torch"] in (None, wanted)
    return fits, f"{_listed(facts['nodes'])}; {torch}; asked for {wanted}"


def _deadline(measurements: Measurements) -> Ruling:
    """Check that everything is killed at the deadline."""
    result, run = measurements.result("stay"), measurements.runs["stay"]
    in_time = run.seconds <= run.limits.seconds + _GRACE_SECONDS
    text = f"{result.ending} after {run.seconds:.1f} s of {run.limits.seconds:g} s"
    return result.ending is Ending.DEADLINE and in_time, text


def _left_running(measurements: Measurements) -> Ruling:
    """Check that no process of the check runs any more."""
    return not measurements.left_running, f"{measurements.left_running} processes"


PROMISES = (
    Promise("network interfaces", "only lo", _interfaces, _ISOLATED),
    Promise("this host over the network", "not reached", _none_of("host"), _ISOLATED),
    Promise("abstract sockets of this host", "not reached", _abstract_socket, _ISOLATED),
    Promise("metadata address of clouds", "not reached", _metadata, _ISOLATED),
    Promise("names looked up", "none", _none_of("resolved"), _ISOLATED),
    Promise("sockets of container daemons", "none", _none_of("daemons"), _ISOLATED),
    Promise("capabilities", "none", _capabilities, _ISOLATED),
    Promise("new privileges", "ruled out", _status("NoNewPrivs", "1"), _ISOLATED),
    Promise("system calls", "filtered", _status("Seccomp", "2"), _HOST_KERNEL),
    Promise("user and groups", "the profile's alone", _user),
    Promise("namespaces", "its own", _namespaces, _ISOLATED),
    Promise("process session", "its own", _session, _ALL),
    Promise("other processes", "only its own container's", _processes, _ISOLATED),
    Promise("memory setting", "the limit, without swap", _memory_setting, _HOST_KERNEL),
    Promise("memory, when met", "killed", _memory_met),
    Promise("CPU setting", "the limit", _cpu_setting, _HOST_KERNEL),
    Promise("CPU, when met", "the limit", _cpus),
    Promise("CPU time that no parent waits for", "counted", _unwaited, _ISOLATED),
    Promise("cores", "those given", _core_set),
    Promise("processes, when met", "refused at the limit", _process_limit, _ISOLATED),
    Promise("out/, when full", "refused at the limit", _storage("output"), _ISOLATED),
    Promise("temporary folder, when full", "refused at the limit", _storage("scratch"), _ISOLATED),
    Promise("/dev/shm", "no larger than the profile says", _shared_memory),
    Promise("outputs taken", "no more than the limit", _overflow, _ALL),
    Promise("root file system", "read-only", _root, _ISOLATED),
    Promise("writable places", ", ".join(WRITABLE), _writable, _ISOLATED),
    Promise("inputs that can be changed", "none", _none_of("inputs"), _ISOLATED),
    Promise("kernel files that can be read", "none", _none_of("masked"), _ISOLATED),
    Promise("kernel controls that can be written", "none", _none_of("controls"), _ISOLATED),
    Promise("calls that overhear other phases", "refused", _none_of("overheard"), _OVERHEARD),
    Promise("inputs with inodes of other phases", "none", _none_of("common_inodes")),
    Promise("environment of the host", "not seen", _environment, _ALL),
    Promise("devices", "harmless ones", _devices, _ISOLATED),
    Promise("deadline", "everything killed in time", _deadline, _ALL),
    Promise("left running", "none", _left_running, _ALL),
)

NO_GPU = Promise("GPUs, none asked for", "none", _none_of("gpu_nodes"), _ISOLATED)
GPUS = Promise("GPUs, asked for", "those and no others", _gpus)
