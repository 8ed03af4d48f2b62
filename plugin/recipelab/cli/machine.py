"""The command about this machine: doctor."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

from rich.text import Text

from recipelab.cli.common import AsJson, clear_errors, out, print_json


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine can do, what is missing, and how to get it."""
    with clear_errors():
        findings = [_python(), _torch(), _docker(), _gpus(), *_data()]
        if as_json:
            print_json(findings)
        else:
            for item in findings:
                mark = ("ok     ", "green") if item["ok"] else ("missing", "yellow")
                out.print(Text.assemble(mark, f"  {item['what']}: {item['told']}"), soft_wrap=True)


def _python() -> dict[str, Any]:
    version = ".".join(map(str, sys.version_info[:3]))
    return {"what": "Python", "ok": sys.version_info >= (3, 11), "told": version}


def _torch() -> dict[str, Any]:
    found = find_spec("torch") is not None
    told = "recipes can train in the local sandbox" if found else "pip install 'recipelab[torch]'"
    return {"what": "PyTorch", "ok": found, "told": told}


def _docker() -> dict[str, Any]:
    from recipelab.sandbox.choose import docker_daemon_error

    error = docker_daemon_error()
    told = error or "a daemon answers; trials are isolated"
    return {"what": "Docker", "ok": error is None, "told": told}


def _gpus() -> dict[str, Any]:
    from recipelab.sandbox.slots import list_gpus

    gpus = list_gpus()
    names = ", ".join(f"{gpu.index} {gpu.name} ({gpu.memory_mb:,} MiB)" for gpu in gpus)
    told = names or "nvidia-smi finds none; recipes that need no GPU run all the same"
    return {"what": "GPU", "ok": bool(gpus), "told": told}


def _data() -> list[dict[str, Any]]:
    from recipelab.packs.data import is_cached
    from recipelab.packs.load import load_pack, pack_names

    rows = []
    for name in pack_names():
        items = load_pack(name).data
        missing = [item for item in items if not is_cached(item)]
        size = sum(item.bytes for item in missing) / 1e6
        told = f"{size:.1f} MB will be fetched by the first run" if missing else "in the cache"
        rows.append({"what": f"data of {name}", "ok": not missing, "told": told})
    return rows
