"""``recipelab sandbox``: the images and containers that trials run in."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from recipelab.cli.check import check
from recipelab.cli.common import AsJson, clear_errors, err, out, print_json
from recipelab.core.errors import RecipelabError, SandboxUnavailable

if TYPE_CHECKING:
    from docker import APIClient

    from recipelab.sandbox.docker.containers import OwnedContainer

sandbox_app = typer.Typer(
    help="The images and containers that trials run in.", no_args_is_help=True
)
sandbox_app.command("check")(check)

_API_SECONDS = 60


@sandbox_app.command("build")
def build(
    name: Annotated[str, typer.Argument(help="Name of a sandbox, as cpu.")] = "cpu",
    base: Annotated[str | None, typer.Option(help="Base image; default the sandbox's own.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build the image of a sandbox."""
    from recipelab.sandbox.images import build_image
    from recipelab.sandbox.spec import load_image_spec

    with clear_errors():
        spec = load_image_spec(name)
        told = err if as_json else out
        digest = build_image(spec, base=base, progress=lambda text: told.print(Text(text)))
        if as_json:
            print_json({"image": spec.image, "id": digest})
        else:
            out.print(f"built {spec.image}", markup=False)


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
            out.print("nothing of a dead process is here")
        if fault:
            out.print(Text(fault, style="yellow"), soft_wrap=True)


def _from_daemon(ask: Callable[[APIClient], Any]) -> tuple[Any, str | None]:
    """What the daemon answers, or ``None`` and why there is no daemon."""
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
    told = {"state": state.freshness.value, "reason": state.reason}
    return facts | told | ({"id": state.id, "bytes": state.size} if state.id else {})


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
    return ", ".join(f"{name} {value}" for name, value in labels.items()) or "nothing named"
