"""Hostile imports, charters and packs for :mod:`doors`: sound files with one thing broken."""

# Tables of hostile text.
# ruff: noqa: E501, Q003, SIM905

from __future__ import annotations

import copy
import json
import math
import os
import random
import re
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from doors_patches import mutated

from recipelab.core.recipe import Recipe
from recipelab.core.trial import (
    Certificate,
    Checkpoint,
    Edit,
    Evidence,
    Failure,
    FailureKind,
    GateResult,
    Outcome,
    Phase,
    PhaseTiming,
    Proposal,
    SeedRun,
    Standing,
    Status,
)
from recipelab.exchange.jsonl import export_lines
from recipelab.lineage import LineageStore

Make = Callable[[Path], Path]

TOP = Path(__file__).parents[1]
PACK_FOLDERS = (TOP / "tests/project/task_packs/toy", TOP / "task_packs/play_search")

PATHS = (
    *("../x", "../../secret.txt", "/etc/passwd", "/dev/zero", "/dev/stdin", "/proc/self/mem", ""),
    *(
        ".",
        "..",
        "a/../../x",
        "~/x",
        "$HOME/x",
        "${HOME}/x",
        "${NO_SUCH}",
        "C:\\x",
        "a\x00b",
        "a" * 5000,
    ),
    *(
        ".git/config",
        "recipe/\u202ey",
        "file:///etc/passwd",
        "http://127.0.0.1:1/x",
        "-rf",
        "recipe",
    ),
)
TEXTS = (
    *(
        "",
        " ",
        "\x00",
        "\ud800",
        "\udfff\ud800",
        "\u202e",
        "\x1b]0;owned\x07\x1b[2J",
        "\r\n",
        "\ufeff",
    ),
    *(
        "[red]x[/red]",
        "[/]",
        "[link=file:///etc/passwd]x[/link]",
        "<script>x</script>",
        "=1+1",
        "`",
        "%s%n",
    ),
    *(
        "{0.__class__}",
        "{seed}",
        "{nonce}",
        "{n}",
        "'; DROP TABLE trial; --",
        "x" * 100_000,
        "\u0430",
        "NaN",
    ),
    *(
        "9" * 5000,
        "1e999",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-13-45",
        "kept",
    ),
    *('"' * 40 + " OR * NEAR(", "a\n" * 20_000, "e\u0301" * 200, "\U0010ffff"),
)
NUMBERS = (
    *(0, -1, 1, 2, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**400, 10**30),
    *(0.5, -0.0, 1e308, -1e308, 5e-324, 1e-300, math.inf, -math.inf, math.nan),
)


def hostile_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a value that does not belong where it is put."""
    match rng.randrange(9 if depth < 2 else 6):
        case 0:
            return rng.choice(PATHS)
        case 1 | 2:
            return rng.choice(TEXTS)
        case 3 | 4:
            return rng.choice(NUMBERS)
        case 5:
            return rng.choice((True, False, None, [], {}))
        case 6:
            return [hostile_value(rng, depth + 1) for _ in range(rng.choice((1, 2, 50)))]
        case 7:
            return {rng.choice(TEXTS + PATHS): hostile_value(rng, depth + 1) for _ in range(2)}
        case _:
            value: Any = 1
            for _ in range(rng.choice((20, 90, 150))):
                value = [value] if rng.random() < 0.5 else {"a": value}
            return value


def places_of(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the places of all values in a table."""
    if place:
        yield place
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        yield from places_of(item, (*place, key))


def broken(rng: random.Random, table: Any) -> Any:
    """Return a table with a value changed, moved, renamed, doubled or gone."""
    table = copy.deepcopy(table)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        places = list(places_of(table))
        if not places:
            return table
        place = rng.choice(places)
        above: Any = table
        for key in place[:-1]:
            above = above[key]
        key = place[-1]
        match rng.randrange(8):
            case 0:
                del above[key]
            case 1 if isinstance(above, dict):
                above[rng.choice(TEXTS + PATHS)] = above.pop(key)
            case 2 if isinstance(above, list):
                above.append(above[key])
            case 3:
                other: Any = table
                for part in rng.choice(places):
                    if not isinstance(other, dict | list):
                        break
                    try:
                        other = other[part]
                    except (KeyError, IndexError, TypeError):
                        break
                above[key] = copy.deepcopy(other)
            case _:
                above[key] = hostile_value(rng)
    return table


