"""A small space whose accuracies are a plain function of the graph."""

import itertools

import numpy as np

from search.core.types import CellArrays
from search.encoders.svge.graphs import GraphSpace, split
from search.experiments.svge.tasks import Task

MADE = GraphSpace("made", ("input", "conv1x1", "conv3x3", "maxpool3x3", "output"), 4)
SETTINGS = {"dim": 8, "state": 24, "epochs": 100, "batch": 31, "lr": 5e-3}


def all_graphs(space):
    """All valid graphs of up to 4 nodes, those with two independent inner nodes in one order alone."""
    parts = []
    for n in range(2, space.max_nodes + 1):
        u, v = np.triu_indices(n, 1)
        for operators, bits in itertools.product(
            itertools.product(range(1, space.end), repeat=n - 2), itertools.product([False, True], repeat=len(u))
        ):
            adjacency = np.zeros((1, n, n), bool)
            adjacency[0, u, v] = bits
            if n == 4 and not adjacency[0, 1, 2] and operators[0] > operators[1]:
                continue
            parts.append(CellArrays(adjacency, np.array([[0, *operators, space.end]], np.int8)).padded(space.max_nodes))
    graphs = CellArrays.concatenate(parts)
    return graphs[space.valid(graphs)]


def made_task(**settings):
    graphs = all_graphs(MADE)
    accuracies = (
        0.5 + 0.1 * (graphs.operators == 2).sum(1) + 0.02 * graphs.adjacency.sum((1, 2)) - 0.03 * (graphs.operators == 3).sum(1)
    )
    accuracies[::11] = np.nan  # some were never measured
    return Task("made", MADE, graphs, accuracies, *split(len(graphs)), {**SETTINGS, **settings}, lambda: 1 - accuracies)
