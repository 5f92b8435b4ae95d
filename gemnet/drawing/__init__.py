"""Pictures of cells, with matplotlib."""

from gemnet.core.extras import need

need("search", "matplotlib")

from gemnet.drawing.cells import draw_cell, draw_on  # noqa: E402

__all__ = ["draw_cell", "draw_on"]
