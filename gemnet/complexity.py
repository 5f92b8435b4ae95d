"""Analytic params, MACs and activations of a cell and a network, and the choice of a network for a budget.

Nothing is built here. What the cost of a cell depends on is a handful of counts (`CellStatistics`); these may be integers or
arrays, so that one call prices one cell or a hundred thousand. Operators without a formula are counted: `gemnet.counting`.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np

from gemnet.architecture import Architecture
from gemnet.cell import Cell
from gemnet.core.errors import UserError
from gemnet.core.settings import Setting, takes_settings
from gemnet.cost import Cost, affine_form, conv_cost
from gemnet.operators import operator

PROFILES = ((0.5, 0.5, 1, 2, 4), (0.25, 0.5, 1, 2, 4), (0.125, 0.25, 1, 2, 4), (0.125, 0.25, 0.5, 2, 4))
"""Relative widths of the five stages of the ImageNet network: first the design of the AutoShrink and NASGEM authors, then with
fewer channels on the large maps, where a multiplication costs the most memory traffic."""


class BudgetError(UserError):
    """No network of this cell fits the budget. The message gives the reachable range.

    reached: fewest and most MACs that networks of the cell have within the params, where there are some.
    """

    def __init__(self, message: str, reached: tuple[float, float] | None = None) -> None:
        super().__init__(message, reached)  # both, so that it can be pickled
        self.reached = reached

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True)
class OperatorCounts:
    """Over live nodes with one operator: their number, their edges from the cell's input, their edges from other nodes."""

    nodes: Any
    input_edges: Any
    inner_edges: Any


@dataclass(frozen=True)
class CellStatistics:
    """All that the cost of a cell depends on. Counts are ints, or integer arrays [B] for B cells.

    operators: over all nodes with an operator whose cost is affine in its input channels: their sum prices them.
    nodes: of other operators the number of nodes that are fed alike, by operator, edges from the cell's input (0 or 1), and
        edges from other nodes.
    leaves: the number of leaves.
    """

    operators: Mapping[str, OperatorCounts]
    leaves: Any
    nodes: Mapping[tuple[str, int, int], Any] = field(default_factory=dict)


def cell_statistics(cell: Cell) -> CellStatistics:
    """Count what is in the live part of `cell`. Raises CellError for a cell of which no network is built."""
    cell.check_buildable()
    live = set(cell.live_nodes)
    nodes: Counter[tuple[str, int, int]] = Counter()
    for v in cell.live_nodes[1:]:
        before = [u for u in cell.predecessors[v] if u in live]
        from_input = int(before[0] == 0)
        nodes[cell.nodes[v], from_input, len(before) - from_input] += 1
    affine = {name for name in cell.nodes[1:] if operator(name).cost.affine}
    counts = {name: [0, 0, 0] for name in cell.nodes[1:] if name in affine}
    for (name, from_input, inner), number in nodes.items():
        if name in affine:
            counts[name] = [a + number * b for a, b in zip(counts[name], (1, from_input, inner))]
    return CellStatistics(
        {name: OperatorCounts(*entry) for name, entry in counts.items() if entry[0]},
        len(cell.leaves),
        {kind: number for kind, number in nodes.items() if kind[0] not in affine},
    )


def operator_cost(name: str, in_channels: int, out_channels: int, resolution: tuple[int, int]) -> Cost:
    """Price one node with the operator `name` on a map of `resolution` (height, width). Raises OperatorError for an unknown
    name, and where an operator cannot be counted."""
    return operator(name).cost(in_channels, out_channels, resolution)


def cell_cost(cell: Cell | CellStatistics, in_channels: Any, width: Any, resolution: tuple[int, int]) -> Cost:
    """Price a cell whose nodes have `width` channels, at `resolution` (height, width), fed `in_channels` channels.

    Raises OperatorError where an operator cannot be counted.
    """
    statistics = cell_statistics(cell) if isinstance(cell, Cell) else cell
    total = Cost()
    for name, counts in statistics.operators.items():
        fixed, slope = affine_form(operator(name).cost, width, resolution)
        channels = counts.input_edges * in_channels + counts.inner_edges * width
        total += fixed * counts.nodes + slope * channels
    for (name, from_input, inner), number in statistics.nodes.items():
        total += operator(name).cost(from_input * in_channels + inner * width, width, resolution) * number
    return total


