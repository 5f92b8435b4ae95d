"""Bootstrap optimisation (Eq. 15): draw many cells with replacement, keep the ones with the highest predicted score."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from search.base import CellArrays, Encoder, Predictor, Progress, Scored, Space
from search.space import prune

CHUNK = 4096
"""Cells at a time: memory does not grow with the number of cells drawn."""


def bootstrap(
    space: Space,
    encoder: Encoder,
    predictor: Predictor,
    macs: Callable[[CellArrays], np.ndarray],
    rng: np.random.Generator,
    count: int,
    top: int,
    exclude: Collection[str] = (),
    max_macs: float | None = None,
    progress: Progress | None = None,
) -> list[Scored]:
    """The `top` cells with the highest predicted score among `count` drawn from `space`, best first.

    macs: MACs [B] of pruned cells. exclude: digests (of pruned cells) that are not to be returned, the evaluated ones.
    max_macs: cells with more MACs are passed over. Isomorphic cells count once. Fewer than `top` cells come back where the
    draws hold no more. Deterministic by the state of `rng`.
    """
    # What is already evaluated tends to be predicted best, so as many more are kept as are excluded, and some for twins.
    keep = 2 * top + len(exclude) + 64
    best: CellArrays | None = None
    scores, costs = np.empty(0), np.empty(0, np.int64)
    for start in range(0, count, CHUNK):
        drawn = space.sample(rng, min(CHUNK, count - start))
        pruned = prune(drawn)
        cost = np.asarray(macs(pruned))
        if max_macs is not None:
            within = cost <= max_macs
            drawn, pruned, cost = drawn[within], pruned[within], cost[within]
        if len(drawn):
            score = predictor.query(encoder.embed(pruned))
            best = drawn if best is None else CellArrays.concatenate([best, drawn])
            scores, costs = np.concatenate([scores, score]), np.concatenate([costs, cost])
            chosen = np.argsort(-scores, kind="stable")[:keep]
            best, scores, costs = best[chosen], scores[chosen], costs[chosen]
        if progress:
            progress(min(start + CHUNK, count), count)
    if best is None:
        return []
    return _distinct(space, best, scores, costs, top, exclude)


def _distinct(
    space: Space, arrays: CellArrays, scores: np.ndarray, costs: np.ndarray, top: int, exclude: Collection[str]
) -> list[Scored]:
    seen, result = set(exclude), []
    for i in range(len(arrays)):
        if len(result) == top:
            break
        (cell,) = space.to_cells(arrays[i : i + 1])
        digest = cell.pruned().digest()
        if digest not in seen:
            seen.add(digest)
            result.append(Scored(float(scores[i]), cell, int(costs[i]), digest))
    return result
