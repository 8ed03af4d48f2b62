"""What must not be taken from out/, and archives that must not be opened."""

from __future__ import annotations

from functools import partial

from ..case import NO_HOLE, Case

odd = partial(Case, status=NO_HOLE, batch="outputs", log=r"taken: \[.*model\.json.*\]")
MISSING = "is missing"

CASES = (
    odd(
        "output-names",
        "names with newlines, escapes and bytes that are not UTF-8, long and deep ones",
        train="""
import os
base = os.fsencode(out)
for name in (b"a\\nb", b"\\x1b[2J", b"\\xff\\xfe", b"back\\\\slash", b"\\x7f",
             b"\\xe2\\x80\\xaetxt"):
    open(os.path.join(base, name), "w").write("x")
(out / ("n" * 255)).touch()
(out / "/".join("d" * 40)).mkdir(parents=True); (out / "/".join("d" * 40) / "a").touch()
""",
        predict="print('taken:', sorted(os.listdir('artifact')))",
        predict_first="import os",
    ),
    odd(
        "output-kinds",
        "pipes, sockets, links to files, folders, devices and each other",
        train="""
import socket
os.mkfifo(out / "pipe")
local = socket.socket(socket.AF_UNIX); local.bind(str(out / "socket"))
for name, to in (("passwd", "/etc/passwd"), ("root", "/"), ("null", "/dev/zero"), ("me", "me"),
                 ("loop", "pool"), ("pool", "loop"), ("up", ".."), ("recipe", "/trial/recipe")):
    (out / name).symlink_to(to)
""",
        predict="""
kinds = [path for path in Path("artifact").rglob("*") if path.is_symlink() or path.is_fifo()]
if kinds: print("BROKE kinds", kinds)
""",
    ),
    Case(
        "output-paths-beyond-the-host",
        "a path of four thousand characters, which the host cannot store",
        NO_HOLE,
        train="import os\nhere = os.getcwd(); os.chdir(out)\n"
        "for _ in range(15): os.mkdir('d' * 255); os.chdir('d' * 255)\n"
        "open('f' * 255, 'w').close(); os.chdir(here)",
    ),
    Case(
        "output-is-a-link-to-a-secret",
        "the predictions are a link to a file of the system",
        "crashed",
        "missing_output",
        r"out/predictions\.txt \(symbolic link\)",
        predict="Path('out/predictions.txt').unlink()\n"
        "Path('out/predictions.txt').symlink_to('/etc/passwd')",
    ),
    Case(
        "output-is-a-pipe",
        "the predictions are a pipe, on which a reader would wait forever",
        "crashed",
        "missing_output",
        r"out/predictions\.txt \(named pipe\)",
        predict="import os\nos.unlink('out/predictions.txt'); os.mkfifo('out/predictions.txt')",
    ),
    Case(
        "output-is-a-folder",
        "the predictions are a folder",
        "crashed",
        "bad_output",
        MISSING,
        predict="Path('out/predictions.txt').unlink()\n"
        "Path('out/predictions.txt').mkdir(); Path('out/predictions.txt/a').touch()",
    ),
    Case(
        "output-cannot-be-read",
        "takes all rights from out/",
        "crashed",
        "missing_output",
        "something in it cannot be read",
        train="import os\nsmoke or os.chmod(out, 0)",
    ),
    Case(
        "output-has-a-hole",
        "a file of a terabyte that takes no space",
        "oversize",
        "size",
        "too large",
        train="(out / 'a').touch(); import os; os.truncate(out / 'a', 1 << 40)",
    ),
    Case(
        "output-has-a-hole-with-a-bad-name",
        "the same under a name that is refused, so that its content must be skipped",
        "oversize",
        "size",
        train="(out / 'a\\n').touch(); import os; os.truncate(out / 'a\\n', 1 << 40)",
    ),
    Case(
        "output-is-replaced",
        "renames, removes and links out/ itself",
        NO_HOLE,
        train="import os\nfor change in (lambda: os.rename('/trial/out', '/trial/o'),\n"
        "               lambda: os.rmdir('/trial/out'), lambda: os.symlink('/', '/trial/out')):\n"
        "    try: change(); print('BROKE out')\n    except OSError as error: print(error)",
    ),
    Case(
        "predictions-are-a-bomb",
        "a gzip bomb, a pickle that runs code, and a zip bomb, under names that a scorer may open",
        NO_HOLE,
        predict="""
import gzip, json, os, pickle
class Run:
    def __reduce__(self): return os.system, ("echo '{\\"loss\\": 0}' > /trial/out/score.json",)
for name in ("predictions.pkl", "predictions.pt", "predictions.npy"):
    Path("out", name).write_bytes(pickle.dumps(Run()))
Path("out/predictions.txt.gz").write_bytes(gzip.compress(bytes(200 << 20), 1))
""",
    ),
    Case(
        "predictions-shadow-modules",
        "modules of the names that the scorer imports, beside the predictions",
        NO_HOLE,
        predict="""
code = "import pathlib; pathlib.Path('out/score.json').write_text('{}'); raise SystemExit(0)"
for name in ("json", "math", "sitecustomize", "usercustomize", "pathlib", "score"):
    Path(f"out/{name}.py").write_text(code)
Path("out/recipelab_scoring").mkdir()
Path("out/recipelab_scoring/__init__.py").write_text(code)
""",
    ),
    Case(
        "predictions-are-huge",
        "four megabytes of numbers, to make the scorer run out of memory",
        "crashed",
        "bad_output",
        "longer than",
        predict="Path('out/predictions.txt').write_text('1 ' * (2 << 20))",
    ),
)
