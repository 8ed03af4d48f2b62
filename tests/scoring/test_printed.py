"""Numbers in what a training prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.scoring import MalformedPredictions, last_number, printed_number, printed_pairs
from recipelab.scoring.printed import LAST_LINE


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("val_loss 1.23", "val_loss", 1.23),
        ("val_loss=1.23", "val_loss", 1.23),
        ("val_loss: 1.23", "val_loss", 1.23),
        ("val_loss : 1.23", "val_loss", 1.23),
        ("val_bpb:          0.997900", "val_bpb", 0.9979),
        ("Epoch 3 | val_loss: 1.23", "val_loss", 1.23),
        ("Epoch 3 | train_loss 9.0 | val_loss 1.23 | lr 3e-4", "val_loss", 1.23),
        ("step 250: train loss 2.4012, val loss 1.23", "val loss", 1.23),
        ("INFO:root:val_loss=1.23", "val_loss", 1.23),
        ("2026-01-02 10:11:12,123 - INFO - val_loss: 1.23", "val_loss", 1.23),
        ('{"epoch": 3, "val_loss": 1.23}', "val_loss", 1.23),
        ('{"epoch": 3, "val": {"loss": 1.23}}', "val.loss", 1.23),
        ("{'eval_loss': 1.23, 'epoch': 1.0}", "eval_loss", 1.23),
        ("\x1b[32mval_loss\x1b[0m: 1.23", "val_loss", 1.23),
        ("epoch 1\rval_loss 5.0\rval_loss 1.23", "val_loss", 1.23),
        ("final val_loss: 1.23", "val_loss", 1.23),
        ("val_loss: 9\nval_loss: 1.23\n", "val_loss", 1.23),
        ("val_loss: 1.23\nfinal val_loss: 9", "val_loss", 1.23),
        ("Accuracy: 93.2%", "Accuracy", 93.2),
        ("params: 1,234,567", "params", 1234567.0),
        ("loss -1.5e-3", "loss", -0.0015),
        ("val/acc=.5", "val/acc", 0.5),
    ],
)
def test_a_number_is_found_in_the_usual_forms(text: str, key: str, value: float) -> None:
    assert last_number(text, key) == value


@pytest.mark.parametrize("text", ["val_loss 1.23", "loss_scale: 2", "xloss=1", "no loss", ""])
def test_another_name_is_not_taken(text: str) -> None:
    assert last_number(text, "loss") is None


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    for key, value in printed_pairs(text):
        assert key
        assert isinstance(value, float)


@given(
    key=st.from_regex(r"[a-z][a-z_]{0,12}[a-z]", fullmatch=True).filter(
        lambda key: not key.startswith(("nan", "inf"))
    ),
    value=st.floats(allow_nan=False, allow_infinity=False),
    joint=st.sampled_from([" ", "=", ": ", " = ", ":\t"]),
)
def test_what_is_printed_is_read_back(key: str, value: float, joint: str) -> None:
    assert last_number(f"junk 7\n{key}{joint}{value!r}\nmore", key) == value


def log(folder: Path, text: str) -> None:
    (folder / "predictions").mkdir()
    (folder / "predictions" / "log.txt").write_text(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("loss: 1\n", "no whole log"),
        (f"loss: 1\n{LAST_LINE}1\n", "no whole log"),
        (f"loss: 1\n{LAST_LINE}0\n" * 2, "no whole log"),
        (f"loss: 1\n{LAST_LINE}0\nmore\n", "no whole log"),
        (f"gain: 1\n{LAST_LINE}0\n", "no line such as 'loss: 1.23'"),
        (f"loss: 1\nloss: nan\n{LAST_LINE}0\n", "printed loss nan"),
        (f"loss: -inf\n{LAST_LINE}0\n", "printed loss -inf"),
    ],
)
def test_a_log_without_a_score_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    log(tmp_path, text)
    with pytest.raises(MalformedPredictions):
        printed_number("loss")
    assert words in capsys.readouterr().err


def test_a_whole_log_gives_its_last_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log(tmp_path, f"loss: 3\nloss: 2.5\n\n{LAST_LINE}0\n")
    assert printed_number("loss") == 2.5
