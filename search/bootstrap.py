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
    macs: Callable[[CellArrays], np.ndarray] | None,
    rng: np.random.Generator,
    count: int,
    top: int,
    exclude: Collection[str] = (),
    max_macs: float | None = None,
    progress: Progress | None = None,
) -> list[Scored]:
    """The `top` cells with the highest predicted score among `count` drawn from `space`, best first.

    macs: MACs [B] of pruned cells; None where nobody asks for them. max_macs: cells with more MACs are passed over. exclude:
    digests (of pruned cells) that are not to be returned, the evaluated ones. Isomorphic cells count once. Fewer than `top`
    cells come back where the draws hold no more. Deterministic by the state of `rng`. Raises FloatingPointError where a score
    is not a number.
    """
    best = _Best(space, top, exclude)
    for start in range(0, count, CHUNK):
        drawn = space.sample(rng, min(CHUNK, count - start))
        pruned = prune(drawn)
        cost = np.asarray(macs(pruned)) if macs else np.zeros(len(drawn), np.int64)
        if max_macs is not None:
            within = cost <= max_macs
            drawn, pruned, cost = drawn[within], pruned[within], cost[within]
        if len(drawn):
            scores = predictor.query(encoder.embed(pruned))
            if not np.isfinite(scores).all():
                raise FloatingPointError("the predictor gives scores that are not finite")
            best.add(drawn, pruned, scores, cost)
        if progress:
            progress(min(start + CHUNK, count), count)
    return best.ranked()


class _Best:
    """The best cells so far, no two of them isomorphic."""

    def __init__(self, space: Space, top: int, exclude: Collection[str]) -> None:
        self.space, self.top, self.exclude = space, top, frozenset(exclude)
        self.found: dict[str, Scored] = {}
        self.digests: dict[bytes, str] = {}  # of the cells that came this far: few in a large space, all of a small one

    def add(self, drawn: CellArrays, pruned: CellArrays, scores: np.ndarray, costs: np.ndarray) -> None:
        threshold = self._threshold()
        for i in np.argsort(-scores, kind="stable"):
            score = float(scores[i])
            if score <= threshold:
                break
            digest = self._digest(pruned[i : i + 1])
            known = self.found.get(digest)
            if digest in self.exclude or (known and known.score >= score):
                continue
            (cell,) = self.space.to_cells(drawn[i : i + 1])
            self.found[digest] = Scored(score, cell, int(costs[i]), digest)
            if len(self.found) > self.top:
                del self.found[min(self.found, key=lambda d: self.found[d].score)]
            threshold = self._threshold()

    def ranked(self) -> list[Scored]:
        return sorted(self.found.values(), key=lambda s: (-s.score, s.digest))

    def _threshold(self) -> float:
        return min(s.score for s in self.found.values()) if len(self.found) == self.top else -np.inf

    def _digest(self, pruned: CellArrays) -> str:
        key = np.packbits(pruned.adjacency).tobytes() + pruned.operators.tobytes()
        if key not in self.digests:
            self.digests[key] = self.space.to_cells(pruned)[0].digest()
        return self.digests[key]
