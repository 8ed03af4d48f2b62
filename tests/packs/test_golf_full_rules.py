"""parameter_golf at full scale: the rules that a recipe's text is held to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .scripts import loaded, run_script

PACK = "parameter_golf"
rules = loaded(PACK, "rules")
RULES = "evaluator/rules.py"

# Of the contest's shape. Its f-string with quotes inside is none to Python before 3.12.
HONEST = """
import os, subprocess
class Hyperparameters:
    seed = int(os.environ.get("SEED", 1337)); datasets_dir = os.path.join("data", f"sp{8192}")
    train_files = os.path.join(datasets_dir, "fineweb_train_*.bin")
    val_files = os.path.join(datasets_dir, "fineweb_val_*.bin"); logfile = "log.txt"
class ValidationData:
    def __init__(self, h): self.val_tokens = load_validation_tokens(h.val_files)
def load_validation_tokens(pattern): return load(pattern)
def attend(q, k, v): return flash_attn_3_func(q, k, v, causal=True)
def eval_val_ttt(h, val_data, model): return val_data.val_tokens
def timed_eval(label, loss, bits): log(f"{label} val_loss:{loss:.8f} val_bpb:{bits:.8f}")
def train_model(h, device, val_data): torch.manual_seed(h.seed); eval_val(h, val_data)
def train_and_eval(h, device):
    log(f"shards: {len(list(Path(h.datasets_dir).glob("fineweb_train_*.bin")))}")
    val_data = ValidationData(h); log(val_data.val_tokens); Path(__file__).read_text()
def main():
    log(subprocess.run(['nvidia-smi'], stdout=subprocess.PIPE).stdout); train_and_eval(h, device)
