"""parameter_golf at full scale: logs in the contest's forms, its rules, and the two halves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .full import SHIPPED, loaded, run_script, score_of

PACK = "parameter_golf"
log = loaded(PACK, "contest_log")
rules = loaded(PACK, "rules")

# The forms of the contest's own script and of its records, with figures that were published.
BASE = """\
step:13780/20000 val_loss:2.0606 val_bpb:1.2172 train_time:600040ms step_avg:43.54ms
stopping_early: wallclock_cap train_time:600040ms step:13780/20000
peak memory allocated: 10184 MiB reserved: 10200 MiB
Serialized model: 67224983 bytes
Total submission size: 67272669 bytes
Serialized model int8+zlib: 15815847 bytes (payload:17178912 raw_torch:17224025 payload_ratio:3.91x)
Total submission size int8+zlib: 15863489 bytes
final_int8_zlib_roundtrip_exact val_loss:2.07269931 val_bpb:1.22436570
"""
RECORD = """\
import lzma as L
log(f"{label} val_loss:{val_loss:.8f} val_bpb:{val_bpb:.8f} eval_time:{elapsed_ms:.0f}ms")
0/20000 val_loss: 9.0090 val_bpb: 3.4877
4000/20000 val_loss: 2.8722 val_bpb: 1.1119
stopping_early: wallclock_cap train_time: 588047ms step: 4550/20000
pre-quantization post-ema val_loss:2.80873254 val_bpb:1.08734790 eval_time:7440ms
Total submission size quantized+brotli: 15991930 bytes
ttt:start chunks=1238 ttt_lr=0.005 ttt_epochs=3
quantized_ttt val_loss:2.79180191 val_bpb:1.08079352 eval_time:366525ms
"""
FINAL = "quantized_ttt val_loss:2.79180191 val_bpb:1.08079352 eval_time:366525ms\n"


def test_both_forms_of_the_contest_are_read() -> None:
    (base,) = log.evaluations(BASE)
    assert (base.label, base.bits) == ("final_int8_zlib_roundtrip_exact", 1.2243657)
    last = log.evaluations(RECORD)[-1]
    assert (last.bits, last.nats, last.seconds) == (1.08079352, 2.79180191, 366.525)
    assert log.steps(BASE) == [(13780, 2.0606, 1.2172)]
    assert log.steps(RECORD)[-1] == (4000, 2.8722, 1.1119)
    assert log.train_seconds(BASE) == 600.04 and log.train_seconds(RECORD) == 588.047


def test_the_size_before_compression_is_not_the_size() -> None:
    assert log.submission_bytes(BASE) == 15_863_489
    assert log.submission_bytes("Total submission size: 67272669 bytes\n") is None


def test_source_code_at_the_head_of_a_log_is_no_figure() -> None:
    assert len(log.evaluations(RECORD)) == 2
    assert log.evaluations(f"print('{FINAL.strip()}')\n  {FINAL}x{FINAL.strip()}!\n") == []


def test_figures_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(log.Malformed, match="no finite figure"):
        log.evaluations("quantized_ttt val_loss:nan val_bpb:1.0 eval_time:1ms\n")


@given(
    nats=st.floats(0.01, 20), bits=st.floats(0.01, 20), ms=st.integers(0, 10**7), noise=st.text()
)
def test_what_is_printed_is_read_back(nats: float, bits: float, ms: int, noise: str) -> None:
    line = f"quantized_ttt val_loss:{nats:.8f} val_bpb:{bits:.8f} eval_time:{ms}ms"
    found = log.evaluations(f"{noise}\n{line}\n")
    assert found[-1].nats == float(f"{nats:.8f}") and found[-1].bits == float(f"{bits:.8f}")
    assert found[-1].seconds == ms / 1000


def scored(text: str | None, root: Path) -> tuple[int, str]:
    (root / "predictions").mkdir()
    (root / "out").mkdir()
    if text is not None:
        (root / "predictions" / "log.txt").write_text(text)
    done = run_script(PACK, "evaluator/score.py", root=root)
    return done.returncode, done.stderr


def test_one_final_line_is_a_score(tmp_path: Path) -> None:
    code, told = scored(f"Running PyTorch 2.9.1\nttt:start chunks=1238\n{FINAL}", tmp_path)
    assert code == 0, told
    found = score_of(tmp_path)
    assert found["bits_per_byte"] == 1.08079352 and found["eval_seconds"] == 366.525
    assert found["tokens_per_byte"] == pytest.approx(0.268, abs=0.001)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, 3, "is missing"),
        ("", 3, "holds no line"),
        (FINAL * 2, 4, "one pass"),
        (RECORD, 4, "the log has 2"),
        (BASE, 4, "is no final evaluation"),
        (FINAL.replace("1.08079352", "0.00000001"), 4, "tokens a byte"),
        (FINAL.replace("2.79180191", "0.00000000"), 4, "tokens a byte"),
        (FINAL.replace("2.79180191", "inf"), 3, "no finite figure"),
    ],
)
def test_other_logs_are_refused(text: str | None, code: int, words: str, tmp_path: Path) -> None:
    assert scored(text, tmp_path)[0] == code
    shutil.rmtree(tmp_path / "predictions")
    shutil.rmtree(tmp_path / "out")
    assert words in scored(text, tmp_path)[1]


HONEST = """
import os
class Hyperparameters:
    seed = int(os.environ.get("SEED", 1337)); val_files = "fineweb_val_*.bin"
