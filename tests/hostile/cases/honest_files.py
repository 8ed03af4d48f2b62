"""Honest recipes with odd files."""

from __future__ import annotations

from functools import partial

from ..case import honest

one = partial(honest, batch="honest-files")
SELF = "/trial/recipe/train.py"

CASES = (
    one(
        "files-in-tmp",
        "leaves some files in /tmp and cleans others",
        train="""
import shutil, tempfile
Path("/tmp/left").write_text("x")
with tempfile.TemporaryDirectory() as folder: Path(folder, "a").write_text("x")
print(tempfile.mkdtemp(), tempfile.gettempdir())
""",
    ),
    one(
        "files-in-shm",
        "uses shared memory",
        train="""
from multiprocessing import shared_memory
block = shared_memory.SharedMemory(create=True, size=1000); block.buf[0] = 1
block.close(); block.unlink()
""",
    ),
    one(
        "files-at-home",
        "keeps a cache at home",
        train="""
home = Path.home() / ".cache" / "model"
home.mkdir(parents=True); (home / "a").write_text("x")
""",
    ),
    one(
        "folders",
        "sorts its artifact into folders",
        train="""
(out / "weights" / "layer1").mkdir(parents=True); (out / "weights" / "layer1" / "w").write_text("1")
""",
    ),
    one(
        "names-like-the-evaluators",
        "files that are only called like the evaluator's",
        train="""
for name in ("score.txt", "scores.json", "answers.md", "score.py"): (out / name).write_text("{}")
for name in ("evaluator", "evaluator2", "answers"):
    (out / name).mkdir(); (out / name / "score.py").write_text("1")
""",
    ),
    one(
        "unicode-names",
        "names in other scripts, and with spaces",
        train="""
for name in ("Größe", "重み", "вес", "a b", "🙂", "-rf"): (out / name).write_text(name)
""",
    ),
    one(
        "many-files",
        "nearly as many files as it may leave",
        train="""
(out / "steps").mkdir()
for number in range(10): (out / "steps" / str(number)).touch()
""",
    ),
    one("own-source", "reads its own source", train="print(len(Path(__file__).read_text()))"),
    one(
        "bytecode",
        "compiles itself, where it may",
        train="""
import py_compile, sys
sys.dont_write_bytecode = False
py_compile.compile(__file__, cfile="/tmp/train.pyc")
import helper
""",
        files={"recipe/helper.py": "VALUE = 3\n"},
    ),
    one(
        "second-module",
        "imports a second module of the recipe, in both phases",
        predict="import helper\nprint(helper.VALUE)",
    ),
    one(
        "links-that-are-not-taken",
        "leaves a link to its newest checkpoint",
        train="""
(out / "latest").symlink_to("model.json")
""",
        predict="print(Path('artifact/latest').exists())",
    ),
    one(
        "locked-and-empty",
        "a lock file, an empty file, and a file that only it may read",
        train="""
import fcntl, os
with open(out / "lock", "w") as file: fcntl.flock(file, fcntl.LOCK_EX)
(out / "empty").touch(); os.chmod(out / "empty", 0o600)
""",
    ),
    honest(
        "artifact-of-all-kinds",
        "a gzip, a database and a pickle, each read by its own predict",
        train="import gzip, pickle, sqlite3\nsaved = (out / 'model.json').read_text()\n"
        "(out / 'model.gz').write_bytes(gzip.compress(saved.encode()))\n"
        "(out / 'model.pkl').write_bytes(pickle.dumps(json.loads(saved)))\n"
        "with sqlite3.connect('/tmp/model.db') as base:\n"
        "    base.execute('pragma page_size=512'); base.execute('create table t (x)')\n"
        "    base.execute('insert into t values (1)')\nbase.close()\n"
        "(out / 'model.db').write_bytes(Path('/tmp/model.db').read_bytes())",
        predict="import gzip, pickle, sqlite3\n"
        "assert json.loads(gzip.open('artifact/model.gz').read()) == model\n"
        "assert pickle.loads(Path('artifact/model.pkl').read_bytes()) == model\n"
        "base = sqlite3.connect('file:artifact/model.db?mode=ro&immutable=1', uri=True)\n"
        "assert base.execute('select x from t').fetchall() == [(1,)]\nbase.close()",
    ),
    honest(
        "artifact-just-small-enough",
        "an artifact of all the bytes that the gate allows",
        train="used = len('model.json') + (out / 'model.json').stat().st_size\n"
        "(out / 'w').write_bytes(bytes(5000 - used - 1))",
        measures={"artifact.bytes": (5000, 5000)},
    ),
    honest(
        "really-better",
        "moves to where the loss is less",
        status="kept",
        replace=("X = 1.0", "X = 3.0"),
    ),
    honest(
        "really-worse",
        "moves away",
        replace=("X = 1.0", "X = 0.5"),
    ),
    honest(
        "too-far",
        "moves so far that a gate is missed",
        status="gate_missed",
        kind="gate",
        evidence="gate fit",
        replace=("X = 1.0", "X = 40.0"),
    ),
)
