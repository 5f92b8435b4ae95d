"""Bootstrap optimisation (Eq. 15): draw many cells with replacement, keep the ones with the highest predicted score."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from search.core.types import CellArrays, EncodedCells, Encoder, Progress, Scored, Space
from search.predictors.acquisition import Acquisition
from search.spaces.dag import prune
from search.spaces.node_order import canonical_order

CHUNK = 4096
"""Cells at a time: memory does not grow with the number of cells drawn."""
MOST_AHEAD = 16 * CHUNK
"""Cells that are kept ready at most: some hundred MB of 30-node cells."""


@dataclass(frozen=True)
class _Chunk:
    """Cells as drawn, pruned and encoded, and their MACs [B]; number: how many were drawn to get them."""

    number: int
    drawn: CellArrays
    pruned: CellArrays
    encoded: EncodedCells
    costs: np.ndarray


class Draws:
    """`count` cells drawn from `space` with replacement, pruned and embedded, as far as they are within a budget.

    They are drawn when they are asked for, or before, while there is time (`ahead`): what comes is the same. macs: MACs [B] of
    pruned cells; None where nobody asks for them. max_macs: cells with more MACs are passed over. Deterministic by the state of
    `rng`. They can be gone through once.
    """

    def __init__(
        self,
        space: Space,
        encoder: Encoder,
        rng: np.random.Generator,
        count: int,
        macs: Callable[[CellArrays], np.ndarray] | None = None,
        max_macs: float | None = None,
    ) -> None:
        self.space, self.encoder, self.count = space, encoder, count
        self._macs, self._max_macs, self._rng = macs, max_macs, rng
        self._left, self._ready = count, deque[_Chunk]()

    def ahead(self, cells: int) -> None:
        """Draw at least `cells` more now, or all that are left, and keep them, MOST_AHEAD at most at a time."""
        room = MOST_AHEAD - sum(chunk.number for chunk in self._ready)
        while self._left and min(cells, room) > 0:
            self._ready.append(self._next())
            cells, room = cells - CHUNK, room - CHUNK

    def __iter__(self) -> Iterator[_Chunk]:
        while self._ready or self._left:
            yield self._ready.popleft() if self._ready else self._next()

    def _next(self) -> _Chunk:
        number = min(CHUNK, self._left)
        self._left -= number
        drawn = self.space.sample(self._rng, number)
        pruned = prune(drawn)
        costs = np.asarray(self._macs(pruned)) if self._macs else np.zeros(number, np.int64)
        if self._max_macs is not None:
            within = costs <= self._max_macs
            drawn, pruned, costs = drawn[within], pruned[within], costs[within]
        return _Chunk(number, drawn, pruned, self.encoder.encode(pruned), costs)


def bootstrap(
    draws: Draws, score: Acquisition, top: int, exclude: Collection[str] = (), progress: Progress | None = None
) -> list[Scored]:
    """Take the `top` cells of `draws` with the highest score, no two of them isomorphic.

    Args:
        draws: gone through once.
        score: `predict` of a trained predictor, or another acquisition function.
        top: how many cells; fewer come back where the draws hold no more.
        exclude: digests of pruned cells that are not to come back, the evaluated ones.
        progress: told of draws.

    Returns:
        The cells with their scores, best first.

    Raises:
        FloatingPointError: where a score is not a number.
    """
    best, done = _Best(draws.space, top, exclude), 0
    for chunk in draws:
        if len(chunk.drawn):
            scores = score(chunk.encoded)
            if not np.isfinite(scores).all():
                raise FloatingPointError("the predictor gives scores that are not finite")
            best.add(chunk.drawn, chunk.pruned, scores, chunk.costs)
        done += chunk.number
        if progress:
            progress(done, draws.count)
    return best.ranked()


class _Best:
    """The best cells so far, no two of them isomorphic."""

    def __init__(self, space: Space, top: int, exclude: Collection[str]) -> None:
        self.space, self.top, self.exclude = space, top, frozenset(exclude)
        self.found: dict[str, tuple[float, CellArrays, int]] = {}  # score, cell as drawn, MACs
        self.digests: dict[bytes, str] = {}  # of the cells that came this far: few in a large space, all of a small one

    def add(self, drawn: CellArrays, pruned: CellArrays, scores: np.ndarray, costs: np.ndarray) -> None:
        threshold = self._threshold()
        hopeful = np.flatnonzero(scores > threshold)
        hopeful = hopeful[np.argsort(-scores[hopeful], kind="stable")]
        pruned = pruned[hopeful]
        ordered = canonical_order(pruned)  # of many isomorphic cells few matrices are left
        for place, i in enumerate(hopeful):
            score = float(scores[i])
            if score <= threshold:
                break
            digest = self._digest(ordered[place : place + 1], pruned[place : place + 1])
            if digest in self.exclude or (digest in self.found and self.found[digest][0] >= score):
                continue
            self.found[digest] = score, drawn[[i]], int(costs[i])  # a copy: a slice would keep the whole chunk
            if len(self.found) > self.top:
                del self.found[min(self.found, key=lambda d: self.found[d][0])]
            threshold = self._threshold()

    def ranked(self) -> list[Scored]:
        best = sorted(self.found.items(), key=lambda item: (-item[1][0], item[0]))
        return [Scored(score, self.space.to_cells(cell)[0], macs, digest) for digest, (score, cell, macs) in best]

    def _threshold(self) -> float:
        return min(score for score, *_ in self.found.values()) if len(self.found) == self.top else -np.inf

    def _digest(self, ordered: CellArrays, pruned: CellArrays) -> str:
        key = np.packbits(ordered.adjacency).tobytes() + ordered.operators.tobytes()
        if key not in self.digests:
            self.digests[key] = self.space.to_cells(pruned)[0].digest()
        return self.digests[key]
