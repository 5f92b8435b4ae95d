"""The evaluated cells of a record: the best of them, their table, and what a predictor learns from all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.study import DONE, Record

BEST_COLUMNS = ("cell", "round", "predicted", "score", "accuracy", "cost", "MACs", "params", "seconds")


def best_rows(records: Sequence[Record], count: int) -> list[tuple[str, ...]]:
    """The best evaluated cells as text for a table under BEST_COLUMNS."""
    return [
        (
            r.digest[:8],
            str(r.round),
            "" if r.predicted is None else f"{r.predicted:.4f}",
            f"{r.score:.4f}",
            f"{r.accuracy:.4f}",
            f"{r.cost:.3g}",
            f"{r.macs / 1e6:.2f} M",
            f"{r.params / 1e3:.0f} k",
            f"{r.seconds:.1f}",
        )
        for r in best_first(records)[:count]
    ]


def expected_scores(records: Sequence[Record]) -> np.ndarray:
    """What a predictor learns: the score of each evaluated record, float64 [N]; of one that was stopped early, what it would
    probably have come to: its score and what the others gained on average from that epoch on."""
    whole = [r.curve for r in records if not r.stopped]

    def to_come(r: Record) -> float:
        epoch = len(r.curve)
        gains = [curve[-1] - curve[epoch - 1] for curve in whole if len(curve) > epoch > 0]
        return float(np.mean(gains)) if r.stopped and gains else 0.0

    return np.array([r.score + to_come(r) for r in records])


def pareto_front(records: Sequence[Record]) -> list[Record]:
    """The evaluated records that no other one beats in accuracy without costing more, the cheapest first.

    Candidates that were stopped early are left out: their accuracy is not that of a whole training.
    """
    front: list[Record] = []
    done = [r for r in records if r.state == DONE and not r.stopped]
    for r in sorted(done, key=lambda r: (r.cost, -r.accuracy, r.id)):
        if not front or r.accuracy > front[-1].accuracy:
            front.append(r)
    return front


def best_first(records: Sequence[Record]) -> list[Record]:
    """Evaluated records, the highest score first; candidates that were stopped early come after all others."""
    return sorted((r for r in records if r.state == DONE), key=lambda r: (r.stopped, -r.score, r.id))