def network_cost(
    architecture: Architecture,
    resolution: tuple[int, int] = (224, 224),
    num_classes: int = 1000,
    in_chans: int = 3,
    statistics: CellStatistics | None = None,
) -> Cost:
    """Price a whole network.

    Args:
        architecture: of the network.
        resolution: height and width of an image.
        num_classes: 0 leaves out the classifier.
        in_chans: channels of an image.
        statistics: prices these cells, one or B, in the architecture in place of its own.

    Returns:
        ints, or arrays [B] where the statistics are those of B cells.

    Raises:
        OperatorError: where an operator cannot be counted.
    """
    stats = statistics if statistics is not None else cell_statistics(architecture.cell)
    stage_costs = _stage_costs(stats, architecture.stem_width, architecture.stem_stride, architecture.widths, resolution)
    size = _halved(resolution) if architecture.stem_stride == 2 else resolution
    total = _stem_cost(architecture.stem_width, size, in_chans)
    for (first, further), depth in zip(stage_costs, architecture.depths):
        total += first + (depth - 1) * further
    for _ in architecture.widths[1:]:
        size = _halved(size)
    channels = stats.leaves * architecture.widths[-1]
    return total + _head_cost(channels, architecture.head_width, size, num_classes)


def _halved(resolution: tuple[int, int]) -> tuple[int, int]:
    return (resolution[0] + 1) // 2, (resolution[1] + 1) // 2


def _stem_cost(width: int, size: tuple[int, int], in_chans: int) -> Cost:
    return conv_cost(3, in_chans, width, size)


def _head_cost(channels: Any, head_width: Any, size: tuple[int, int], num_classes: int) -> Cost:
    """1x1 convolution with BN (where head_width is not 0), pool, classifier. `head_width` may be an array, if positive."""
    total = Cost()
    if np.all(head_width):
        total += conv_cost(1, channels, head_width, size)
        channels = head_width
    if num_classes:
        total += Cost((channels + 1) * num_classes, channels * num_classes, num_classes)
    return total


def _stage_costs(
    stats: CellStatistics, stem_width: int, stem_stride: int, widths: Sequence[Any] | np.ndarray, resolution: tuple[int, int]
) -> list[tuple[Cost, Cost]]:
    """Price for each stage its first cell and each further one. `widths`: ints, or arrays [W] for W networks."""
    costs, channels = [], stem_width
    size = _halved(resolution) if stem_stride == 2 else resolution
    for i, width in enumerate(widths):
        size = _halved(size) if i else size
        first = cell_cost(stats, channels, width, size)
        channels = stats.leaves * width
        costs.append((first, cell_cost(stats, channels, width, size)))
    return costs


@dataclass(frozen=True)
class Fit:
    """What `fit` chose, what it costs, and what was asked."""

    architecture: Architecture
    cost: Cost
    target_macs: float
    target_params: float | None

    def summary(self) -> str:
        """One line: what was reached of the budget, and with which widths, depths and head."""
        a, c = self.architecture, self.cost
        macs = f"{c.macs / 1e6:.1f} M MACs of {self.target_macs / 1e6:.1f} M ({c.macs / self.target_macs:.2%})"
        params = f"{c.params / 1e6:.3f} M params"
        if self.target_params:
            params += f" of {self.target_params / 1e6:.3f} M ({c.params / self.target_params:.2%})"
        return f"{params}, {macs}: widths {a.widths}, depths {a.depths}, stem {a.stem_width}, head {a.head_width}"


HEAD_WIDTHS = (256, 2048)
PREFERRED_HEAD_WIDTH = 1024
"""A narrower head is taken only where the budget asks for it: 1,000 classes want features."""
DEFAULT_HEAD_WIDTH = 1280
DIVISORS = (8, 4, 2, 1)
"""Node widths are multiples of the first of these that fills the budget."""
MAX_DEPTH = 6
MAX_BASE_WIDTH = 512
BLOCK = 64
"""Networks that are priced at once."""
MOST_SHORT = 0.05
"""A network whose MACs fall shorter of the budget than by this share is no answer to it."""


TargetMacs = Annotated[float, Setting("multiply-accumulates of the model", above=0, unit="MACs")]
TargetParams = Annotated[float | None, Setting("weights of the model; None leaves them free", above=0, unit="params")]
Residual = Annotated[bool, Setting("whether a cell's input is added to its output")]
SIDE = Setting("", int, at_least=1)


