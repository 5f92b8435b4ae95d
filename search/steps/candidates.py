"""Cells as candidates: measured, held against the constraints, and given the seed that they are trained with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from search.core.types import CellArrays, Evaluator, Scored, Space
from search.evaluation.checked import checked_cost
from search.evaluation.constraints import Constraints, MeasuredCells
from search.record.study import Proposal
from search.spaces.dag import statistics


@dataclass(frozen=True)
class Candidates:
    """Makes proposals of cells."""

    space: Space
    evaluator: Evaluator
    constraints: Constraints
    seed: int

    def choose(self, cells: Iterable[Scored], count: int) -> tuple[list[Proposal], MeasuredCells]:
        """The first `count` cells that keep within the constraints as proposals, and what was measured on the way."""
        chosen, measured = self.constraints.choose(cells, count)
        return [self._proposal(scored, cost) for scored, cost in chosen], measured

    def macs(self, pruned: CellArrays) -> np.ndarray:
        """MACs [B] of the proxy networks of pruned cells."""
        (any_cell,) = self.space.to_cells(pruned[:1])
        return self.evaluator.cost(any_cell, statistics(self.space, pruned)).macs

    def _proposal(self, scored: Scored, cost: float) -> Proposal:
        counts = checked_cost(self.evaluator, self.evaluator.cost(scored.cell))
        seed = candidate_seed(self.seed, scored.digest)
        return Proposal(scored.cell, scored.digest, seed, counts.macs, counts.params, cost, scored.score)


def candidate_seed(seed: int, digest: str) -> int:
    """The seed with which the cell `digest` is trained in a search with `seed`, wherever in the search it comes up."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:6], "big")
