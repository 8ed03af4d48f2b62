"""Static rules for edits of the record that the pack starts from, read before any of it runs.

They are not a checker of the contest: of its other scripts few would pass, as they take data, set
seeds and start programs in ways of their own.

They catch what is plain in the text. What they cannot know is said with each; the hidden text is
not in train's container, and the functions that score are held fixed, whatever the rules see.
What cannot be read as words breaks a rule too, so that nothing passes for not having been read.
"""

import sys
from pathlib import Path

from heuristics import mixes_the_target, not_causal
from patches import patches
from recipe_text import Unreadable, follows, named, statements, sure, words_of

BROKEN_RULE = 4
SCRIPT = "train_gpt.py"
LONGEST_TEXT, LONGEST_NUMBER, MOST_NUMBERS = 2_000, 100, 256
NETWORK = {"urllib", "urllib3", "requests", "http", "httpx", "aiohttp", "socket", "ftplib", "ssl"}
NETWORK |= {"huggingface_hub", "datasets", "smtplib", "xmlrpc", "asyncio", "socketserver", "wandb"}
STARTERS = {"system", "popen", "fork", "forkpty", "posix_spawn", "startfile"}
FIXED = {"ValidationData", "load_validation_tokens", "build_sentencepiece_luts", "load_data_shard"}
FIXED |= {"eval_val", "eval_val_sliding", "eval_val_ttt", "timed_eval", "_loss_bpb"}
"""Names that the pack holds fixed; an exemption for any other would be a place to hide in."""
WHOLE = "train_and_eval"
"""Replaced by the phases: it may hold what it likes, as long as nothing but ``main`` calls it."""
HIDDEN = {"val_tokens", "val_data", "val_files", "datasets_dir"}
READERS = {"ValidationData", "load_validation_tokens"}
SEEDERS = {"seed", "manual_seed", "manual_seed_all", "default_rng", "SeedSequence", "PCG64"}
SEEDERS |= {"RandomState", "MT19937", "Philox"}
DECODERS = {"b85decode", "a85decode", "b64decode", "b32decode", "b16decode", "fromhex", "unhexlify"}
DECODERS |= {"urlsafe_b64decode", "standard_b64decode", "decodebytes", "a2b_base64"}
UNPACKERS = {"decompress", "loads", "frombuffer", "frombytes", "BytesIO", "fromstring"}
FRAMES = {"_getframe", "_current_frames", "f_locals", "f_globals", "f_back", "currentframe"}
FRAMES |= {"get_objects", "get_referrers", "settrace", "setprofile", "__globals__", "__closure__"}
FRAMES |= {"__main__", "__code__", "_exit", "atexit", "ctypes", "inspect", "__file__"}
FRAMES |= {"builtins", "__builtins__"}


def reads_validation(words):
    """Proves that the validation text is named in the functions that are held fixed alone.

    Training on it before it is scored, calibrating on it, choosing a checkpoint by it need its
    name. A path that is put together from pieces is not seen, nor an attribute named by a text
    that is; in train that text is not there anyway.
    """
    settings = [w for w in words if w.owner == "Hyperparameters"]
    once = named(settings, {"val_files"})[:1]
    once += [w for w in settings if w.kind == "text" and "fineweb_val" in w.text][:1]
    once += named(settings, {"datasets_dir"})[:3]
    for word in words:
        if word.owner in FIXED | {WHOLE} or any(word is one for one in once):
            continue
        name = word.kind in {"name", "echo"}
        passed_on = word.owner == "train_model" and word.text == "val_data"
        if name and word.text in HIDDEN | READERS and not word.head and not passed_on:
            yield word.line, f"names {word.text} in {word.owner or 'the module'}"
        if word.kind == "text" and _finds_validation(word.text):
            yield word.line, f"names the files {word.text[:60]!r}"
    for word in named(words, {WHOLE}):
        if word.owner not in {WHOLE, "main"}:
            yield word.line, f"names {WHOLE}, which may only be called by main"


def _finds_validation(text):
    a_pattern = "*" in text and ("fine" in text or ".bin" in text)
    return "fineweb_val" in text or (a_pattern and not text.startswith("fineweb_train_"))


def fixed_seed(words):
    """Proves that no generator is seeded with a number, and that SEED is what sets the seed.

    A number that is computed, or kept under another name first, is not seen. The phases set the
    seed of ``Hyperparameters`` from outside all the same.
    """
    found = sure(words)
    for at, word in enumerate(found):
        after = found[at + 1 : at + 3]
        called = word.kind == "name" and word.text in SEEDERS and follows(found, at, "(")
        if called and len(after) == 2 and after[1].kind == "number":
            yield word.line, f"seeds with {after[1].text}"
        if word.kind == "text" and word.text == "SEED" and follows(found, at, "]", "="):
            yield word.line, "sets SEED"
    for statement in statements(words):
        yield from _seed_of_its_own(statement)


def _seed_of_its_own(statement):
    """Find where ``seed = ...`` is a number or, in the settings, is not SEED with a default."""
    for at, word in enumerate(statement):
        if word.text != "seed" or word.kind != "name" or not follows(statement, at, "="):
            continue
        value = statement[at + 2 :]
        if value and value[0].kind == "number":
            yield word.line, f"fixes the seed at {value[0].text}"
        texts = {w.text for w in value if w.kind == "text"}
        sums = {w.text for w in value if w.kind == "mark"} - set("()[].,")
        if word.owner == "Hyperparameters" and ("SEED" not in texts or sums):
            yield word.line, "takes the seed from elsewhere than SEED"


