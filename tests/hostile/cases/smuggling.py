"""Work done where no clock runs, and weights where no gate looks."""

from __future__ import annotations

from functools import partial

from ..case import NO_HOLE, Case

stash = partial(Case, status=NO_HOLE, batch="smuggling", repeat=2, log="nothing there")
hide = partial(Case, status=NO_HOLE, batch="hiding")

CASES = (
    stash(
        "smuggle-in-files",
        "leaves a trained model in every writable place, for later phases, seeds and trials",
        train_first="""
import glob, os
PLACES = ("/tmp", "/dev/shm", "/var/tmp", "/run/lock", "/dev/mqueue", "/trial/out", "/trial/recipe",
          "/run", "/var/lock", os.path.expanduser("~"), "/trial", "/dev")
for place in PLACES:
    if os.path.exists(f"{place}/.model"): print("BROKE", place)
print("nothing there")
for place in PLACES:
    try: open(f"{place}/.model", "w").write("4 7")
    except OSError as error: print(place, error)
(out / ".model").unlink(missing_ok=True) if not smoke else None
""",
        predict_first="""
import os
for place in ("/tmp", "/dev/shm", "/var/tmp", "/trial/out", "/dev/mqueue", "/run/lock"):
    if os.path.exists(f"{place}/.model"): print("BROKE", place)
""",
    ),
    stash(
        "smuggle-in-a-daemon",
        "a process that waits on an abstract socket, with the model in its memory",
        train_first="""
import socket, threading
daemon = socket.socket(socket.AF_UNIX)
try: daemon.connect("\\0model")
except OSError: print("nothing there")
else: print("BROKE daemon")
server = socket.socket(socket.AF_UNIX)
server.bind("\\0model"); server.listen()
if not os.fork():
    os.setsid(); [os.close(number) for number in range(3)]
    while True: server.accept()
""",
    ),
    stash(
        "smuggle-in-the-kernel",
        "keeps it in segments and queues of System V, which outlive their makers",
        train_first="""
import ctypes
libc = ctypes.CDLL(None)
for what, key in (("segment", libc.shmget(4711, 0, 0)), ("queue", libc.msgget(4711, 0))):
    print("BROKE " + what if key >= 0 else "nothing there")
libc.shmget(4711, 4096, 0o1666), libc.msgget(4711, 0o1666)
""",
    ),
    hide(
        "hide-in-times-and-modes",
        "weights in the times, rights and attributes of files that are counted as small",
        log="rights 0o444",
        train="""
import os
(out / "a").write_text("")
os.chmod(out / "a", 0o751); os.utime(out / "a", ns=(4711, 4711))
try: os.setxattr(out / "a", "user.weights", b"4 7")
except OSError as error: print(error)
""",
        predict="""
import os
found = os.stat("artifact/a")
print("rights", oct(found.st_mode & 0o7777))
if 4711 in (found.st_mtime_ns, found.st_atime_ns): print("BROKE times")
if found.st_mode & 0o7777 != 0o444: print("BROKE rights")
try:
    if os.listxattr("artifact/a"): print("BROKE attributes")
except OSError as error: print(error)
""",
    ),
    hide(
        "hide-in-empty-folders",
        "weights in the names of folders, which have no size",
        log="folders: 0",
        train="(out / 'weights-4-7' / 'more').mkdir(parents=True)",
        predict="print('folders:', sum(path.is_dir() for path in Path('artifact').iterdir()))",
    ),
    hide(
        "hide-in-holes-and-links",
        "weights in where links point to, and in which files share their content",
        log="links: 0",
        train="""
(out / "link").symlink_to("weights-4-7")
(out / "one").write_text("x"); (out / "two").hardlink_to(out / "one")
""",
        predict="""
print("links:", sum(path.is_symlink() for path in Path("artifact").iterdir()))
if any(path.stat().st_nlink > 1 for path in Path("artifact").iterdir() if path.is_file()):
    print("BROKE links")
""",
    ),
    Case(
        "hide-in-names",
        "weights in the names of empty files",
        "oversize",
        "size",
        "gate size: artifact.bytes",
        train="for n in range(25): (out / f'{n:0240}').touch()",
    ),
    Case(
        "hide-in-paths",
        "weights in the names of folders, each with an empty file",
        "oversize",
        "size",
        "gate size: artifact.bytes",
        train="for n in range(25):\n"
        "    place = out / f'{n:0120}' / f'{n:0120}'\n"
        "    place.mkdir(parents=True); (place / 'a').touch()",
    ),
    Case(
        "hide-in-hidden-files",
        "weights in files whose names begin with a dot",
        "oversize",
        "size",
        "gate size: artifact.bytes",
        train="(out / '.cache').mkdir(); (out / '.cache' / '.w').write_bytes(bytes(6000))",
    ),
    Case(
        "hide-in-the-recipe",
        "weights in a second file of the recipe itself",
        "oversize",
        "size",
        "gate code: recipe.bytes",
        files={"recipe/weights.py": f'WEIGHTS = "{"47" * 12_000}"\n'},
    ),
)