def json_text(value: Any) -> str:
    """Return JSON, with numbers that have no end where there are some."""
    return json.dumps(value).replace("Infinity", random.choice(("Infinity", "1e999")))


def sound_export() -> list[str]:
    """Return the lines of the export of a campaign that has one of everything."""
    run = SeedRun(1, (PhaseTiming(Phase.TRAIN, 1.0, 1.0, 10.0),), {"score.loss": 2.0})
    gate = GateResult("fit", 0.5, 0.2, 0.3, 0.01)
    with (
        tempfile.TemporaryDirectory() as folder,
        LineageStore.open(f"{folder}/l.db", create=True) as store,
    ):
        plan = {"model": "offline", "base_url": "http://127.0.0.1:1", "specialists": ["left"]}
        store.create_campaign(
            name="c", pack="toy", profile="mini", model="offline", sandbox="local", seed=0,
            trials=10, hours=1.5, settings={"plan": plan, "base_url": "http://127.0.0.1:1"},
        )  # fmt: skip
        store.start_round("c")
        files = {"recipe/train.py": "X = 1.0\n", "recipe/predict.py": "Y = 2\n"}
        statuses = (Status.BASELINE, Status.KEPT, Status.CRASHED, Status.DISCARDED, None)
        for number, status in enumerate(statuses):
            edited = {**files, "recipe/train.py": f"X = {number}.0\n"}
            edits = (Edit("recipe/train.py", "X = 1.0", f"X = {number}.0"),) if number else ()
            proposal = Proposal("left", "left", 0, f"idea {number}", -1.0, edits)
            diff = Recipe(files).diff(Recipe(edited))
            store.propose(
                "c", proposal, parents=(number - 1,) if number else (), files=edited,
                digest=f"d{number}", diff=diff, round_number=1,
            )  # fmt: skip
            if status is None:
                continue
            evidence = (
                Evidence(0, 2, 2, standing=Standing.PROVISIONAL) if status is Status.KEPT else None
            )
            failure = (
                Failure(Phase.TRAIN, FailureKind.VALUE, "ValueError: x", "x")
                if status.is_failure
                else None
            )
            outcome = Outcome(
                status, "as it went", (run,), (gate,), 2.0 - number, 0.1, -1.0, 0.1,
                failure=failure, evidence=evidence,
            )  # fmt: skip
            store.record("c", number, outcome)
        store.add_further_runs("c", 1, [run])
        store.add_certificate("c", 1, Certificate("certified", seeds=4))
        found = Checkpoint(1, 0, True, False, "it holds", 4, -0.5, 0.1, gates=(gate,), runs=(run,))
        store.add_checkpoint("c", found)
        store.add_message(
            "c",
            round_number=1,
            source="left",
            type="TextMessage",
            payload={"content": "hello", "type": "TextMessage", "source": "left"},
            trial=1,
        )
        store.add_note("c", "look here")
        return list(export_lines(store, "c"))


def sound_run() -> dict[str, str]:
    """Return the files of a released run."""
    columns = (
        "exp_id timestamp specialist parent_exp baseline_exp domain hypothesis expected_delta status "
        "train_s accuracy acc_std n_seeds delta_vs_best total_s job_name snapshot_path notes"
    ).split()
    rows = []
    for number, status in enumerate(("baseline", "keep", "crash", "discard", "disqualified")):
        cells = {
            "exp_id": f"{number:03}", "timestamp": f"2026-01-02T03:0{number}:00Z", "specialist": "opt",
            "parent_exp": "000" if number else "", "domain": "opt", "hypothesis": f"idea {number}",
            "status": status, "train_s": "20.0", "accuracy": "0.96", "n_seeds": "10", "total_s": "20",
            "delta_vs_best": "-1.0", "notes": "x | TypeError: y (m.py:4)",
        }  # fmt: skip
        rows.append("\t".join(cells.get(name, "") for name in columns))
    tree = "exp_id parent_exp depth path specialist status train_s delta_vs_best hypothesis".split()
    tree_rows = [f"{n:03}\t000\t1\tx\topt\tkeep\t20.0\t-1.0\tidea {n}" for n in range(5)]
    return {
        "results.tsv": "\n".join(["\t".join(columns), *rows]) + "\n",
        "tree.tsv": "\n".join(["\t".join(tree), *tree_rows]) + "\n",
        "best.json": json.dumps({"exp_id": "001"}),
    }


