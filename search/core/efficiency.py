"""The efficiency score (Eq. 5): what the search maximises."""

from __future__ import annotations

from typing import Any

import numpy as np


def efficiency_score(accuracy: Any, cost: Any, penalty: float = 0.1) -> Any:
    """S = ACC - penalty * log10(cost), Eq. 5, with accuracy in [0, 1]; the paper's cost are MACs, counted in millions.

    accuracy, cost: numbers, or arrays of one shape. The paper leaves the base and the coefficient open; 0.1 and base 10 are
    those of AutoShrink, by the same group. Raises ValueError where a cost is not positive.
    """
    if not np.all(np.asarray(cost) > 0):
        raise ValueError(f"a cost must be positive, found {cost}")
    return accuracy - penalty * np.log10(np.asarray(cost))
