"""Bombs: processes, memory, disk and open files."""

from __future__ import annotations

from functools import partial

from ..case import NO_HOLE, Case

quick = partial(Case, profile="quick")

CASES = (
    quick(
        "forks-of-a-shell",
        "the classic, in a shell; the shell above it ends at once",
        "discarded|crashed|train_overrun",
        "|processes|timeout|oom",
        train="import subprocess\nif not smoke:\n"
        "    subprocess.run(['sh', '-c', 'b() { b | b & }; b'])",
    ),
    quick(
        "forks-without-end",
        "forks and never looks back",
        "crashed|train_overrun",
        "processes|timeout",
        "refused at the limit",
        train="import os, time\nwhile not smoke:\n    try: os.fork()\n    except OSError: pass",
    ),
    quick(
        "forks-with-exiting-parents",
        "each generation kills the shell that watches it, forks and ends, so that no pid stays",
        "crashed|train_overrun",
        "processes|timeout|signal|other",
        train="import os, signal\nif not smoke:\n"
        "    os.setsid(); os.kill(os.getppid(), 9)\n"
        "    while True:\n"
        "        try:\n            if os.fork(): os._exit(0)\n"
        "        except OSError: pass",
    ),
    quick(
        "forks-that-stay",
        "fills the process table, kills the watching shell, and ends well",
        "crashed",
        "processes|signal|other",
        train="import os, time\nif not smoke:\n"
        "    os.kill(os.getppid(), 9)\n"
        "    try:\n        while os.fork() or os.setsid() or True: pass\n"
        "    except OSError:\n        time.sleep(60)",
    ),
    quick(
        "threads-without-end",
        "starts threads until it may not",
        "crashed",
        "processes",
        "refused at the limit",
        train="import threading, time\nwhile True:\n"
        "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    ),
    Case(
        "memory-heap",
        "takes more memory than there is",
        "crashed",
        "oom",
        "memory limit",
        train="bytearray(1 << 30)",
    ),
    Case(
        "memory-in-a-child",
        "lets a child take it, and ends well itself",
        "discarded|crashed",
        "|oom",
        train="import os\nif not smoke and not os.fork(): bytearray(1 << 30)\nsmoke or os.wait()",
    ),
    Case(
        "memory-in-shm",
        "fills /dev/shm, which is memory",
        "crashed",
        "oom|disk",
        train="with open('/dev/shm/a', 'wb') as file:\n    while True: file.write(bytes(1 << 20))",
    ),
    Case(
        "memory-in-segments",
        "System V segments live on when their maker is killed",
        "crashed|discarded",
        "oom|",
        train="import ctypes\nlibc = ctypes.CDLL(None)\nlibc.shmat.restype = ctypes.c_void_p\n"
        "for _ in range(0 if smoke else 26):\n"
        "    there = libc.shmat(libc.shmget(0, 4 << 20, 0o1600), None, 0)\n"
        "    ctypes.memset(there, 1, 4 << 20)",
    ),
    Case(
        "memory-in-pipes-and-descriptors",
        "fills memory files, pipes and the table of open files",
        "crashed|discarded",
        "oom|other|",
        train="import os\nheld = []\n"
        "try:\n    while True:\n"
        "        held += os.pipe(); os.set_blocking(held[-1], False)\n"
        "        os.write(held[-1], bytes(65536))\n"
        "        held.append(os.memfd_create('a')); os.write(held[-1], bytes(65536))\n"
        "except OSError as error: print(error)",
    ),
    Case(
        "memory-in-folders",
        "millions of empty folders in /dev/shm, where only the kernel counts them",
        "crashed",
        "oom|disk",
        train="import os\nnumber = 0\nwhile True:\n    os.mkdir(f'/dev/shm/{number}'); number += 1",
    ),
    Case(
        "disk-in-tmp",
        "fills /tmp",
        "oversize",
        "size",
        "No space left",
        train="open('/tmp/a', 'wb').write(bytes(20 << 20))",
    ),
    Case(
        "disk-in-tmp-swallowed",
        "fills /tmp and hides the error",
        NO_HOLE,
        train="try: smoke or open('/tmp/a', 'wb').write(bytes(20 << 20))\nexcept OSError: pass",
    ),
    Case(
        "disk-in-out",
        "fills out/",
        "oversize",
        "size",
        "No space left",
        train="(out / 'a').write_bytes(bytes(20 << 20))",
    ),
    Case(
        "disk-in-out-swallowed",
        "fills out/ to the last byte and hides the error",
        "oversize",
        "size",
        train="try: smoke or (out / 'a').write_bytes(bytes(20 << 20))\nexcept OSError: pass",
    ),
    Case(
        "files-too-many",
        "ten thousand tiny files",
        "oversize",
        "size",
        "too many files",
        train="for number in range(10000): (out / str(number)).touch()",
    ),
    Case(
        "folders-too-many",
        "ten thousand empty folders",
        "oversize",
        "size",
        train="for number in range(10000): (out / str(number)).mkdir()",
    ),
)
