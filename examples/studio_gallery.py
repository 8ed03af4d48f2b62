"""Writes recipelab's components for AutoGen Studio: a gallery, and a team to serve.

``python examples/studio_gallery.py FOLDER [PACK]`` writes ``gallery.json`` and ``team.json``. Where
a lineage is (``.recipelab/lineage.db``), the gallery also has an agent that answers questions about
its newest campaign, and a tool that does. What it writes without a lineage is ``examples/studio/``,
ready to be imported. How to install and start Studio: docs/group-chat.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from autogen_agentchat.agents import AssistantAgent, CodeExecutorAgent
from autogen_core import ComponentModel
from autogen_ext.tools.code_execution import PythonCodeExecutionTool

from recipelab import (
    BudgetLimits,
    LineageQueryTool,
    LineageStore,
    LineageWorkbench,
    OfflineClient,
    SandboxCodeExecutor,
    research_team,
)
from recipelab.team import BudgetTermination

LINEAGE = Path(".recipelab/lineage.db")


def labelled(component: ComponentModel, label: str, description: str) -> ComponentModel:
    """The component under the name that Studio shows."""
    return component.model_copy(update={"label": label, "description": description})


def lineage_parts() -> tuple[list[ComponentModel], list[ComponentModel]]:
    """An agent and a tool that read the newest campaign; nothing where there is no lineage."""
    if not LINEAGE.is_file():
        return [], []
    with LineageStore.open(LINEAGE) as store:
        campaign = store.campaigns()[-1].name
        reviewer = AssistantAgent(
            "reviewer",
            OfflineClient(),  # put a model of yours in its place
            workbench=LineageWorkbench(store, campaign),
            max_tool_iterations=8,
        )
        about = f"Answers questions about {campaign}."
        agents = [labelled(reviewer.dump_component(), "Reviewer of the lineage", about)]
        tool = LineageQueryTool(store, campaign).dump_component()
        return agents, [labelled(tool, "Query of the lineage", about)]


def gallery(team: ComponentModel) -> dict[str, Any]:
    """A gallery as Studio imports it."""
    agents, tools = lineage_parts()
    sandbox = SandboxCodeExecutor(kind="auto", allow_local=True)
    runner = CodeExecutorAgent("runner", sandbox)
    code = PythonCodeExecutionTool(sandbox).dump_component()
    spent = BudgetTermination(BudgetLimits(device_hours=1.0, plateau=20)).dump_component()
    components = {
        "teams": [team],
        "agents": [
            *agents,
            labelled(runner.dump_component(), "Runner of code", "Runs code in a sandbox."),
        ],
        "tools": [*tools, labelled(code, "Python in a sandbox", "Runs code of the model.")],
        "models": [labelled(OfflineClient().dump_component(), "Offline", "Rules as a model.")],
        "terminations": [labelled(spent, "Budget", "Ends a team by recipelab's limits.")],
    }
    return {
        "id": "recipelab",
        "name": "recipelab",
        "metadata": {
            "author": "recipelab",
            "version": "1.0.0",
            "description": "Specialists that improve a training recipe, and what goes with them.",
            "tags": ["training", "recipes"],
            "license": "Apache-2.0",
        },
        "components": {
            kind: [json.loads(one.model_dump_json()) for one in parts]
            for kind, parts in components.items()
        },
    }


def main(folder: Path, pack: str) -> None:
    """Writes both files."""
    research = research_team(pack, sandbox="local", trials=2, slots=1)
    team = labelled(research.dump_component(), "Research team", "A campaign of two trials.")
    (folder / "team.json").write_text(team.model_dump_json(indent=2))
    (folder / "gallery.json").write_text(json.dumps(gallery(team), indent=2))
    print(f"{folder / 'team.json'} and {folder / 'gallery.json'} are written")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "airbench96")
