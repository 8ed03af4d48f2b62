"""What a recipe's text shows about the rules, before anything runs.

    python evaluator/rules.py FOLDER

Each rule reads the syntax tree, so that comments and docstrings may say what they like. None of
them is a proof of innocence: code can build any name at run time. They find what somebody does
openly; the sandbox (no network, no items of CORE while training, fixed files) sees to the rest.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from recipe_text import Source, constant, last, within

BROKEN_RULE, UNREADABLE = 4, "unreadable"
FIXED = frozenset(
    {f"nanochat/{name}.py" for name in ("__init__", "checkpoint_manager", "common", "core_eval")}
    | {f"nanochat/{name}.py" for name in ("dataset", "engine", "execution", "loss_eval")}
    | {"nanochat/report.py", "nanochat/tokenizer.py", "scripts/base_eval.py", "phases.py"}
)
"""Files that no recipe may change, which are not read here; the evaluator compares their bytes."""

ENTRY = "scripts/base_train.py"
DEPTH_NAMES = ("depth", "n_layer")
LONGEST_TEXT, LONGEST_ROW, LONGEST_NUMBER = 2000, 256, 10**40

_BENCHMARKS = re.compile(
    r"(?<![a-z])(hellaswag|arc[_-](easy|challenge)|squad|boolq|piqa|copa|coqa|jeopardy|lambada"
    r"|openbook_?qa|commonsense_?qa|winograd|winogrande|agi_?eval|lsat_ar|big_?bench|qa_wikidata"
    r"|dyck_languages|eval_bundle|eval_data|eval_meta_data|core\.yaml)(?![a-z])",
    re.IGNORECASE,
)
_EVALUATOR = {"evaluate_core", "evaluate_task", "evaluate_example", "core_eval", "base_eval"}
_FORGED = re.compile(r"\s*(Evaluating:|CORE metric:)")
_REACHING = {"builtins", "importlib", "inspect", "ctypes", "atexit", "unittest", "runpy", "code"}
_REACHING_NAMES = {"__import__", "exec", "eval", "compile", "globals", "__builtins__"}
_REACHING_PATHS = ("sys.modules", "sys.meta_path", "sys._getframe", "sys.settrace", "gc.get_")
_SETTINGS = ("torch.backends.", "torch._dynamo.config.", "torch._inductor.config.")
_UNPACKING = {"base64", "binascii", "zlib", "gzip", "bz2", "lzma", "pickle", "marshal", "codecs"}
_UNPACKING_CALLS = {"fromhex", "frombuffer", "b64decode", "b85decode", "a85decode"}
_NETWORK = {"requests", "urllib", "urllib3", "http", "socket", "ssl", "ftplib", "httpx", "aiohttp"}
_NETWORK |= {"huggingface_hub", "datasets", "transformers", "subprocess", "boto3", "paramiko"}
_NETWORK_PATHS = {"torch.hub", "os.system", "os.popen"}
_NETWORK_CALLS = {"urlopen", "hf_hub_download", "snapshot_download", "from_pretrained"}
_SEEDING = {"manual_seed", "manual_seed_all", "seed", "default_rng", "RandomState", "Random"}

Found = Iterator[tuple[ast.AST, str]]


class Broken(NamedTuple):
    """A rule that is broken, and where."""

    rule: str
    path: str
    line: int
    evidence: str


def depth_is_twelve(source: Source) -> Found:
    """The depth that the driver asks for is the depth that is built.

    Proves that no field called depth or n_layer is assigned, other than on self, that the command
    line is the driver's, and that no model of another depth is asked for. Cannot prove that there
    is no more than one block in a layer.
    """
    for node in source.stores:
        if _sets_depth(source, node):
            yield node, "sets the depth"
    for call, name in source.calls:
        if name == "setattr" and len(call.args) > 1 and constant(call.args[1]) in DEPTH_NAMES:
            yield call, "sets the depth"
        if any(word.arg == "depth" for word in call.keywords):
            yield call, "passes another depth"
        if any(w.arg == "n_layer" and last(w.value) != "depth" for w in call.keywords):
            yield call, "passes another number of layers"
        if name in ("parse_args", "parse_known_args") and (call.args or call.keywords):
            yield call, "does not read the driver's command line"
        if name == "build_model_meta" and not _right_depth(source, call):
            yield call, "builds a model of another depth"
    for node in source.nodes:
        if source.dotted(node) == "sys.argv":
            yield node, "touches the command line"


def _sets_depth(source: Source, node: ast.Attribute | ast.Name | ast.Subscript) -> bool:
    if isinstance(node, ast.Subscript):
        return constant(node.slice) in DEPTH_NAMES
    if isinstance(node, ast.Name):
        # In other files it is nobody's but the function's.
        return node.id == "depth" and source.path == ENTRY
    return node.attr in DEPTH_NAMES and last(node.value) != "self"


def _right_depth(source: Source, call: ast.Call) -> bool:
    if len(call.args) != 1:
        return False
    return source.dotted(call.args[0]) == "args.depth" or constant(call.args[0]) == 12


def eval_data_in_training(source: Source) -> Found:
    """Nothing of the benchmark is in the training.

    Proves that no string names a task of CORE or a file of its bundle, and that the evaluator is
    used nowhere but in nanochat's one call. Cannot prove that no training text is like an item.
    """
    for node, text in source.strings:
        if match := _BENCHMARKS.search(text):
            yield node, f"names {match[0]}"
    free = 1 if source.path == ENTRY else 0
    uses = [(node, name) for node, name in source.calls if name == "evaluate_core"]
    called = {id(call.func) for call, _ in uses[:free]}
    for node in source.nodes:
        if last(node) in _EVALUATOR and id(node) not in called:
            yield node, f"uses {last(node)}"
    for node, full, local in source.imports:
        allowed = free and full == "scripts.base_eval.evaluate_core" and local == "evaluate_core"
        if _EVALUATOR & set(full.split(".")) and not allowed:
            yield node, f"imports {full}"


def evaluator_patched(source: Source) -> Found:
    """The evaluator runs as it was written.

    Proves that no attribute of what is imported or of the tokenizer is assigned, except for
    settings of PyTorch, that nothing reaches into modules or frames, and that no string is a line
    of results. Cannot prove that a network behaves the same when the evaluator asks it.
    """
    for node in source.stores:
        if isinstance(node, ast.Attribute) and _foreign(source, source.dotted(node)):
            yield node, f"assigns to {source.dotted(node)}"
    for call, name in source.calls:
        if name in ("setattr", "delattr") and len(call.args) > 1:
            path = f"{source.dotted(call.args[0])}.{constant(call.args[1])}"
            if _foreign(source, path):
                yield call, f"assigns to {path}"
        if isinstance(call.func, ast.Name) and name in _REACHING_NAMES:
            yield call, f"calls {name}"
    for node in source.nodes:
        if source.dotted(node).startswith(_REACHING_PATHS):
            yield node, f"uses {source.dotted(node)}"
    for node, full, _ in source.imports:
        if full.partition(".")[0] in _REACHING or full.startswith(_REACHING_PATHS):
            yield node, f"imports {full}"
    for node, text in source.strings:
        if _FORGED.match(text):
            yield node, "writes a line of results"


def _foreign(source: Source, path: str) -> bool:
    root = path.partition(".")[0]
    roots = {full.partition(".")[0] for full in source.aliases.values()} | {"tokenizer"}
    return root in roots and not path.startswith(_SETTINGS)


def weights_in_code(source: Source) -> Found:
    """What the model knows, it has learned.

    Proves that there is no long text, table or number in the code, nothing that unpacks one, and
    nothing that reads its own source. Cannot find many short ones.
    """
    for node in source.literals:
        value = node.value
        if isinstance(value, str | bytes) and len(value) > LONGEST_TEXT:
            yield node, f"a constant of {len(value)} characters"
        if isinstance(value, int) and value > LONGEST_NUMBER:
            yield node, "a number of more than 40 digits"
    for node in source.nodes:
        if isinstance(node, ast.List | ast.Tuple | ast.Set) and len(node.elts) > LONGEST_ROW:
            yield node, f"a table of {len(node.elts)} entries"
        if isinstance(node, ast.Dict) and len(node.keys) > LONGEST_ROW:
            yield node, f"a table of {len(node.keys)} entries"
        if last(node) in ("__file__", "__doc__"):
            yield node, f"reads {last(node)}"
    for call, name in source.calls:
        if name in _UNPACKING_CALLS:
            yield call, f"calls {name}"
    for node, full, _ in source.imports:
        if full.partition(".")[0] in _UNPACKING:
            yield node, f"imports {full}"


def network(source: Source) -> Found:
    """Nothing is fetched.

    Proves that no module for the network or for other programs is imported or used. The sandbox
    has no network, so this only tells it earlier. Cannot see what a library does by itself.
    """
    for node, full, _ in source.imports:
        if full.partition(".")[0] in _NETWORK or full in _NETWORK_PATHS:
            yield node, f"imports {full}"
    for node in source.nodes:
        if source.dotted(node) in _NETWORK_PATHS:
            yield node, f"uses {source.dotted(node)}"
    for call, name in source.calls:
        if name in _NETWORK_CALLS:
            yield call, f"calls {name}"


def hand_picked_seed(source: Source) -> Found:
    """Draws depend on the driver's seed, not on one that was found to be lucky.

    Proves that no generator is seeded with a constant, given directly or by a name that the file
    assigns one to. Cannot prove that a seed that is computed is a fair one.
    """
    numbers = {
        target.id
        for node in source.nodes
        if isinstance(node, ast.Assign) and isinstance(constant(node.value), int)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call, name in source.calls:
        given = [*call.args, *(word.value for word in call.keywords)]
        if name in _SEEDING and given:
            fixed = isinstance(constant(given[0]), int | str | bytes)
            if fixed or (isinstance(given[0], ast.Name) and given[0].id in numbers):
                yield call, "a seed from the code"


RULES: tuple[Callable[[Source], Found], ...] = (
    depth_is_twelve,
    eval_data_in_training,
    evaluator_patched,
    weights_in_code,
    network,
    hand_picked_seed,
)


def broken_rules(files: Mapping[str, str]) -> list[Broken]:
    """Check a recipe against the rules.

    Args:
        files: Text by path, with or without the folder of recipes in front.

    Returns:
        Rule, path, line and evidence of each finding, in the order of paths and lines. A file that
        does not parse breaks the rule `unreadable`.
    """
    found: set[Broken] = set()
    for path, text in files.items():
        if not path.endswith(".py") or within(path) in FIXED:
            continue
        try:
            source = Source(path, text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            found.add(Broken(UNREADABLE, path, getattr(error, "lineno", None) or 1, str(error)))
            continue
        lines = text.splitlines()
        for rule in RULES:
            for node, why in rule(source):
                line = getattr(node, "lineno", 1)
                # A form feed ends a line here and not in Python, so a line may be off.
                shown = lines[min(line, len(lines)) - 1].strip()[:160]
                found.add(Broken(rule.__name__, path, line, f"{why}: {shown}"))
    return sorted(found, key=lambda one: (one.path, one.line, one.rule, one.evidence))


def main() -> None:
    """Print the broken rules of the recipe in a folder; exit status 4 if there are any.

    What does not parse does not run either, so it breaks no rule; preflight tells of it.
    """
    root = Path(sys.argv[1])
    paths = sorted(root.rglob("*.py"))
    files = {str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in paths}
    found = sorted(broken_rules(files), key=lambda one: one.rule != UNREADABLE)
    for one in found:
        print(f"{one.path}:{one.line}: {one.rule}: {one.evidence}", file=sys.stderr)
    sys.exit(BROKEN_RULE if any(one.rule != UNREADABLE for one in found) else 0)


if __name__ == "__main__":
    main()
