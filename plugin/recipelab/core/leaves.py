"""Leaves: named constants in files of a recipe, one on a line, in the languages that recipes have.

Python has constants of modules, fields of classes and defaults of ``argparse``; YAML, TOML and JSON
have leaves of nested tables; C has ``#define``; Makefiles and shell scripts have assignments. Only
what stands on a line of its own is found, by reading lines and not by a parser of the language, so
that an edit of the line is an edit of the constant.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

LeafValue: TypeAlias = int | float | bool | str

MAX_BITS = 1024
"""A larger whole number is no constant: it is data, and Python refuses to write it out."""
MAX_LINE = 2_000
"""A longer line holds data."""

PYTHON, YAML, TOML, JSON, C, SHELL = "python", "yaml", "toml", "json", "c", "shell"
_LANGUAGES = {
    **dict.fromkeys((".py", ".pyi"), PYTHON),
    **dict.fromkeys((".yaml", ".yml"), YAML),
    ".toml": TOML,
    ".json": JSON,
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cuh"), C),
}

_NAME = r"(?P<name>[A-Za-z_][\w-]*)"
_KEY = r"(?P<quote>[\"']?)(?P<name>[A-Za-z_][\w.-]*)(?P=quote)"
_HEADS = {
    PYTHON: re.compile(r"[ \t]*(?P<name>[A-Za-z_]\w*)[ \t]*(:[^=]*)?=(?!=)[ \t]*"),
    YAML: re.compile(rf"(?P<indent>[ \t]*(?:- +)*){_KEY}[ \t]*:[ \t]+"),
    TOML: re.compile(rf"[ \t]*{_KEY}[ \t]*=[ \t]*"),
    JSON: re.compile(r"[ \t{]*\"(?P<name>[^\"\\]+)\"[ \t]*:[ \t]*"),
    C: re.compile(rf"[ \t]*#[ \t]*define[ \t]+{_NAME}[ \t]+"),
    SHELL: re.compile(rf"[ \t]*(?:export[ \t]+)?{_NAME}[ \t]*[:?]?=[ \t]*"),
}
_WORD = re.compile(r"[A-Za-z_][\w./+-]*")
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True)
class Leaf:
    """A constant on a line.

    Attributes:
        name: Its name; of a key path the last part.
        value: Its value.
        start: Where the value begins in the line.
        end: Where it ends.
        language: The language of its file.
        text: The value as it is written there.
    """

    name: str
    value: LeafValue
    start: int
    end: int
    language: str
    text: str


def language_of(path: str) -> str:
    """Return the language of a file by its suffix; assignments of a shell where none is known."""
    return _LANGUAGES.get(f".{path.rpartition('.')[2]}", SHELL)


def leaf_of(path: str, code: str) -> Leaf | None:
    """Return the constant on a line without its comment; ``None`` if there is none."""
    language = language_of(path)
    head = _HEADS[language].match(code) if len(code) <= MAX_LINE else None
    if head is None:
        return _default_of(code) if language == PYTHON else None
    text = code[head.end() :].rstrip(" \t\r")
    text = text.rstrip("},; \t") if language == JSON and not text.endswith('"') else text
    text = text.removesuffix(",").rstrip() if language in (JSON, PYTHON) else text
    value = _value(text, language)
    if value is None:
        return _default_of(code) if language == PYTHON else None
    name = head["name"].rpartition(".")[2]
    return Leaf(name, value, head.end(), head.end() + len(text), language, text)


_DEFAULT = re.compile(r"\bdefault[ \t]*=[ \t]*")
_OPTION = re.compile(r"[\"']-{1,2}([A-Za-z][\w-]*)[\"']")


def _default_of(code: str) -> Leaf | None:
    """Return the default of an option of ``argparse`` that stands on one line."""
    head = _DEFAULT.search(code)
    options = _OPTION.findall(code[: head.start()]) if head else []
    if head is None or not options:
        return None
    for end in _ends(code, head.end()):
        text = code[head.end() : end]
        if (value := literal(text.strip())) is not None:
            return Leaf(options[-1], value, head.end(), head.end() + len(text), PYTHON, text)
    return None


def _ends(code: str, start: int) -> Iterator[int]:
    """Yield where a value in a call may end: before a comma or a bracket, or with the line."""
    yield from (
        place.start() for place in re.finditer(r"[,)]", code[:MAX_LINE]) if place.start() > start
    )
    yield len(code)


def _value(text: str, language: str) -> LeafValue | None:
    found = literal(text)
    if language == PYTHON or (found is not None and not isinstance(found, bool)):
        return found
    if (truth := _TRUTH.get(text if language != YAML else text.lower())) is not None:
        return truth
    bare = language in (YAML, SHELL) and _WORD.fullmatch(text)
    return text if bare and text.lower() not in ("null", "none", "yes", "no", "on", "off") else None


def literal(text: str) -> LeafValue | None:
    """Return the number, text or truth value that a text stands for in Python, if it does."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return None
    return value if isinstance(value, int | float | bool | str) else None


