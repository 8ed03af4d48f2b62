"""Finds constants that an agent may turn: knobs for files whose authors marked none.

Each kind of file has its own reader; all give :class:`Candidate` objects, whose range is a guess
from name and value.
"""

from __future__ import annotations

import ast
import json
import math
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from recipelab.adopt.code import CodeFacts, constant, parsed
from recipelab.core.leaves import find_leaf

Value = int | float | bool | str

MOST_KNOBS = 40
"""Knobs of a pack; more would only spread a campaign thin."""
REST = "recipe"
"""The surface of what belongs to no other one."""

_SURFACES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "reg",
        re.compile(
            r"decay(?!_steps|_iters)|dropout|drop|ema|smooth|regular|^l[12]$|clip|noise|lambda"
        ),
    ),
    (
        "opt",
        re.compile(
            r"lr$|^lr|rate|momentum|beta|optim|batch|epoch|step|iter|warm|anneal|sched|"
            r"accum|cooldown|horizon"
        ),
    ),
    (
        "arch",
        re.compile(
            r"dim|hidden|layer|width|depth|head|kernel|channel|embd|embed|activ|block|"
            r"context|window|vocab|feature|unit|filter|rank|expan|ratio"
        ),
    ),
    ("aug", re.compile(r"aug|flip|crop|shift|mixup|cutout|jitter|scale$")),
)
"""Surfaces of the training of networks, and the names of constants that belong to them."""

_NO_KNOB = re.compile(
    r"seed|path|dir\b|_dir|folder|file|name|url|host|port|device|dtype|worker|thread|log|print|"
    r"save|verbose|debug|eval|valid|val_|_val|test|fold|split|metric|interval|every|version|"
    r"time_budget|max_seconds|timeout|budget|data|cache|rank$|world|local_|project|entity|wandb|"
    r"out$|output|resume|compile|format|encoding|columns?$|target|label(?!_smoothing)|answer|bos|eos"
    r"|pad|holdout|train_frac|patience"
)
"""Names of constants that say what is measured, where, or who is told, and not how it trains."""
_WORKLOAD = re.compile(
    r"^(?:n|m|k|size|count|rounds?|repeats?|iters?|iterations|length|total|runs?)$"
)
"""Names that in a program without training are the work itself."""
_SHARE = re.compile(r"drop|momentum|beta|ema|smoothing|frac|prob|share")
_DEFINE = re.compile(
    r"^[ \t]*#[ \t]*define[ \t]+([A-Za-z_]\w*)[ \t]+([-+]?[\d.][\w.]*)[ \t]*(?://.*|/\*.*)?$"
)
_MOST_LEAVES = 500
_MOST_BITS = 53
_OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")


@dataclass(frozen=True)
class Candidate:
    """A constant that may be turned.

    Attributes:
        path: The file, below the repository's root.
        name: What it is called there: ``LEARNING_RATE``, ``--lr``, ``Config.lr``, or the path of a
            leaf in YAML, TOML and JSON, as ``optimizer.lr``.
        value: Its value.
        domain: Valid values, as a knob's comment has them: ``0.01 .. 1.0 log``, ``False | True``.
        surface: The surface that it belongs to.
    """

    path: str
    name: str
    value: Value
    domain: str
    surface: str


def candidates(
    texts: Mapping[str, str],
    files: Sequence[str],
    facts: Mapping[str, CodeFacts],
    *,
    network: bool,
    command: str = "",
) -> tuple[Candidate, ...]:
    """Return the constants of some files that may be turned, in their order, at most a few dozen.

    Args:
        texts: The repository's files.
        files: Those that agents may change.
        facts: What is known of each file.
        network: Whether a network is trained, for which surfaces have specialists; all belongs to
            the surface ``recipe`` otherwise.
        command: The command line. What it sets is no knob, and what a file sets that it names is
            none in files that it names before, or not at all.
    """
    words = re.split(r"[\s=]+", command)
    taken = {_plain(word) for word in words if word.startswith("--")}
    found: list[Candidate] = []
    # What is named last comes first, as it sets what those before it have set.
    for path in sorted(files, key=lambda path: -words.index(path) if path in words else 1):
        reader = _READERS.get(PurePosixPath(path).suffix.lower())
        for name, value, choices in reader(texts[path]) if reader else ():
            plain = _plain(name)
            compiled = path.endswith((".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cuh"))
            if (
                plain in taken
                or _NO_KNOB.search(plain)
                or (not network and compiled and _WORKLOAD.match(plain))
            ):
                continue
            domain = domain_of(plain, value, choices)
            if domain and _stands_alone(path, texts[path], name):
                surface = surface_of(plain) if network else REST
                found.append(Candidate(path, name, value, domain, surface))
        if path in words:
            taken |= {_plain(item.name) for item in found}
    unique = {(item.path, item.name): item for item in found}
    twice = {key for key in unique if sum((i.path, i.name) == key for i in found) > 1}
    return tuple(item for key, item in unique.items() if key not in twice)[:MOST_KNOBS]


