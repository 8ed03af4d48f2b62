"""``recipelab sandbox`` and ``recipelab doctor``: where trials run, and what is missing here."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from recipelab.cli.common import FAILED, AsJson, clear_errors, err, out, print_json
from recipelab.core.errors import RecipelabError, SandboxUnavailable

if TYPE_CHECKING:
    from docker import APIClient

    from recipelab.sandbox import Sandbox
    from recipelab.sandbox.check.check import PromiseFinding
    from recipelab.sandbox.docker.containers import OwnedContainer
    from recipelab.sandbox.spec import ImageSpec

sandbox_app = typer.Typer(
    help="The images and containers that trials run in.", no_args_is_help=True
)

_API_SECONDS = 60


@sandbox_app.command("build")
def build(
    name: Annotated[str, typer.Argument(help="Name of a sandbox, as cpu.")] = "cpu",
    base: Annotated[str | None, typer.Option(help="Base image; default the sandbox's own.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only see whether all packages can be had.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the image of a sandbox; with --dry-run, exit code 1 if a package cannot be had."""
    from recipelab.sandbox.images import build_image
    from recipelab.sandbox.spec import load_image_spec

    with clear_errors():
        spec = load_image_spec(name)
        if dry_run:
            _tell_resolution(spec, as_json=as_json)
            return
        console = err if as_json else out
        digest = build_image(spec, base=base, progress=lambda text: console.print(Text(text)))
        if as_json:
            print_json({"image": spec.image, "id": digest})
        else:
            out.print(f"built {spec.image}", markup=False)


def _tell_resolution(spec: ImageSpec, *, as_json: bool) -> None:
    """Tell which requirements of an image can be had; leave with exit code 1 if one cannot."""
    from recipelab.sandbox.wheels import resolve_requirements

    found = resolve_requirements(spec)
    if as_json:
        print_json({"sandbox": spec.name, "ok": not found.missing} | asdict(found))
    else:
        for style, word, unmet in (
            ("red", "missing", found.missing),
            ("yellow", "unproved", found.unproved),
        ):
            for one in unmet:
                line = Text.assemble((f"{word:<9}", style), f" {one.requirement}: {one.reason}")
                out.print(line, soft_wrap=True)
        counts = f"{len(found.missing)} requirements missing, {len(found.unproved)} unproved"
        out.print(Text(f"{spec.name}: {len(found.packages)} packages can be had, {counts}"))
    if found.missing:
        raise typer.Exit(FAILED)


@sandbox_app.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the sandboxes with the state of their images, then the containers there are now."""
    from recipelab.sandbox.spec import image_spec_names

    with clear_errors():
        names = image_spec_names()
        facts, fault = _from_daemon(
            lambda api: {
                "sandboxes": [_sandbox_facts(name, api) for name in names],
                "containers": _container_facts(api),
            }
        )
        if facts is None:
            facts = {"sandboxes": [_sandbox_facts(name, None) for name in names], "containers": []}
        if as_json:
            print_json(facts | {"docker": fault})
            return
        out.print(_sandboxes_table(facts["sandboxes"]))
        if fault:
            out.print(Text(f"\n{fault}", style="yellow"), soft_wrap=True)
        elif facts["containers"]:
            out.print("", _containers_table(facts["containers"]), sep="\n")
        else:
            out.print("\nno containers")


@sandbox_app.command("reap")
def reap(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove containers and temporary folders of processes that are dead."""
    from recipelab.sandbox.files import reap_folders

    with clear_errors():
        containers, fault = _from_daemon(lambda api: _reaped_containers(api, dry_run=dry_run))
        folders = reap_folders(Path(tempfile.gettempdir()), dry_run=dry_run)
        facts: dict[str, Any] = {
            "containers": containers or [],
            "folders": [str(folder) for folder in folders],
            "dry_run": dry_run,
            "docker": fault,
        }
        if as_json:
            print_json(facts)
            return
        done = "would remove" if dry_run else "removed"
        for row in facts["containers"]:
            out.print(Text(f"{done} container {row['id'][:12]} ({_belongs(row['labels'])})"))
        for name in facts["folders"]:
            out.print(Text(f"{done} folder {name}"), soft_wrap=True)
        if not containers and not folders:
            out.print("no containers or folders of dead processes")
        if fault:
            out.print(Text(fault, style="yellow"), soft_wrap=True)


