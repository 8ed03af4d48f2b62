"""A rule that keeps what the evaluation calls what it is.

The functions that score are held fixed, but they find ``F``, ``math`` or ``range`` among the names
of the recipe's own module.
"""

from recipe_text import follows, statements

LIBRARIES = {"torch", "F", "dist", "nn", "np", "math", "time", "glob", "spm", "os", "sys", "io"}
LIBRARIES |= {"Tensor", "Path", "random", "numpy", "sentencepiece", "DDP"}
BUILTINS = {"range", "len", "min", "max", "float", "int", "bool", "enumerate", "print", "open"}
BUILTINS |= {"sorted", "str", "assert", "sum", "zip", "list"}
SETTINGS = {"backends", "_dynamo", "_inductor"}
"""Parts of ``torch`` whose attributes are settings."""
ALIASES = {"F": "functional", "np": "numpy", "dist": "distributed", "spm": "sentencepiece"}
ALIASES |= {"DDP": "DistributedDataParallel", "nn": "nn"}
BLOCKS = {"if", "elif", "else", "for", "while", "with", "try", "except", "finally", "class", "def"}


def patches(fixed):
    """Return the rule, for the names that are held fixed.

    Args:
        fixed: Those names.

    Returns:
        A rule.
    """

    def patches_libraries(words):
        """Proves that no library, builtin or fixed function is bound again or given another part.

        A module or class that was put under another name first is not seen.
        """
        for word in words:
            if word.head and word.text in LIBRARIES | BUILTINS:
                yield word.line, f"defines {word.text}"
        for statement in statements(words):
            yield from _given_parts(statement, LIBRARIES | fixed)
            if statement[0].owner == "" or statement[0].text == "global":
                yield from _bound_again(statement, LIBRARIES | BUILTINS)

    return patches_libraries


def _given_parts(statement, names):
    """Find the places of ``NAME.part = ...`` and ``setattr(NAME, ...)``."""
    targets = _targets(statement)
    for at, word in enumerate(statement):
        if word.kind != "name" or word.text not in names or _text(statement, at - 1) == ".":
            continue
        end = at + 1
        while end + 1 < len(statement) and statement[end].text == ".":
            end += 2
        typed = _text(statement, at - 1) == ":" and at - 1 in targets
        given = end > at + 1 and at in targets and not typed and _is_target(statement, end)
        setting = word.text == "torch" and _text(statement, at + 2) in SETTINGS
        if given and not setting:
            yield word.line, f"changes {''.join(one.text for one in statement[at:end])}"
        if _text(statement, at - 1) == "(" and _text(statement, at - 2) in {"setattr", "delattr"}:
            yield word.line, f"changes {word.text} by {_text(statement, at - 2)}"


def _bound_again(statement, names):
    """Find the places where the module, or a ``global``, binds one of some names."""
    targets = _targets(statement)
    for at, word in enumerate(statement):
        if word.kind != "name" or word.text not in names:
            continue
        before = _text(statement, at - 1)
        words = {one.text for one in statement[:at]}
        aliased = before == "as" and ALIASES.get(word.text) not in words
        typed = before == ":" and at - 1 in targets
        assigned = at in targets and before != "." and not typed and _is_target(statement, at + 1)
        named = before in {"for", "global", "class", "def"} or follows(statement, at, ":=")
        if aliased or named or assigned:
            yield word.line, f"binds {word.text} again"


def _targets(statement):
    """Return the places outside of brackets before the last assignment of a statement.

    Where a statement begins a block, what stands up to the block's colon is no target.
    """
    depth, places, last, begins = 0, [], -1, statement[0].text in BLOCKS
    for at, word in enumerate(statement):
        if word.kind == "mark":
            depth += (word.text in {"(", "[", "{"}) - (word.text in {")", "]", "}"})
            comparing = word.text in {"==", "<=", ">=", "!=", ":="}
            last = at if depth == 0 and word.text.endswith("=") and not comparing else last
        if depth == 0 and begins and word.text == ":":
            places, begins = [], False
        elif depth == 0:
            places.append(at)
    return {at for at in places if at < last}


def _is_target(statement, at):
    """Return whether the word at a place ends a target: an assignment, a comma, or a type."""
    text = _text(statement, at)
    return text in {",", ":"} or (text.endswith("=") and text not in {"==", "<=", ">=", "!="})


def _text(statement, at):
    return statement[at].text if 0 <= at < len(statement) else ""
