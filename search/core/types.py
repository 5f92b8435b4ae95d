"""The protocols and values that the parts of the search share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gemnet.cell import Cell
from gemnet.complexity import CellStatistics
from gemnet.core.errors import UserError
from gemnet.core.progress import Progress
from gemnet.cost import Cost
from gemnet.operators import INPUT
from search.core.kept import kept_settings

if TYPE_CHECKING:
    from torch import Tensor

    from search.spaces.tabular import Table


class SearchError(UserError):
    """A mistake in what the user gave: a setting, a path, a data set, a record. The message names the value and the remedy."""


class EvaluationError(Exception):
    """A candidate could not be evaluated: a loss that is not a number, memory. It is recorded as failed; the search goes on."""


class StopSearch(Exception):
    """Raised by a callback: the search ends here, with what is recorded, and can be gone on with."""


MAX_OPERATOR = 127
"""Of CellArrays: the highest that an int8 holds."""
ABSENT = -1
"""Of CellArrays: the operator of a place without a node."""
OUTPUT = "output"
"""The operator that only ends a cell, where a space has it (NAS-Bench-101 and 201)."""


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


@dataclass(frozen=True)
class EncodedCells:
    """B cells and their vectors: what an encoder makes of cells, and what a predictor is handed.

    cells: as the encoder reads them. One that leaves out what computes nothing hands on what is left, with the number of edges
    between two nodes as adjacency, float32 [B, n, n].
    vectors: float32 [B, d].
    groups: sizes of the parts of a vector that belong together, in their order, d in all; None where all of it does.
    output: the operator of the nodes that only end a cell, where the space has one; None where a cell's leaves are its ends.
    """

    cells: CellArrays
    vectors: np.ndarray
    groups: tuple[int, ...] | None = None
    output: int | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.vectors) != 2 or len(self.vectors) != len(self.cells):
            raise ValueError(f"expected vectors [{len(self.cells)}, d], one of each cell; found {list(np.shape(self.vectors))}")

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> EncodedCells:
        return replace(self, cells=self.cells[rows], vectors=self.vectors[rows])


class Encoder:
    """Embeds cells in R^d. One of one's own derives from it, calls its constructor, and embeds.

    One that learns, learns from unlabelled cells of the space: it has its own `fit`, `weights` and `load_weights`. Each
    parameter of a constructor is kept as an attribute of the same name, where `settings` are read from.

    name: what a config calls it; "module:Name" of its class if it does not say. dim: d. groups: sizes of the parts of a vector
    that belong together, in their order; None where all of it does. uses_cosine: whether `similarity` is the cosine of `dim`
    numbers a cell. learns_scores: whether it has `fit_scores` and `predict_scores`, for cells whose scores are known.
    needs_scores: whether it embeds nothing before. metrics: figures of merit of the training by name.
    """

    name: str = ""
    groups: tuple[int, ...] | None = None
    uses_cosine: bool = True
    learns_scores: bool = False
    needs_scores: bool = False

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = f"{cls.__module__}:{cls.__qualname__}"

    def __init__(self, space: Space, dim: int) -> None:
        self.space, self.dim = space, dim
        self.metrics: dict[str, float] = {}

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Train, deterministic by seed; returns figures of merit by name, empty where there is nothing to train."""
        return {}

    def fit_scores(self, arrays: CellArrays, scores: np.ndarray, seed: int, progress: Progress | None = None) -> None:
        """Learn from N pruned cells with scores [N] as well, deterministic by seed.

        Raises NotImplementedError where it learns from cells alone.
        """
        raise NotImplementedError(f"{type(self).__name__} learns from cells alone")

    def predict_scores(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [B, dim] -> the scores that the encoder itself tells of them, float64 [B].

        Raises NotImplementedError where it learns from cells alone.
        """
        raise NotImplementedError(f"{type(self).__name__} learns from cells alone")

    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]."""
        raise NotImplementedError

    def encode(self, arrays: CellArrays) -> EncodedCells:
        """Pruned cells -> what predictors are handed; its `vectors` are what `embed` returns."""
        return EncodedCells(arrays, self.embed(arrays), self.groups, self.output)

    def similarity(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Of the vectors of B pairs of cells, [B, dim]: what follows their kernel, float64 [B]; cosines, unless overridden."""
        from search.core.cosines import cosines  # torch, which who reads a record does without

        return cosines(a, b)

    @property
    def output(self) -> int | None:
        """The operator that only ends a cell, as in CellArrays; None where the space has none."""
        return self.space.operators.index(OUTPUT) + 1 if OUTPUT in self.space.operators else None

    @property
    def settings(self) -> dict[str, Any]:
        """What makes this encoder again, with its name and space; JSON values."""
        return kept_settings(self)

    def weights(self) -> dict[str, Tensor]:
        """What was learned, by name. Raises RuntimeError where it is not trained yet."""
        return {}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take what `weights` returned. Raises RuntimeError where they are those of another encoder."""


class Predictor:
    """Predicts scores of encoded cells. One of one's own derives from it, and has `fit` and `predict`.

    has_std: whether it knows how sure it is; then it has `predict_with_std` as well.
    """

    has_std: bool = False

    def check_encoder(self, encoder: Encoder) -> None:
        """Raises SearchError where nothing can be learned of the vectors of `encoder`; called before anything is evaluated."""

    def fit(self, x: EncodedCells, scores: np.ndarray, seed: int) -> None:
        """Train on N cells and their scores [N], deterministic by seed."""
        raise NotImplementedError

    def predict(self, x: EncodedCells) -> np.ndarray:
        """B cells -> predicted scores, float64 [B]."""
        raise NotImplementedError

    def predict_with_std(self, x: EncodedCells) -> tuple[np.ndarray, np.ndarray]:
        """B cells -> what `predict` returns, and its standard deviations, float64 [B] both.

        Raises NotImplementedError where it does not know how sure it is.
        """
        raise NotImplementedError(f"{type(self).__name__} predicts no standard deviations")

    def ucb(self, x: EncodedCells, beta: float) -> np.ndarray:
        """B cells -> the upper confidence bounds of their scores: `beta` standard deviations above them, float64 [B]."""
        mean, std = self.predict_with_std(x)
        return mean + beta * std

    def summary(self, x: EncodedCells) -> dict[str, float]:
        """What a round's record tells of the predictor and the N cells that it is trained on, by name."""
        return {}


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

    if TYPE_CHECKING:  # who reads them needs no more than this; a class has them as attributes or as properties

        @property
        def epochs(self) -> int: ...

        @property
        def num_classes(self) -> int: ...

        @property
        def no_max_macs(self) -> str: ...

    else:
        epochs, num_classes, no_max_macs = 1, 2, ""

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
