"""Hostile patches and edits for :mod:`doors`: well-formed ones with one thing that no trial has."""

# Tables of hostile text; each way to make an input is used before the next ones are made.
# ruff: noqa: B023, E501

from __future__ import annotations

import random
import zlib
from base64 import b85encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recipelab.core.recipe import MAX_FILE_CHARACTERS, Recipe
from recipelab.core.trial import Edit

TRAIN = "recipe/train.py"

Make = Callable[[], Any]

NAMES = (
    *("../x.py", "../../secret.txt", "recipe/../../x.py", "{canary}/x.py", "/{canary}/x.py"),
    *(".git/config", ".git/hooks/post-checkout", ".GIT/config", "recipe/.git/x.py", ".gi\u200ct/x"),
    *("git~1/config", ".git /config", ".git::$INDEX_ALLOCATION/x", "recipe/.git./x.py", ".git\\x"),
    *("recipe\\..\\x.py", "C:x.py", "recipe/aux.py", "recipe/x.py:stream", "recipe/NUL"),
    *(
        "recipe/\u202etrain.py",
        "recipe/tr\u0430in.py",
        "recipe/train\u200b.py",
        "recipe/tra\u0131n.py",
    ),
    *("recipe/ train.py", "recipe/train.py ", "recipe/-x.py", "recipe/*.py", "recipe//x.py", "./x"),
    *("recipe/a\tb.py", "recipe/\x1b[2J.py", "recipe/\x7f.py", "recipe", "recipe/train.py/x.py"),
    *(f"recipe/{'n' * 300}.py", f"recipe/{'d/' * 2500}x.py", "recipe/é.py", "recipe/e\u0301.py"),
    *('"recipe/a\\nb.py"', '"recipe/\\056\\056/x.py"', '"\\056\\056/x.py"', '"recipe/x', '"\\777"'),
    *("dev/null", "/dev/null", "", " ", ".", "..", "evaluator/score.py", "pack.toml"),
)
MODES = (
    "120000",
    "160000",
    "040000",
    "100755",
    "100600",
    "777777",
    "0",
    "-1",
    "",
    "120000\n100644",
)
HUNKS = (
    *(
        "@@ -1,99999999999999999999 +1 @@",
        "@@ -0,0 +0,0 @@",
        "@@ -1,-1 +1,-1 @@",
        "@@ @@",
        "@@ -1 +1",
    ),
    *("@@ -2147483647,1 +2147483647,1 @@", "@@ -1,3 +1,3 @@ \x1b]0;x\x07", "@@@ -1 -1 +1 @@@"),
)
HEADS = (
    *("rename from {a}\nrename to {b}", "copy from {a}\ncopy to {b}", "deleted file mode 100644"),
    *("rename from {b}\nrename to {a}", "similarity index 999%", "index 0000000..e69de29 160000"),
    *("old mode 100644\nnew mode 120000", "rename from recipe/train.py\nrename to {b}"),
)


def new_file(name: str, text: str = "x = 1\n", mode: str = "100644") -> str:
    """Return a patch that makes a file."""
    lines = text.split("\n")[:-1]
    body = "".join(f"+{line}\n" for line in lines)
    return (
        f"diff --git a/{name} b/{name}\nnew file mode {mode}\n--- /dev/null\n+++ b/{name}\n"
        f"@@ -0,0 +1,{len(lines)} @@\n{body}"
    )


def binary(size: int, said: int | None = None) -> bytes:
    """Return a patch that makes a file of zeros, compressed."""
    packed = zlib.compress(bytes(size), 9)
    lines = []
    for start in range(0, len(packed), 52):
        part = packed[start : start + 52]
        count = len(part)
        letter = chr(ord("A") + count - 1) if count <= 26 else chr(ord("a") + count - 27)
        lines.append(letter.encode() + b85encode(part, pad=True))
    head = (
        f"diff --git a/recipe/z.py b/recipe/z.py\nnew file mode 100644\n"
        f"index {'0' * 40}..{'1' * 40}\nGIT binary patch\nliteral {said or size}\n"
    )
    return head.encode() + b"\n".join(lines) + b"\n\nliteral 0\nHcmV?d00001\n\n"


