"""What can be read out of one file of code: imports, options, seeds, paths, and what may go wrong.

Text in, facts out; nothing runs, and no text makes it fail.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


_SEEDERS = words(
    "seed manual_seed manual_seed_all set_seed seed_everything seed_all set_random_seed"
)
"""Functions that seed a generator for all of the process."""
_GENERATORS = words("default_rng RandomState PRNGKey key Generator Random PCG64")
_SEED_KEYWORDS = frozenset(["seed", "random_state", "random_seed"])
_SEED_NAME = re.compile(r"(?:\w+_)?seed", re.IGNORECASE)
_CONFIG_SUFFIXES = (".yaml", ".yml", ".toml", ".json", ".cfg", ".ini", ".gin")
_TRACKERS = words(
    "wandb mlflow tensorboard tensorboardX comet_ml neptune clearml aim trackio swanlab"
)
_PARSERS = words("argparse click typer fire hydra tyro absl simple_parsing jsonargparse")
_MOST_PLACES = 20
_LONGEST_SHOWN = 160

_LINE_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("cuda", re.compile(r"[\"']cuda(?::\d+)?[\"']|\.cuda\(|device_type\s*=\s*[\"']cuda")),
    ("absolute path", re.compile(r"[\"'](?:/(?!dev/|tmp\b|proc/)\w[\w.-]*/[\w./-]*|~/[\w./-]+)")),
    (
        "download",
        re.compile(
            r"\bload_dataset\(|download\s*=\s*True|urlretrieve|requests\.get|snapshot_download|"
            r"hf_hub_download|from_pretrained\(|fetch_openml|\bcurl\s|\bwget\s|urlopen"
        ),
    ),
    (
        "folds",
        re.compile(r"\b(?:KFold|StratifiedKFold|GroupKFold|cross_val\w+|n_folds|setdiff1d)\b"),
    ),
)
"""What a line may hold that is worth a word to the user."""


@dataclass(frozen=True)
class Line:
    """A line of a file of the repository.

    Attributes:
        path: The file, below the root.
        number: Its number, from 1.
        text: What it says, cut to a length that can be shown.
    """

    path: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}: {self.text}"


@dataclass(frozen=True)
class Option:
    """An option of a command line.

    Attributes:
        flag: As it is typed, ``--learning-rate``.
        default: Its default, if that is a constant.
        choices: Its valid values, if it lists them.
        line: Where it is defined.
        required: Whether the program does not start without it.
    """

    flag: str
    default: int | float | bool | str | None
    choices: tuple[int | float | bool | str, ...]
    line: int
    required: bool


@dataclass(frozen=True)
class SeedPlace:
    """A seed that is written into the code.

    Attributes:
        line: Where.
        name: The constant or function, as ``SEED`` or ``manual_seed``.
        value: The seed.
        begin: Column of the number in the line, in characters from 0.
        end: Column behind it.
        strength: How likely it is the seed of the whole training: 3 for a constant of that name,
            2 for a function that seeds the whole process, 1 for one generator.
    """

    line: Line
    name: str
    value: int
    begin: int
    end: int
    strength: int


@dataclass
class CodeFacts:
    """What one file tells."""

    modules: set[str] = field(default_factory=set[str])
    """All modules that it imports, with dots; those of a relative import begin with dots."""
    optional: set[str] = field(default_factory=set[str])
    """First parts of modules whose absence the code provides for."""
    parsers: set[str] = field(default_factory=set[str])
    options: list[Option] = field(default_factory=list[Option])
    variables: set[str] = field(default_factory=set[str])
    """Names of environment variables that it reads."""
    literals: set[str] = field(default_factory=set[str])
    """Strings that may be paths."""
    seeds: list[SeedPlace] = field(default_factory=list[SeedPlace])
    has_main: bool = False
    trains: int = 0
    """How many signs of a training it shows."""
    lines: dict[str, list[Line]] = field(default_factory=dict[str, list[Line]])
    """Lines worth a word, by kind: ``cuda``, ``absolute path``, ``download``, ``folds``, ...."""
    functions: list[str] = field(default_factory=list[str])
    """Names of its top-level functions and classes."""


_TRAINING = re.compile(
    r"\.backward\(|optimizer\.step|\.fit\(|zero_grad|learning_rate|\bepochs?\b|for epoch in|"
    r"\bloss\b|\blr\b|accuracy",
    re.IGNORECASE,
)
_C_SEED = re.compile(
    r"\b(?P<call>srand|srand48|srandom)\s*\(\s*(?P<number>\d+)|"
    r"#\s*define\s+(?P<define>\w*SEED\w*)\s+(?P<defined>\d+)"
)
_KEY_SEED = re.compile(r"^\s*[\"']?(?P<name>(?:\w+_)?seed)[\"']?\s*[:=]\s*(?P<number>\d+)", re.I)
_C_SUFFIXES = (".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".cu", ".cuh")


def facts_of(path: str, text: str) -> CodeFacts:
    """Return what one file tells; any text will do.

    Args:
        path: The file, below the repository's root.
        text: Its text.
    """
    facts = CodeFacts()
    suffix = PurePosixPath(path).suffix.lower()
    lines = text.split("\n")
    if suffix == ".py":
        _read_python(path, text, lines, facts)
        facts.trains = len({match.group().lower() for match in _TRAINING.finditer(text)})
    elif suffix in _C_SUFFIXES:
        facts.has_main = re.search(r"\bmain\s*\(", text) is not None
        _read_seeds(path, lines, _C_SEED, facts)
    elif suffix in _CONFIG_SUFFIXES:
        _read_seeds(path, lines, _KEY_SEED, facts)
    if suffix in (".py", ".sh", ".bash"):
        _read_lines(path, lines, facts)
    return facts


def parsed(text: str) -> ast.Module | None:
    """Return the syntax tree of Python code; ``None`` where it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def constant(node: ast.expr | None) -> int | float | bool | str | None:
    """Return the value of a constant or of a negative number; ``None`` for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = constant(node.operand)
        number = isinstance(inner, int | float) and not isinstance(inner, bool)
        return -inner if number else None  # type: ignore[operator]
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int | float | str) else None


def _read_python(path: str, text: str, lines: list[str], facts: CodeFacts) -> None:
    module = parsed(text)
    if module is None:
        return
    # An import that may fail is one that the code can do without.
    guarded = {
        id(node)
        for outer in ast.walk(module)
        if isinstance(outer, ast.Try)
        for statement in outer.body
        for node in ast.walk(statement)
    }
    # So is one that stands in a function or below a condition, until that is reached.
    top = {id(node) for node in module.body}
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            facts.functions.append(statement.name)
    for node in ast.walk(module):
        if isinstance(node, ast.Import | ast.ImportFrom):
            _read_import(node, id(node) in guarded or id(node) not in top, facts)
        elif isinstance(node, ast.Call):
            _read_call(path, node, lines, facts)
        elif isinstance(node, ast.Subscript):
            name = constant(node.slice)
            if _dotted(node.value).endswith("environ") and isinstance(name, str):
                facts.variables.add(name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name) and _SEED_NAME.fullmatch(target.id):
                    _add_seed(path, target.id, node.value, lines, facts, 3)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            _read_literal(node.value, facts)
        elif isinstance(node, ast.Compare) and isinstance(node.left, ast.Name):
            facts.has_main = facts.has_main or node.left.id == "__name__"


def _read_import(node: ast.Import | ast.ImportFrom, guarded: bool, facts: CodeFacts) -> None:
    if isinstance(node, ast.Import):
        found = [alias.name for alias in node.names]
    else:
        base = "." * node.level + (node.module or "")
        found = [base, *(f"{base}.{alias.name}".replace("..", ".") for alias in node.names)]
        if node.level:
            joint = "" if base.endswith(".") else "."
            found = [base, *(f"{base}{joint}{alias.name}" for alias in node.names)]
    facts.modules |= set(found)
    first = {name.split(".")[0] for name in found if not name.startswith(".")}
    facts.parsers |= first & _PARSERS
    if guarded:
        facts.optional |= first


def _read_call(path: str, node: ast.Call, lines: list[str], facts: CodeFacts) -> None:
    name = _dotted(node.func)
    last = name.rpartition(".")[2]
    first = node.args[0] if node.args else None
    if last in ("add_argument", "option", "Option"):
        _read_option(node, facts)
    elif last in ("getenv", "get") and (last == "getenv" or name.endswith("environ.get")):
        if isinstance(variable := constant(first), str):
            facts.variables.add(variable)
    elif last in _SEEDERS and first is not None:
        _add_seed(path, last, first, lines, facts, 2)
    elif last in _GENERATORS and first is not None and ("rand" in name.lower() or last != "key"):
        _add_seed(path, last, first, lines, facts, 1)
    for keyword in node.keywords:
        if keyword.arg in _SEED_KEYWORDS and last not in ("add_argument", "option", "Option"):
            _add_seed(path, keyword.arg or "", keyword.value, lines, facts, 1)


def _read_option(node: ast.Call, facts: CodeFacts) -> None:
    flags = [flag for item in node.args if isinstance(flag := constant(item), str)]
    long = [flag for flag in flags if flag.startswith("--")]
    words = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    if not long:
        return
    listed = words.get("choices")
    items = listed.elts if isinstance(listed, ast.List | ast.Tuple) else []
    choices = tuple(value for item in items if (value := constant(item)) is not None)
    required = constant(words.get("required")) is True
    default = constant(words.get("default"))
    facts.options.append(Option(long[0].split("/")[0], default, choices, node.lineno, required))


def _read_literal(text: str, facts: CodeFacts) -> None:
    short = len(text) < 200 and "\n" not in text and text.isprintable()
    if short and ("/" in text or "." in text) and " " not in text.strip():
        facts.literals.add(text)


def _add_seed(
    path: str,
    name: str,
    value: ast.expr | None,
    lines: list[str],
    facts: CodeFacts,
    strength: int,
) -> None:
    """Note a seed: the first whole number in an expression, as in ``seed(1337 + rank)``."""
    found = [
        node
        for node in (ast.walk(value) if value is not None else ())
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value >= 0
    ]
    if not found:
        return
    node = min(found, key=lambda item: (item.lineno, item.col_offset))
    if node.lineno > len(lines) or node.end_col_offset is None:
        return
    line = lines[node.lineno - 1]
    # Python counts columns in bytes of UTF-8.
    raw = line.encode("utf-8", "surrogatepass")
    begin = len(raw[: node.col_offset].decode("utf-8", "replace"))
    end = len(raw[: node.end_col_offset].decode("utf-8", "replace"))
    assert isinstance(node.value, int)
    place = Line(path, node.lineno, line.strip()[:_LONGEST_SHOWN])
    facts.seeds.append(SeedPlace(place, name, node.value, begin, end, strength))


def _read_seeds(path: str, lines: list[str], pattern: re.Pattern[str], facts: CodeFacts) -> None:
    for number, line in enumerate(lines, 1):
        match = pattern.search(line[:400])
        if match is None:
            continue
        groups = match.groupdict()
        group = "defined" if groups.get("defined") else "number"
        name = next(groups[key] for key in ("name", "call", "define") if groups.get(key))
        begin, end = match.span(group)
        if end - begin < 18:
            place = Line(path, number, line.strip()[:_LONGEST_SHOWN])
            facts.seeds.append(SeedPlace(place, name, int(match[group]), begin, end, 3))


def _read_lines(path: str, lines: list[str], facts: CodeFacts) -> None:
    for number, line in enumerate(lines, 1):
        shown = line[:1000]
        if shown.lstrip().startswith("#"):
            continue
        for kind, pattern in _LINE_KINDS:
            found = facts.lines.setdefault(kind, [])
            if len(found) < _MOST_PLACES and pattern.search(shown):
                found.append(Line(path, number, line.strip()[:_LONGEST_SHOWN]))
    trackers = sorted({name.split(".")[0] for name in facts.modules} & _TRACKERS)
    if any("tensorboard" in name for name in facts.modules):
        trackers = sorted({*trackers, "tensorboard"})
    facts.lines["tracker"] = [Line(path, 1, f"import {name}") for name in trackers]


def _dotted(node: ast.expr) -> str:
    """Return the name of what is called or looked up, as ``torch.cuda.manual_seed``."""
    return ".".join(reversed(list(_parts(node))))


def _parts(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute):
        yield node.attr
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
