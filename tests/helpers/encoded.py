"""Vectors as predictors are handed them, where the cells do not matter."""

import numpy as np

from search.core.types import CellArrays, EncodedCells


def encoded(vectors, groups=None):
    """Vectors [B, d] of B cells, each the input alone."""
    cells = CellArrays(np.zeros((len(vectors), 1, 1), bool), np.zeros((len(vectors), 1), np.int8))
    return EncodedCells(cells, np.asarray(vectors), groups)
