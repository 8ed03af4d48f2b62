"""recipelab's tools as function tools of the framework. None is written anew."""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

from agent_framework import FunctionTool
from autogen_core import CancellationToken
from autogen_core.tools import ToolSchema, Workbench
from pydantic import BaseModel, ConfigDict

from recipelab.lineage import LineageStore
from recipelab.packs.judging_sections import Goal
from recipelab.tools.workbench import LineageWorkbench

EMPTY = {"type": "object", "properties": {}}


class _GivenArguments(BaseModel):
    """Arguments as they were given: the tool itself repairs and explains them.

    The framework would refuse a wrong argument and tell the model no more than that.
    """

    model_config = ConfigDict(extra="allow")


def _arguments_of(schema: ToolSchema) -> type[BaseModel]:
    """Return a type of arguments that has the schema of a tool, and takes whatever is given."""
    # Through JSON, as a schema may name members of an enumeration.
    parameters: dict[str, Any] = json.loads(json.dumps(schema.get("parameters", EMPTY)))

    class Arguments(_GivenArguments):
        @classmethod
        def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
            return parameters

    return Arguments


def _function_tool(workbench: Workbench, schema: ToolSchema) -> FunctionTool:
    name = schema["name"]

    async def call(**arguments: Any) -> str:
        token = CancellationToken()
        try:
            result = await workbench.call_tool(name, arguments, token)
        finally:
            token.cancel()  # Whoever waits no longer wants no answer.
        return result.to_text()

    return FunctionTool(
        name=name,
        description=schema.get("description", ""),
        func=call,
        input_model=_arguments_of(schema),
    )


async def function_tools(workbench: Workbench) -> list[FunctionTool]:
    """Return the tools of any AutoGen workbench as function tools of the framework.

    What a tool answers in error reaches the model as an answer, too.

    Args:
        workbench: A workbench that was started; whoever started it stops it.
    """
    return [_function_tool(workbench, schema) for schema in await workbench.list_tools()]


def lineage_function_tools(
    lineage: LineageStore | str | PathLike[str],
    campaign: str,
    *,
    goal: Goal | None = None,
    priors: tuple[str, ...] = (),
) -> list[FunctionTool]:
    """Return the ten tools that answer questions about a campaign. They only read.

    Args:
        lineage: Path or URL of the lineage, which has to be there, or an open one. What is opened
            here stays open as long as the tools are there.
        campaign: Name of the campaign to ask about; it may begin later.
        goal: Whether a smaller or a larger metric is better; ``None`` for what the campaign says.
        priors: Names of other campaigns that may be asked about, too.

    Raises:
        LineageError: There is no lineage at the path.
    """
    workbench = LineageWorkbench(lineage, campaign, goal=goal, priors=priors)
    return [_function_tool(workbench, schema) for schema in workbench.schemas]