def _from_daemon(ask: Callable[[APIClient], Any]) -> tuple[Any, str | None]:
    """Return what the daemon answers, or ``None`` and why there is no daemon."""
    try:
        from recipelab.sandbox.docker.containers import daemon
    except ImportError as error:
        return None, f"the Python package {error.name} is not installed"
    try:
        with daemon(timeout=_API_SECONDS) as api:
            return ask(api), None
    except SandboxUnavailable as error:
        return None, str(error)


def _reaped_containers(api: APIClient, *, dry_run: bool) -> list[dict[str, Any]]:
    from recipelab.sandbox.docker.containers import reap_containers

    return [_facts(container) for container in reap_containers(api, dry_run=dry_run)]


def _container_facts(api: APIClient) -> list[dict[str, Any]]:
    from recipelab.sandbox.docker.containers import list_containers

    return [_facts(container) for container in list_containers(api)]


def _facts(container: OwnedContainer) -> dict[str, Any]:
    return {
        "id": container.id,
        "image": container.image,
        "state": container.state,
        "age_seconds": max(0, int(time.time()) - container.created),
        "owner": container.owner,
        "owner_state": container.owner_state.value,
        "labels": dict(container.labels),
    }


def _sandbox_facts(name: str, api: APIClient | None) -> dict[str, Any]:
    from recipelab.sandbox.spec import load_image_spec

    try:
        spec = load_image_spec(name)
    except RecipelabError as error:
        # One that cannot be read must not hide the others.
        return {"sandbox": name, "state": "not valid", "reason": str(error)}
    facts = {"sandbox": name, "description": spec.description, "image": spec.image}
    if api is None:
        return facts | {"state": "unknown"}
    from recipelab.sandbox.images import image_state

    state = image_state(api, spec)
    facts |= {"state": state.freshness.value, "reason": state.reason}
    return facts | ({"id": state.id, "bytes": state.size} if state.id else {})


_STYLES = {"built": "green", "stale": "yellow", "not valid": "red"}


def _sandboxes_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("sandbox", "image", "state", "digest", "size", "why"):
        table.add_column(title, justify="right" if title == "size" else "left")
    for row in rows:
        size = f"{row['bytes'] / 1e6:.0f} MB" if "bytes" in row else ""
        state = Text(row["state"], style=_STYLES.get(row["state"], ""))
        digest = row.get("id", "").removeprefix("sha256:")[:12]
        words = (row["sandbox"], row.get("image", ""), state, digest, size, row.get("reason", ""))
        table.add_row(*(Text(word) if isinstance(word, str) else word for word in words))
    return table


def _containers_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("container", "belongs to", "state", "age", "owner"):
        table.add_column(title, justify="right" if title == "age" else "left")
    for row in rows:
        words = (row["id"][:12], _belongs(row["labels"]), row["state"])
        owner = f"{row['owner_state']} ({row['owner']})"
        table.add_row(*map(Text, (*words, f"{row['age_seconds']} s", owner)))
    return table


def _belongs(labels: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in labels.items()) or "no label"


_GPU = re.compile(r"[0-9]+|(GPU|MIG)-[A-Za-z0-9/-]+|AMD-[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_VERDICT_STYLES = {"ok": "green", "FAILED": "red", "not promised": "yellow"}


@sandbox_app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Name of a sandbox, as cpu.")] = "cpu",
    sandbox: Annotated[str, typer.Option(help="docker, local, or auto.")] = "auto",
    gpu: Annotated[
        list[str] | None, typer.Option(help="Id of a GPU to ask for; may be given again.")
    ] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Runtime of the daemon, as runsc; default the sandbox's own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure from inside what a sandbox enforces; exit code 1 if a promise does not hold."""
    from recipelab.sandbox.choose import open_sandbox
    from recipelab.sandbox.spec import load_image_spec

    with clear_errors():
        spec = load_image_spec(name)
        if runtime is not None:
            spec = spec.with_runtime(runtime)
        gpus = _checked_gpus(gpus=tuple(gpu or ()))
        console = err if as_json else out
        opened = open_sandbox(
            sandbox, spec, build=False, say=lambda text: None, allow_local_fallback=True
        )
        if notice := opened.notice():
            console.print(Text(notice), soft_wrap=True)
        findings = asyncio.run(_findings(opened, spec.container, gpus))
    holds = all(finding.verdict != "FAILED" for finding in findings)
    if as_json:
        rows = [asdict(finding) for finding in findings]
        print_json({"sandbox": opened.name, "image": spec.image, "ok": holds, "findings": rows})
    else:
        for finding in findings:
            out.print(_finding_line(finding), soft_wrap=True)
        out.print(_findings_summary(opened.name, findings))
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
                f"--gpu: {gpu!r} is not valid; valid: a number, GPU-..., MIG-..., or "
                "AMD-0000:c1:00.0, its address on the bus"
            )
    return gpus


