"""Cells as DARTS and its successors publish them: genotypes, and what they found.

A cell has two inputs, the outputs of the two cells before it: node 0 is the one of the cell before the last, node 1 that of the
last. Every other node, from 2 on, is the sum of its edges, each an operator on a node before it. The output concatenates nodes.
A genotype is a normal cell, and a reduction cell, whose edges from nodes 0 and 1 have stride 2.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemnet.core.errors import UserError
from gemnet.core.files import open_regular

OPERATORS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_7x1_1x7",
)
"""DARTS' names. `none` gives zeros; `skip_connect` with stride 2 is two 1x1 convolutions, each on every second pixel."""
INPUTS = 2
MAX_NODES, MAX_BYTES = 64, 2**20
KEYS = ("normal", "normal_concat", "reduce", "reduce_concat")

Edge = tuple[str, int]
"""An operator, and the node on which it is."""


class GenotypeError(UserError):
    """A genotype that is none: the message names where, what was found and what was expected."""


@dataclass(frozen=True)
class CellGraph:
    """One cell of a genotype.

    nodes: of each node from 2 on its edges. concat: the nodes whose values are concatenated. Raises GenotypeError, with the
    place, for an unknown operator, an edge from no earlier node, a node without edges, or one that nothing reads.
    """

    nodes: tuple[tuple[Edge, ...], ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        count = INPUTS + len(self.nodes)
        if not self.nodes or count > MAX_NODES:
            raise GenotypeError(f"expected 1 to {MAX_NODES - INPUTS} nodes beside the inputs, found {len(self.nodes)}")
        for node, edges in enumerate(self.nodes, INPUTS):
            if not edges:
                raise GenotypeError(f"node {node}: it has no edge")
            for operator, source in edges:
                if operator not in OPERATORS:
                    raise GenotypeError(f"node {node}: unknown operator {operator!r}; expected one of {', '.join(OPERATORS)}")
                if not 0 <= source < node:
                    raise GenotypeError(f"node {node}: {operator} on node {source}; expected a node from 0 to {node - 1}")
        if not self.concat or len(set(self.concat)) != len(self.concat) or not set(self.concat) <= set(range(INPUTS, count)):
            raise GenotypeError(
                f"concat: expected some of the nodes {INPUTS} to {count - 1}, each once, found {list(self.concat)}"
            )
        read = {*self.concat, *(source for edges in self.nodes for _, source in edges)}
        unread = sorted(set(range(count)) - read)
        if unread:
            raise GenotypeError(f"node {unread[0]}: nothing reads it, neither an edge nor the concatenation")


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell."""

    normal: CellGraph
    reduce: CellGraph

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Genotype:
        """A genotype of plain values, as its authors print it.

        Args:
            values: `normal` and `reduce`, each a list of edges `[operator, node]`, two for each node, or for each node
                a list of its edges; `normal_concat` and `reduce_concat`, lists of nodes.

        Raises:
            GenotypeError: for anything else.
        """
        if not isinstance(values, Mapping) or set(values) != set(KEYS):
            found = ", ".join(map(str, values)) if isinstance(values, Mapping) else type(values).__name__
            raise GenotypeError(f"expected the keys {', '.join(KEYS)}, found {found or 'none'}")
        return cls(_cell("normal", values), _cell("reduce", values))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Genotype:
        """Read a genotype from a JSON file with the keys of `from_values`. Raises GenotypeError, naming the file."""
        path = Path(path)
        try:
            with open_regular(path) as file:
                content = file.read(MAX_BYTES + 1)
            if len(content) > MAX_BYTES:
                raise GenotypeError(f"larger than {MAX_BYTES >> 10} KiB")
            return cls.from_values(json.loads(content))
        except (OSError, ValueError, RecursionError) as error:
            raise GenotypeError(f"{path}: {error}") from None


def _cell(name: str, values: Mapping[str, Any]) -> CellGraph:
    nodes, concat = values[name], values[f"{name}_concat"]
    try:
        if not isinstance(nodes, Sequence) or isinstance(nodes, str) or not nodes:
            raise GenotypeError(f"expected a list of edges, found {nodes!r:.80}")
        if _is_edge(nodes[0]):
            if len(nodes) % 2:
                raise GenotypeError(f"{len(nodes)} edges; expected two for each node, or a list of edges for each")
            nodes = [nodes[i : i + 2] for i in range(0, len(nodes), 2)]
        for node, edges in enumerate(nodes, INPUTS):
            if not isinstance(edges, Sequence) or isinstance(edges, str) or not all(map(_is_edge, edges)):
                raise GenotypeError(f"node {node}: expected edges [operator, node], found {edges!r:.80}")
        if not isinstance(concat, Sequence) or not all(type(node) is int for node in concat):
            raise GenotypeError(f"concat: expected a list of nodes, found {concat!r:.80}")
        return CellGraph(tuple(tuple((op, source) for op, source in edges) for edges in nodes), tuple(concat))
    except GenotypeError as error:
        raise GenotypeError(f"{name}: {error}") from None


def _is_edge(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def _graph(*nodes: str) -> CellGraph:
    """A cell of which every node is written "operator source, operator source"; all are concatenated."""
    edges = [[edge.split() for edge in node.split(",")] for node in nodes]
    return CellGraph(
        tuple(tuple((operator, int(source)) for operator, source in node) for node in edges),
        tuple(range(INPUTS, INPUTS + len(nodes))),
    )


DARTS = Genotype(
    _graph(
        "sep_conv_3x3 0, sep_conv_3x3 1",
        "sep_conv_3x3 0, sep_conv_3x3 1",
        "sep_conv_3x3 1, skip_connect 0",
        "skip_connect 0, dil_conv_3x3 2",
    ),
    _graph(
        "max_pool_3x3 0, max_pool_3x3 1",
        "skip_connect 2, max_pool_3x3 1",
        "max_pool_3x3 0, skip_connect 2",
        "skip_connect 2, max_pool_3x3 1",
    ),
)
P_DARTS = Genotype(
    _graph(
        "skip_connect 0, dil_conv_3x3 1",
        "skip_connect 0, sep_conv_3x3 1",
        "sep_conv_3x3 1, sep_conv_3x3 3",
        "sep_conv_3x3 0, dil_conv_5x5 4",
    ),
    _graph(
        "avg_pool_3x3 0, sep_conv_5x5 1",
        "sep_conv_3x3 0, dil_conv_5x5 2",
        "max_pool_3x3 0, dil_conv_3x3 1",
        "dil_conv_3x3 1, dil_conv_5x5 3",
    ),
)
PC_DARTS = Genotype(
    _graph(
        "sep_conv_3x3 1, skip_connect 0",
        "sep_conv_3x3 0, dil_conv_3x3 1",
        "sep_conv_5x5 0, sep_conv_3x3 1",
        "avg_pool_3x3 0, dil_conv_3x3 1",
    ),
    _graph(
        "sep_conv_5x5 1, max_pool_3x3 0",
        "sep_conv_5x5 1, sep_conv_5x5 2",
        "sep_conv_3x3 0, sep_conv_3x3 3",
        "sep_conv_3x3 1, sep_conv_3x3 2",
    ),
)
SNAS_MILD = Genotype(
    _graph(
        "sep_conv_3x3 0, sep_conv_3x3 1",
        "skip_connect 0, dil_conv_3x3 1",
        "skip_connect 0, skip_connect 1",
        "skip_connect 0, sep_conv_3x3 1",
    ),
    _graph(
        "max_pool_3x3 0, max_pool_3x3 1",
        "max_pool_3x3 1, skip_connect 2",
        "max_pool_3x3 1, skip_connect 2",
        "max_pool_3x3 0, dil_conv_5x5 2",
    ),
)
SNAS_MODERATE = Genotype(
    _graph(
        "dil_conv_5x5 0, skip_connect 1",
        "sep_conv_3x3 0, skip_connect 1",
        "skip_connect 0, skip_connect 1",
        "sep_conv_3x3 0, dil_conv_5x5 1",
    ),
    _graph(
        "max_pool_3x3 0, max_pool_3x3 1",
        "sep_conv_5x5 0, dil_conv_5x5 1",
        "sep_conv_5x5 0, sep_conv_5x5 1",
        "sep_conv_5x5 0, sep_conv_5x5 1",
    ),
)
GDAS = Genotype(
    _graph(
        "skip_connect 0, skip_connect 1",
        "skip_connect 0, sep_conv_5x5 2",
        "sep_conv_3x3 3, skip_connect 0",
        "sep_conv_5x5 4, sep_conv_3x3 3",
    ),
    _graph(
        "sep_conv_5x5 0, sep_conv_3x3 1",
        "sep_conv_5x5 2, sep_conv_5x5 1",
        "dil_conv_5x5 2, sep_conv_3x3 1",
        "sep_conv_5x5 0, sep_conv_5x5 1",
    ),
)
MILENAS_GDAS_MIXED_LEVEL2 = Genotype(
    _graph(
        "dil_conv_3x3 0, sep_conv_3x3 1",
        "sep_conv_3x3 0, dil_conv_5x5 2",
        "sep_conv_5x5 0, sep_conv_5x5 3",
        "sep_conv_3x3 4, dil_conv_3x3 2",
    ),
    _graph(
        "avg_pool_3x3 1, skip_connect 0",
        "skip_connect 2, sep_conv_5x5 0",
        "sep_conv_3x3 3, sep_conv_3x3 0",
        "max_pool_3x3 0, skip_connect 4",
    ),
)
MILENAS_V2_R3_E50 = Genotype(
    _graph(
        "sep_conv_3x3 0, sep_conv_3x3 1",
        "sep_conv_3x3 0, sep_conv_3x3 2",
        "skip_connect 0, sep_conv_3x3 1",
        "skip_connect 0, sep_conv_3x3 1",
    ),
    _graph(
        "max_pool_3x3 0, max_pool_3x3 1",
        "max_pool_3x3 0, max_pool_3x3 1",
        "max_pool_3x3 1, max_pool_3x3 0",
        "max_pool_3x3 0, skip_connect 2",
    ),
)
BAYESNAS = Genotype(
    _graph(
        "sep_conv_5x5 1, sep_conv_5x5 0, max_pool_3x3 0, avg_pool_3x3 0, skip_connect 0",
        "max_pool_3x3 1, skip_connect 1",
        "skip_connect 1, max_pool_3x3 0",
        "avg_pool_3x3 2",
    ),
    _graph(
        "skip_connect 1, sep_conv_3x3 0, avg_pool_3x3 0, max_pool_3x3 0, sep_conv_5x5 0",
        "max_pool_3x3 0, avg_pool_3x3 0",
        "sep_conv_3x3 0, avg_pool_3x3 0",
        "sep_conv_5x5 2",
    ),
)
