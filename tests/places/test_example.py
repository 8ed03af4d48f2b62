"""The place that docs/places.md shows works as it is written there."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recipelab.core.errors import RecipelabError
from tests.sandbox.helpers import phase

from .conftest import place_request

PAGE = Path(__file__).parents[2] / "docs/places.md"
SSH = """#!/bin/sh
# ssh -o BatchMode=yes HOST COMMAND...
test "$1 $2 $3" = "-o BatchMode=yes here" || exit 255
shift 3
exec "$@"
"""


async def test_a_place_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = (
        block
        for block in re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text("utf-8"))
        if "class SshPlace" in block
    )
    names: dict[str, type] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH)
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    python = shlex.quote(sys.executable)
    request = place_request(hosts="here", python=python, store=str(tmp_path / "store"))
    kind = names["SshPlace"]
    (output := tmp_path / "output").mkdir()
    async with kind.from_request(replace(request, slots=1)) as place:
        assert place.pool.width == 1
        async with place.pool.lease() as slot:
            asked = phase(output, "open('out/a', 'w').write('a')")
            result = await place.sandbox.run(replace(asked, node=slot.node, slot=slot.name))
        assert result.ok, result.log
        assert (output / "a").read_text() == "a"
    with pytest.raises(RecipelabError, match="needs hosts"):
        kind.from_request(place_request())
    assert {"hosts", "store", "store_gb"} <= set(kind.options)