def _stands_alone(path: str, text: str, name: str) -> bool:
    """Return whether an edit of one line can give a constant another value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return isinstance(find_leaf(path, text, name), tuple)


def surface_of(name: str) -> str:
    """Return the surface that a constant belongs to, by its name."""
    return next((surface for surface, pattern in _SURFACES if pattern.search(name)), REST)


def domain_of(name: str, value: Value, choices: Sequence[Value] = ()) -> str:
    """Return valid values for a constant as a knob's comment has them; empty if none can be told.

    A number may become four times as large or a quarter, a share stays between 0 and 1.

    Args:
        name: Its name, in small letters.
        value: Its value now.
        choices: Its valid values, where the code lists them.
    """
    if len(choices) > 1 and value in choices and all(_is_plain(item) for item in choices):
        return " | ".join(repr(item) for item in choices)
    if isinstance(value, bool):
        return "False | True"
    if isinstance(value, str):
        if value.lower() in _OPTIMIZERS and value.islower():
            return " | ".join(repr(item) for item in dict.fromkeys((value, "sgd", "adamw")))
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    if isinstance(value, int):
        if value < 1 or value.bit_length() > _MOST_BITS:
            return ""
        return f"{max(1, value // 4)} .. {value * 4} log"
    if _SHARE.search(name) and 0.0 <= value < 1.0:
        return f"0.0 .. {max(0.5, _short(1.0 - (1.0 - value) / 4))}"
    if value <= 0.0:
        return ""
    return f"{_short(value / 4)!r} .. {_short(value * 4)!r} log"


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _is_plain(value: Value) -> bool:
    return not isinstance(value, str) or not set(value) & set("|#\\'\"\n")


def _plain(name: str) -> str:
    """Return the last part of a name in small letters: ``weight_decay`` of ``--weight-decay``."""
    last = name.lstrip("-").replace("-", "_").rpartition(".")[2]
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", last)
    return parted.lower()


_Found = Iterator[tuple[str, Value, tuple[Value, ...]]]


def _of_python(text: str) -> _Found:
    """Yield constants of a module, defaults of options, and fields of dataclasses."""
    module = parsed(text)
    for node in module.body if module is not None else ():
        yield from _assigned(node, "")
        if isinstance(node, ast.ClassDef) and _is_dataclass(node):
            for statement in node.body:
                yield from _assigned(statement, f"{node.name}.")
    for call in ast.walk(module) if module is not None else ():
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
            yield from _option(call)


def _assigned(node: ast.stmt, prefix: str) -> _Found:
    target = value = None
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
    elif isinstance(node, ast.AnnAssign):
        target, value = node.target, node.value
    if isinstance(target, ast.Name) and (found := constant(value)) is not None:
        yield f"{prefix}{target.id}", found, ()


def _is_dataclass(node: ast.ClassDef) -> bool:
    names = {
        part.id if isinstance(part, ast.Name) else part.attr
        for item in node.decorator_list
        for part in ast.walk(item)
        if isinstance(part, ast.Name | ast.Attribute)
    }
    return "dataclass" in names


def _option(node: ast.Call) -> _Found:
    flags = [flag for item in node.args if isinstance(flag := constant(item), str)]
    words = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    default = constant(words.get("default"))
    long = [flag for flag in flags if flag.startswith("--")]
    if not long or default is None:
        return
    listed = words.get("choices")
    items = listed.elts if isinstance(listed, ast.List | ast.Tuple) else []
    yield long[0], default, tuple(v for item in items if (v := constant(item)) is not None)


def _of_yaml(text: str) -> _Found:
    try:
        # An alias may stand for a tree without end, and what is shared cannot be turned alone.
        if re.search(r"(?<![\w\"'])[&*]\w", text):
            return
        table = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
        return
    yield from _leaves(table)


def _of_toml(text: str) -> _Found:
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    yield from _leaves(table)


def _of_json(text: str) -> _Found:
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        return
    yield from _leaves(table)


def _leaves(table: Any) -> _Found:
    """Yield the scalars of nested tables, with the keys that lead to them."""
    waiting: list[tuple[str, Any]] = [("", table)]
    seen = 0
    while waiting:
        prefix, node = waiting.pop()
        if not isinstance(node, dict):
            continue
        inner: list[tuple[str, Any]] = []
        for key, value in node.items():
            if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z_][\w-]*", key):
                continue
            if isinstance(value, dict):
                inner.append((f"{prefix}{key}.", value))
            elif isinstance(value, int | float | str):
                yield f"{prefix}{key}", value, ()
            seen += 1
            if seen > _MOST_LEAVES:
                return
        waiting += reversed(inner)


def _of_c(text: str) -> _Found:
    for line in text.split("\n"):
        match = _DEFINE.match(line[:400])
        if match is None:
            continue
        number = match[2].rstrip("uUlLfF") if not match[2].lower().startswith("0x") else match[2]
        try:
            yield match[1], int(number), ()
        except ValueError:
            try:
                yield match[1], float(number), ()
            except ValueError:
                continue


_READERS: Mapping[str, Callable[[str], _Found]] = {
    ".py": _of_python,
    ".yaml": _of_yaml,
    ".yml": _of_yaml,
    ".toml": _of_toml,
    ".json": _of_json,
    **dict.fromkeys((".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".cuh"), _of_c),
}
