"""The protocols and values that the parts of the search share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gemnet.cell import Cell
from gemnet.complexity import CellStatistics
from gemnet.core.errors import UserError
from gemnet.operators import Cost


class SearchError(UserError):
    """A mistake in what the user gave: a setting, a path, a data set, a record. The message names the value and the remedy."""


class EvaluationError(Exception):
    """A candidate could not be evaluated: a loss that is not a number, memory. It is recorded as failed; the search goes on."""


MAX_OPERATOR = 127
"""Of CellArrays: the highest that an int8 holds."""
ABSENT = -1
"""Of CellArrays: the operator of a place without a node."""


@dataclass(frozen=True)
class CellArrays:
    """B cells with places for n nodes, or other labelled DAGs, as arrays.

    adjacency: bool [B, n, n]; [b, u, v] is the edge u -> v, u < v.
    operators: int8 [B, n], index into (input, *space.operators); ABSENT where there is no node (dropped, or beyond a smaller
    cell).
    """

    adjacency: np.ndarray
    operators: np.ndarray

    def __len__(self) -> int:
        return len(self.operators)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> CellArrays:
        return CellArrays(self.adjacency[rows], self.operators[rows])

    @property
    def sizes(self) -> np.ndarray:
        """Nodes of each cell, int64 [B]."""
        return (self.operators != ABSENT).sum(1)

    def cell(self, row: int, names: Sequence[str]) -> Cell:
        """The cell in `row`, without the places where there is no node. names: of the operators, the input first."""
        present = np.flatnonzero(self.operators[row] >= 0)
        edges = np.argwhere(self.adjacency[row][np.ix_(present, present)])
        return Cell(tuple(names[i] for i in self.operators[row, present]), tuple(map(tuple, edges.tolist())))

    def compact(self) -> CellArrays:
        """The same cells in arrays as small as they allow: their nodes come first, in the same order, then none."""
        order = np.argsort(self.operators == ABSENT, axis=1, kind="stable")
        return self.reordered(order[:, : max(1, self.sizes.max(initial=0))])

    def packed(self, keep: np.ndarray) -> CellArrays:
        """The same cells without the nodes that are not kept, bool [B, n]: those that are come first, in the same order."""
        order = np.argsort(~keep, axis=1, kind="stable")
        moved = CellArrays(self.adjacency, np.where(keep, self.operators, ABSENT).astype(np.int8)).reordered(order)
        present = moved.operators != ABSENT
        return CellArrays(moved.adjacency & present[:, :, None] & present[:, None, :], moved.operators)

    def padded(self, num_nodes: int) -> CellArrays:
        """The same cells with `num_nodes` places each. Raises SearchError where a node has a place beyond."""
        n = self.operators.shape[1]
        if n > num_nodes and (self.operators[:, num_nodes:] != ABSENT).any():
            places = int(np.flatnonzero((self.operators != ABSENT).any(0)).max()) + 1
            raise SearchError(f"a graph has {places} nodes; the space allows {num_nodes}")
        keep, more = min(n, num_nodes), max(0, num_nodes - n)
        operators = np.pad(self.operators[:, :keep], ((0, 0), (0, more)), constant_values=ABSENT)
        return CellArrays(np.pad(self.adjacency[:, :keep, :keep], ((0, 0), (0, more), (0, more))), operators)

    def reordered(self, order: np.ndarray) -> CellArrays:
        """At place i of cell b the node order[b, i], with its edges; int [B, m], other nodes are left out."""
        rows = np.arange(len(self))[:, None]
        return CellArrays(self.adjacency[rows[:, :, None], order[:, :, None], order[:, None]], self.operators[rows, order])

    def keys(self, num_nodes: int) -> np.ndarray:
        """One opaque value a cell, void [B]: equal where cells of at most `num_nodes` nodes have the same operators and edges
        at the same places (isomorphic cells in another order differ), whatever their padding.
        """
        same = self.padded(num_nodes)
        bits = np.packbits(same.adjacency.reshape(len(same), num_nodes**2), axis=1)
        content = np.ascontiguousarray(np.concatenate([same.operators.view(np.uint8), bits], axis=1))
        return content.view([("", f"V{content.shape[1]}")])["f0"].reshape(-1) if len(content) else np.empty(0, "V1")

    @staticmethod
    def of(cells: Sequence[Cell], num_nodes: int, names: Sequence[str]) -> CellArrays:
        """Arrays of cells of at most `num_nodes` nodes with operators among `names`, the input first."""
        index = {name: i for i, name in enumerate(names)}
        adjacency = np.zeros((len(cells), num_nodes, num_nodes), bool)
        operators = np.full((len(cells), num_nodes), ABSENT, np.int8)
        for b, cell in enumerate(cells):
            operators[b, : len(cell.nodes)] = [index[name] for name in cell.nodes]
            if cell.edges:
                u, v = np.array(cell.edges).T
                adjacency[b, u, v] = True
        return CellArrays(adjacency, operators)

    @staticmethod
    def concatenate(parts: Iterable[CellArrays]) -> CellArrays:
        parts = list(parts)
        return CellArrays(np.concatenate([p.adjacency for p in parts]), np.concatenate([p.operators for p in parts]))


class Space(Protocol):
    """A set of cells to search in."""

    num_nodes: int
    operators: tuple[str, ...]

    def sample(self, rng: np.random.Generator, count: int) -> CellArrays:
        """`count` random valid cells, the same for the same state of `rng`."""

    def to_cells(self, arrays: CellArrays) -> list[Cell]: ...

    def from_cells(self, cells: Sequence[Cell]) -> CellArrays:
        """Raises SearchError for a cell outside the space."""


class Encoder(Protocol):
    """Embeds cells in R^d. Where it learns, it learns from unlabelled cells of the space.

    Those of whose vectors something else than the cosine is to follow the kernel have `similarity`, and `inner_products = True`
    where that is no cosine at all, see `search.encoders.common`.
    """

    space: Space
    dim: int

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Train; returns figures of merit by name, empty where there is nothing to train."""

    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]."""

    def save(self, directory: str | os.PathLike[str]) -> None: ...


class Predictor(Protocol):
    """Predicts scores of embedded cells. Those that know how sure they are have `opinion` and `optimistic` besides, see
    `search.predictors.ensemble.NormalScorePredictor`."""

    def fit(self, vectors: np.ndarray, scores: np.ndarray, seed: int) -> None:
        """vectors: [N, d]; scores: [N]."""

    def query(self, vectors: np.ndarray) -> np.ndarray:
        """[B, d] -> predicted scores, float64 [B]."""


class Progress(Protocol):
    """Told how far a long piece of work has come."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@dataclass(frozen=True)
