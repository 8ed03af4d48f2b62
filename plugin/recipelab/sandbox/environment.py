"""The environment that a command gets: nothing of the host's."""

from __future__ import annotations

from collections.abc import Mapping

from recipelab.sandbox.base import PhaseRequest

MIB = 1 << 20
"""Bytes in a MiB."""


def clean_environment(request: PhaseRequest, paths: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a command.

    Args:
        request: Its limits give the thread counts; its own variables come last.
        paths: ``HOME``, ``TMPDIR`` and, where the sandbox must give it, ``PATH``.

    Returns:
        All variables.
    """
    threads = str(max(1, int(request.limits.cpus)))
    return {
        "LANG": "C.UTF-8",
        **paths,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **request.environment,
    }
