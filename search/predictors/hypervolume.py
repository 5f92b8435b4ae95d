"""Which cells would add most to the front of several objectives: hypervolume improvement (Emmerich et al., CEC 2011).

The hypervolume of a front is the volume of what its points dominate, down to a reference point; what a cell adds to it is what
the cell is worth. Hypervolumes are computed by moocore. All objectives are to be maximised.
"""

from __future__ import annotations

import moocore
import numpy as np

MARGIN = 0.1
"""By which the reference point lies below the worst known value of each objective, as a share of their range: so that the ends
of the front count as well."""


class Front:
    """The points that no other one dominates, among those that are known.

    points: float64 [N, m], N at least 1, the values of m objectives, scaled to the range that the known ones have.
    """

    def __init__(self, values: np.ndarray) -> None:
        """values: float64 [N, m]. Raises ValueError where there are none, or one is not finite."""
        values = np.asarray(values, np.float64)
        if values.ndim != 2 or not len(values) or not np.isfinite(values).all():
            raise ValueError(f"expected finite values [N, m], N at least 1; found shape {list(values.shape)}")
        low, high = values.min(0), values.max(0)
        self._low, self._range = low, np.where(high > low, high - low, 1.0)
        self.points = _nondominated(self._scaled(values))

    def volume(self, values: np.ndarray) -> float:
        """The hypervolume of cells [B, m] in the units of this front, above the same reference point."""
        return _volume_of(self._scaled(values))

    def improvement(self, values: np.ndarray) -> np.ndarray:
        """What each of B cells would add to the hypervolume, float64 [B]; values: [B, m].

        Of a cell that the front dominates, less than 0: by how much it would have to gain in each objective to be dominated no
        more. So these are ranked as well (as in SMS-EGO, Ponweiser et al., PPSN 2008).
        """
        return _gains(self.points, self._scaled(values))

    def ranked(self, values: np.ndarray, count: int) -> list[int]:
        """The rows of `values` [B, m] in the order in which they are to be evaluated.

        The first `count` are chosen one by one, each as if those before it had turned out as predicted: together they add most,
        where the best ones by themselves would crowd at one place. The others follow by what each would add to these.
        """
        front, points, chosen, left = self.points, self._scaled(values), list[int](), list(range(len(values)))
        while left and len(chosen) < count:
            chosen.append(left.pop(int(np.argmax(_gains(front, points[left])))))
            front = _nondominated(np.vstack([front, points[chosen[-1]]]))
        rest = np.argsort(-_gains(front, points[left]), kind="stable") if left else ()
        return [*chosen, *(left[place] for place in rest)]

    def _scaled(self, values: np.ndarray) -> np.ndarray:
        return (np.asarray(values, np.float64) - self._low) / self._range


def _gains(front: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`Front.improvement` of points [B, m] on a front [N, m], both scaled."""
    gap = (front[None] - points[:, None]).min(2).max(1)  # [B]: at least 0 where a point of the front is as good in all
    gains, before = np.where(gap < 0, 0.0, -gap), _volume_of(front)
    for b in np.flatnonzero((gap < 0) & (points > -MARGIN).all(1)):
        gains[b] = _volume_of(np.vstack([front, points[b]])) - before
    return gains


def _nondominated(points: np.ndarray) -> np.ndarray:
    return points[moocore.is_nondominated(points, maximise=True)]


def _volume_of(points: np.ndarray) -> float:
    return float(moocore.hypervolume(points, ref=np.full(points.shape[1], -MARGIN), maximise=True))