@takes_settings()
def fit(
    cell: Cell,
    target_macs: TargetMacs,
    target_params: TargetParams = None,
    resolution: Annotated[tuple[int, int], Setting("height and width of an image", item=SIDE, length=(2, 2))] = (224, 224),
    stem_width: Annotated[int, Setting("of the stem", at_least=1, unit="channels")] = 32,
    max_depth: Annotated[int, Setting("cells in a stage at most", at_least=1, at_most=16)] = MAX_DEPTH,
    tolerance: Annotated[float, Setting("share of a budget that may be left over", at_least=0, below=1)] = 0.01,
    residual: Residual = False,
) -> Fit:
    """Choose widths, depths and head of the five-stage ImageNet network of `cell` for a budget that it does not exceed.

    target_macs: multiply-accumulates at `resolution` with 1,000 classes. target_params: weights, with 1,000 classes; None
    leaves them free (the head then has 1,280 channels, fewer where these alone overrun the MACs). max_depth: cells in a stage.
    residual: the architecture's; it costs nothing that is counted.

    The stages keep about the relative widths of one of PROFILES, and the head is as wide as the budget allows. Of the networks
    within `tolerance` below both budgets, the one with node widths in the largest multiples (8, 4, 2, 1) is taken, of these one
    with a head of at least 1,024 channels, and of these the one with the fewest activations and params in sum: at equal MACs,
    what is read and written decides the time (Dollar et al., arXiv:2103.06877, section 3). Where the cell cannot fill both
    budgets, MACs are filled first, and params as far as they go.

    The same arguments give the same network.

    Raises:
        BudgetError: with the reachable range, where no network fills the MACs to 5 % within the params.
        UserError: for an argument that is out of range.
    """
    grid = _Grid(cell, resolution, stem_width, max_depth)
    best = None
    for divisor in DIVISORS:
        for candidate in grid.candidates(divisor, target_macs, target_params, tolerance):
            best = candidate if best is None or candidate[0] < best[0] else best
        if best is not None and best[0][:2] == (0.0, 0.0):
            break
    if best is None or best[0][0] > MOST_SHORT - tolerance:
        reached = grid.reach(target_params)
        raise BudgetError(grid.explain(target_macs, target_params, reached), reached)
    _, widths, depths, head_width = best
    architecture = Architecture(cell, widths, depths, stem_width, head_width, residual=residual)
    return Fit(architecture, network_cost(architecture, resolution), target_macs, target_params)


def _fitting(bodies: Cost, heads: Cost, macs: float, params: float) -> tuple[np.ndarray, np.ndarray, Cost, np.ndarray]:
    """Of W networks the bodies, [W, D], that leave room for a head, [W, H], within `macs` and `params`: their places on the
    axes W and D, their costs, and the place on H of the widest head that each has room for, [N] each. The costs of heads ascend
    in equal steps."""
    first = heads[:, :1]
    network, depths = np.nonzero((bodies.macs + first.macs <= macs) & (bodies.params + first.params <= params))
    body, head, next_head = bodies[network, depths], heads[network, 0], heads[network, 1]
    steps = np.minimum(
        (macs - body.macs - head.macs) / (next_head.macs - head.macs),
        (params - body.params - head.params) / (next_head.params - head.params),
    )
    return network, depths, body, np.minimum(np.floor(steps), heads.macs.shape[1] - 1).astype(int)


def _least(*keys: np.ndarray) -> tuple[int, tuple[Any, ...]]:
    """Where the first of the keys [N] is least, among these the second, and so on; the first such place, and the keys there."""
    rows = np.arange(len(keys[0]))
    for key in keys:
        rows = rows[key[rows] == key[rows].min()]
    return int(rows[0]), tuple(key[rows[0]].item() for key in keys)


@functools.lru_cache
def _depths(most: int) -> np.ndarray:
    """The depths of five stages, [D, 5]. A stage at lower resolution is no shallower than the one before, but for the last: the
    usual shape of mobile networks."""
    depths = np.array(list(itertools.product(range(1, most + 1), repeat=len(PROFILES[0]))))
    return depths[np.all(np.diff(depths[:, :-1], axis=1) >= 0, axis=1)]


@functools.lru_cache
def _widths(divisor: int) -> list[list[tuple[int, ...]]]:
    """For each profile its distinct stage widths, ascending, each a multiple of `divisor`."""
    bases = np.arange(1.0, MAX_BASE_WIDTH + 0.25, 0.25)
    rounded = [np.maximum(1, np.floor(np.outer(bases, p) / divisor + 0.5)).astype(int) * divisor for p in PROFILES]
    return [list(dict.fromkeys(map(tuple, rows.tolist()))) for rows in rounded]


