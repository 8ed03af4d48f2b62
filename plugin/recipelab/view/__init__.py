"""The lineage view: what a specialist is shown of past trials when its turn begins."""

from recipelab.view.frame import Frame
from recipelab.view.render import Part, render_view

__all__ = ["Frame", "Part", "render_view"]
