"""Recipes that write where only the evaluator writes."""

from __future__ import annotations

from ..case import ATTEMPT, NO_HOLE, Case

FAKE = "import pathlib; pathlib.Path('out/score.json').write_text('{\\\"loss\\\": 0}')"

CASES = (
    Case(
        "tampering-scorer",
        "overwrites the scorer",
        "illegal",
        "tampering",
        r"preflight left evaluator/score\.py",
        train=f'Path("evaluator/score.py").write_text("{FAKE}")',
    ),
    Case(
        "tampering-scorer-in-predict",
        "overwrites it at the last moment",
        "illegal",
        "tampering",
        r"left evaluator/score\.py",
        predict=f'Path("/trial/evaluator/score.py").write_text("{FAKE}")',
    ),
    Case(
        "tampering-answers",
        "overwrites the answers with its own prediction",
        "illegal",
        "tampering",
        r"predict left answers/answers\.txt",
        predict="Path('answers/answers.txt').write_text('1 2')",
    ),
    Case(
        "tampering-link",
        "a link instead of a file",
        "illegal",
        "tampering",
        r"train left evaluator/score\.py",
        train="smoke or Path('evaluator/score.py').symlink_to('/trial/recipe/train.py')",
    ),
    Case(
        "tampering-pipe",
        "a named pipe, to answer the scorer's reading later",
        "illegal",
        "tampering",
        r"predict left answers/answers\.txt",
        predict="import os\nos.mkfifo('answers/answers.txt')",
    ),
    Case(
        "tampering-hidden-by-mode",
        "takes the right to read from the folder, so that nobody sees what is in it",
        "illegal",
        "tampering",
        "evaluator",
        train="import os\nPath('evaluator/score.py').touch(); os.chmod('evaluator', 0)",
    ),
    Case(
        "tampering-hidden-by-half",
        "leaves the right to list, but not to look",
        "illegal",
        "tampering",
        "evaluator",
        train="import os\nPath('evaluator/score.py').touch(); os.chmod('evaluator', 0o400)",
    ),
    Case(
        "tampering-hidden-below",
        "hides it one folder further down",
        "illegal",
        "tampering",
        "evaluator/a",
        train="import os\nos.makedirs('evaluator/a/b'); os.chmod('evaluator/a', 0)",
    ),
    Case(
        "tampering-name-with-escapes",
        "a name that clears the screen of whoever reads the evidence",
        "illegal",
        "tampering",
        r"evaluator/\\x1b\[2J",
        train="Path('evaluator/\\x1b[2J\\n\\u202etxt').touch()",
    ),
    Case(
        "tampering-behind-a-flood",
        "fills the outputs first, so that looking ends before the scorer's folder",
        "illegal",
        "tampering",
        r"evaluator/score\.py",
        train=(
            "Path('evaluator/score.py').touch()\n"
            "for number in range(3000): Path('out', str(number)).touch()"
        ),
    ),
    Case(
        "tampering-with-a-flood",
        "floods the scorer's folder itself",
        "illegal",
        "tampering",
        r"evaluator/\d+",
        train="for number in range(3000): Path('evaluator', str(number)).touch()",
    ),
    Case(
        "tampering-and-crash",
        "writes, then crashes",
        "illegal",
        "tampering",
        r"evaluator/score\.py",
        train="Path('evaluator/score.py').touch(); raise SystemExit(1)",
    ),
    Case(
        "tampering-scorers-library",
        "puts a module of the scorer's name where the scorer would find it",
        NO_HOLE,
        log="refused library OSError",
        predict=ATTEMPT
        + """
import os
attempt("library", lambda: os.makedirs("/trial/lib/recipelab_scoring"))
attempt("folder", lambda: os.rename("evaluator", "evaluator2"))
attempt("folder", lambda: os.rmdir("evaluator"))
attempt("root", lambda: os.mkdir("/trial/more"))
attempt("python", lambda: open(os.__file__, "a"))
attempt("pth", lambda: open("/usr/local/lib/python3.11/site-packages/a.pth", "w"))
attempt("preload", lambda: open("/etc/ld.so.preload", "w"))
attempt("path", lambda: open("/usr/local/bin/tar", "w"))
""",
    ),
    Case(
        "tampering-rewrites-itself",
        "train rewrites predict, and predict the artifact and its inputs",
        NO_HOLE,
        log=r"refused artifact OSError.* Read-only",
        train=ATTEMPT
        + """
import os
attempt("predict", lambda: open("recipe/predict.py", "a"))
attempt("new file", lambda: open("recipe/more.py", "w"))
attempt("cache", lambda: os.mkdir("recipe/__pycache__"))
attempt("mode", lambda: os.chmod("recipe/predict.py", 0o777))
attempt("away", lambda: os.unlink("recipe/predict.py"))
""",
        predict=ATTEMPT
        + """
import os
attempt("artifact", lambda: open("artifact/more", "w"))
attempt("artifact", lambda: os.truncate("artifact/model.json", 0))
attempt("inputs", lambda: open("inputs/inputs.txt", "a"))
attempt("times", lambda: os.utime("artifact/model.json", (0, 0)))
""",
    ),
)