def _finding_line(finding: PromiseFinding) -> Text:
    verdict = (f"{finding.verdict:<13}", _VERDICT_STYLES[finding.verdict])
    promised = f" (promised: {finding.promised})" if finding.verdict == "FAILED" else ""
    # What was measured comes from inside an image, so it may hold anything.
    measured = "".join(char if char.isprintable() else "?" for char in finding.measured)
    return Text.assemble(verdict, f"  {finding.what}: {measured}{promised}")


def _findings_summary(kind: str, findings: tuple[PromiseFinding, ...]) -> Text:
    counts = {verdict: 0 for verdict in _VERDICT_STYLES}
    for finding in findings:
        counts[finding.verdict] += 1
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return Text(f"{kind}: {words}")


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can do, what is missing, and how to get it."""
    with clear_errors():
        findings = [
            _python_facts(),
            _torch_facts(),
            _docker_facts(),
            _gpu_facts(),
            *_place_facts(),
            *_data_facts(),
        ]
        if as_json:
            print_json(findings)
        else:
            for item in findings:
                mark = ("ok     ", "green") if item["ok"] else ("missing", "yellow")
                out.print(Text.assemble(mark, f"  {item['what']}: {item['told']}"), soft_wrap=True)


def _python_facts() -> dict[str, Any]:
    version = ".".join(map(str, sys.version_info[:3]))
    return {"what": "Python", "ok": sys.version_info >= (3, 11), "told": version}


def _torch_facts() -> dict[str, Any]:
    found = find_spec("torch") is not None
    text = "recipes can train in the local sandbox" if found else "pip install 'recipelab[torch]'"
    return {"what": "PyTorch", "ok": found, "told": text}


def _docker_facts() -> dict[str, Any]:
    from recipelab.sandbox.choose import docker_daemon_error

    error = docker_daemon_error()
    text = error or "a daemon answers; trials are isolated"
    return {"what": "Docker", "ok": error is None, "told": text}


def _gpu_facts() -> dict[str, Any]:
    from recipelab.sandbox.gpus import list_gpus

    gpus = list_gpus()
    names = ", ".join(f"{gpu.index} {gpu.name} ({gpu.memory_mb:,} MiB)" for gpu in gpus)
    text = (
        names
        or "nvidia-smi finds none, nor does rocm-smi; recipes that need no GPU run all the same"
    )
    return {"what": "GPU", "ok": bool(gpus), "told": text}


def _place_facts() -> list[dict[str, Any]]:
    from recipelab.core.errors import RecipelabError
    from recipelab.places.base import LOCAL, PLACES, place_kind

    rows = []
    for name in PLACES.names():
        if name == LOCAL:
            continue
        try:
            options = ", ".join(place_kind(name).options)
            told, ok = f"--place {name} can be asked for (options: {options or 'none'})", True
        except RecipelabError as error:
            told, ok = str(error), False
        rows.append({"what": f"place {name}", "ok": ok, "told": told})
    return rows


def _data_facts() -> list[dict[str, Any]]:
    from recipelab.packs.data import is_here
    from recipelab.packs.load import load_pack, pack_names

    rows = []
    for name in pack_names():
        pack = load_pack(name)
        missing = [item for item in pack.data if not is_here(item, pack.root)]
        size = sum(item.bytes for item in missing) / 1e6
        text = f"{size:.1f} MB will be fetched by the first run" if missing else "in the cache"
        rows.append({"what": f"data of {name}", "ok": not missing, "told": text})
    return rows
