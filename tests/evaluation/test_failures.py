"""What is read out of a failed phase: kind, signature, excerpt, status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.trial import Failure, FailureKind, Phase, Status
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


def failure(log: str, code: int = 1) -> Failure:
    return failure_of(exited(log, code), Phase.TRAIN, seed=1, budget=60)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(h)`",
            "oom",
        ),
        ("MyArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (9, 9)", "oom"),
        (
            "RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error. It is "
            "possible that dataloader's workers are out of shared memory.",
            "oom",
        ),
        ("RuntimeError: can't start new thread", "processes"),
        ("KeyError: 'shape'", "value"),
        ("AttributeError: 'NoneType' object has no attribute 'shape'", "name"),
        ("TypeError: __init__() missing 1 required positional argument: 'channels'", "type"),
        ("ImportError: cannot import name 'nan' from 'numpy'", "import"),
        ("ValueError: cannot infer the split; see --inf", "value"),
        ("AssertionError: loss is -inf", "nan"),
        ("recipe.errors.bad_value: lr", "value"),
        ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "infrastructure"),
        (
            "torch.AcceleratorError: CUDA error: all devices are busy or unavailable",
            "infrastructure",
        ),
    ],
)
def test_a_name_says_more_than_words_in_the_message(line: str, kind: str) -> None:
    assert failure(TRACEBACK.format(line)).kind == kind


LINKED = "\nDuring handling of the above exception, another exception occurred:\n\n"


def test_of_a_chain_the_first_exception_counts() -> None:
    oom = TRACEBACK.format("torch.OutOfMemoryError: CUDA out of memory.")
    last = TRACEBACK.format("RuntimeError: no checkpoint: the group is gone").removeprefix(
        "epoch 1\n"
    )
    found = failure(f"{oom}{LINKED}{last}")
    assert found.kind is FailureKind.OOM
    assert found.excerpt.endswith("CUDA out of memory.")
    # What a program tries first, and catches, is not what broke.
    tried = TRACEBACK.format("ModuleNotFoundError: No module named 'flash_attn'")
    assert failure(f"{tried}{LINKED}{last}").signature.startswith("RuntimeError: no checkpoint")
    # An exception from long before is none of a chain.
    assert failure(f"{oom}step 1\nstep 2\n{last}").signature.startswith("RuntimeError")


def test_what_is_printed_around_a_traceback_does_not_hide_it() -> None:
    error = TRACEBACK.format("ValueError: bad rate\nExpected a positive number")
    for before, after in (
        ("caching allocator: out of memory, retrying\n", ""),
        ("", "/usr/lib/python3.11/x.py:224: UserWarning: leaked semaphore\n  warnings.warn('x')\n"),
        (" 50%|#####     | 5/10 [00:01<00:01]", ""),
        ("\x1b[1;31m", "\x1b[0m"),
    ):
        text = error.removeprefix("epoch 1\n") if before.endswith("]") else error
        found = failure(f"{before}{text}{after}")
        assert (found.kind, found.signature) == (
            FailureKind.VALUE,
            "ValueError: bad rate in model.py:forward",
        )


def test_the_last_lines_tell_where_nothing_was_raised() -> None:
    found = failure("step 1 loss 9.2\nstep 2 loss nan\nFAIL\n")
    assert (found.kind, found.signature) == (FailureKind.NAN, "exit code 1: step # loss nan")
    # A program that prints what it caught, and leaves.
    caught = TRACEBACK.format("SystemExit: 1")
    assert (
        failure(f"CUDA out of memory. Tried to allocate 20 MiB\n{caught}").kind is FailureKind.OOM
    )


LAUNCHED = (
    "Traceback (most recent call last):\n"
    '  File "/usr/lib/python3.12/runpy.py", line 88, in _run_code\n'
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    "Root Cause (first observed failure):\n  rank : 0 (local_rank: 0)\n  exitcode : 1 (pid: 7)\n"
)


@given(
    st.from_regex(r"\A[a-z]{3,9} [a-z]{3,9}( [a-z/]{3,12})?\Z"),
    st.integers(min_value=2, max_value=8),
)
def test_ranks_that_say_the_same_at_once_have_the_signature_of_one(text: str, ranks: int) -> None:
    one = failure(f"{text}\n{LAUNCHED}")
    assert failure(f"{text * ranks}" + "\n" * ranks + LAUNCHED).signature == one.signature
    # Only ranks speak at once: a line of one process stays what it is.
    assert failure("wait wait wait \n").signature == "exit code 1: wait wait wait"


@pytest.mark.parametrize("code", [-9, 137])
def test_a_kill_is_no_exception_from_long_before(code: int) -> None:
    caught = TRACEBACK.format("ModuleNotFoundError: No module named 'flash_attn'")
    steps = "".join(f"step {number} loss 9.0\n" for number in range(20))
    found = failure(f"{caught}{steps}", code)
    assert (found.kind, found.signature) == (FailureKind.SIGNAL, "signal 9: step # loss #")


def test_of_an_exception_group_the_first_member_counts() -> None:
    log = (
        "  + Exception Group Traceback (most recent call last):\n"
        '  |   File "W/recipe/train.py", line 3, in <module>\n'
        "  | ExceptionGroup: two (2 sub-exceptions)\n"
        "  +-+---------------- 1 ----------------\n"
        "    | ValueError: bad lr\n"
        "    +---------------- 2 ----------------\n"
        "    | TypeError: worse\n"
        "    +------------------------------------\n"
    )
    assert failure(log).signature == "ValueError: bad lr in train.py:<module>"


WATCHDOG = (
    "[rank1]:[E1127 17:00:00.1 ProcessGroupNCCL.cpp:616] [Rank 1] Watchdog caught collective "
    "operation timeout: WorkNCCL(SeqNum=7, OpType=ALLREDUCE) ran for 600006 milliseconds\n"
)
ABORTED = (
    "[rank0]: Traceback (most recent call last):\n"
    '[rank0]:   File "/trial/recipe/train.py", line 9, in step\n'
    "[rank0]: torch.distributed.DistBackendError: NCCL communicator was aborted on rank 0.\n"
)


def test_a_time_out_of_nccl_is_the_machines_unless_a_rank_failed_first() -> None:
    for log, code in ((WATCHDOG, -6), (WATCHDOG + ABORTED, 1), (ABORTED + WATCHDOG, 134)):
        found = failure(f"step 1\n{log}", code)
        assert found.kind is FailureKind.INFRASTRUCTURE
        assert "Watchdog caught collective operation timeout" in found.signature
    error = ABORTED.replace("rank0", "rank1").splitlines()[:2]
    own = "\n".join([*error, "[rank1]: ValueError: batch must divide", ""])
    for log in (own + WATCHDOG + ABORTED, ABORTED + own + WATCHDOG):
        assert failure(log).signature == "ValueError: batch must divide in train.py:step"


MACHINE = (
    "RuntimeError: NCCL communicator was aborted on rank 3.",
    "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1331, unhandled "
    "system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.20.5",
    "torch.distributed.DistBackendError: NCCL error: remote process exited or there was a network "
    "error, NCCL version 2.20.5",
    "RuntimeError: CUDA driver error: unknown error",
    "torch.AcceleratorError: CUDA error: unknown error",
    "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    "RuntimeError: Error 803: system has unsupported display driver / cuda driver combination",
    "RuntimeError: DataLoader worker (pid 12) is killed by signal: Bus error. ",
    "OSError: [Errno 5] Input/output error: 'data/train.bin'",
)
RECIPE = (
    ("torch.AcceleratorError: CUDA error: an illegal memory access was encountered", "other"),
    ("RuntimeError: CUDA error: device-side assert triggered", "other"),
    ("RuntimeError: No CUDA GPUs are available", "other"),
    (
        "RuntimeError: DataLoader worker (pid 12) is killed by signal: Bus error. It is possible "
        "that dataloader's workers are out of shared memory.",
        "oom",
    ),
    ("ValueError: the bus error rate must be positive", "value"),
    ("OSError: [Errno 28] No space left on device", "disk"),
)


@pytest.mark.parametrize("error", MACHINE)
def test_an_error_of_the_machine_is_not_booked_on_the_recipe(error: str) -> None:
    log = (
        f'Traceback (most recent call last):\n  File "/w/recipe/train.py", line 1, in main\n{error}'
    )
    assert failure(log).kind is FailureKind.INFRASTRUCTURE


@pytest.mark.parametrize(("error", "kind"), RECIPE)
def test_an_error_that_sounds_like_the_machines_is_the_recipes(error: str, kind: str) -> None:
    log = (
        f'Traceback (most recent call last):\n  File "/w/recipe/train.py", line 1, in main\n{error}'
    )
    assert failure(log).kind == kind


def test_a_process_that_the_system_refuses_is_at_the_limit_of_processes() -> None:
    for error in (
        "BlockingIOError: [Errno 11] Resource temporarily unavailable",
        "sh: 1: Cannot fork: Resource temporarily unavailable",
    ):
        assert failure(error).kind is FailureKind.PROCESSES


@pytest.mark.parametrize("code", [-7, 135])
def test_a_bus_error_is_the_machines(code: int) -> None:
    found = failure("step 1\nstep 2\n", code)
    assert (found.kind, found.signature) == (FailureKind.INFRASTRUCTURE, "signal 7: step #")
