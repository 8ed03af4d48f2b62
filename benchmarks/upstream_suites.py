"""Runs AutoGen's own tests with what recipelab puts in the place of theirs.

``python benchmarks/upstream_suites.py CHECKOUT [--kind docker --image IMAGE] [-- PYTEST OPTIONS]``
``python benchmarks/upstream_suites.py CHECKOUT --teams [-- PYTEST OPTIONS]``

The first runs the tests of code executors with recipelab's executor; the second those of teams,
with the manager, the runtime and the factory of a campaign's round in every selector group chat.
``CHECKOUT`` is a clone of github.com/microsoft/autogen at ``python-v0.7.5``; nothing is fetched.
Besides recipelab, the tests need ``aiofiles``, ``asyncio-atexit``, ``polars`` and
``pytest-asyncio``. A table of test and outcome comes last; ``docs/code-executor.md`` and
``docs/group-chat.md`` say why some differ on purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recipelab import SandboxCodeExecutor

SUITES = (
    "autogen-agentchat/tests/test_code_executor_agent.py",
    "autogen-ext/tests/tools/test_python_code_executor_tool.py",
    "autogen-ext/tests/code_executors/test_commandline_code_executor.py",
    "autogen-ext/tests/code_executors/test_docker_commandline_code_executor.py",
    "autogen-ext/tests/code_executors/test_user_defined_functions.py",
)

TEAM_SUITES = (
    "autogen-agentchat/tests/test_group_chat.py",
    "autogen-agentchat/tests/test_group_chat_nested.py",
    "autogen-agentchat/tests/test_group_chat_pause_resume.py",
    "autogen-agentchat/tests/test_society_of_mind_agent.py",
    "autogen-agentchat/tests/test_task_runner_tool.py",
)


class OneByOne:
    """Gives out turns as AutoGen's own manager does: one at a time, to whomever is chosen.

    Stands for :class:`recipelab.team.scheduler.TurnScheduler`, which needs a campaign.

    Args:
        names: Who takes part.
        repeated: Whether somebody may speak twice in a row.
    """

    def __init__(self, names: Sequence[str], *, repeated: bool) -> None:
        self.specialists = tuple(names)
        self.closing = asyncio.Event()
        self.round_over = False
        self.end_reason = None
        self._repeated = repeated
        self._speaking = ""
        self._last = ""

    @property
    def nobody_active(self) -> bool:
        """Whether no turn is going on."""
        return not self._speaking

    only_evaluator_active = nobody_active

    def next_guests(self) -> list[str]:
        """There are none."""
        return []

    def openings(self) -> int:
        """One, while nobody speaks."""
        return int(not self._speaking)

    def next_look(self) -> None:
        """Nothing happens by the clock."""

    def idle(self) -> list[str]:
        """Those who may speak next."""
        return [name for name in self.specialists if self._repeated or name != self._last]

    def busy(self) -> Counter[str]:
        """Nobody has proposals."""
        return Counter()

    def evaluator_is_due(self) -> bool:
        """There is no evaluator."""
        return False

    def start_turn(self, name: str) -> None:
        """Somebody begins to speak."""
        self._speaking = name

    def end_turn(self, name: str) -> None:
        """Somebody has spoken."""
        self._speaking, self._last = "", name

    def learn(self, turn: Any) -> None:
        """Outcomes of turns change nothing."""


def swap_teams() -> None:
    """Puts the manager and the runtime of a round where AutoGen's tests import a selector chat."""
    from autogen_agentchat import teams

    from recipelab.packs.judging_sections import Goal
    from recipelab.team.round import RoundGroupChat, RoundManager
    from recipelab.team.runtime import QuietRuntime
    from recipelab.team.speakers import ModelSpeaker, SpeakerContext

    own = teams.SelectorGroupChat

    class Rounds(RoundGroupChat):
        component_provider_override = "autogen_agentchat.teams.SelectorGroupChat"

        def __init__(self, participants: Any, *given: Any, **named: Any) -> None:
            own.__init__(self, participants, *given, **named)
            names = [one.name for one in participants]
            if self._embedded_runtime:
                self._runtime = QuietRuntime()
            self._base_group_chat_manager_class = RoundManager
            repeated = self._allow_repeated_speaker
            self._scheduler = OneByOne(names, repeated=repeated)  # type: ignore[assignment]
            surfaces = {name: (name,) for name in names}
            self._policy = ModelSpeaker(SpeakerContext(surfaces, Goal.MINIMIZE))
            self._warn = print

    teams.SelectorGroupChat = Rounds  # type: ignore[misc]


def swap(kind: str, image: str | None) -> None:
    """Puts recipelab's executor where AutoGen's tests import their own from."""
    from autogen_ext.code_executors import docker, local

    own = SandboxCodeExecutor.__init__

    def init(self: SandboxCodeExecutor, given: str | None = None, **settings: Any) -> None:
        if "cleanup_temp_files" in settings:
            settings["delete_tmp_files"] = settings.pop("cleanup_temp_files")
        own(self, given or image, **{"kind": kind, **settings})

    SandboxCodeExecutor.__init__ = init  # type: ignore[method-assign]
    docker.DockerCommandLineCodeExecutor = SandboxCodeExecutor  # type: ignore[misc, assignment]
    local.LocalCommandLineCodeExecutor = SandboxCodeExecutor  # type: ignore[misc, assignment]


class Outcomes:
    """Collects how each test ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that has run, or that was not to run."""
        if report.when == "call" or report.outcome != "passed":
            why = str(report.longrepr).strip().splitlines() if report.failed else []
            reason = next((line for line in reversed(why) if line.startswith("E ")), "")
            file, _, name = report.nodeid.rpartition("/")[2].partition("::")
            self.lines.append(f"| {report.outcome} | {file} | {name} | {reason[1:].strip()[:90]} |")


def main(words: Sequence[str]) -> int:
    """Runs the suites; the exit code is that of pytest."""
    own, _, options = " ".join(words).partition(" -- ")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--kind", default="local")
    parser.add_argument("--image")
    parser.add_argument("--teams", action="store_true", help="the tests of teams")
    given = parser.parse_args(own.split())
    packages = given.checkout / "python/packages"
    suites = [str(packages / name) for name in (TEAM_SUITES if given.teams else SUITES)]
    missing = [name for name in suites if not Path(name).is_file()]
    if missing:
        print(f"not a checkout of AutoGen: there is no {missing[0]}", file=sys.stderr)
        return 2
    if given.teams:
        swap_teams()
    else:
        swap(given.kind, given.image)
    outcomes = Outcomes()
    plain = ["-q", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "--rootdir", str(packages)]
    code = pytest.main([*plain, "-c", "/dev/null", *options.split(), *suites], [outcomes])
    print("\n".join(["| outcome | file | test | why |", "|---|---|---|---|", *outcomes.lines]))
    return int(code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