def weights_in_code(words):
    """Proves that no text or table is long enough for weights, and that no text is decoded.

    Many short ones, put together while it runs, are not seen. Code is counted in the size all the
    same; but text compresses better as code than as weights.
    """
    found, texts, numbers = sure(words), 0, 0
    for at, word in enumerate(found):
        # Texts side by side are one, as are those that a plus adds and a bracket continues.
        texts = texts + len(word.text) if word.kind == "text" else texts
        if word.kind != "text" and word.text not in {"+", "(", ")", ",", "\n"}:
            texts = 0
        numbers = numbers + 1 if word.kind == "number" else numbers
        numbers = 0 if word.kind in {"name", "text", "end"} else numbers
        if texts > LONGEST_TEXT:
            yield word.line, f"a text of over {LONGEST_TEXT} characters"
            texts = 0
        if numbers > MOST_NUMBERS or (word.kind == "number" and len(word.text) > LONGEST_NUMBER):
            yield word.line, f"a table of over {MOST_NUMBERS} numbers, or one of many digits"
            numbers = 0
        unpacks = word.kind == "name" and word.text in UNPACKERS and follows(found, at, "(")
        if unpacks and at + 2 < len(found) and found[at + 2].kind == "text":
            yield word.line, f"unpacks a text with {word.text}"
    yield from ((word.line, f"decodes with {word.text}") for word in named(words, DECODERS))


def fetches(words):
    """Proves that nothing is imported by name that reads from a network, and no program started.

    A library that does so by itself is not seen; the sandbox has no network either.
    """
    for statement in statements(words):
        for word in _imported(statement):
            if word.text in NETWORK:
                yield word.line, f"imports {word.text}"
        yield from _programs(statement)
    for word in named(words, {"__import__", "import_module", "importlib", "runpy"}):
        yield word.line, f"imports by {word.text}"


def _imported(statement):
    """Return the first part of each module's name that a statement imports."""
    texts = [word.text for word in statement]
    if "import" not in texts:
        return []
    at = texts.index("import")
    if "from" in texts[:at]:
        return [word for word in statement[texts.index("from") + 1 : at] if word.kind == "name"][:1]
    places = range(at + 1, len(statement))
    return [statement[n] for n in places if texts[n - 1] in {"import", ","}]


def _programs(statement):
    """Find where a statement starts a program other than the one that lists the GPUs."""
    imported = _imported(statement)
    for at, word in enumerate(statement):
        if word.kind != "name":
            continue
        started = follows(statement, at, ".", "run", "(", "[", "nvidia-smi", "]")
        plain = any(word is one for one in imported) and not follows(statement, at, "as")
        harmless = started or follows(statement, at, ".", "PIPE")
        plain = plain and "from" not in {one.text for one in statement[:at]}
        if word.text == "subprocess" and not (harmless or plain):
            yield word.line, "uses subprocess for more than nvidia-smi"
        of_os = at > 1 and [one.text for one in statement[at - 2 : at]] == ["os", "."]
        if of_os and (word.text in STARTERS or word.text.startswith(("exec", "spawn"))):
            yield word.line, f"starts a program with os.{word.text}"


def reaches_around(words):
    """Proves that no name is used that shows a function its callers, the driver or its own text.

    So the network cannot look up what the evaluation that calls it holds, nor end the process
    before that is done. Names that are put together from pieces are not seen.
    """
    for word in named(words, FRAMES):
        if word.owner != WHOLE and not (word.text == "__main__" and word.kind == "echo"):
            yield word.line, f"uses {word.text}"
    found = sure(words)
    for at, word in enumerate(found):
        bare = word.kind == "name" and (at == 0 or found[at - 1].text not in {".", "def"})
        if bare and word.text in {"exec", "eval", "globals", "compile"} and follows(found, at, "("):
            yield word.line, f"calls {word.text}"
        if word.text == "modules" and [w.text for w in found[at - 2 : at]] == ["sys", "."]:
            yield word.line, "uses sys.modules"
        if word.text == "logfile" and word.owner not in {"Hyperparameters", "log"}:
            yield word.line, "names the log, which only log writes"


def prints_a_score(words):
    """Proves that no text looks like a final line, but in the function that is timed.

    A line that is put together from pieces is not seen; two final lines break a rule of the scorer.
    """
    for word in words:
        shown = word.kind == "text" and ("val_bpb:" in word.text or "eval_time:" in word.text)
        if shown and word.owner not in FIXED | {WHOLE, "train_model"}:
            yield word.line, f"prints like a score: {word.text[:60]!r}"


RULES = (reads_validation, fixed_seed, weights_in_code, fetches, reaches_around)
RULES += (
    prints_a_score,
    patches(FIXED | {"log", "set_logging_hparams"}),
    not_causal,
    mixes_the_target,
)


def broken_rules(files):
    """Return each broken rule with path, line and evidence, for texts by their path."""
    found = []
    for path, text in sorted(files.items()):
        try:
            words = words_of(text)
        except Unreadable as error:
            found.append(("unreadable", path, error.line, str(error)))
            continue
        for rule in RULES:
            found += [(rule.__name__, path, line, evidence) for line, evidence in rule(words)]
    return found


def text_of(path):
    """Return the text of a file; bytes that are not UTF-8 become what no recipe may hold."""
    return path.read_bytes().decode("utf-8-sig", "replace").replace("\ufffd", "\0")


if __name__ == "__main__":
    broken = broken_rules({SCRIPT: text_of(Path(sys.argv[1]) / SCRIPT)})
    for rule, path, line, evidence in broken[:50]:
        print(f"{path}:{line}: {rule}: {evidence}", file=sys.stderr)
    sys.exit(BROKEN_RULE if broken else 0)
