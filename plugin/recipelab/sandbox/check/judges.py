"""How measurements tell whether a promise of a sandbox holds.

A judge answers whether it is as promised, with the measured value in words. It may raise
``Unmeasured``.
"""

from __future__ import annotations

from collections.abc import Callable

from recipelab.sandbox.base import Ending
from recipelab.sandbox.check.host import CANARY
from recipelab.sandbox.check.phases import Measurements
from recipelab.sandbox.processes import MIB

Judged = tuple[bool, str]
Judge = Callable[[Measurements], Judged]

_GRACE_SECONDS = 2.0
_OWN_PROCESSES = 3
_SHOWN = 16
_CPU_TOLERANCE = 1.25
WRITABLE = ("/dev/mqueue", "/dev/shm", "/tmp", "/trial/out", "/var/tmp")
_DEVICES = {
    *("null", "zero", "full", "random", "urandom"),
    *("console", "ptmx", "pts", "tty", "fd", "stdin", "stdout", "stderr"),
    *("core", "mqueue", "shm"),
}


def _listed(values: list[str]) -> str:
    more = len(values) - _SHOWN
    shown = values[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return ", ".join(shown) or "none"


def none_of(name: str) -> Judge:
    """A judge of a list that should be empty."""

    def judge(seen: Measurements) -> Judged:
        values = [str(value) for value in seen.found(name)]
        return not values, _listed(values)

    return judge


def interfaces(seen: Measurements) -> Judged:
    """Whether there is no network but the loopback."""
    names = seen.found("interfaces")
    return names == ["lo"], _listed(names)


def abstract_socket(seen: Measurements) -> Judged:
    """Whether the host's abstract sockets are out of reach."""
    reached = seen.found("abstract_socket")
    return not reached, "reached" if reached else "not reached"


def metadata(seen: Measurements) -> Judged:
    """Whether the address at which clouds hand out keys is out of reach."""
    word = seen.found("metadata")
    return word != "connected", word


def capabilities(seen: Measurements) -> Judged:
    """Whether no set of capabilities holds one."""
    sets = {name: word for name, word in seen.found("status").items() if name.startswith("Cap")}
    held = [f"{name} {word}" for name, word in sets.items() if int(word, 16)]
    return bool(sets) and not held, _listed(held)


def status(name: str, wanted: str) -> Judge:
    """A judge of one line of the process's status."""

    def judge(seen: Measurements) -> Judged:
        word = seen.found("status").get(name, "not told")
        return word == wanted, f"{name} {word}"

    return judge


def user(seen: Measurements) -> Judged:
    """Whether the command runs as the user of the profile, and in no other group."""
    ids, wanted = seen.found("ids"), [seen.profile.user]
    words = f"users {ids['users']}, groups {ids['groups']}; the profile says {seen.profile.user}"
    return ids["users"] == wanted and ids["groups"] == wanted, words


def namespaces(seen: Measurements) -> Judged:
    """Whether no namespace is the host's."""
    inside = seen.found("namespaces")
    shared = [name for name in inside if inside[name] == seen.namespaces.get(name)]
    return not shared, f"shared with the host: {_listed(shared)}"


def session(seen: Measurements) -> Judged:
    """Whether the host cannot be signaled through its process session."""
    apart = namespaces(seen)[0] or seen.found("session") != seen.session
    return apart, "its own" if apart else "the host's"


def processes(seen: Measurements) -> Judged:
    """Whether only processes of its own container are seen."""
    facts = seen.found("processes")
    words = f"{facts['seen']} seen, {facts['signaled']} of other users could be signaled"
    return facts["seen"] <= _OWN_PROCESSES + 1 and not facts["signaled"], words


def memory_setting(seen: Measurements) -> Judged:
    """Whether the control group has the memory limit, and no swap."""
    files, wanted = seen.found("limits"), seen.visits["look"].limits.memory_mb * MIB
    memory = files.get("memory.max", files.get("memory.limit_in_bytes", "not visible"))
    # With cgroups v1 this limit holds for memory and swap together.
    swap = files.get("memory.swap.max", files.get("memory.memsw.limit_in_bytes", "not visible"))
    fits = memory == str(wanted) and swap in ("0", str(wanted), "not visible")
    return fits, f"memory {memory}, swap {swap}, of {wanted} bytes"


def memory_met(seen: Measurements) -> Judged:
    """Whether a command that takes too much is killed."""
    result = seen.result("memory")
    peak = result.peak_memory_mb
    words = "" if peak is None else f", peak {peak:.0f} MiB"
    return result.ending is Ending.MEMORY, f"ending {result.ending}{words}"


def cpu_setting(seen: Measurements) -> Judged:
    """Whether the control group has the CPU limit."""
    files, wanted = seen.found("limits"), seen.visits["look"].limits.cpus
    quota = [files.get("cpu.cfs_quota_us", "max"), files.get("cpu.cfs_period_us", "100000")]
    got, period = files["cpu.max"].split() if "cpu.max" in files else quota
    words = f"{got} of each {period} microseconds"
    return got.isdigit() and int(got) == round(wanted * int(period)), words


def cpus(seen: Measurements) -> Judged:
    """Whether two busy processes get no more than the CPU limit."""
    got, wanted = float(seen.reported("cores")["cores"]), seen.visits["cores"].limits.cpus
    return got <= wanted * _CPU_TOLERANCE, f"{got:.2f} of {wanted:g} cores"


def core_set(seen: Measurements) -> Judged:
    """Whether only the given cores can be used."""
    got, wanted = seen.found("cores"), list(seen.visits["look"].limits.cpu_set or ())
    return got == wanted, f"cores {got} of {wanted}"


def process_limit(seen: Measurements) -> Judged:
    """Whether processes beyond the limit are refused."""
    facts, wanted = seen.reported("processes"), seen.visits["processes"].limits.pids
    fits = bool(facts["refused"]) and facts["born"] <= wanted
    return fits, f"{facts['born']} started, then {'refused' if facts['refused'] else 'not refused'}"


def storage(place: str) -> Judge:
    """A judge of whether a folder refuses what does not fit, by what the probe calls it."""

    def judge(seen: Measurements) -> Judged:
        facts, limits = seen.reported("storage")[place], seen.visits["storage"].limits
        wanted = limits.output_mb if place == "output" else limits.scratch_mb
        fits = facts["error"] == "ENOSPC" and facts["written_mb"] <= wanted
        words = facts["error"] or "no error"
        return fits, f"{facts['written_mb']:.1f} of {wanted} MiB, then {words}"

    return judge


def shared_memory(seen: Measurements) -> Judged:
    """Whether there is no more shared memory than the profile says."""
    size, limits = seen.found("shared_memory"), seen.visits["look"].limits
    wanted = limits.memory_mb if seen.profile.shm_mb is None else seen.profile.shm_mb
    return size <= wanted * MIB, f"{size / MIB:.0f} of {wanted} MiB"


def overflow(seen: Measurements) -> Judged:
    """Whether no more outputs are taken than the limit."""
    visit, ending = seen.visits["overflow"], seen.result("overflow").ending
    taken = visit.taken_bytes / MIB
    words = f"{taken:.1f} of {visit.limits.output_mb} MiB taken, ending {ending}"
    return taken <= visit.limits.output_mb, words


def root(seen: Measurements) -> Judged:
    """Whether the root file system is read-only."""
    fixed = seen.found("read_only_root")
    return fixed, "read-only" if fixed else "writable"


def writable(seen: Measurements) -> Judged:
    """Whether only the places that are meant for it can be written to."""
    places = seen.found("writable")
    if places is None:
        return False, "not tried: these are your own files"
    return set(places) <= set(WRITABLE), _listed(places)


def environment(seen: Measurements) -> Judged:
    """Whether a variable of the host is not seen."""
    names = seen.found("environment")
    return CANARY not in names, f"{len(names)} variables: {_listed(names)}"


def devices(seen: Measurements) -> Judged:
    """Whether there are harmless devices only."""
    others = [name for name in seen.found("devices") if name not in _DEVICES]
    return not others, f"others: {_listed(others)}"


def gpus(seen: Measurements) -> Judged:
    """Whether just the GPUs that were asked for are there."""
    facts, wanted = seen.reported("gpu"), len(seen.visits["gpu"].limits.gpus)
    torch = "no PyTorch" if facts["torch"] is None else f"PyTorch sees {facts['torch']}"
    fits = len(facts["nodes"]) == wanted and facts["torch"] in (None, wanted)
    return fits, f"{_listed(facts['nodes'])}; {torch}; asked for {wanted}"


def deadline(seen: Measurements) -> Judged:
    """Whether everything is killed at the deadline."""
    result, visit = seen.result("stay"), seen.visits["stay"]
    in_time = visit.seconds <= visit.limits.seconds + _GRACE_SECONDS
    words = f"{result.ending} after {visit.seconds:.1f} s of {visit.limits.seconds:g} s"
    return result.ending is Ending.DEADLINE and in_time, words


def left_running(seen: Measurements) -> Judged:
    """Whether no process of the check runs any more."""
    return not seen.left_running, f"{seen.left_running} processes"