def hostile_texts(rng: random.Random) -> Iterator[tuple[str, str]]:
    """Yield texts of a file that a parser, a regular expression or a diff may choke on, for ever."""
    most = MAX_FILE_CHARACTERS
    while True:
        count = rng.choice((10, 1_000, most // 2, most - 100))
        yield from (
            ("huge hexadecimal", f"X = 0x{'f' * count}\n"),
            ("huge knob", f"X = 0x{'f' * count}  # knob left: 0 .. 9\n"),
            ("huge range", f"X = 1.0  # knob left: 0 .. 0x{'f' * count}\n"),
            ("huge decimal", f"X = {'9' * count}\n"),
            ("huge exponent", "X = 1e999  # knob left: 0 .. 1e999 log\n"),
            ("parentheses", f"X = {'(' * count}\n"),
            ("brackets", f"X = {'[' * 90}1{']' * 90}\n"),
            ("signs", f"X = {'-' * count}1\n"),
            ("nots", f"X = {'not ' * (count // 4)}1\n"),
            ("sum", f"X = {'1+' * (count // 2)}1\n"),
            ("attributes", f"X = a{'.b' * (count // 2)}\n"),
            ("calls", f"X = a{'()' * (count // 2)}\n"),
            ("lambdas", f"X = {'lambda:' * (count // 7)}1\n"),
            ("comparisons", f"X = {'1<' * (count // 2)}1\n"),
            (
                "nested blocks",
                "".join(f"{' ' * i}if 1:\n" for i in range(99)) + " " * 99 + "X = 1\n",
            ),
            ("quote ladder", 'X = 1\n"' + '\\"' * (count // 2) + "\n"),
            ("quote ladder in a comment", "X = 1\n#" + '"\\' * (count // 2) + "\n"),
            ("single quotes", "X = 1\n#" + "'\"" * (count // 2) + "\n"),
            ("words", "X = 1\n#" + "a." * (count // 2) + "\n"),
            ("few lines often", "".join(f"#{rng.randrange(120)}\n" for _ in range(count // 4))),
            ("one line often", "#\n" * (count // 2)),
            ("statements", "x=1\n" * (count // 4)),
            ("statements of one line", "x=1;" * (count // 4) + "\n"),
            (
                "one long line",
                "#" + "".join(chr(0x4E00 + rng.randrange(120)) for _ in range(count)) + "\n",
            ),
            ("null", "X = 1\x00\n"),
            ("surrogate", "X = '\ud800'\n"),
            ("form feeds", "X = 1\n\x0c\x0bY = 2\r\x0cZ = 3\u2028W = 4\n"),
            ("coding", "# -*- coding: utf-7 -*-\nX = '+AGE-'\n"),
            ("flufl", "from __future__ import barry_as_FLUFL\nX = 1 <> 2\n"),
            ("continuation", "if 1:\\\n pass\nX = 1\\\n\n"),
            ("bidirectional", "X = 1 # \u202e \u2066 1.0 = X\n"),
            ("look-alike", "\u0425 = 1\nX\u200d = 2\n"),
            ("f-string", f"X = f'{{{'{' * min(count, 500)}1{'}' * min(count, 500)}}}'\n"),
            ("escapes", "X = '\\N{" + "A" * min(count, 5000) + "}'\n"),
            ("complex", "X = 1e400j + {0x" + "f" * count + ": 1}\n"),
            ("decorators", "@a\n" * (count // 3) + "def f(): pass\n"),
        )


def edits(rng: random.Random, files: Mapping[str, str]) -> Iterator[tuple[str, Make]]:
    """Yield edits as an agent's tool call may have them, for ever."""
    for family, text in hostile_texts(rng):
        start = files[TRAIN]
        way = rng.randrange(4)
        whole = [Edit(TRAIN, None, text[:MAX_FILE_CHARACTERS])]
        block = [Edit(TRAIN, start[:40], (text + start[:40])[:MAX_FILE_CHARACTERS])]
        search = [Edit(TRAIN, text, "x"), Edit(TRAIN, None, text)]
        chain = [*whole, Edit(TRAIN, text[::-1][:MAX_FILE_CHARACTERS], "x")]
        yield f"edit, {family}", lambda made=(whole, block, search, chain)[way]: made


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Return bytes with a few places changed."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(out) + 1)
        match rng.randrange(7):
            case 0:
                out[place:] = b""
            case 1:
                out[place:place] = rng.choice(
                    (b"\x00", b"\xff", b"\r", b"\n", b"\r\n", b"\xed\xa0\x80")
                )
            case 2:
                del out[place : place + rng.randint(1, 30)]
            case 3:
                out[place:place] = out[place : place + rng.randint(1, 300)]
            case 4:
                out[:] = out.replace(b"\n", b"\r\n")
            case 5:
                out[:] = out.rstrip(b"\n")
            case 6 if out:
                out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def proposals(
    rng: random.Random, canary: Path, files: Mapping[str, str]
) -> Iterator[tuple[str, Make]]:
    """Yield patches and edits for ever, each with the name of its family."""
    from_agents = edits(rng, files)
    start = files[TRAIN]

    def plain() -> str:
        changed = start.replace("X = 1.0", f"X = {rng.randrange(10**9)}.5")
        return Recipe(files).diff(Recipe({**files, TRAIN: changed}))

    def name() -> str:
        return rng.choice(NAMES).replace("{canary}", str(canary))

    def bytes_of(text: str) -> bytes:
        return text.encode("utf-8", "surrogatepass")

    while True:
        a, b = name(), name()
        head = rng.choice(HEADS).format(a=a, b=b)
        hunk = rng.choice(HUNKS)
        link = new_file("recipe/l", f"{canary}\n", "120000")
        many = rng.choice((10, 3_000, 40_000))
        size = rng.choice((1_000, 400_000, 30_000_000, 60_000_000))
        families: tuple[tuple[str, Callable[[], bytes]], ...] = (
            ("new name", lambda: bytes_of(new_file(a))),
            ("name and a change", lambda: bytes_of(plain() + new_file(a))),
            ("mode", lambda: bytes_of(new_file("recipe/n.py", f"{a}\n", rng.choice(MODES)))),
            ("submodule", lambda: bytes_of(new_file("recipe/s", f"Subproject commit {'1' * 40}\n", "160000"))),
            ("link, then through it", lambda: bytes_of(link + new_file("recipe/l/x.py"))),
            ("head", lambda: bytes_of(f"diff --git a/{a} b/{b}\n{head}\n" + plain())),
            ("rename", lambda: bytes_of(f"diff --git a/{TRAIN} b/{b}\nsimilarity index 100%\nrename from {TRAIN}\nrename to {b}\n")),
            ("hunk", lambda: bytes_of(f"--- a/{TRAIN}\n+++ b/{TRAIN}\n{hunk}\n-x\n+y\n")),
            ("mutated", lambda: mutated(rng, bytes_of(plain()))),
            ("mutated new", lambda: mutated(rng, bytes_of(new_file("recipe/n.py")))),
            ("traditional", lambda: bytes_of(f"--- {a}\t1970-01-01\n+++ {b}\n@@ -0,0 +1 @@\n+x = 1\n")),
            ("many files", lambda: bytes_of("".join(new_file(f"recipe/n{i}.py") for i in range(many)))),
            ("many folders", lambda: bytes_of("".join(new_file(f"recipe/{i}/n.py") for i in range(many // 4)))),
            ("many hunks", lambda: bytes_of(f"--- a/{TRAIN}\n+++ b/{TRAIN}\n" + "@@ -1,0 +1 @@\n+x = 1\n" * many)),
            ("binary", lambda: binary(size)),
            ("binary that lies", lambda: binary(1000, said=size)),
            ("10 MB", lambda: bytes_of(new_file("recipe/n.py", "x = 1\n" * 1_700_000))),
            ("3.9 MB", lambda: bytes_of(new_file("recipe/n.py", "x = 1\n" * 540_000))),
            ("long line", lambda: bytes_of(new_file("recipe/n.py", "#" * 3_900_000 + "\n"))),
            ("noise", lambda: rng.randbytes(rng.randrange(2000))),
        )  # fmt: skip
        costly = {
            "many files",
            "many folders",
            "many hunks",
            "binary",
            "10 MB",
            "3.9 MB",
            "long line",
        }
        for family, make in families:
            # Those that take long to make are rarer, so that there are many of the others.
            if family not in costly or rng.random() < 0.2:
                yield f"patch, {family}", make
        for _ in range(len(families) // 2):
            yield next(from_agents)