def imports(rng: random.Random, canary: Path) -> Iterator[tuple[str, Make]]:
    """Yield exports and released runs for ever, each with the name of its family."""
    lines, run = sound_export(), sound_run()
    tables = [json.loads(line) for line in lines]

    def written(folder: Path, texts: list[str] | bytes) -> Path:
        file = folder / "x.jsonl"
        data = (
            texts if isinstance(texts, bytes) else "".join(texts).encode("utf-8", "surrogatepass")
        )
        file.write_bytes(data)
        return file

    def one_broken(folder: Path) -> Path:
        number = rng.randrange(len(tables))
        changed = [*lines]
        changed[number] = json_text(broken(rng, tables[number])) + "\n"
        return written(folder, changed)

    def reordered(folder: Path) -> Path:
        changed = [*lines]
        for _ in range(rng.randint(1, 3)):
            match rng.randrange(3):
                case 0:
                    del changed[rng.randrange(len(changed))]
                case 1:
                    changed.insert(rng.randrange(len(changed) + 1), rng.choice(lines))
                case _:
                    rng.shuffle(changed)
        return written(folder, changed)

    def circle(folder: Path) -> Path:
        changed = copy.deepcopy(tables)
        for table in changed:
            if table["line"] == "trial":
                table["trial"]["parents"] = [rng.randrange(-1, 7) for _ in range(rng.randrange(4))]
            if table["line"] == "campaign":
                rng.shuffle(table["judged"])
        return written(folder, [json_text(table) + "\n" for table in changed])

    def paths(folder: Path) -> Path:
        name = rng.choice(PATHS).replace("/etc/passwd", f"{canary}/x")
        text = "".join(lines).replace("recipe/predict.py", json.dumps(name)[1:-1])
        return written(folder, text.encode("utf-8", "surrogatepass"))

    def names(folder: Path) -> Path:
        changed = copy.deepcopy(tables)
        field = rng.choice(("name", "pack", "profile", "model", "sandbox", "state", "stop_reason"))
        changed[0]["campaign"][field] = rng.choice(PATHS + TEXTS)
        return written(folder, [json_text(table) + "\n" for table in changed])

    def settings(folder: Path) -> Path:
        changed = copy.deepcopy(tables)
        keys = (
            "plan",
            "imported",
            "base_url",
            "metric",
            "source_ids",
            "calibration",
            "certify",
            "pid",
        )
        changed[0]["campaign"]["settings"] = {
            rng.choice(keys): hostile_value(rng) for _ in range(3)
        }
        return written(folder, [json_text(table) + "\n" for table in changed])

    def bytes_changed(folder: Path) -> Path:
        return written(folder, mutated(rng, "".join(lines).encode()))

    def deep(folder: Path) -> Path:
        depth = rng.choice((1_000, 100_000))
        text = rng.choice(('{"a":' * depth, "[" * depth, '{"line":"campaign","x":' + "[" * depth))
        return written(folder, [*lines[:2], text + "\n", *lines[2:]])

    def released(folder: Path) -> Path:
        for name, text in run.items():
            data = text.encode()
            if rng.random() < 0.7:
                cells = re.split("(\t|\n)", text)
                place = rng.randrange(0, len(cells), 2)
                cells[place] = (
                    str(rng.choice(TEXTS + PATHS + NUMBERS)) if rng.random() < 0.8 else "\t"
                )
                data = "".join(cells).encode("utf-8", "surrogatepass")
            (folder / name).write_bytes(mutated(rng, data) if rng.random() < 0.4 else data)
        return folder

    def special(folder: Path) -> Path:
        file = folder / rng.choice(("x.jsonl", "results.tsv", "tree.tsv", "best.json"))
        if file.suffix != ".jsonl":
            for name, text in run.items():
                (folder / name).write_text(text)
            file.unlink()
        match rng.randrange(4):
            case 0:
                os.mkfifo(file)
            case 1:
                file.symlink_to("/dev/zero")
            case 2:
                file.symlink_to(file)
            case _:
                file.mkdir()
        return file if file.suffix == ".jsonl" else folder

    ways = (
        *((one_broken,) * 6), reordered, circle, paths, names, settings, bytes_changed, deep,
        *((released,) * 3), special,
    )  # fmt: skip
    while True:
        make = rng.choice(ways)
        yield f"import, {make.__name__}", make