class _Grid:
    """All networks of one cell that `fit` chooses from: profiles x base widths x depths of the five stages x head widths."""

    def __init__(self, cell: Cell, resolution: tuple[int, int], stem_width: int, max_depth: int) -> None:
        self.stats = cell_statistics(cell)
        self.resolution, self.stem_width = resolution, stem_width
        self.depths = _depths(max_depth)
        size = _halved(resolution)
        for _ in PROFILES[0][1:]:
            size = _halved(size)
        self.last_size = size
        self.heads = np.arange(HEAD_WIDTHS[0], HEAD_WIDTHS[1] + 1, 8)

    def bodies(self, widths: Sequence[tuple[int, ...]]) -> Cost:
        """The cost without the head of W networks, by the widths of their stages, arrays [W, D] over all depths."""
        columns = np.array(widths).T  # [5, W]
        first, further = zip(*_stage_costs(self.stats, self.stem_width, 2, columns, self.resolution))
        once = sum(first, start=_stem_cost(self.stem_width, _halved(self.resolution), 3))
        more = (self.depths - 1.0).T  # [5, D]; these are all whole numbers below 2^53
        fields = [
            np.reshape(getattr(once, name), (-1, 1)) + np.stack([getattr(c, name) for c in further], 1) @ more
            for name in ("params", "macs", "activations")
        ]
        return Cost(*fields)

    def head(self, widths: Sequence[tuple[int, ...]], head_widths: np.ndarray) -> Cost:
        """The cost of the heads of W networks, arrays [W, H] over the widths of the head."""
        channels = self.stats.leaves * np.array([stages[-1:] for stages in widths])
        cost = _head_cost(channels, head_widths, self.last_size, 1000)
        return Cost(*np.broadcast_arrays(cost.params, cost.macs, cost.activations))

    def head_widths(self, target_params: float | None) -> np.ndarray:
        return self.heads if target_params is not None else self.heads[self.heads <= DEFAULT_HEAD_WIDTH]

    def candidates(
        self, divisor: int, target_macs: float, target_params: float | None, tolerance: float
    ) -> Iterator[tuple[tuple[float, float, bool, float, float], tuple[int, ...], tuple[int, ...], int]]:
        """Yield (rank, widths, depths, head) within the budget, the best of every few base widths; a smaller rank is better.

        The rank is the share by which MACs, then params, fall short beyond the tolerance, then whether the head is narrow,
        then the sum of activations and params, then the share of MACs left over.
        """
        most = np.inf if target_params is None else target_params
        heads = self.head_widths(target_params)
        for widths, bodies in self.within(divisor, target_macs, most):
            cost = self.head(widths, heads)  # the widest that fits fills the budget best
            network, depths, body, choice = _fitting(bodies, cost, target_macs, most)
            if not len(network):
                continue
            cost = cost[network, choice]
            params = body.params + cost.params
            slack = 1 - (body.macs + cost.macs) / target_macs
            short_params = np.zeros(len(network))
            if target_params is not None:
                short_params = np.maximum(0, 1 - tolerance - params / target_params)
            traffic = body.activations + cost.activations + params
            narrow = heads[choice] < PREFERRED_HEAD_WIDTH
            i, rank = _least(np.maximum(0, slack - tolerance), short_params, narrow, traffic, slack)
            yield rank, widths[network[i]], tuple(self.depths[depths[i]].tolist()), int(heads[choice[i]])

    def within(self, divisor: int, macs: float, params: float) -> Iterator[tuple[list[tuple[int, ...]], Cost]]:
        """Stage widths, W at a time, with the costs of their bodies, arrays [W, D] over all depths; of each profile as long
        as one of them is within `macs` and `params`."""
        for profile in _widths(divisor):
            for start in range(0, len(profile), BLOCK):
                block = profile[start : start + BLOCK]
                bodies = self.bodies(block)
                above = np.flatnonzero((bodies.macs.min(1) > macs) | (bodies.params.min(1) > params))
                end = above[0] if len(above) else len(block)
                if end:
                    yield block[:end], bodies[:end]
                if end < len(block):
                    break

    def explain(self, target_macs: float, target_params: float | None, reach: tuple[float, float] | None) -> str:
        """Why no network fits: the range of MACs that this cell reaches, see `reach`, rounded inwards."""
        asked, within = f"target_macs={target_macs / 1e6:g} M", ""
        if target_params is not None:
            asked += f" with target_params={target_params / 1e6:g} M"
            within = f" with at most {target_params / 1e6:g} M params"
        if reach is None:
            narrowest = [profile[0] for profile in _widths(1)]
            fewest = (self.bodies(narrowest).params + self.head(narrowest, self.heads[:1]).params).min()
            return f"{asked} is out of reach for this cell: it takes at least {_millions(fewest, np.ceil)} params"
        low, high = _millions(reach[0], np.ceil), _millions(reach[1], np.floor)
        return f"{asked} is out of reach for this cell: it reaches {low} to {high} MACs{within}"

    def reach(self, target_params: float | None) -> tuple[float, float] | None:
        """The fewest and most MACs of the networks with at most `target_params`, or None where there are none."""
        most = np.inf if target_params is None else target_params
        heads = self.head_widths(target_params)
        low, high = np.inf, 0.0
        for divisor in DIVISORS:
            for widths, bodies in self.within(divisor, np.inf, most):
                cost = self.head(widths, heads)
                network, _, body, choice = _fitting(bodies, cost, np.inf, most)
                if len(network):
                    low = min(low, float((body.macs + cost.macs[network, 0]).min()))
                    high = max(high, float((body.macs + cost.macs[network, choice]).max()))
        return (low, high) if high else None


def _millions(number: float, towards: Callable[[float], float]) -> str:
    return f"{towards(number / 1e3) / 1e3:.3f} M"
