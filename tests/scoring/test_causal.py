"""Look-ahead is proven by probes: honest language models pass, and no cheat does."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipelab.scoring.causal import (
    ERRORS,
    PREDICTIONS_FILE,
    ROUNDING,
    ROUNDS,
    SYMBOLS,
    WINDOWS_FILE,
    ProbePlan,
    bits,
    bits_per_byte,
    cheaper,
    checked_windows,
    leave_without_order,
    likeliest,
    prepare,
    prepare_windows,
)
from recipelab.scoring.predictions import BrokenRule, MalformedPredictions

TEXT = b"the quick brown fox jumps over the lazy dog while the dog dreams of a quick brown hare. "
LENGTH = 11

Model = Callable[[bytes, int], list[float]]
"""Gives the distribution of byte ``t`` of a window; an honest one looks at ``window[:t]`` alone."""


def uniform(window: bytes, t: int) -> list[float]:
    return [1 / SYMBOLS] * SYMBOLS


def past(window: bytes, t: int) -> list[float]:
    """Bets on the bytes that it has seen in the window."""
    return mixed({byte: 1.0 for byte in window[:t]}, 0.1)


def own_byte(window: bytes, t: int) -> list[float]:
    return mixed({window[t]: 1.0}, 0.5)


def next_byte(window: bytes, t: int) -> list[float]:
    return mixed({window[min(t + 1, len(window) - 1)]: 1.0}, 0.5)


def sometimes_own_byte(window: bytes, t: int) -> list[float]:
    return own_byte(window, t) if t % 5 == 0 else uniform(window, t)


def whole_window(window: bytes, t: int) -> list[float]:
    return mixed({byte: 1.0 for byte in window}, 0.1)


def mixed(bets: dict[int, float], share: float) -> list[float]:
    """A distribution with a share for the bets and the rest for all bytes alike."""
    share = share if bets else 0.0
    row = [(1 - share) / SYMBOLS] * SYMBOLS
    for byte, weight in bets.items():
        row[byte] += share * weight / sum(bets.values())
    return row


def predict(folder: Path, out: Path, model: Model, *, length: int = LENGTH) -> None:
    """What a recipe does: a round at a time, and windows alone."""
    for name in ROUNDS:
        windows = (folder / "rounds" / name / WINDOWS_FILE).read_bytes()
        rows = array("f")
        for start in range(0, len(windows), length):
            window = windows[start : start + length]
            for t in range(length):
                rows.extend(model(window, t))
        (out / name).mkdir(parents=True)
        (out / name / PREDICTIONS_FILE).write_bytes(rows.tobytes())


def scored(folder: Path, model: Model, *, nonce: int = 1, text: bytes = TEXT) -> float:
    """The score of a model."""
    prepare(text, length=LENGTH, nonce=nonce, out=folder)
    predict(folder, folder / "predictions", model)
    return bits_per_byte(ProbePlan.load(folder / "plan"), folder / "predictions")


def test_an_honest_model_is_scored_on_the_true_windows(tmp_path: Path) -> None:
    assert scored(tmp_path, uniform) == pytest.approx(8.0)


def test_a_score_does_not_depend_on_the_secret(tmp_path: Path) -> None:
    scores = []
    for nonce in range(5):
        (tmp_path / str(nonce)).mkdir()
        scores.append(scored(tmp_path / str(nonce), past, nonce=nonce))
    assert scores == [scores[0]] * 5
    assert scores[0] < 8.0


@pytest.mark.parametrize("cheat", [own_byte, next_byte, sometimes_own_byte, whole_window])
@pytest.mark.parametrize("nonce", range(5))
def test_looking_ahead_is_found_with_evidence(tmp_path: Path, cheat: Model, nonce: int) -> None:
    with pytest.raises(BrokenRule, match=r"look-ahead: window \d+, byte \d+: .* moved by"):
        scored(tmp_path, cheat, nonce=nonce, text=TEXT * 4)


def test_rounding_is_no_look_ahead(tmp_path: Path) -> None:
    def rounded(window: bytes, t: int) -> list[float]:
        noise = 1e-7 * (sum(window) % 7)
        return [value + noise / SYMBOLS for value in past(window, t)]

    assert scored(tmp_path, rounded) < 8.0


@pytest.mark.parametrize("nonce", range(5))
def test_a_whisper_on_the_true_byte_is_look_ahead(tmp_path: Path, nonce: int) -> None:
    def whispering(window: bytes, t: int) -> list[float]:
        row = past(window, t)
        row[window[t]] += ROUNDING / 4
        return [value / sum(row) for value in row]

    with pytest.raises(
        BrokenRule, match=r"the true byte cost .* bits .* looking at them was worth"
    ):
        scored(tmp_path, whispering, nonce=nonce)


def shifted(share: Callable[[bytes, int], float]) -> Model:
    """The model of the past, with the byte that comes made likelier by a share of a tolerance."""

    def model(window: bytes, t: int) -> list[float]:
        row = past(window, t)
        row[window[t]] *= 2.0 ** (share(window, t) * ROUNDING)
        return row

    return model


@pytest.mark.parametrize("nonce", range(5))
def test_what_a_tolerance_was_worth_is_summed(tmp_path: Path, nonce: int) -> None:
    """Each prediction is within its tolerance, and all of them together are not."""
    windows = 64
    text = (TEXT * 9)[: windows * LENGTH]
    with pytest.raises(
        BrokenRule, match=f"secret places of {windows} windows .* was worth"
    ) as told:
        scored(tmp_path, shifted(lambda window, t: 0.9), nonce=nonce, text=text)
    assert f"at most {ERRORS * ROUNDING / 8:.3g}" in str(told.value)


@pytest.mark.parametrize("nonce", range(5))
def test_rounding_of_either_sign_sums_to_nothing(tmp_path: Path, nonce: int) -> None:
    """The twin of the peeker: as much noise, of a sign that no true byte has a say in."""
    chance = random.Random(nonce)
    model = shifted(lambda window, t: chance.choice((-0.45, 0.45)))
    assert scored(tmp_path, model, nonce=nonce, text=(TEXT * 9)[: 64 * LENGTH]) < 8.0


@given(st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(0.0, 1.0), st.integers(0, 3))
def test_no_tolerance_can_choose_the_likeliest_byte(
    one: float, other: float, best: float, byte: int
) -> None:
    """Two futures that move a distribution within the tolerance never find two likeliest bytes."""
    row = [best, best, *[0.0] * (SYMBOLS - 2)]
    futures = []
    for move, wanted in ((one, byte), (other, (byte + 1) % 4)):
        moved = list(row)
        moved[wanted] += abs(move) * ROUNDING / 2
        moved[(wanted + 2) % 4] -= abs(move) * ROUNDING / 2
        futures.append({b for b in range(4) if likeliest(moved, b)})
    assert len(futures[0] | futures[1]) <= 1


def test_a_byte_that_is_likelier_by_more_than_rounding_is_the_likeliest() -> None:
    row = mixed({7: 1.0}, 3 * ROUNDING)
    assert likeliest(row, 7) and not likeliest(row, 8)
    assert not likeliest(mixed({7: 1.0}, ROUNDING / 2), 7)


@given(st.floats(0.0, 8.0), st.floats(0.0, 8.0), *[st.floats(0.0, ROUNDING)] * 4)
def test_no_tolerance_can_choose_the_cheaper_text(
    a: float, b: float, one: float, other: float, third: float, fourth: float
) -> None:
    assert not (cheaper(a + one, b + other) and cheaper(b + third, a + fourth))


def test_nothing_is_won_with_the_tolerance_of_the_sum(tmp_path: Path) -> None:
    def generous(window: bytes, t: int) -> list[float]:
        return [value * 1.0009 for value in uniform(window, t)]

    assert scored(tmp_path, generous) == pytest.approx(8.0, abs=1e-6)


def with_first(value: float) -> Model:
    return lambda window, t: [value, *uniform(window, t)[1:]]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda window, t: [1.0] * SYMBOLS, "the probabilities sum to 256, not 1"),
        (lambda window, t: [0.0] * SYMBOLS, "the probabilities sum to 0, not 1"),
        (with_first(0.1), "the probabilities sum to 1.0"),
        (with_first(-0.5), "not between 0 and 1"),
        (with_first(math.nan), "not between 0 and 1"),
        (with_first(math.inf), "not between 0 and 1"),
        (lambda window, t: [*uniform(window, t)[1:], math.nan], "not between 0 and 1"),
        (lambda window, t: [math.inf, -math.inf, *uniform(window, t)[2:]], "not between 0 and 1"),
    ],
)
def test_what_is_no_distribution_is_refused(tmp_path: Path, model: Model, words: str) -> None:
    with pytest.raises(BrokenRule, match=words):
        scored(tmp_path, model)


def test_a_byte_that_was_called_impossible_costs_everything(tmp_path: Path) -> None:
    assert scored(tmp_path, lambda window, t: [1.0] + [0.0] * (SYMBOLS - 1)) == math.inf


@pytest.mark.parametrize("size", [None, 0, 10])
def test_predictions_of_another_size_are_malformed(tmp_path: Path, size: int | None) -> None:
    prepare(TEXT, length=LENGTH, nonce=1, out=tmp_path)
    predict(tmp_path, tmp_path / "predictions", uniform)
    broken = tmp_path / "predictions" / "b" / PREDICTIONS_FILE
    broken.unlink() if size is None else broken.write_bytes(bytes(size))
    words = "b/probabilities.bin: is missing" if size is None else f"has {size} bytes, expected"
    with pytest.raises(MalformedPredictions, match=words):
        bits_per_byte(ProbePlan.load(tmp_path / "plan"), tmp_path / "predictions")


@given(
    st.binary(min_size=2, max_size=200).filter(lambda text: len(set(text)) > 1),
    st.integers(2, 20),
    st.integers(0, 2**48 - 1),
)
@settings(max_examples=100, deadline=None)
def test_rounds_have_the_same_past_and_another_byte_at_the_secret_place(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, length: int, nonce: int
) -> None:
    folder = tmp_path_factory.mktemp("rounds")
    if len(text) < length or len(set(text[: len(text) // length * length])) < 2:
        return
    plan = prepare(text, length=length, nonce=nonce, out=folder)
    assert ProbePlan.load(folder / "plan") == plan
    rounds = [(folder / "rounds" / name / WINDOWS_FILE).read_bytes() for name in ROUNDS]
    assert len({len(round_) for round_ in (*rounds, plan.text)}) == 1
    for number, (real, place) in enumerate(zip(plan.real, plan.changed, strict=True)):
        start, end = number * length, (number + 1) * length
        assert rounds[real][start:end] == plan.text[start:end]
        assert rounds[1 - real][start : start + place] == plan.text[start : start + place]
        assert rounds[1 - real][start + place] != plan.text[start + place]


@pytest.mark.parametrize("text", [b"", b"abc", b"a" * 100])
def test_a_text_that_proves_nothing_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ValueError, match="must"):
        prepare(text, length=LENGTH, nonce=1, out=tmp_path)


def test_only_the_ends_of_windows_are_asked_for(tmp_path: Path) -> None:
    windows = [b"to be or not", b"that is what", b"the question"]
    plan = prepare_windows(windows, last=3, nonce=5, out=tmp_path)
    rows = array("f", [1 / SYMBOLS] * SYMBOLS * 3 * len(windows))
    for name in ROUNDS:
        asked = (tmp_path / "rounds" / name / WINDOWS_FILE).read_bytes()
        starts = [asked[at : at + 12 - 3] for at in range(0, len(asked), 12)]
        assert starts == [window[:-3] for window in windows]
        (tmp_path / name).mkdir()
        (tmp_path / name / PREDICTIONS_FILE).write_bytes(rows.tobytes())
    found = list(checked_windows(ProbePlan.load(tmp_path / "plan"), tmp_path))
    assert [len(ends) for ends in found] == [3, 3, 3]
    assert bits(found[0][0], ord("n")) == pytest.approx(8.0)
    assert plan.window(1) == windows[1]


@pytest.mark.parametrize(
    ("windows", "last"), [([], 1), ([b"ab", b"abc"], 1), ([b"ab"], 0), ([b"ab"], 3), ([b"aa"], 1)]
)
def test_windows_that_cannot_be_asked_are_refused(
    windows: list[bytes], last: int, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="windows have one length"):
        prepare_windows(windows, last=last, nonce=1, out=tmp_path)


def test_secret_places_are_among_the_bytes_that_are_scored(tmp_path: Path) -> None:
    windows = [b"to be or not", b"that is what", b"the question"]
    for nonce in range(20):
        plan = prepare_windows(
            windows, last=6, nonce=nonce, out=tmp_path / str(nonce), scored=[1, 2, 6]
        )
        assert all(place >= 12 - end for place, end in zip(plan.changed, (1, 2, 6), strict=True))


@pytest.mark.parametrize("sizes", [[1], [1, 2, 7], [0, 1, 1]])
def test_bytes_that_are_not_predicted_cannot_be_scored(sizes: list[int], tmp_path: Path) -> None:
    windows = [b"to be or not", b"that is what", b"the question"]
    with pytest.raises(ValueError, match="scored must be 1 to 6 bytes of each of 3 windows"):
        prepare_windows(windows, last=6, nonce=1, out=tmp_path, scored=sizes)


def test_texts_without_order_have_the_same_letters(tmp_path: Path) -> None:
    training, out = tmp_path / "training", tmp_path / "out"
    training.mkdir()
    out.mkdir()
    texts = {"a.txt": b"to be or not to be", "b.txt": bytes(range(256))}
    for name, text in texts.items():
        (training / name).write_bytes(text)
    leave_without_order(7, training=training, out=out)
    left = {path.name: path.read_bytes() for path in (out / "data").iterdir()}
    assert {name: sorted(text) for name, text in left.items()} == {
        name: sorted(text) for name, text in texts.items()
    }
    assert left != texts
