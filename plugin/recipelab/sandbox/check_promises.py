"""What sandboxes promise, and how a measurement tells whether the promise holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from recipelab.sandbox.base import Ending
from recipelab.sandbox.check_host import CANARY
from recipelab.sandbox.check_phases import Measurements
from recipelab.sandbox.environment import MIB

DOCKER, LOCAL = "docker", "local"
Judged = tuple[bool, str]
"""Whether it is as promised, and the measured value in words."""

_GRACE_SECONDS = 2.0
_OWN_PROCESSES = 3
_SHOWN = 16
_CPU_TOLERANCE = 1.25
_WRITABLE = {"/tmp", "/trial/out", "/dev/shm", "/dev/mqueue"}
_DEVICES = {
    *("null", "zero", "full", "random", "urandom"),
    *("console", "ptmx", "pts", "tty", "fd", "stdin", "stdout", "stderr"),
    *("core", "mqueue", "shm"),
}


@dataclass(frozen=True)
class Promise:
    """One line of a check.

    Attributes:
        what: What is looked at.
        promised: What it should be.
        judge: Compares that with the measurements; may raise ``Unmeasured``.
        by: Kinds of sandboxes that promise it.
    """

    what: str
    promised: str
    judge: Callable[[Measurements], Judged]
    by: tuple[str, ...] = (DOCKER,)


def _listed(values: list[str]) -> str:
    more = len(values) - _SHOWN
    shown = values[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return ", ".join(shown) or "none"


def _none_of(name: str) -> Callable[[Measurements], Judged]:
    """A judge of a list that should be empty."""

    def judge(seen: Measurements) -> Judged:
        values = [str(value) for value in seen.found(name)]
        return not values, _listed(values)

    return judge


def _interfaces(seen: Measurements) -> Judged:
    names = seen.found("interfaces")
    return names == ["lo"], _listed(names)


def _abstract_socket(seen: Measurements) -> Judged:
    reached = seen.found("abstract_socket")
    return not reached, "reached" if reached else "not reached"


def _metadata(seen: Measurements) -> Judged:
    word = seen.found("metadata")
    return word != "connected", word


def _capabilities(seen: Measurements) -> Judged:
    sets = {name: word for name, word in seen.found("status").items() if name.startswith("Cap")}
    held = [f"{name} {word}" for name, word in sets.items() if int(word, 16)]
    return bool(sets) and not held, _listed(held)


def _status(name: str, wanted: str) -> Callable[[Measurements], Judged]:
    def judge(seen: Measurements) -> Judged:
        word = seen.found("status").get(name, "not told")
        return word == wanted, f"{name} {word}"

    return judge


def _user(seen: Measurements) -> Judged:
    ids, wanted = seen.found("ids"), [seen.profile.user]
    words = f"users {ids['users']}, groups {ids['groups']}; the profile says {seen.profile.user}"
    return ids["users"] == wanted and ids["groups"] == wanted, words


def _namespaces(seen: Measurements) -> Judged:
    inside = seen.found("namespaces")
    shared = [name for name in inside if inside[name] == seen.namespaces.get(name)]
    return not shared, f"shared with the host: {_listed(shared)}"


def _session(seen: Measurements) -> Judged:
    apart = _namespaces(seen)[0] or seen.found("session") != seen.session
    return apart, "its own" if apart else "the host's"


def _processes(seen: Measurements) -> Judged:
    facts = seen.found("processes")
    words = f"{facts['seen']} seen, {facts['signaled']} of other users could be signaled"
    return facts["seen"] <= _OWN_PROCESSES + 1 and not facts["signaled"], words


def _memory_setting(seen: Measurements) -> Judged:
    files, wanted = seen.found("limits"), seen.visits["look"].limits.memory_mb * MIB
    memory = files.get("memory.max", files.get("memory.limit_in_bytes", "not visible"))
    # With cgroups v1 this limit holds for memory and swap together.
    swap = files.get("memory.swap.max", files.get("memory.memsw.limit_in_bytes", "not visible"))
    fits = memory == str(wanted) and swap in ("0", str(wanted), "not visible")
    return fits, f"memory {memory}, swap {swap}, of {wanted} bytes"


def _memory_met(seen: Measurements) -> Judged:
    result = seen.result("memory")
    peak = result.peak_memory_mb
    words = "" if peak is None else f", peak {peak:.0f} MiB"
    return result.ending is Ending.MEMORY, f"ending {result.ending}{words}"


def _cpus(seen: Measurements) -> Judged:
    got, wanted = float(seen.reported("cores")["cores"]), seen.visits["cores"].limits.cpus
    return got <= wanted * _CPU_TOLERANCE, f"{got:.2f} of {wanted:g} cores"


def _core_set(seen: Measurements) -> Judged:
    got, wanted = seen.found("cores"), list(seen.visits["look"].limits.cpu_set or ())
    return got == wanted, f"cores {got} of {wanted}"


def _process_limit(seen: Measurements) -> Judged:
    facts, wanted = seen.reported("processes"), seen.visits["processes"].limits.pids
    fits = bool(facts["refused"]) and facts["born"] <= wanted
    return fits, f"{facts['born']} started, then {'refused' if facts['refused'] else 'not refused'}"


def _storage(place: str) -> Callable[[Measurements], Judged]:
    def judge(seen: Measurements) -> Judged:
        facts, limits = seen.reported("storage")[place], seen.visits["storage"].limits
        wanted = limits.output_mb if place == "output" else limits.scratch_mb
        fits = facts["error"] == "ENOSPC" and facts["written_mb"] <= wanted
        words = facts["error"] or "no error"
        return fits, f"{facts['written_mb']:.1f} of {wanted} MiB, then {words}"

    return judge


def _shared_memory(seen: Measurements) -> Judged:
    size, limits = seen.found("shared_memory"), seen.visits["look"].limits
    wanted = limits.memory_mb if seen.profile.shm_mb is None else seen.profile.shm_mb
    return size <= wanted * MIB, f"{size / MIB:.0f} of {wanted} MiB"


def _overflow(seen: Measurements) -> Judged:
    visit, ending = seen.visits["overflow"], seen.result("overflow").ending
    taken = visit.taken_bytes / MIB
    words = f"{taken:.1f} of {visit.limits.output_mb} MiB taken, ending {ending}"
    return taken <= visit.limits.output_mb, words


def _root(seen: Measurements) -> Judged:
    fixed = seen.found("read_only_root")
    return fixed, "read-only" if fixed else "writable"


def _writable(seen: Measurements) -> Judged:
    places = seen.found("writable")
    if places is None:
        return False, "not tried: these are your own files"
    return set(places) <= _WRITABLE, _listed(places)


def _environment(seen: Measurements) -> Judged:
    names = seen.found("environment")
    return CANARY not in names, f"{len(names)} variables: {_listed(names)}"


def _devices(seen: Measurements) -> Judged:
    others = [name for name in seen.found("devices") if name not in _DEVICES]
    return not others, f"others: {_listed(others)}"


def _gpus(seen: Measurements) -> Judged:
    facts, wanted = seen.reported("gpu"), len(seen.visits["gpu"].limits.gpus)
    torch = "no PyTorch" if facts["torch"] is None else f"PyTorch sees {facts['torch']}"
    fits = len(facts["nodes"]) == wanted and facts["torch"] in (None, wanted)
    return fits, f"{_listed(facts['nodes'])}; {torch}; asked for {wanted}"


def _deadline(seen: Measurements) -> Judged:
    result, visit = seen.result("stay"), seen.visits["stay"]
    in_time = visit.seconds <= visit.limits.seconds + _GRACE_SECONDS
    words = f"{result.ending} after {visit.seconds:.1f} s of {visit.limits.seconds:g} s"
    return result.ending is Ending.DEADLINE and in_time, words


def _left_running(seen: Measurements) -> Judged:
    return not seen.left_running, f"{seen.left_running} processes"


_BOTH = (DOCKER, LOCAL)
PROMISES = (
    Promise("network interfaces", "only lo", _interfaces),
    Promise("this host over the network", "not reached", _none_of("host")),
    Promise("abstract sockets of this host", "not reached", _abstract_socket),
    Promise("metadata address of clouds", "not reached", _metadata),
    Promise("names looked up", "none", _none_of("resolved")),
    Promise("sockets of container daemons", "none", _none_of("daemons")),
    Promise("capabilities", "none", _capabilities),
    Promise("new privileges", "ruled out", _status("NoNewPrivs", "1")),
    Promise("system calls", "filtered", _status("Seccomp", "2")),
    Promise("user and groups", "the profile's alone", _user),
    Promise("namespaces", "its own", _namespaces),
    Promise("process session", "its own", _session, _BOTH),
    Promise("other processes", "only its own container's", _processes),
    Promise("memory setting", "the limit, without swap", _memory_setting),
    Promise("memory, when met", "killed", _memory_met),
    Promise("CPU, when met", "the limit", _cpus),
    Promise("cores", "those given", _core_set),
    Promise("processes, when met", "refused at the limit", _process_limit),
    Promise("out/, when full", "refused at the limit", _storage("output")),
    Promise("temporary folder, when full", "refused at the limit", _storage("scratch")),
    Promise("/dev/shm", "no larger than the profile says", _shared_memory),
    Promise("outputs taken", "no more than the limit", _overflow, _BOTH),
    Promise("root file system", "read-only", _root),
    Promise("writable places", _listed(sorted(_WRITABLE)), _writable),
    Promise("inputs that can be changed", "none", _none_of("inputs")),
    Promise("kernel files that can be read", "none", _none_of("masked")),
    Promise("kernel controls that can be written", "none", _none_of("controls")),
    Promise("environment of the host", "not seen", _environment, _BOTH),
    Promise("devices", "harmless ones", _devices),
    Promise("deadline", "everything killed in time", _deadline, _BOTH),
    Promise("left running", "none", _left_running, _BOTH),
)

NO_GPU = Promise("GPUs, none asked for", "none", _none_of("gpu_nodes"))
GPUS = Promise("GPUs, asked for", "those and no others", _gpus)