class Job:
    """A candidate to evaluate. Everything that its result depends on besides the evaluator's own settings.

    hurdles: (epoch, accuracy) pairs; a candidate below `accuracy` after `epoch` (counted from 1) is stopped there as hopeless.
    """

    key: int
    cell: Cell
    seed: int
    hurdles: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator measured.

    accuracy: share of the validation images that are classified correctly after the last epoch trained.
    curve: this accuracy after each epoch. stopped: whether the candidate was stopped early as hopeless.
    """

    accuracy: float
    curve: tuple[float, ...]
    stopped: bool
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """The end of a job: an evaluation, or an error."""

    key: int
    evaluation: Evaluation | None = None
    error: str = ""
    seconds: float = 0.0


class Evaluator(Protocol):
    """Measures the accuracy of a candidate. Pickled to workers; the same job gives the same accuracy anywhere.

    epochs: points of the curve of a candidate that is not stopped. num_classes: chance is one over it. no_max_macs: why a bound
    on the MACs of its networks makes no sense, empty where it does.
    """

    epochs: int
    num_classes: int
    no_max_macs: str

    def cost(self, cell: Cell, statistics: CellStatistics | None = None) -> Cost:
        """Of the network that is evaluated for `cell`; of B cells at once if given their statistics."""

    def evaluate(self, job: Job, device: str) -> Evaluation:
        """Raises EvaluationError where the candidate itself is at fault."""


class Executor(Protocol):
    """Runs evaluations somewhere and yields each outcome as it comes, in any order."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Scored:
    """A cell with its predicted score, as bootstrap optimisation returns it."""

    score: float
    cell: Cell
    macs: int = 0
    digest: str = field(default="", compare=False)
