"""parameter_golf at full scale: logs in the contest's forms, and the scorer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.packs.load import read_pack
from recipelab.packs.upstream import take_from_clone

from .scripts import SHIPPED, loaded, run_script, score_of

PACK = "parameter_golf"
log = loaded(PACK, "contest_log")

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
PUBLISHED = {
    "2026-03-19_MixedQuant_Int6Int8_SlidingWindow/train.log": 1.16301,
    "2026-03-19_smeargate_orthoinit_muonwd/train.log": 1.1556,
    "2026-04-09_SP8192_3LayerRecur_ParResid_QK525_LegalTTT/train_seed42.log": 1.08079352,
}
"""What the authors of some records say in their submission.json."""
FINAL = "quantized_ttt val_loss:2.79180191 val_bpb:1.08079352 eval_time:366525ms\n"


def test_both_forms_of_the_contest_are_read() -> None:
    (base,) = log.evaluations(BASE)
    assert (base.label, base.bits) == ("final_int8_zlib_roundtrip_exact", 1.2243657)
    last = log.evaluations(RECORD)[-1]
    assert (last.bits, last.nats, last.seconds) == (1.08079352, 2.79180191, 366.525)
    assert log.steps(BASE) == [log.Step(13780, 2.0606, 1.2172)]
    assert log.steps(RECORD) == [log.Step(0, 9.009, 3.4877), log.Step(4000, 2.8722, 1.1119)]
    assert log.stopped(BASE) == log.Stop(600.04, 13780)
    assert log.stopped(RECORD) == log.Stop(588.047, 4550)


@pytest.mark.parametrize(
    ("line", "label", "bits"),
    [
        ("diagnostic quantized val_loss:2.84 val_bpb:1.0997", "diagnostic quantized", 1.0997),
        (
            "quantized_ttt_phased val_loss:2.31944212 val_bpb:1.05989454 eval_time:508785ms\r",
            "quantized_ttt_phased",
            1.05989454,
        ),
        (
            "final_int6_sliding_window val_loss:1.9092 val_bpb:1.1307 stride:64 eval_time:85703ms",
            "final_int6_sliding_window",
            1.1307,
        ),
        (
            "final val_loss:1.9905 val_bpb:1.1789 eval_time:2067ms eval_seq_len:2048",
            "final",
            1.1789,
        ),
        ("quantized+pergroup val_loss:2e0 val_bpb:1e-5 eval_time:1ms", "quantized+pergroup", 1e-5),
        ("final_window_exact stride:64 val_loss:1.95 val_bpb:1.1301", "final_window_exact", 1.1301),
        ("sliding val_loss:2.9 val_bpb:1.15 (stride=16, T=0.90) eval_time:7ms", "sliding", 1.15),
        ("sliding val_loss:2.8 val_bpb:1.56 (stride=48, T=1.00) time:7ms", "sliding", 1.56),
        ("tempered val_loss:3.1 val_bpb:1.22 T=1.02", "tempered", 1.22),
        ("roundtrip wide val_loss:2.1 wide val_bpb:1.19 eval_time:7ms", "roundtrip wide", 1.19),
        ("1776144156.999 phased val_loss:2.7 val_bpb:1.07 eval_time:7ms", "phased", 1.07),
        ("ttt_wide:done val_loss=3.07 val_bpb=1.33 elapsed=405.0s", "ttt_wide", 1.33),
    ],
)
def test_records_rename_their_lines(line: str, label: str, bits: float) -> None:
    (found,) = log.evaluations(f"quantized val_loss:9.0 val_bpb:3.5\n{line}\n")[1:]
    assert (found.label, found.bits) == (label, bits)


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("a val_loss:2.9 val_bpb:1.15 (stride=16, T=0.90) eval_time:7ms", 0.007),
        ("a val_loss:2.8 val_bpb:1.56 (stride=48, T=1.00) time:7ms", 0.007),
        ("a stride:64 val_loss:1.95 val_bpb:1.1301 eval_time:7ms", 0.007),
        ("a:done val_loss=3.07 val_bpb=1.33 elapsed=405.0s", 405.0),
        ("a val_loss:3.1 val_bpb:1.22 T=1.02", None),
    ],
)
def test_the_time_of_an_evaluation_is_read_in_each_form(line: str, seconds: float | None) -> None:
    assert log.evaluations(line)[0].seconds == seconds


def test_a_time_stamp_before_a_line_changes_nothing() -> None:
    stamped = "\n".join(f"1776144155.834 {line}" for line in RECORD.splitlines()[2:])
    assert log.evaluations(stamped) == log.evaluations(RECORD)
    assert log.steps(stamped) == log.steps(RECORD) and log.stopped(stamped) == log.stopped(RECORD)
    assert log.submission_size(stamped) == log.submission_size(RECORD)


def test_a_figure_without_a_label_repeats_the_last_one_or_is_refused() -> None:
    assert len(log.evaluations(f"{FINAL}---\nval_bpb:          1.08079352\n")) == 1
    for text in (f"{FINAL}val_bpb:          1.07\n", "val_bpb:  1.07\n"):
        with pytest.raises(log.Malformed, match="repeats no evaluation"):
            log.evaluations(text)


def test_a_step_may_have_further_fields() -> None:
    line = "step:7/20 val_loss:2.1 val_bpb:1.2 train_time:9ms zero_frac:0.1"
    assert log.steps(line) == [log.Step(7, 2.1, 1.2)] and log.evaluations(line) == []


@pytest.mark.skipif("RECIPELAB_UPSTREAM" not in os.environ, reason="needs clones of upstream")
def test_every_public_log_is_read_or_refused_with_its_line() -> None:
    """The refused one is a summary in JSON; without an evaluation are runs that made none."""
    records = Path(os.environ["RECIPELAB_UPSTREAM"]) / "parameter-golf" / "records"
    last, refused, without = {}, [], []
    found = [path for ending in ("log", "txt") for path in records.rglob(f"*.{ending}")]
    for path in found:
        if path.name == "requirements.txt":
            continue
        text = path.read_text(errors="replace")
        try:
            ends = log.evaluations(text)
        except log.Malformed as error:
            refused.append((path.name, str(error)))
            continue
        assert ends or log.steps(text), path
        if ends:
            last[path.relative_to(records).as_posix()] = ends[-1].bits
        else:
            without.append(path.name)
    assert len(last) + len(refused) + len(without) >= 165
    assert [name for name, _ in refused] == ["summary.log"] and "line 9" in refused[0][1]
    assert len(without) <= 3
    for name, bits in PUBLISHED.items():
        assert last[f"track_10min_16mb/{name}"] == pytest.approx(bits, abs=5e-5)


def test_the_size_before_compression_is_not_the_size() -> None:
    assert log.submission_size(BASE) == log.Size("int8+zlib", 15_863_489)
    assert log.submission_size(RECORD) == log.Size("quantized+brotli", 15_991_930)
    assert log.submission_size("Total submission size: 67272669 bytes\n") is None


def test_the_last_line_counts_and_a_log_may_have_none() -> None:
    twice = RECORD + "Total submission size quantized+brotli: 15992919 bytes\n"
    assert log.submission_size(twice).bytes == 15_992_919
    assert log.stopped("step:1/20000 train_loss:6.9 train_time:44ms step_avg:43.5ms") is None
    assert log.evaluations("") == log.steps("") == []


def test_source_code_at_the_head_of_a_log_is_no_figure() -> None:
    assert len(log.evaluations(RECORD)) == 2
    assert log.evaluations(f"print('{FINAL.strip()}')\n  {FINAL}") == []
    assert log.evaluations("quantized val_loss:{a:.8f} val_bpb:{b:.8f} eval_time:{c:.0f}ms") == []


@pytest.mark.parametrize(
    "line",
    [
        "quantized_ttt val_loss:nan val_bpb:1.0 eval_time:1ms",
        "quantized_ttt val_loss:1.0 val_bpb:inf eval_time:1ms",
        "quantized_ttt val_loss:1.0 val_bpb:-1.0 eval_time:1ms",
        "quantized_ttt val_loss:1.0 val_bpb:1e999 eval_time:1ms",
        "quantized_ttt val_loss:1_0 val_bpb:1.0 eval_time:1ms",
        "quantized_ttt val_loss:1.0 val_bpb:\u0661 eval_time:1ms",
        "quantized_ttt val_loss:1.0 val_bpb:1.0 eval_time:-1ms",
        "quantized_ttt val_loss:1.0 val_bpb:1.0 eval_time:1ms and more",
        "quantized_ttt val_loss:1.0 val_bpb:1.0 eval_time:1s",
        "quantized_ttt val_loss:1.0 val_bpb:1.0 eval_time:1ms eval_time:2ms",
        "quantized_ttt val_loss:1.0",
    ],
)
def test_what_is_malformed_is_named_by_its_line(line: str) -> None:
    with pytest.raises(log.Malformed, match="line 2 "):
        log.evaluations(f"ttt:start chunks=1238\n{line}\n")


def test_a_step_that_is_not_finite_is_malformed() -> None:
    with pytest.raises(log.Malformed, match="line 1 has no finite figure 'nan'"):
        log.steps("4000/20000 val_loss: nan val_bpb: 1.1128")


@given(
    nats=st.floats(0.01, 20),
    bits=st.floats(0.01, 20),
    ms=st.integers(0, 10**7),
    noise=st.text().filter(lambda text: "val_loss" not in text),
)
def test_what_is_printed_is_read_back(nats: float, bits: float, ms: int, noise: str) -> None:
    line = f"quantized_ttt val_loss:{nats:.8f} val_bpb:{bits:.8f} eval_time:{ms}ms"
    found = log.evaluations(f"{noise}\n{line}\n")
    assert found[-1].nats == float(f"{nats:.8f}") and found[-1].bits == float(f"{bits:.8f}")
    assert found[-1].seconds == ms / 1000


@given(step=st.integers(0, 20_000), nats=st.floats(1e-9, 1e9), bits=st.floats(1e-9, 1e9))
def test_steps_of_both_forms_are_read_back(step: int, nats: float, bits: float) -> None:
    lines = f"step:{step}/20000 val_loss:{nats} val_bpb:{bits} train_time:1ms step_avg:1.00ms\n"
    lines += f"{step}/20000 val_loss: {nats} val_bpb: {bits}\n"
    assert log.steps(lines) == [log.Step(step, nats, bits)] * 2


@given(st.text(alphabet="quantized_ val_loss:val_bpb:0123456789.e-{}\n\r\u2028", max_size=80))
def test_hostile_logs_are_read_or_refused(text: str) -> None:
    try:
        found = log.evaluations(text)
    except log.Malformed:
        return
    assert all(one.nats >= 0 and one.bits >= 0 for one in found)


def scored(text: str | None, root: Path, *words: str) -> tuple[int, str]:
    (root / "predictions").mkdir()
    (root / "out").mkdir()
    if text is not None:
        (root / "predictions" / "log.txt").write_text(text)
    done = run_script(PACK, "evaluator/score.py", *words, root=root)
    return done.returncode, done.stderr


def test_one_final_line_is_a_score(tmp_path: Path) -> None:
    code, told = scored(f"Running PyTorch 2.9.1\nttt:start chunks=1238\n{FINAL}", tmp_path)
    assert code == 0, told
    found = score_of(tmp_path)
    assert found["bits_per_byte"] == 1.08079352 and found["eval_seconds"] == 366.525
    assert found["nats_per_token"] == 2.79180191
    assert found["tokens_per_byte"] == pytest.approx(0.268, abs=0.001)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (None, 3, "is missing"),
        ("", 3, "holds no line"),
        (f"x = '{FINAL.strip()}'", 3, "holds no line"),
        (f"0 {FINAL.strip()}.\n{FINAL}", 3, "line 1 has no time"),
        (FINAL * 2, 4, "one pass"),
        (RECORD, 4, "the log has 2"),
        (BASE, 4, "is no final evaluation"),
        (FINAL.replace(" eval_time:366525ms", ""), 4, "is no final evaluation"),
        (FINAL.replace("1.08079352", "0.00000001"), 4, "tokens a byte"),
        (FINAL.replace("2.79180191", "0.00000000"), 4, "tokens a byte"),
        (FINAL.replace("2.79180191", "inf"), 3, "no finite figure"),
        (FINAL + "x" * 5_000_000, 3, "longer than 5000000 bytes"),
    ],
)
def test_other_logs_are_refused(text: str | None, code: int, words: str, tmp_path: Path) -> None:
    ended, told = scored(text, tmp_path)
    assert ended == code and words in told and not (tmp_path / "out" / "score.json").exists()


# The three seeds of the record, and other evaluations in its logs: one text has one ratio.
@pytest.mark.parametrize(
    ("label", "nats", "bits"),
    [
        ("quantized_ttt", "2.79180191", "1.08079352"),
        ("quantized_ttt", "2.79241542", "1.08103103"),
        ("quantized_ttt", "2.79281076", "1.08118408"),
        ("quantized_sliding_window", "2.79676256", "1.08271394"),
    ],
)
def test_published_figures_have_the_ratio_of_the_text(
    label: str, nats: str, bits: str, tmp_path: Path
) -> None:
    line = f"{label} val_loss:{nats} val_bpb:{bits} eval_time:1ms\n"
    code, told = scored(line, tmp_path, "--tokens-per-byte", "0.26833887", "--tolerance", "1e-7")
    assert code == 0, told


@pytest.mark.parametrize("way", ["arguments", "file"])
def test_bytes_that_are_counted_in_another_way_break_a_rule(way: str, tmp_path: Path) -> None:
    told = {"tokens_per_byte": 0.26833887, "tolerance": 5e-4}
    words = ["--tokens-per-byte", "0.26833887"] if way == "arguments" else []
    if way == "file":
        (tmp_path / "answers").mkdir()
        (tmp_path / "answers" / "ratio.json").write_text(json.dumps(told))
    code, why = scored(FINAL.replace("1.08079352", "1.07971273"), tmp_path, *words)
    assert code == 4 and "miscounted" in why


@pytest.mark.skipif("RECIPELAB_UPSTREAM" not in os.environ, reason="needs clones of upstream")
def test_the_record_starts_with_the_settings_that_it_was_run_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its README: QK_GAIN_INIT=5.25 TTT_ENABLED=1 TTT_LR=0.005 TTT_EPOCHS=3."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pack = read_pack(SHIPPED / PACK / "pack.toml", "full")
    assert pack.upstream is not None
    take_from_clone(pack.upstream, Path(os.environ["RECIPELAB_UPSTREAM"]) / "parameter-golf")
    text = pack.baseline().files["full/recipe/train_gpt.py"]
    defaults = ("QK_GAIN_INIT',5.25)", "TTT_ENABLED','1')", "TTT_LR',.005)", "TTT_EPOCHS',3)")
    assert all(text.count(one) == 1 for one in defaults)
    names = ("QK_GAIN_INIT", "TTT_ENABLED", "TTT_LR", "TTT_EPOCHS")
    driver = pack.baseline().files["full/recipe/phases.py"]
    assert not any(name in driver for name in names)