BOMB = "".join(f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(12))
FRONTS = (
    *("", "name: x", "[]", "- a", "null", "...", "--- \n---", "%YAML 9.9", "? a\n: b", "&a *a", "*a"),
    *("<<: *a", "a: &a [*a]\nname: c", "name: !!python/object/apply:os.system ['touch {canary}/x']"),
    *("!!python/name:os.system", "name: !!binary aGVsbG8=", "name: !!timestamp 2001-01-01", "a: !<x> y"),
    *("&x a: *x", "surfaces: &s [*s]\nname: c\ntitle: t", "name: |\n  x\n title: t", "\tname: c", "name: 'c"),
    *("name: \"\\uD800\"", "name: \"\\x1b]0;x\\a\"", "name: c # \u202e", "{" * 3000, "[" * 3000, "a: " * 2000),
    *(BOMB, BOMB + "name: *a11\ntitle: *a11\nsurfaces: *a11", "- " * 4000 + "x", "{a: " * 2000, "? " * 3000),
    *("name: c\nname: c", "a: b\n" * 30_000, "name: " + "x" * 1_000_000, "\x00", "\u2028", "\x85name: c"),
)  # fmt: skip
CHARTER = {
    "name": ("c", "C", "c" * 99, "class", "user", "evaluator", "c\n", "\u0441", "*", "1", "None", "[c]", "{c: c}"),
    "title": ("T", "T\x1b[2J", "\u202eT", "t" * 101, "|\n  a\n  b", "[]", "''", "\"\\ud800\"", "\"a\\nb\""),
    "surfaces": ("[left]", "['*']", "['*', left]", "[]", "left", "[left, left]", "[[left]]", "{left: 1}", "[\"\\0\"]"),
    "model": (
        "offline", "../../x.json", "/dev/zero.json", "/dev/stdin.json", "openai:", "openai:x\x1b", "x.json",
        "\"\\0.json\"", "[offline]", "a" * 5000 + ".json", "fifo.json", "folder.json", "zero.json",
    ),
    "tools": ("[]", "[best]", "best", "[best, best]", "[submit_trial]", "['\\0']", "[[best]]", "*"),
    "temperature": ("1", "nan", "inf", "-1", "1e999", "0x1", "true", "[1]", "9" * 5000, "1_0", "\u0661"),
    "guided": ("true", "no", "2", "[]", "maybe"),
    "other": ("x",),
}  # fmt: skip


