"""Static rules of the contest, read before anything of a recipe runs.

They catch what is plain in the text. What they cannot know is said with each; the hidden text is
not in train's container, and the functions that score are held fixed, whatever the rules see.
"""

import ast
import re
import sys
from pathlib import Path

BROKEN_RULE = 4
SCRIPT = "train_gpt.py"
LONGEST_LITERAL = 2_000
NETWORK = {"urllib", "requests", "http", "socket", "ftplib", "huggingface_hub", "datasets"}
SCORING = {
    "ValidationData",
    "load_validation_tokens",
    "build_sentencepiece_luts",
    "eval_val",
    "eval_val_sliding",
    "eval_val_sliding_etlb",
    "eval_val_ttt",
    "timed_eval",
    "train_and_eval",
}
HIDDEN = {"val_tokens", "val_files"}
TABLES = re.compile(r"(?:^|[^a-z])(?:n_?gram|ppm|hashed_cache)")
DECODERS = {"b85decode", "a85decode", "b64decode", "b32decode", "b16decode", "fromhex", "unhexlify"}


def outside(tree, names):
    """All nodes but those inside top-level definitions of some names."""
    for node in tree.body:
        if getattr(node, "name", None) not in names:
            yield from ast.walk(node)


def reads_validation(tree):
    """Proves that the validation text is named in the scoring functions alone.

    Training on it before it is scored, calibrating on it, choosing a checkpoint by it need its
    name. A file that is opened by a built path is not seen; in train that text is not there anyway.
    """
    for node in outside(tree, SCORING | {"Hyperparameters"}):
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", None)
        text = node.value if isinstance(node, ast.Constant) else None
        if name in HIDDEN or (isinstance(text, str) and "fineweb_val" in text):
            yield node, f"names {name or text}"


def fixed_seed(tree):
    """Proves that no generator is seeded with a literal, and that SEED is what sets the seed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            literal = node.args and isinstance(node.args[0], ast.Constant)
            if node.func.attr in {"seed", "manual_seed", "manual_seed_all"} and literal:
                yield node, f"seeds with {ast.unparse(node.args[0])}"
        fixed = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        if fixed and any(getattr(target, "id", None) == "seed" for target in node.targets):
            yield node, "fixes the seed"


def weights_in_code(tree):
    """Proves that no literal is long enough for weights or text, and that none is decoded.

    Code is counted in the size all the same, but compresses better than weights.
    """
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str | bytes) and len(text) > LONGEST_LITERAL:
            yield node, f"a literal of {len(text)} characters"
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in DECODERS:
                yield node, f"decodes with {name}"


def fetches(tree):
    """Proves that nothing is imported that reads from a network; the sandbox has none either."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        yield from ((node, f"imports {n}") for n in names if n.split(".")[0] in NETWORK)


def mixes_the_target(tree):
    """A heuristic: no function that makes logits or a loss takes an n-gram table or a cache.

    Caches whose key holds what is to be predicted, or that raise its probability alone, made
    distributions that do not sum to one. Names are all that is looked at.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Name | ast.arg):
            name = getattr(node, "name", None) or getattr(node, "id", None) or node.arg
            if TABLES.search(name.lower()):
                yield node, f"{name} looks like a table of n-grams"


RULES = (reads_validation, fixed_seed, weights_in_code, fetches, mixes_the_target)


def broken_rules(text, path=SCRIPT):
    """Each broken rule with line and evidence, or nothing for what does not parse."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        # It does not run either; preflight says where.
        return []
    return [
        (rule.__name__, path, getattr(node, "lineno", 0), evidence)
        for rule in RULES
        for node, evidence in rule(tree)
    ]


if __name__ == "__main__":
    script = Path(sys.argv[1]) / SCRIPT
    found = broken_rules(script.read_text("utf-8"))
    for rule, path, line, evidence in found:
        print(f"{path}:{line}: {rule}: {evidence}", file=sys.stderr)
    sys.exit(BROKEN_RULE if found else 0)