class ValidationData:
    def __init__(self, h): self.val_tokens = load(h.val_files)
def eval_val_ttt(h, val_data, model): return val_data.val_tokens
def train_model(h, val_data): torch.manual_seed(h.seed)
"""


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("reads_validation", "def serialize(h, val_data): calibrate(val_data.val_tokens)"),
        ("reads_validation", "text = open('data/fineweb_val_000000.bin').read()"),
        ("reads_validation", "files = glob(h.val_files)"),
        ("fixed_seed", "torch.manual_seed(42)"),
        ("fixed_seed", "class H:\n    seed = 42"),
        ("weights_in_code", f"W = '{'a' * 3000}'"),
        ("weights_in_code", "W = base64.b85decode(WORDS)"),
        ("weights_in_code", "W = bytes.fromhex(WORDS)"),
        ("fetches", "import requests"),
        ("fetches", "from urllib.request import urlopen"),
        ("fetches", "import huggingface_hub.file_download"),
        ("mixes_the_target", "class NgramCache: pass"),
        ("mixes_the_target", "def mix(logits, ppm_counts): return logits"),
    ],
)
def test_what_breaks_a_rule_is_found(rule: str, code: str) -> None:
    assert rules.broken_rules(HONEST) == []
    assert rule in {found[0] for found in rules.broken_rules(f"{HONEST}\n{code}\n")}


@pytest.mark.parametrize(
    "code",
    [
        "def train_more(h, val_data): return train_model(h, val_data)",
        "torch.manual_seed(h.seed + 1)",
        f"W = '{'a' * 1000}'",
        "import http_like",
        "engram = 1",
    ],
)
def test_what_only_looks_like_it_is_not(code: str) -> None:
    assert rules.broken_rules(f"{HONEST}\n{code}\n") == []


SCRIPT = """
import os
from pathlib import Path
class Hyperparameters:
    seed = int(os.environ["SEED"]); data = os.environ["DATA_DIR"]; logfile = "x"
    ttt_enabled = os.environ["TTT_ENABLED"] == "1"; sliding_window_enabled = True; num_loops = 2
class ValidationData:
    def __init__(self, h, device):
        self.text = Path(h.data, "datasets/val.bin").read_text()
def train_model(h, device, val_data):
    Path("saw.txt").write_text(val_data.text)
    return f"weights after {val_data.text} with {h.seed}", None
def serialize(h, model, code): Path(h.quantized_model_path).write_text(model)
class Model(str): looping_active = False
def deserialize(h, device): return Model(Path(h.quantized_model_path).read_text())
def eval_val_ttt(h, device, val_data, model):
    assert model.looping_active
    return f"{model} on {val_data.text}"
def timed_eval(label, fn, h, *args):
    Path(h.logfile).write_text(f"{label}: {fn(h, *args)}")
def main(): train_and_eval(Hyperparameters(), "cpu")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A phase root with a script of the contest's shape that needs no GPU."""
    shutil.copytree(SHIPPED / PACK / "full" / "recipe", tmp_path / "recipe")
    (tmp_path / "recipe" / "train_gpt.py").write_text(SCRIPT)
    for name in ("out", "artifact", "data/datasets"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def halved(root: Path, *words: str) -> tuple[int, str]:
    import subprocess
    import sys

    command = [sys.executable, str(root / "recipe" / "phases.py"), *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.torch
def test_train_and_predict_are_two_halves(root: Path) -> None:
    text = root / "data" / "datasets" / "val.bin"
    text.write_text("a stand-in")
    code, told = halved(root, "train", "--seed", "7")
    assert code == 0, told
    model = root / "out" / "final_model.int6.ptz"
    assert model.read_text() == "weights after a stand-in with 7"
    model.rename(root / "artifact" / model.name)
    text.write_text("the hidden text")
    code, told = halved(root, "predict", "--seed", "7")
    assert code == 0, told
    assert (root / "out" / "log.txt").read_text() == (
        "quantized_ttt: weights after a stand-in with 7 on the hidden text"
    )


def test_a_script_that_lacks_a_function_is_told_which(root: Path) -> None:
    script = root / "recipe" / "train_gpt.py"
    script.write_text(SCRIPT.replace("def serialize", "def save"))
    code, told = halved(root, "train")
    assert code == 1 and "has to keep: serialize" in told
