"""An executor is rebuilt from JSON with nothing lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from autogen_core import ComponentModel
from autogen_core.code_executor import CodeExecutor
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recipelab import SandboxCodeExecutor
from recipelab.executor import FunctionSource, SandboxCodeExecutorConfig
from recipelab.executor.config import Settings

SOURCES = st.builds(
    FunctionSource,
    source=st.sampled_from(
        ["def f():\n    return 1\n", "async def g(x): ...", "y = 1\ndef h(): ..."]
    ),
    python_packages=st.lists(st.sampled_from(["numpy", "pandas>=2"]), max_size=2).map(tuple),
    global_imports=st.lists(st.sampled_from(["import os", "from a import b as c"])).map(tuple),
)
COUNTS = st.integers(min_value=16, max_value=1 << 40)
SECONDS = st.floats(min_value=1e-3, max_value=1e9)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["docker", "local", "auto"]),
        "sandbox": st.none() | st.sampled_from(["cpu", "cuda"]),
        "allow_local": st.booleans(),
        "timeout": SECONDS,
        "work_dir": st.none() | st.sampled_from(["coding", "/srv/work", Path("a/b")]),
        **dict.fromkeys(("memory_mb", "pids", "output_mb", "output_files"), COUNTS),
        **dict.fromkeys(("scratch_mb", "log_kb"), COUNTS),
        "cpus": SECONDS,
        "gpus": st.lists(st.from_regex(r"[0-9]|GPU-[0-9a-f-]{4}", fullmatch=True)).map(tuple),
        "environment": st.dictionaries(
            st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
            st.text(st.characters(exclude_characters="\0", codec="utf-8")),
        ),
        "delete_tmp_files": st.booleans(),
        "functions": st.lists(SOURCES, max_size=3),
        "functions_module": st.sampled_from(["functions", "tools_of_mine"]),
    },
)


def loaded(dumped: ComponentModel) -> SandboxCodeExecutor:
    """An executor out of JSON text."""
    text = json.dumps(dumped.model_dump(mode="json"))
    executor = CodeExecutor.load_component(json.loads(text))
    assert isinstance(executor, SandboxCodeExecutor)
    return executor


@given(SETTINGS)
def test_nothing_is_lost_on_the_way(settings: dict[str, Any]) -> None:
    first = SandboxCodeExecutor(**settings)
    dumped = first.dump_component()
    assert (dumped.provider, dumped.component_type) == (
        "recipelab.SandboxCodeExecutor",
        "code_executor",
    )
    second = loaded(dumped)
    assert second.dump_component() == dumped
    given_back = second.dump_component().config
    for name, value in settings.items():
        if name not in ("functions", "work_dir") and value is not None:
            assert given_back[name] == value, name
    assert len(given_back["functions"]) == len(settings.get("functions", ()))


def test_an_image_is_kept() -> None:
    executor = loaded(
        SandboxCodeExecutor(image="registry.local:5000/a/b@sha256:0").dump_component()
    )
    assert executor.dump_component().config["image"] == "registry.local:5000/a/b@sha256:0"


def test_no_name_of_a_container_is_saved() -> None:
    dumped = SandboxCodeExecutor().dump_component().model_dump_json()
    assert "container_name" not in dumped and "recipelab-" not in dumped


def test_settings_are_the_keys_of_the_configuration() -> None:
    keys = set(SandboxCodeExecutorConfig.model_fields) - {"functions", "image"}
    assert keys == set(Settings.__annotations__)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image": "a", "sandbox": "cpu"}, "give one of them"),
        ({"kind": "podman"}, "unknown sandbox kind 'podman'; valid: auto, docker, local"),
        ({"timeout": 0}, "greater than 0"),
        ({"timeout": float("inf")}, "finite"),
        ({"container_name": "a"}, "container_name"),
        ({"functions_module": "a-b"}, "not a name that Python can import"),
        ({"functions_module": "json"}, "a module of Python itself"),
        ({"environment": {"A=B": ""}}, "not a variable"),
        ({"gpus": ["all,1"]}, "gpus"),
    ],
)
def test_what_is_not_valid(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SandboxCodeExecutor(**settings)


def test_loading_runs_nothing(tmp_path: Path) -> None:
    source = f"open({str(tmp_path / 'ran')!r}, 'w')\ndef f(): ..."
    loaded(SandboxCodeExecutor(functions=[FunctionSource(source=source)]).dump_component())
    assert not (tmp_path / "ran").exists()


def test_a_file_of_an_app_that_is_older_than_a_key_loads() -> None:
    executor = SandboxCodeExecutor.load_component(
        {"provider": "recipelab.SandboxCodeExecutor", "config": {"timeout": 5}}
    )
    assert executor.timeout == 5
