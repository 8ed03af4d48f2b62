"""Of a phase that saw hidden text, nothing is told that could carry it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recipelab.core.trial import FailureKind, Phase
from recipelab.evaluation.failures import failure_of
from recipelab.evaluation.integrity import REDACTED, redacted
from recipelab.sandbox.base import Ending, PhaseResult

FILES = ("recipe/predict.py", "recipe/model.py")
CRASH = """loading
Traceback (most recent call last):
  File "/trial/recipe/predict.py", line 40, in <module>
    main()
  File "/trial/recipe/model.py", line 7, in forward
    raise ValueError(text)
ValueError: the hidden text
"""


def result(log: str, **more: Any) -> PhaseResult:
    return PhaseResult(Ending.EXITED, 1, 1.0, 1.0, None, log, **more)


def test_where_it_failed_is_told_and_the_message_is_not() -> None:
    told = redacted(result(CRASH), FILES)
    assert "the hidden text" not in told.log
    failure = failure_of(told, Phase.PREDICT, seed=1, budget=1.0)
    assert failure.kind is FailureKind.VALUE
    assert failure.signature == "ValueError: the message is withheld in model.py:predict"
    assert 'File "recipe/model.py", line 7' in failure.excerpt


def test_of_ranks_and_their_launcher_as_much_is_told() -> None:
    log = "".join(f"[rank1]: {line}\n" for line in CRASH.splitlines())
    launcher = (
        "Traceback (most recent call last):\n"
        '  File "/usr/lib/python3.12/runpy.py", line 88, in _run_code\n'
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        "Root Cause (first observed failure):\n  exitcode  : 1 (pid: 7)\n"
    )
    callstack = {"message": {"extraInfo": {"py_callstack": CRASH}}}
    for one in (result(log + launcher), result(launcher, error_file=json.dumps(callstack))):
        told = redacted(one, FILES)
        assert "the hidden text" not in told.log and told.error_file == ""
        failure = failure_of(told, Phase.PREDICT, seed=1, budget=1.0)
        assert failure.signature == "ValueError: the message is withheld in model.py:predict"


def test_memory_of_a_gpu_that_ran_out_is_told() -> None:
    oom = CRASH.replace("\nValueError:", "\ntorch.OutOfMemoryError:")
    told = redacted(result(oom), FILES)
    assert failure_of(told, Phase.PREDICT, seed=1, budget=1.0).kind is FailureKind.OOM
    assert "the hidden text" not in told.log
    # Names that a recipe can choose are not told.
    own = CRASH.replace("\nValueError:", "\nrecipe.TheHiddenError:")
    assert redacted(result(own), FILES).log == REDACTED


def test_without_an_exception_only_the_notice_is_left() -> None:
    assert redacted(result("loss 1.0\nthe hidden text"), FILES).log == REDACTED


def test_names_of_outputs_and_of_what_lies_in_tripwires_are_not_told() -> None:
    told = redacted(
        result("", refused=("out/hidden (symbolic link)",), tampered=("evaluator/hidden",)), FILES
    )
    assert told.refused == ("1 outputs were not taken; their names are withheld",)
    assert told.tampered == ("evaluator",)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=100))
def test_nothing_that_is_said_gets_through(said: str) -> None:
    said = f"s3cret{said}s3cret"
    frame = f'  File "/{said}/recipe/model.py", line 3, in {said}'
    log = f"{said}\n{frame}\n{said}: {said}\nKeyError: {said}"
    error_file = json.dumps({"message": {"extraInfo": {"py_callstack": log}}})
    for one in (result(log), result(said, error_file=error_file), result(log, error_file=said)):
        told = redacted(one, FILES)
        assert "s3cret" not in told.log + told.error_file