def written(value: LeafValue, leaf: Leaf) -> str:
    """Return a value as it is written in the place of a leaf."""
    if leaf.language == PYTHON:
        return repr(value)
    if isinstance(value, bool):
        return repr(value) if leaf.text in ("True", "False") else repr(value).lower()
    if isinstance(value, float) and leaf.language == YAML:
        # Without a dot the common reader of YAML takes 1e-05 for a text.
        mantissa, e, exponent = repr(value).partition("e")
        return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else repr(value)
    if not isinstance(value, str):
        return repr(value)
    bare = _WORD.fullmatch(leaf.text) and _value(value, leaf.language) == value
    return value if bare and _WORD.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def find_leaf(path: str, text: str, name: str) -> tuple[int, Leaf] | str:
    """Find a constant by its name.

    Args:
        path: The file, whose suffix says the language.
        text: What it says.
        name: Of YAML, TOML and JSON the key path, as ``optimizer.lr``; of Python a constant, a
            field as ``Config.lr``, or an option as ``--lr``; else a name.

    Returns:
        The number of its line, from 1, and the leaf; or why there is none.
    """
    finders = {PYTHON: _python_lines, YAML: _yaml_lines, TOML: _toml_lines, JSON: _json_lines}
    language = language_of(path)
    found: list[tuple[int, Leaf]] = []
    names: list[str] = []
    lines = text.split("\n")
    try:
        places = list(finders.get(language, _plain_lines)(path, lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"it does not parse: {error}"
    for number, known in places:
        leaf = leaf_of(path, _without_comment(lines[number - 1], language))
        if leaf is not None and known == name:
            found.append((number, leaf))
        elif leaf is not None:
            names.append(known)
        elif known == name:
            return f"line {number}: {name} has no number, text or truth value on its own line"
    if len(found) == 1:
        return found[0]
    if found:
        places_text = ", ".join(str(number) for number, _ in found)
        return f"{name!r} is there {len(found)} times, in lines {places_text}"
    valid = ", ".join(dict.fromkeys(names[:30])) or "(none)"
    return f"no constant {name!r}; there are: {valid}"


def _without_comment(line: str, language: str) -> str:
    """Return a line without its comment, where that is not part of a text."""
    sign = {JSON: "", C: "//"}.get(language, "#")
    if not sign or (language == C and sign not in line):
        return line
    for place in re.finditer(re.escape(sign), line[:MAX_LINE]):
        before = line[: place.start()]
        if before.count('"') % 2 == 0 and before.count("'") % 2 == 0:
            return before
    return line


_Places = Iterator[tuple[int, str]]
"""Numbers of lines with the names of the constants on them."""


def _plain_lines(path: str, lines: list[str]) -> _Places:
    for number, line in enumerate(lines, start=1):
        if leaf := leaf_of(path, _without_comment(line, language_of(path))):
            yield number, leaf.name


def _python_lines(path: str, lines: list[str]) -> _Places:
    module = ast.parse("\n".join(lines))
    bodies = [("", module.body)]
    bodies += [(f"{x.name}.", x.body) for x in module.body if isinstance(x, ast.ClassDef)]
    for prefix, body in bodies:
        for node in body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name))
                ):
                    yield node.lineno, f"{prefix}{name}"
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and any(word.arg == "default" for word in call.keywords):
            for word in call.args:
                if isinstance(word, ast.Constant) and str(word.value).startswith("-"):
                    yield call.lineno, str(word.value)


def _toml_lines(path: str, lines: list[str]) -> _Places:
    prefix, counts = "", dict[str, int]()
    for number, line in enumerate(lines, start=1):
        code = _without_comment(line, TOML).strip()
        if code.startswith("[[") and code.endswith("]]"):
            table = code[2:-2].strip()
            counts[table] = counts.get(table, -1) + 1
            prefix = f"{table}.{counts[table]}."
        elif code.startswith("[") and code.endswith("]"):
            prefix = f"{code[1:-1].strip()}."
        elif head := _HEADS[TOML].match(line):
            yield number, f"{prefix}{head['name']}"


def _yaml_lines(path: str, lines: list[str]) -> _Places:
    above: list[tuple[int, str]] = []
    counts: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(lines, start=1):
        code = _without_comment(line, YAML).rstrip()
        indent = len(code) - len(code.lstrip(" "))
        if not code.strip():
            continue
        while (
            above
            and above[-1][0] >= indent
            and not (
                code.lstrip().startswith("- ")
                and above[-1][0] == indent
                and not above[-1][1].isdigit()
            )
        ):
            above.pop()
        while code[indent:].startswith("- "):
            place = tuple(name for _, name in above)
            counts[place] = counts.get(place, -1) + 1
            above.append((indent, str(counts[place])))
            indent += 2 + len(code[indent + 2 :]) - len(code[indent + 2 :].lstrip(" "))
        match = re.match(_KEY + r"[ \t]*:(?:[ \t]+|$)", code[indent:])
        if match is None:
            continue
        if code[indent + match.end() :].strip():
            yield number, ".".join([*(name for _, name in above), match["name"]])
        else:
            above.append((indent, match["name"]))


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+|\n')


def _json_lines(path: str, lines: list[str]) -> _Places:
    """Yield the keys whose value is no table or list, with their place in those above them."""
    above: list[str] = []
    line, key, key_line, is_value = 1, "", 0, False
    for match in _TOKEN.finditer("\n".join(lines)):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in "{[":
            above.append(key if token == "{" else f"{key}.0".lstrip("."))
            key, is_value = "", token == "["
        elif token in "}]":
            above, key = above[:-1], ""
            is_value = False
        elif token == ",":
            is_value = False
        elif token == ":":
            is_value = True
        elif not is_value:
            key = json.loads(token) if token.startswith('"') else ""
            key_line = line
        elif key and key_line == line:
            yield line, ".".join([*filter(None, above), key])
            key = ""
