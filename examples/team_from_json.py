"""Saves a research team as JSON, and runs it from the file alone.

``python examples/team_from_json.py [PACK]``. Whoever has the file needs recipelab and AutoGen, and
no line of code about recipes. (Where AutoGen loads components of its own packages only, allow ours:
``AUTOGEN_ALLOWED_PROVIDER_NAMESPACES=recipelab``.)
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from autogen_agentchat.teams import BaseGroupChat

from recipelab import research_team


def save(file: Path, pack: str) -> None:
    """Writes the team; keys of models are never in it."""
    team = research_team(pack, sandbox="local", trials=2, slots=1, plateau=10)
    file.write_text(team.dump_component().model_dump_json(indent=2))


async def run(saved: str) -> None:
    """Loads the team and runs it."""
    team = BaseGroupChat.load_component(json.loads(saved))
    result = await team.run(task="Prefer small changes.")
    print(result.messages[-1].to_text())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "team.json"
        save(path, sys.argv[1] if len(sys.argv) > 1 else "airbench96")
        asyncio.run(run(path.read_text()))