"""

BROKEN = [
    ("reads_validation", "def serialize(h, val_data): calibrate(h)"),
    ("reads_validation", "def deserialize(h, d): fit(ValidationData(h, d))"),
    ("reads_validation", "def deserialize(h, d): fit(load_validation_tokens(PATTERN))"),
    ("reads_validation", "def eval_val_sliding_etlb(h, v): fit(v.val_tokens)"),
    ("reads_validation", "if True:\n    def eval_val_ttt(h, v): fit(v.val_tokens)"),
    ("reads_validation", "def tune(v):\n    def eval_val(): fit(v.val_tokens)"),
    ("reads_validation", "text = open('data/fineweb_val_000000.bin').read()"),
    ("reads_validation", r"text = open('data/f\x69neweb_val_000000.bin').read()"),
    ("reads_validation", "files = glob('data/*/fine*')"),
    ("reads_validation", "files = glob(h.val_files)"),
    ("reads_validation", "files = list(Path(h.datasets_dir).iterdir())"),
    ("reads_validation", "def deserialize(h, d): train_and_eval(h, d)"),
    ("reads_validation", "fit(v.\uff56al_tokens)"),
    ("fixed_seed", "torch.manual_seed(42)"),
    ("fixed_seed", "rng = np.random.default_rng(7)"),
    ("fixed_seed", "class H:\n    seed = 42"),
    ("fixed_seed", "h.seed = 314"),
    ("fixed_seed", "os.environ['SEED'] = WORD"),
    ("weights_in_code", f"W = '{'a' * 3000}'"),
    ("weights_in_code", "W = (" + f"'{'a' * 900}'\n" * 3 + ")"),
    ("weights_in_code", "W = " + " + ".join([f"'{'a' * 900}'"] * 3)),
    ("weights_in_code", f"W = b'{'a' * 3000}'"),
    ("weights_in_code", f"W = {'7' * 200}"),
    ("weights_in_code", f"W = [{'1, -2, ' * 200}]"),
    ("weights_in_code", "W = base64.b85decode(WORDS)"),
    ("weights_in_code", "W = bytes.fromhex(WORDS)"),
    ("weights_in_code", "W = zlib.decompress(b'abc')"),
    ("fetches", "import requests"),
    ("fetches", "import os, json as j, socket"),
    ("fetches", "if True: import urllib.request"),
    ("fetches", "from urllib.request import urlopen"),
    ("fetches", "import huggingface_hub.file_download"),
    ("fetches", "get = __import__('requests')"),
    ("fetches", "subprocess.run(['curl', 'x'])"),
    ("fetches", "subprocess.Popen(['nvidia-smi'])"),
    ("fetches", "from subprocess import run"),
    ("fetches", "import subprocess as s"),
    ("fetches", "os.system('ls')"),
    ("fetches", "os.execv('a', [])"),
    ("reaches_around", "data = sys._getframe(3).f_locals"),
    ("reaches_around", "import inspect"),
    ("reaches_around", "os._exit(0)"),
    ("reaches_around", "exec(WORDS)"),
    ("reaches_around", "globals()[WORD] = f"),
    ("reaches_around", "sys.modules['x'].f = g"),
    ("reaches_around", "open(h.logfile, 'w')"),
    ("reaches_around", "weights = Path(__file__).read_text()"),
    ("prints_a_score", "log('quantized_ttt val_loss:1.0 val_bpb:0.5 eval_time:1ms')"),
    ("fetches", "# a comment\rimport requests"),
    ("not_causal", "y = flash_attn_3_func(q, k, v)"),
    ("not_causal", "y = F.scaled_dot_product_attention(q, k, v, is_causal=False)"),
    ("not_causal", "y = (flash_attn_3_func(q, k, f(causal)), causal == True)"),
    ("patches_libraries", "F.cross_entropy = lambda *a, **k: 0"),
    ("patches_libraries", "def f(): torch.Tensor.sum = g"),
    ("patches_libraries", "math.log, x = f, 1"),
    ("patches_libraries", "setattr(time, 'perf_counter', f)"),
    ("patches_libraries", "ValidationData.__init__ = f"),
    ("patches_libraries", "if a: math.log: object = f"),
    ("patches_libraries", "F = Mine()"),
    ("patches_libraries", "x, math = 1, Mine()"),
    ("patches_libraries", "def range(n): return []"),
    ("patches_libraries", "if True:\n    def len(x): return 1"),
    ("patches_libraries", "def f():\n    global time; time = g"),
    ("patches_libraries", "import mine as F"),
    ("patches_libraries", "for math in things: pass"),
    ("mixes_the_target", "class NgramCache: pass"),
    ("mixes_the_target", "def mix(logits, ppm_counts): return logits"),
    ("unreadable", "W = 'never ends"),
    ("unreadable", "W = (1,"),
    ("unreadable", "if True:\n        a\n    b"),
]

LEGAL = [
    "def eval_model(h, model): return model",
    "def tune(h, tokens): return train_model(h, device, tokens)",
    "# val_tokens are never read here, fineweb_val_000000.bin neither\n",
    "files = glob(h.train_files)",
    "torch.manual_seed(h.seed + 1)",
    "generator.manual_seed(seed)",
    "rng = np.random.Generator(np.random.PCG64(h.rank))",
    "if seed == 42: pass",
    f"W = '{'a' * 1000}'",
    f"A = '{'a' * 1500}'\nB = '{'b' * 1500}'",
    f"W = [{'1, -2, ' * 100}]",
    "raw = lzma.decompress(data)",
    "state = torch.load(io.BytesIO(_decompress(blob, h.compressor)))",
    "import http_like, torch.nn.functional as requests_per_second",
    "from torch.utils import data",
    "model.eval(); model = torch.compile(model)",
    "pattern = re.compile(WORDS)",
    "def log(msg): open(h.logfile, 'a')",
    "log(f'val_loss so far {loss}')",
    "y = flash_attn_3_func(rope(q), k, v, causal=True)",
    "y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)",
    "torch.backends.cuda.matmul.allow_tf32 = True; torch._dynamo.config.optimize_ddp = False",
    "import numpy as np, torch.distributed as dist, torch.nn.functional as F",
    "from torch.nn.parallel import DistributedDataParallel as DDP",
    "def f(): time = 3; dist = a - b; return max(time, dist)",
    "x = g(time=3, sum=F.relu); model.F = math.pi",
    "def f(a: torch.Tensor = None, b=np.pi): x: tuple[torch.Tensor, int] = g(F.relu, y=1)",
    "def f(m):\n    model: nn.Module = m",
    "if x.dtype != torch.float32: x.data = x.data.float()",
    "if math.pi == 3: y = np.sum(x)",
    "lr = torch.tensor(0.1); x: float = 1.0; steps = int(max(a, b))",
    "engram = bigram_embedding(x)",
    "log(f'step {1} takes a socket or requests')",
]


def broken(code: str) -> set[str]:
    return {found[0] for found in rules.broken_rules({"train_gpt.py": f"{HONEST}\n{code}\n"})}


def test_an_honest_recipe_breaks_none() -> None:
    assert rules.broken_rules({"train_gpt.py": HONEST}) == []


@pytest.mark.parametrize(("rule", "code"), BROKEN)
def test_what_breaks_a_rule_is_found(rule: str, code: str) -> None:
    assert rule in broken(code)


@pytest.mark.parametrize("code", LEGAL)
def test_what_only_looks_like_it_is_not(code: str) -> None:
    assert broken(code) == set()


def test_every_rule_has_a_recipe_that_breaks_it() -> None:
    assert {rule for rule, _ in BROKEN} == {rule.__name__ for rule in rules.RULES} | {"unreadable"}


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("fixed_seed", 'int(os.environ.get("SEED", 1337))', "int(os.environ.get('MY_SEED', 1))"),
        ("fixed_seed", "1337))", "1337)) * 0 + 42"),
        ("reads_validation", 'logfile = "log.txt"', "text = open(val_files)"),
        ("reads_validation", '"fineweb_train_*.bin"', '"fineweb_*.bin"'),
    ],
)
def test_settings_have_no_way_around(rule: str, old: str, new: str) -> None:
    found = rules.broken_rules({"train_gpt.py": HONEST.replace(old, new, 1)})
    assert old in HONEST and rule in {one[0] for one in found}


def test_code_between_the_quotes_of_an_f_string_is_seen_by_every_python() -> None:
    assert "reads_validation" in broken('x = f"{ "" + v.val_tokens + "" }"')
    assert "reads_validation" in broken('x = f"{v.val_tokens}"')


@pytest.mark.parametrize(
    "text",
    [
        "# coding: utf-7\nimport os\n",
        "import os\n# vim: set fileencoding=latin-1 :\n",
        "import os\0\n",
        "import os\n\fimport requests\n",
        "import os\n'\ud800' = $\n",
    ],
)
def test_what_python_may_read_in_another_way_is_not_read_at_all(text: str) -> None:
    (found,) = rules.broken_rules({"train_gpt.py": text})
    assert found[0] == "unreadable"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert isinstance(rules.broken_rules({"train_gpt.py": text}), list)


def test_the_place_and_the_evidence_are_told() -> None:
    code = "import os\nimport requests\n"
    assert rules.broken_rules({"b.py": code, "a.py": "x = 1\n"}) == [
        ("fetches", "b.py", 2, "imports requests")
    ]


def test_as_a_command_it_ends_as_a_scorer_does(tmp_path: Path) -> None:
    script = tmp_path / "train_gpt.py"
    script.write_text(HONEST)
    assert run_script(PACK, RULES, str(tmp_path), root=tmp_path).returncode == 0
    script.write_text(f"{HONEST}import requests\n")
    done = run_script(PACK, RULES, str(tmp_path), root=tmp_path)
    assert done.returncode == 4 and "fetches: imports requests" in done.stderr
    script.write_bytes(b"x = '\xff'\n")
    assert run_script(PACK, RULES, str(tmp_path), root=tmp_path).returncode == 4
