"""Without Microsoft Agent Framework, recipelab is as it was."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
sys.modules["agent_framework"] = None  # as if it were not installed
import recipelab, recipelab.maf
from recipelab.core.errors import RecipelabError
for name in recipelab.maf.__all__:
    try:
        getattr(recipelab.maf, name)
    except RecipelabError as error:
        print(error)
"""


def test_the_package_imports_and_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 6
    assert all("pip install 'recipelab[maf]'" in line for line in told)
