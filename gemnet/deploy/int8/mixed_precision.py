"""Keep as few layers float as bring the loss below a limit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

MAX_LOSS = 1.0
"""Points of accuracy or AP."""


@dataclass(frozen=True)
class Trial:
    """What was lost, in points, with so many of the most sensitive layers kept float."""

    kept_float: int
    lost: float


def fewest_float(
    errors: Mapping[str, float], lost: Callable[[Collection[str]], float], max_loss: float
) -> tuple[list[str], list[Trial]]:
    """Find how many of the most sensitive layers must stay float for a loss of at most `max_loss`.

    First none, then 1, 2, 4, ... are kept float until the loss is small enough; then the smallest number is looked for between
    the last two by halving. With all layers float nothing is lost.

    Args:
        errors: By layer, how much its quantisation alone disturbs what leaves the network.
        lost: The points that are lost where these layers stay float.
        max_loss: In points.

    Returns:
        The layers that stay float, the most sensitive first, and what was tried, in this order.
    """
    ranked = sorted(errors, key=lambda name: -errors[name])
    trials: list[Trial] = []

    def fits(count: int) -> bool:
        trials.append(Trial(count, lost(ranked[:count])))
        return trials[-1].lost <= max_loss

    too_few, enough = -1, 0
    while enough < len(ranked) and not fits(enough):
        too_few, enough = enough, max(1, 2 * enough)
    enough = min(enough, len(ranked))
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if fits(middle):
            enough = middle
        else:
            too_few = middle
    return ranked[:enough], trials
