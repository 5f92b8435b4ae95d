"""What pictures show of the measurements, as plain JSON; `pictures.py` draws it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from search.experiments.svge.optimisation import Budget, Runs, curves
from search.experiments.svge.smoothness import Rows, Walk
from search.experiments.svge.tasks import Task

KNOWN = 0.02
"""Share of a plane's points whose accuracy is known, from which on they are shown."""
PAIRS = 500
"""Of those measured, the first; the figures beside them are of all."""
STEP = 5
"""Of the queries that are shown."""


def walk_points(walk: Walk, task: Task) -> dict[str, Any]:
    """What `pictures.interpolation` shows: the cells on the way; consecutive equal ones stand once."""
    cells = []
    for i, row in enumerate(walk.rows):
        if not i or _changed(walk, i):
            cell = task.cell(walk.graphs, i)
            accuracies = {name: rounded(row[name]) for name in ("share", "predicted accuracy", "known accuracy")}
            cells.append(accuracies | {"nodes": list(cell.nodes), "edges": [list(edge) for edge in cell.edges]})
    return {"cells": cells}


def plane_points(rows: Rows) -> dict[str, Any]:
    """What `pictures.plane` shows: the predicted accuracies, and the known ones of what is decoded, unless they are of fewer
    than KNOWN of the points, as in a space of which a table has few cells."""
    side = round(len(rows) ** 0.5)
    names = ["predicted accuracy"]
    if sum(row["known accuracy"] is not None for row in rows) >= KNOWN * len(rows):
        names.append("known accuracy")
    lines = [rows[start : start + side] for start in range(0, len(rows), side)]
    return {name: [[rounded(row[name]) for row in line] for line in lines] for name in names}


def pair_points(rows: Rows, figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What `pictures.kernel` shows: PAIRS of the pairs, and the figures of all."""
    some = rows[:PAIRS]
    return {
        "kernel": rounded([row["kernel"] for row in some]),
        "cosines": {name: rounded([row[name] for row in some]) for name in figures},
        "figures": {name: {what: rounded(follows[what]) for what in ("R^2", "Spearman")} for name, follows in figures.items()},
    }


def curve_points(task: Task, runs_of: Runs, budget: Budget) -> dict[str, Any]:
    """What `pictures.optimisation` shows: mean and standard deviation of the runs of each method, after every STEP queries from
    the end of the random first ones on, as far as all its runs go."""
    methods = {}
    for method, runs in runs_of.items():
        values = curves(task, runs)
        values = values[:, np.isfinite(values).all(0)][:, budget.start - 1 :: STEP]
        methods[method] = {"runs": len(runs), "mean": rounded(values.mean(0)), "deviation": rounded(values.std(0))}
    longest = max(len(method["mean"]) for method in methods.values())
    return {
        "best in the table": rounded(np.nanmax(task.accuracies)),
        "random": budget.start,
        "queries": [budget.start + STEP * place for place in range(longest)],
        "methods": methods,
    }


def rounded(values: Any) -> Any:
    """Numbers, in lists of any depth, to five digits, which are more than a picture shows; None for NaN."""
    if isinstance(values, Sequence | np.ndarray):
        return [rounded(value) for value in values]
    return float(f"{values:.5g}") if values is not None and np.isfinite(values) else None


def _changed(walk: Walk, i: int) -> bool:
    keys = walk.graphs[[i - 1, i]].keys(walk.graphs.operators.shape[1])
    return bool(keys[0] != keys[1])
