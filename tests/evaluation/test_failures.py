"""What is read out of a failed phase: kind, signature, excerpt, status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.trial import FailureKind, Phase, Status
from recipelab.evaluation.failures import (
    EXCERPT_CHARACTERS,
    SIGNATURE_CHARACTERS,
    failure_of,
    signature_of,
    status_of,
)
from recipelab.sandbox.base import Ending, PhaseResult


def exited(log: str, code: int = 1) -> PhaseResult:
    return PhaseResult(Ending.EXITED, code, 1.0, 1.0, None, log)


def stopped(ending: Ending) -> PhaseResult:
    return PhaseResult(ending, None, 1.0, 1.0, None, "step 1\nstep 2\n")


TRACEBACK = """epoch 1
Traceback (most recent call last):
  File "/tmp/root/recipe/train.py", line 12, in <module>
    main()
  File "/tmp/root/recipe/model.py", line 7, in forward
    return x @ w
  File "/usr/lib/python3.11/site-packages/torch/nn.py", line 99, in __call__
    raise RuntimeError(...)
{}
"""


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("RuntimeError: mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)", "shape"),
        ("RuntimeError: The size of tensor a (3) must match the size of tensor b", "shape"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "oom"),
        ("MemoryError", "oom"),
        ("ModuleNotFoundError: No module named 'einops'", "import"),
        ("NameError: name 'lr' is not defined", "name"),
        ("AttributeError: 'Net' object has no attribute 'head'", "name"),
        ("TypeError: forward() missing 1 required positional argument", "type"),
        ("ValueError: loss is nan at step 12", "nan"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("SyntaxError: invalid syntax", "syntax"),
        ("KeyError: 'lr'", "value"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'x.pt'", "missing_output"),
        ("RuntimeError: something else", "other"),
    ],
)
def test_the_exception_gives_the_kind(line: str, kind: str) -> None:
    failure = failure_of(exited(TRACEBACK.format(line)), Phase.TRAIN, seed=2, budget=60)
    assert failure.kind == kind
    assert failure.excerpt.endswith(line)
    assert failure.signature.endswith("in model.py:forward")
    assert (failure.phase, failure.seed) == (Phase.TRAIN, 2)


@pytest.mark.parametrize(
    ("ending", "phase", "status", "kind"),
    [
        (Ending.DEADLINE, Phase.TRAIN, Status.TRAIN_OVERRUN, FailureKind.TIMEOUT),
        (Ending.DEADLINE, Phase.PREDICT, Status.EVAL_OVERRUN, FailureKind.TIMEOUT),
        (Ending.DEADLINE, Phase.PREFLIGHT, Status.CRASHED, FailureKind.TIMEOUT),
        (Ending.MEMORY, Phase.TRAIN, Status.CRASHED, FailureKind.OOM),
        (Ending.OUTPUT, Phase.TRAIN, Status.OVERSIZE, FailureKind.SIZE),
    ],
)
def test_a_limit_gives_status_and_kind(
    ending: Ending, phase: Phase, status: Status, kind: FailureKind
) -> None:
    result = stopped(ending)
    assert status_of(result, phase) is status
    failure = failure_of(result, phase, seed=1, budget=60)
    assert failure.kind is kind
    assert "step 2" in failure.excerpt


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("ValueError: got 3 at 0x7f12ab", "ValueError: got 14 at 0x99ffee"),
        ("OSError: /tmp/a/b.pt is gone", "OSError: /var/x/yy.pt is gone"),
        ("loss 1.5e-3 too big", "loss 2.25 too big"),
    ],
)
def test_repeats_share_a_signature(one: str, two: str) -> None:
    assert signature_of(one) == signature_of(two)


def test_other_errors_do_not() -> None:
    assert signature_of("ValueError: bad width") != signature_of("ValueError: bad depth")
    kill, segfault = (failure_of(exited("", c), Phase.TRAIN, seed=1, budget=1) for c in (-9, -11))
    assert kill.kind is FailureKind.SIGNAL
    assert kill.signature != segfault.signature


@given(st.text(max_size=4000), st.integers(-64, 255).filter(bool))
def test_any_log_gives_a_bounded_failure(log: str, code: int) -> None:
    failure = failure_of(exited(log, code), Phase.TRAIN, seed=1, budget=60)
    assert len(failure.signature) <= SIGNATURE_CHARACTERS
    assert len(failure.excerpt) <= EXCERPT_CHARACTERS


@given(st.text(max_size=300))
def test_a_signature_is_stable(text: str) -> None:
    once = signature_of(text)
    assert signature_of(once) == once
