"""Pictures of cells."""

from gemnet.drawing.cells import draw_cell, draw_on

__all__ = ["draw_cell", "draw_on"]
