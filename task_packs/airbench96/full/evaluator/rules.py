"""Static rules: what a recipe's text may not hold. They are read before anything of it runs.

They catch what is plain; the isolation of the phases does not rest on them.
"""

import ast
import sys
from pathlib import Path

BROKEN_RULE = 4
LONGEST_LITERAL = 2_000
NETWORK = {"urllib", "requests", "http", "socket", "ftplib", "huggingface_hub", "torch.hub"}


def weights_in_code(tree):
    """Proves that no literal is long enough for weights or answers; tables of short ones remain."""
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str | bytes) and len(text) > LONGEST_LITERAL:
            yield node, f"a literal of {len(text)} characters"


def pretrained_or_fetched(tree):
    """Proves that nothing is imported that fetches; an import by a built string remains."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name in NETWORK or name.split(".")[0] in NETWORK:
                yield node, f"imports {name}"


def fixed_seed(tree):
    """Proves that no generator is seeded with a literal; seeds have to come from the driver.

    ``set_random_state(None, ...)`` and seeds that are computed are upstream's own.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        literal = node.args and isinstance(node.args[0], ast.Constant)
        if node.func.attr in {"seed", "manual_seed", "manual_seed_all"} and literal:
            yield node, f"seeds with {ast.unparse(node.args[0])}"


RULES = (weights_in_code, pretrained_or_fetched, fixed_seed)


def broken_rules(files):
    """Return each broken rule with its place and the evidence, for files by their path."""
    found = []
    for path, text in sorted(files.items()):
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue  # It does not run either: the preflight, with the same Python, says where.
        for rule in RULES:
            found += [(rule.__name__, path, getattr(n, "lineno", 0), why) for n, why in rule(tree)]
    return found


if __name__ == "__main__":
    texts = {str(path): path.read_text() for path in Path("full/recipe").rglob("*.py")}
    found = broken_rules({path: text for path, text in texts.items() if "phases" not in path})
    for rule, path, line, evidence in found:
        print(f"{path}:{line}: {rule}: {evidence}", file=sys.stderr)
    sys.exit(BROKEN_RULE if found else 0)