def charters(rng: random.Random, canary: Path) -> Iterator[tuple[str, Make]]:
    """Yield files of charters for ever, each with the name of its family."""

    def keys(folder: Path) -> Path:
        os.mkfifo("fifo.json") if not Path("fifo.json").exists() else None
        if not Path("zero.json").is_symlink():
            Path("zero.json").symlink_to("/dev/zero")
            Path("folder.json").mkdir()
        lines = ["name: c", "title: T", "surfaces: [left]"]
        for key in rng.sample(list(CHARTER), rng.randint(1, 3)):
            lines = [line for line in lines if not line.startswith(key)]
            lines.append(f"{key}: {rng.choice(CHARTER[key])}")
        rng.shuffle(lines)
        return put(
            folder, "---\n" + "\n".join(lines) + "\n---\n" + rng.choice(("Body.", "", *TEXTS))
        )

    def front(folder: Path) -> Path:
        text = rng.choice(FRONTS).replace("{canary}", str(canary))
        return put(folder, f"---\n{text}\n---\nBody.\n")

    def bytes_changed(folder: Path) -> Path:
        text = (TOP / "agents" / rng.choice(("arch.md", "search.md", "quant.md"))).read_bytes()
        file = folder / "arch.md"
        file.write_bytes(mutated(rng, text))
        return file

    def huge(folder: Path) -> Path:
        text = rng.choice(("x", "---\n", "# a\n", "\n", "--- ", "---\t\n"))
        return put(folder, rng.choice(("", "---\n")) + text * (20_000_000 // len(text)))

    def special(folder: Path) -> Path:
        file = folder / "c.md"
        match rng.randrange(6):
            case 0:
                os.mkfifo(file)
            case 1:
                file.symlink_to("/dev/zero")
            case 2:
                file.symlink_to("c.md")
            case 3:
                return file
            case 4:
                return Path("/dev/zero")
            case _:
                file.mkdir()
        return file

    def put(folder: Path, text: str) -> Path:
        file = folder / "c.md"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        return file

    ways = (*((keys,) * 12), *((front,) * 8), *((bytes_changed,) * 6), *((special,) * 2))
    while True:
        make = huge if rng.random() < 0.01 else rng.choice(ways)
        yield f"charter, {make.__name__}", make


def toml_text(value: Any) -> str:
    """Return a value as TOML, inline."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return "1e999" if value == math.inf and random.random() < 0.5 else repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
        case list():
            return f"[{', '.join(map(toml_text, value))}]"
        case dict():
            return (
                "{"
                + ", ".join(
                    f"{json.dumps(k, ensure_ascii=False)} = {toml_text(v)}"
                    for k, v in value.items()
                )
                + "}"
            )
        case _:
            return '"null"'


def toml_file(table: dict[str, Any]) -> bytes:
    """Return a table as the text of a TOML file."""
    lines = (f"{json.dumps(k, ensure_ascii=False)} = {toml_text(v)}\n" for k, v in table.items())
    return "".join(lines).encode("utf-8", "surrogatepass")


ODD_TOML = (
    *(
        "a = " + "[" * 5000,
        "a = " + "{b=" * 3000,
        "a" + ".b" * 20_000 + " = 1",
        "x = " + "9" * 6000,
        "a = 0x" + "f" * 9000,
    ),
    *(
        "[[a]]\n" * 30_000,
        "a = 1979-13-45",
        "a = 9999-99-99T00:00:00Z",
        'a = "\\ud800"',
        'a = """',
        "[profiles]\nmini = 1\n",
    ),
    *(
        "default_profile = [1]\n",
        "profiles = []\n",
        "default_profile = {a = 1}\n[profiles.mini]\n",
        "[profiles.mini]\nextends = [1]\n",
    ),
    *(
        "[profiles.mini]\nextends = 'mini'\n",
        "profiles.a = 1\ndefault_profile = 'a'\n",
        "\ufeffformat = 1\n",
        "format = nan\n",
    ),
)
SERIES = (
    {"first": 0, "last": 10**12, "digits": 1}, {"first": 5, "last": 1, "digits": 1}, {"first": 0, "last": 2**70, "digits": 20},
    {"first": 0, "last": 3, "digits": 10**9}, {"first": -1, "last": 0, "digits": 0}, 7, [1, 2], {"first": 0, "last": 200_000, "digits": 6},
)  # fmt: skip
CONTAINER = {
    "user": (0, 65533, 65534, -1, "root", True), "gpu": (True, 1, "all"), "shm_mb": (0, 10**30, 64, 1.5),
    "seccomp": ("unconfined", "../x.json", "s.json", "/etc/passwd", "s\x00.json", "", 1, "fifo.json", "zero.json", "link.json"),
    "environment": (["PATH"], ["LD_PRELOAD"], ["A=B"], ["A", "A"], "HOME", [1]), "privileged": (True,),
    "mounts": (["/:/host"],), "devices": (["/dev/mem"],), "network": ("host",), "cap_add": (["ALL"],), "volumes": ([],),
    "security_opt": (["seccomp=unconfined"],), "pid": ("host",), "runtime": ("x",), "extra_hosts": ({},),
}  # fmt: skip


