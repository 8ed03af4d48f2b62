"""``python -m recipelab``: the same as the ``recipelab`` command."""

from recipelab.cli.app import app

app()
