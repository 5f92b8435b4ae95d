"""The evaluated cells of a record: the best of them, their table, and what a predictor learns from all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.record.study import Evaluated, Record, is_evaluated

COLUMNS = ("cell", "round", "predicted", "score", "judged", "accuracy", "cost", "MACs", "params", "seconds", "note")
OPTIONAL = ("judged", "note")
"""Columns that are left out where they would be empty."""
STOPPED = "stopped early"


def best_table(records: Sequence[Record], count: int | None = None) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns, and the best evaluated cells as text under them, all if `count` is None; "judged" where
    somebody judged them, "note" where some were stopped early."""
    best = best_first(records)[:count]
    rows = [
        (
            r.digest[:8],
            str(r.round),
            "" if r.predicted is None else f"{r.predicted:.4f}",
            f"{r.score:.4f}",
            "" if r.judged is None else f"{r.judged:.4f}",
            f"{r.accuracy:.4f}",
            f"{r.cost:.3g}",
            f"{r.macs / 1e6:.2f} M",
            f"{r.params / 1e3:.0f} k",
            f"{r.seconds:.1f}",
            STOPPED if r.stopped else "",
        )
        for r in best
    ]
    kept = [i for i, name in enumerate(COLUMNS) if name not in OPTIONAL or any(row[i] for row in rows)]
    return tuple(COLUMNS[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]


def posterior_scores(scores: np.ndarray, held_out: np.ndarray, measured_weight: float) -> np.ndarray:
    """What cells are probably worth, [N]: the mean of the scores that were measured, with `measured_weight`, and of those that
    predictors tell who have not seen them. The best of many noisy measurements is mostly a lucky one."""
    return measured_weight * scores + (1 - measured_weight) * held_out


def expected_scores(records: Sequence[Evaluated]) -> np.ndarray:
    """What a predictor learns: the score of each evaluated record, float64 [N]; of one that was stopped early, what it would
    probably have come to: its score and what the others gained on average from that epoch on."""
    whole = [r.curve for r in records if not r.stopped]

    def to_come(r: Evaluated) -> float:
        epoch = len(r.curve)
        gains = [curve[-1] - curve[epoch - 1] for curve in whole if len(curve) > epoch > 0]
        return float(np.mean(gains)) if r.stopped and gains else 0.0

    return np.array([r.score + to_come(r) for r in records])


def pareto_front(records: Sequence[Record]) -> list[Evaluated]:
    """The evaluated records that no other one beats in accuracy without costing more, the cheapest first.

    Candidates that were stopped early are left out: their accuracy is not that of a whole training.
    """
    front: list[Evaluated] = []
    done = [r for r in records if is_evaluated(r) and not r.stopped]
    for r in sorted(done, key=lambda r: (r.cost, -r.accuracy, r.id)):
        if not front or r.accuracy > front[-1].accuracy:
            front.append(r)
    return front


def best_first(records: Sequence[Record]) -> list[Evaluated]:
    """Evaluated records, the one that is judged best first, or, where nobody judged, that of the highest score; candidates that
    were stopped early come after all others."""
    done = [r for r in records if is_evaluated(r)]
    return sorted(done, key=lambda r: (r.stopped, -(r.score if r.judged is None else r.judged), r.id))
