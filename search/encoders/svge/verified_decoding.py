"""Verified decoding: a decoded graph is encoded again, and must come to lie where it was decoded from."""

from __future__ import annotations

import numpy as np

from search.core.checks import check_whole
from search.core.types import CellArrays
from search.encoders.svge.model import SVGe

FAR = 2.0
"""A decoding is doubted from so many times the noise of training on. The graph that a vector of 56 dimensions was drawn for
lies at 1 ± 0.1."""
NOISE = 0.01
"""SVGe's, for a model that was trained without."""
EQUAL = 1e-4
"""Relative difference of distances that rounding can make; isomorphic graphs differ by less."""
AT_A_TIME = 20_000
"""Graphs decoded at a time."""


def decode_verified(model: SVGe, latent: np.ndarray, seed: int, times: int = 1, attempts: int = 30) -> CellArrays:
    """Decode latent vectors [B, dim], and encode each drawn graph to see whether it lies where it was decoded from.

    The distance of a graph from its vector is the root mean square over the dimensions, in standard deviations of the graph's
    own posterior. Where it is FAR times the model's noise or more, `attempts` more are drawn, and the nearest of all is taken,
    of equally near ones the first. So a decoder that is wrong now and then is put right by its encoder, unless that has one
    vector for several graphs.

    Args:
        model: trained.
        latent: [B, dim].
        seed: of types and edges.
        times: graphs of each vector, one after the other.
        attempts: at a graph that is doubted.

    Returns:
        B times graphs of the space, constrained decodings (`SVGe.decode`).

    Raises:
        SearchError: as `SVGe.decode` does, and for `attempts` below 1.
        RuntimeError: before the first `fit`.
    """
    check_whole("decoding", 1, attempts=attempts)
    rng = np.random.default_rng(seed)
    graphs = model.decode(latent, int(rng.integers(2**62)), constrained=True, times=times)
    types, adjacency = graphs.operators.copy(), graphs.adjacency.copy()
    wanted = np.repeat(np.asarray(latent, np.float32), times, axis=0)
    distance = _distance(model, graphs, wanted)
    doubted = np.flatnonzero(distance >= FAR * (model.noise or NOISE))
    step = max(1, AT_A_TIME // attempts)
    for start in range(0, len(doubted), step):
        rows = doubted[start : start + step]
        others = model.decode(wanted[rows], int(rng.integers(2**62)), constrained=True, times=attempts)
        distances = _distance(model, others, np.repeat(wanted[rows], attempts, axis=0)).reshape(len(rows), attempts)
        nearest = distances.min(1)
        best = (distances <= (1 + EQUAL) * nearest[:, None]).argmax(1)
        nearer = nearest < (1 - EQUAL) * distance[rows]
        chosen = (np.arange(len(rows)) * attempts + best)[nearer]
        types[rows[nearer]], adjacency[rows[nearer]] = others.operators[chosen], others.adjacency[chosen]
    return CellArrays(adjacency, types)


def _distance(model: SVGe, graphs: CellArrays, latent: np.ndarray) -> np.ndarray:
    """Of each graph from its vector, float64 [B]. Equal graphs are encoded once."""
    _, first, of = np.unique(graphs.keys(model.space.max_nodes), return_index=True, return_inverse=True)
    mean, log_variance = model.encode(graphs[first])
    squares = (mean[of] - latent) ** 2 * np.exp(-log_variance[of])
    return np.sqrt(squares.mean(1, dtype=np.float64))
