"""Check inside of a sandbox that functions have what they need. Run by its path, as inside.py.

It writes one line for each missing package to ``out/missing``. If no package is missing, it imports
the module with the functions, so that a mistake in them shows before any code runs.

Usage: inside_check.py MODULE PACKAGE...
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from typing import Any

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


def _requirement(text: str) -> Any:
    """Parse a requirement; ``None`` if no parser is installed (pip brings one)."""
    for home in ("packaging.requirements", "pip._vendor.packaging.requirements"):
        try:
            return importlib.import_module(home).Requirement(text)
        except (ImportError, ValueError):
            continue
    return None


def _fault(text: str) -> str | None:
    """Return what is wrong with an installed package, or ``None``."""
    name = NAME.match(text)
    if name is None:
        return "is not the name of a package"
    wanted = _requirement(text)
    if wanted is not None and wanted.marker is not None and not wanted.marker.evaluate():
        return None
    try:
        version = importlib.metadata.version(name[0])
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"
    if wanted is not None and not wanted.specifier.contains(version, prereleases=True):
        return f"is not met by {version}"
    return None


def main(module: str, packages: list[str]) -> int:
    """Check the packages; see the top of this file."""
    faults = [(package, _fault(package)) for package in packages]
    missing = [f"{package} {fault}" for package, fault in faults if fault]
    with open("out/missing", "w", encoding="utf-8") as file:
        file.write("\n".join(missing))
    if missing:
        return 1
    sys.path.insert(0, "modules")
    importlib.import_module(module)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
