"""Rules that go by how things are named or called; what they find is a reason to look."""

import re

from recipe_text import follows, statements

ATTENTION = {"flash_attn_3_func", "flash_attn_func", "scaled_dot_product_attention"}
TABLES = re.compile(r"(?:^|[^a-z])(?:n_?gram|ppm|hashed_cache)")


def not_causal(words):
    """A heuristic: every call of a known attention says that it is causal.

    Other ways to look ahead, as a shift, a mean over the window or an attention of its own, are
    not seen.
    """
    for statement in statements(words):
        for at, word in enumerate(statement):
            if word.text in ATTENTION and follows(statement, at, "("):
                texts = " ".join(one.text for one in _arguments(statement, at + 1))
                if not re.search(r"\b(is_)?causal = True\b", texts):
                    yield word.line, f"calls {word.text} without causal=True"


def _arguments(statement, at):
    """Return the words from an opening bracket to the one that closes it."""
    depth = 0
    for end in range(at, len(statement)):
        text = statement[end].text if statement[end].kind == "mark" else ""
        depth += (text in {"(", "[", "{"}) - (text in {")", "]", "}"})
        if depth == 0:
            return statement[at : end + 1]
    return statement[at:]


def mixes_the_target(words):
    """A heuristic: nothing is named like a table of n-grams or a cache of them.

    Caches whose key holds what is to be predicted, or that raise its probability alone, made
    distributions that do not sum to one. Names are all that is looked at.
    """
    for word in words:
        if word.kind == "name" and TABLES.search(word.text.lower()):
            yield word.line, f"{word.text} looks like a table of n-grams"