def packs(rng: random.Random, canary: Path) -> Iterator[tuple[str, Make]]:
    """Yield files of packs and sandboxes for ever, each with the name of its family."""
    tables = [tomllib.loads((folder / "pack.toml").read_text()) for folder in PACK_FOLDERS]
    spec = tomllib.loads((TOP / "sandboxes/cpu/sandbox.toml").read_text())

    def sound(folder: Path, number: int = 0) -> dict[str, Any]:
        shutil.copytree(PACK_FOLDERS[number], folder, dirs_exist_ok=True)
        return copy.deepcopy(tables[number])

    def put(folder: Path, data: bytes, name: str = "pack.toml") -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    def one_broken(folder: Path) -> Path:
        table = sound(folder, rng.randrange(2))
        return put(folder, toml_file(broken(rng, table)))

    def bytes_changed(folder: Path) -> Path:
        sound(folder)
        data = mutated(rng, (PACK_FOLDERS[0] / "pack.toml").read_bytes())
        return put(folder, data)

    def odd(folder: Path) -> Path:
        table = sound(folder)
        text = rng.choice(ODD_TOML)
        return put(folder, text.encode() + (toml_file(table) if rng.random() < 0.5 else b""))

    def paths(folder: Path) -> Path:
        table = sound(folder)
        name = rng.choice(PATHS).replace("/etc/passwd", f"{canary}/secret.txt")
        match rng.randrange(6):
            case 0:
                table[rng.choice(("recipe", "evaluator"))]["folder"] = name
            case 1:
                table["recipe"]["editable"] = [name]
            case 2:
                table["data"][0]["sources"] = [{"kind": "path", "path": name}]
            case 3:
                table["data"][0]["file"] = name
            case 4:
                table["phases"]["predict"]["data"] = {name: "inputs.txt"}
            case _:
                table["sandbox"] = name
        return put(folder, toml_file(table))

    def series(folder: Path) -> Path:
        table = sound(folder)
        file = rng.choice(("shard_{n}.bin", "x.bin", "{n}{n}", 5))
        table["data"].append({**table["data"][0], "file": file, "numbers": rng.choice(SERIES)})
        return put(folder, toml_file(table))

    def special(folder: Path) -> Path:
        sound(folder)
        name = rng.choice(
            ("pack.toml", "playbook.toml", "recipe/train.py", "recipe/x.bin", "recipe/l", "recipe")
        )
        file = folder / name
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        match rng.randrange(6):
            case 0:
                os.mkfifo(file)
            case 1:
                file.symlink_to("/dev/zero")
            case 2:
                file.symlink_to(canary / "secret.txt")
            case 3:
                file.write_bytes(rng.randbytes(100))
            case 4:
                file.symlink_to(file.name)
            case _:
                file.symlink_to(canary, target_is_directory=True)
        return folder / "pack.toml"

    def playbook(folder: Path) -> Path:
        sound(folder)
        book = tomllib.loads((folder / "playbook.toml").read_text())
        put(folder, toml_file(broken(rng, book)), "playbook.toml")
        return folder / "pack.toml"

    def container(folder: Path) -> Path:
        table = copy.deepcopy(spec)
        keys = rng.sample(list(CONTAINER), rng.randint(1, 3))
        table["container"] = {key: rng.choice(CONTAINER[key]) for key in keys}
        for name, text in (("Dockerfile", "FROM x"), ("requirements.txt", ""), ("s.json", "{}")):
            (folder / name).write_text(text)
        os.mkfifo(folder / "fifo.json")
        (folder / "zero.json").symlink_to("/dev/zero")
        (folder / "link.json").symlink_to(canary / "secret.txt")
        data = broken(rng, table) if rng.random() < 0.5 else table
        return put(folder, toml_file(data), "sandbox.toml")

    ways = (
        *((one_broken,) * 8), bytes_changed, bytes_changed, odd, *((paths,) * 3), series, special,
        playbook, *((container,) * 3),
    )  # fmt: skip
    while True:
        make = rng.choice(ways)
        yield f"pack, {make.__name__}", make
