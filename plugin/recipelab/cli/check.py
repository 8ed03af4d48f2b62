"""``recipelab sandbox check``."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from recipelab.cli.common import FAILED, AsJson, clear_errors, err, out, print_json
from recipelab.core.errors import RecipelabError

if TYPE_CHECKING:
    from recipelab.sandbox import Sandbox
    from recipelab.sandbox.check.check import PromiseFinding

_GPU = re.compile(r"[0-9]+|(GPU|MIG)-[A-Za-z0-9/-]+")
_STYLES = {"ok": "green", "FAILED": "red", "not promised": "yellow"}


def check(
    name: Annotated[str, typer.Argument(help="Name of a sandbox, as cpu.")] = "cpu",
    sandbox: Annotated[str, typer.Option(help="docker, local, or auto.")] = "auto",
    gpu: Annotated[
        list[str] | None, typer.Option(help="Id of a GPU to ask for; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure from inside what a sandbox enforces; exit code 1 if a promise does not hold."""
    from recipelab.sandbox.choose import open_sandbox
    from recipelab.sandbox.spec import load_image_spec

    with clear_errors():
        spec = load_image_spec(name)
        gpus = _checked_gpus(gpus=tuple(gpu or ()))
        told = err if as_json else out
        opened = open_sandbox(
            sandbox,
            spec,
            build=False,
            say=lambda text: told.print(Text(text), soft_wrap=True),
            allow_local_fallback=True,
        )
        findings = asyncio.run(_findings(opened, spec.container, gpus))
    holds = all(finding.verdict != "FAILED" for finding in findings)
    if as_json:
        rows = [asdict(finding) for finding in findings]
        print_json({"sandbox": opened.name, "image": spec.image, "ok": holds, "findings": rows})
    else:
        for finding in findings:
            out.print(_line(finding), soft_wrap=True)
        out.print(_summary(opened.name, findings))
    if not holds:
        raise typer.Exit(FAILED)


async def _findings(
    sandbox: Sandbox, profile: Any, gpus: tuple[str, ...]
) -> tuple[PromiseFinding, ...]:
    from recipelab.sandbox.check.check import check_sandbox

    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    async with sandbox:
        return await check_sandbox(sandbox, profile, core=cores[0], gpus=gpus)


def _checked_gpus(gpus: tuple[str, ...]) -> tuple[str, ...]:
    for gpu in gpus:
        if not _GPU.fullmatch(gpu):
            raise RecipelabError(
                f"--gpu: {gpu!r} is not valid; valid: a number, or GPU-... or MIG-..."
            )
    return gpus


def _line(finding: PromiseFinding) -> Text:
    verdict = (f"{finding.verdict:<13}", _STYLES[finding.verdict])
    promised = f" (promised: {finding.promised})" if finding.verdict == "FAILED" else ""
    # What was measured comes from inside an image, so it may hold anything.
    measured = "".join(char if char.isprintable() else "?" for char in finding.measured)
    return Text.assemble(verdict, f"  {finding.what}: {measured}{promised}")


def _summary(kind: str, findings: tuple[PromiseFinding, ...]) -> Text:
    counts = {verdict: 0 for verdict in _STYLES}
    for finding in findings:
        counts[finding.verdict] += 1
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return Text(f"{kind}: {words}")
