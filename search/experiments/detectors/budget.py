"""A budget of CPU seconds: what a training has used, and how many epochs it is enough for."""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass

from gemnet.core.errors import UserError

KEPT = 0.05
"""The share of a budget by which a training may miss it."""
VALIDATIONS = 10
"""How often a training validates where its authors' habit is a number of epochs of a far longer run."""
LONGEST = 100_000


@dataclass(frozen=True)
class Pace:
    """CPU seconds, measured in a warm-up that is no part of the training.

    Attributes:
        epoch: Of training on all images once.
        validation: Of one validation.
        start: Of what comes once, before and after.
    """

    epoch: float
    validation: float
    start: float = 0.0

    def seconds(self, epochs: int, validations: int) -> float:
        """Of a whole training."""
        return self.start + epochs * self.epoch + validations * self.validation


def cpu_seconds() -> float:
    """CPU seconds of this process, of all its threads, and of its children that have ended; user's and system's."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def epochs_within(budget: float, pace: Pace, validations: Callable[[int], int]) -> int:
    """The number of epochs with which a training comes closest to its budget, on either side.

    Args:
        budget: CPU seconds.
        pace: Of this training.
        validations: Epochs of a training -> how often it validates.

    Raises:
        UserError: One epoch misses the budget by more than `KEPT`, or it is enough for more than a hundred thousand.
    """
    if pace.epoch <= 0:
        raise UserError(f"an epoch took {pace.epoch:g} CPU seconds; expected more than 0")
    most = int((budget - pace.start) / pace.epoch) + 1
    if most > LONGEST:
        raise UserError(f"a budget of {budget:g} CPU seconds is enough for {most} epochs; give less with --budget")
    best = min(range(1, max(1, most) + 1), key=lambda epochs: abs(pace.seconds(epochs, validations(epochs)) - budget))
    found = pace.seconds(best, validations(best))
    if best == 1 and found > (1 + KEPT) * budget:
        raise UserError(f"one epoch takes {found:.0f} CPU seconds, more than the budget of {budget:g}; give more with --budget")
    return best


def at_tenths(epochs: int) -> int:
    """The interval in epochs at which a run of this length validates `VALIDATIONS` times, or each epoch if it is shorter."""
    return max(1, round(epochs / VALIDATIONS))
