"""The protocols and values that the parts of the search share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gemnet.cell import Cell
from gemnet.complexity import CellStatistics
from gemnet.core.errors import UserError
from gemnet.cost import Cost
from gemnet.operators import INPUT

if TYPE_CHECKING:
    from search.spaces.tabular import Table


class SearchError(UserError):
    """A mistake in what the user gave: a setting, a path, a data set, a record. The message names the value and the remedy."""


class EvaluationError(Exception):
    """A candidate could not be evaluated: a loss that is not a number, memory. It is recorded as failed; the search goes on."""


class StopSearch(Exception):
    """Raised by a callback: the search ends here, with what is recorded, and can be gone on with."""


MAX_OPERATOR = 127
"""Of CellArrays: the highest that an int8 holds."""


@dataclass(frozen=True)
class CellArrays:
    """B cells of a space with n nodes, as arrays.

    adjacency: bool [B, n, n]; [b, u, v] is the edge u -> v, u < v.
    operators: int8 [B, n], index into (input, *space.operators); -1 where there is no node (dropped, or beyond a smaller cell).
    """

    adjacency: np.ndarray
    operators: np.ndarray

    def __len__(self) -> int:
        return len(self.operators)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> CellArrays:
        return CellArrays(self.adjacency[rows], self.operators[rows])

    def cell(self, row: int, names: Sequence[str]) -> Cell:
        """The cell in `row`, without the places where there is no node. names: of the operators, the input first."""
        present = np.flatnonzero(self.operators[row] >= 0)
        edges = np.argwhere(self.adjacency[row][np.ix_(present, present)])
        return Cell(tuple(names[i] for i in self.operators[row, present]), tuple(map(tuple, edges.tolist())))

    def compact(self) -> CellArrays:
        """The same cells in arrays as small as they allow: their nodes come first, in the same order, then none."""
        present = self.operators >= 0
        order = np.argsort(~present, axis=1, kind="stable")[:, : max(1, present.sum(1).max(initial=0))]
        return self.reordered(order)

    def reordered(self, order: np.ndarray) -> CellArrays:
        """At place i of cell b the node order[b, i], with its edges; int [B, m], other nodes are left out."""
        rows = np.arange(len(self))[:, None]
        return CellArrays(self.adjacency[rows[:, :, None], order[:, :, None], order[:, None]], self.operators[rows, order])

    @staticmethod
    def of(cells: Sequence[Cell], num_nodes: int, names: Sequence[str]) -> CellArrays:
        """Arrays of cells of at most `num_nodes` nodes with operators among `names`, the input first."""
        index = {name: i for i, name in enumerate(names)}
        adjacency = np.zeros((len(cells), num_nodes, num_nodes), bool)
        operators = np.full((len(cells), num_nodes), -1, np.int8)
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


class Space:
    """A set of cells to search in. One of one's own derives from it, says `num_nodes` and `operators`, and draws cells.

    num_nodes: of a cell at most, the input among them. operators: names that a node may have, each once. table: what is known
    of its cells where they were all trained once (`search.spaces.tabular.Table`); None where candidates are to be trained.
    """

    num_nodes: int
    operators: tuple[str, ...]
    table: Table | None = None

    def sample(self, rng: np.random.Generator, count: int) -> CellArrays:
        """`count` random valid cells, the same for the same state of `rng`."""
        raise NotImplementedError

    def to_cells(self, arrays: CellArrays) -> list[Cell]:
        """One Cell for each row, without the places where there is no node."""
        return [arrays.cell(row, (INPUT, *self.operators)) for row in range(len(arrays))]

    def from_cells(self, cells: Sequence[Cell]) -> CellArrays:
        """Arrays of cells, [B, num_nodes, num_nodes]. Raises SearchError for a cell outside the space."""
        names = (INPUT, *self.operators)
        for cell in cells:
            if len(cell.nodes) > self.num_nodes:
                raise SearchError(f"a cell has {len(cell.nodes)} nodes; the space allows {self.num_nodes}")
            unknown = set(cell.nodes) - set(names)
            if unknown:
                raise SearchError(f"a cell has the operator {min(unknown)!r}; the space has {', '.join(self.operators)}")
        return CellArrays.of(cells, self.num_nodes, names)

    def verdict(self, cell: Cell) -> str:
        """How good a chosen cell is by what the search was not shown, in one line; empty where nothing is known."""
        return ""


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

    early_stop_thresholds: (epoch, accuracy) pairs; a candidate below `accuracy` after `epoch` (counted from 1) is stopped there
    as hopeless.
    """

    key: int
    cell: Cell
    seed: int
    early_stop_thresholds: tuple[tuple[int, float], ...] = ()


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


class Evaluator:
    """Measures the accuracy of a candidate. Pickled to workers; the same job gives the same accuracy anywhere.

    epochs: points of the curve of a candidate that is not stopped. num_classes: chance is one over it. no_max_macs: why a bound
    on the MACs of its networks makes no sense, empty where it does.
    """

    epochs: int = 1
    num_classes: int = 2
    no_max_macs: str = ""

    def cost(self, cell: Cell, statistics: CellStatistics | None = None) -> Cost:
        """Of the network that is evaluated for `cell`; of B cells at once if given their statistics."""
        raise NotImplementedError

    def evaluate(self, job: Job, device: str) -> Evaluation:
        """Raises EvaluationError where the candidate itself is at fault."""
        raise NotImplementedError


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
