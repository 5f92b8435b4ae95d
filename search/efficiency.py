"""The efficiency score (Eq. 5): what the search maximises."""

from __future__ import annotations

from typing import Any

import numpy as np


def efficiency_score(accuracy: Any, macs: Any, penalty: float = 0.1) -> Any:
    """S = ACC - penalty * log10(MAC), Eq. 5, with accuracy in [0, 1] and MACs counted in millions.

    accuracy, macs: numbers, or arrays of one shape. The paper leaves the base and the coefficient open; 0.1 and base 10 are
    those of AutoShrink, by the same group. Raises ValueError where MACs are not positive.
    """
    if not np.all(np.asarray(macs) > 0):
        raise ValueError(f"MACs must be positive, found {macs}")
    return accuracy - penalty * np.log10(np.asarray(macs) / 1e6)
