"""How well a variational graph autoencoder reconstructs, and what its latent space decodes to (SVGe, section 4.1; D-VAE)."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from search.core.types import CellArrays, Progress, SearchError
from search.encoders.svge.model import SVGe
from search.spaces.isomorphism import isomorphism_hash

AT_A_TIME = 20_000
"""Graphs decoded between two reports of progress."""


class Decode(Protocol):
    """Latent vectors [B, dim] -> `times` graphs of each, one after the other, drawn by `seed`."""

    def __call__(self, latent: np.ndarray, seed: int, *, times: int) -> CellArrays: ...


def reconstruction(
    model: SVGe,
    graphs: CellArrays,
    seed: int,
    encodings: int = 10,
    decodings: int = 10,
    noise: float | None = None,
    progress: Progress | None = None,
    decode: Decode | None = None,
) -> float:
    """Measure the share of decodings that are identical to their graph, node by node and edge by edge, in [0, 1].

    Each graph is encoded `encodings` times, and each of these vectors decoded `decodings` times.

    Args:
        model: trained.
        graphs: of its space.
        seed: of noise and decodings.
        encodings: of a graph.
        decodings: of an encoding.
        noise: of an encoding, in standard deviations of the posterior; that of the model's training if None. The public code
            evaluates without: noise=0.
        progress: told of graphs.
        decode: `model.decode` if None, types and edges drawn from their distributions.

    Raises:
        SearchError: where there are no graphs or for graphs outside the space.
    """
    if not len(graphs):
        raise SearchError("there are no graphs to reconstruct")
    rng, decode = np.random.default_rng(seed), decode or model.decode
    scale = model.noise if noise is None else noise
    mean, log_variance = model.encode(graphs)
    n, times = model.space.max_nodes, encodings * decodings
    wanted, same = graphs.keys(n), 0
    step = max(1, AT_A_TIME // times)
    for start in range(0, len(graphs), step):
        rows = slice(start, start + step)
        latent = np.repeat(mean[rows], encodings, axis=0)
        latent += scale * rng.standard_normal(latent.shape) * np.exp(0.5 * np.repeat(log_variance[rows], encodings, axis=0))
        decoded = decode(latent, int(rng.integers(2**62)), times=decodings)
        same += int((decoded.keys(n) == np.repeat(wanted[rows], times)).sum())
        if progress:
            progress(min(start + step, len(graphs)), len(graphs))
    return same / (len(graphs) * times)


def prior(
    model: SVGe,
    graphs: CellArrays,
    seed: int,
    points: int = 1000,
    decodings: int = 10,
    progress: Progress | None = None,
    decode: Decode | None = None,
) -> dict[str, float]:
    """Measure what random points of the latent space decode to.

    The points are drawn from a normal distribution with the mean and standard deviation, in each dimension, of the training
    graphs' vectors.

    Args:
        model: trained.
        graphs: those it was trained on.
        seed: of points and decodings.
        points: how many.
        decodings: of a point.
        progress: told of points.
        decode: `model.decode` if None.

    Returns:
        "validity", the share of decodings that are graphs of the space by its rules; "uniqueness", distinct ones among the
        valid; "novelty", the share of the valid ones, repeated or not, that are not among `graphs`. Isomorphic graphs count as
        one. The latter two are 0 where none is valid.

    Raises:
        SearchError: where there are no graphs.
    """
    if not len(graphs):
        raise SearchError("there are no graphs to scale the latent space by")
    rng, decode = np.random.default_rng(seed), decode or model.decode
    means = model.embed(graphs)
    latent = rng.standard_normal((points, model.dim)) * means.std(0) + means.mean(0)
    parts, step = [], max(1, AT_A_TIME // decodings)
    for start in range(0, points, step):
        rows, drawn = slice(start, start + step), int(rng.integers(2**62))
        parts.append(decode(latent[rows], drawn, times=decodings))
        if progress:
            progress(min(start + step, points), points)
    return judge(model, CellArrays.concatenate(parts), graphs)


def judge(model: SVGe, decoded: CellArrays, graphs: CellArrays) -> dict[str, float]:
    """Tell validity, uniqueness and novelty of `decoded` graphs beside the training `graphs`, as `prior` has them."""
    valid = isomorphism_hash(decoded[model.space.valid(decoded)])
    known = np.unique(isomorphism_hash(graphs))
    return {
        "validity": len(valid) / max(1, len(decoded)),
        "uniqueness": len(np.unique(valid)) / max(1, len(valid)),
        "novelty": float((~np.isin(valid, known)).mean()) if len(valid) else 0.0,
    }
