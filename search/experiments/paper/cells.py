"""What parts do with a benchmark's cells: draw them, embed them with an encoder that is kept, fit, predict and score."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from search.core.parts import SPACES
from search.core.types import CellArrays, EncodedCells, Encoder, Predictor, SearchError, Space
from search.encoders import build_encoder
from search.encoders.cache import EncoderCache
from search.encoders.io import describe
from search.experiments.paper.base import Context
from search.predictors import build_predictor
from search.spaces.dag import prune
from search.spaces.nasbench101 import NasBench101Space
from search.spaces.tabular import TabularSpace

CHUNK = 20_000
"""Cells embedded and scored at a time."""
OWN = {"type": "own"}
"""The settings of a predictor that is the encoder's own head."""
CONV3X3, OUTPUT = 1, 4
"""Codes of NAS-Bench-101's operators in CellArrays."""


class Conv3x3Space(NasBench101Space):
    """NAS-Bench-101's 2,494 cells whose operators are all conv3x3: the stand-in for NASGEM-Bench, which was never published."""

    def __init__(self, data: str | os.PathLike[str] | None = None) -> None:
        super().__init__(data, pool="all")
        self.pool = np.flatnonzero(np.isin(self.table.operators[:, 1:], (-1, CONV3X3, OUTPUT)).all(1))
        self.pool_name = "conv3x3"


def benchmark_space(name: str, context: Context, pool: str) -> TabularSpace:
    """A benchmark by name, from where the context says."""
    return SPACES.build(name, {}, {"data": context.data, "pool": pool})


def training_rows(space: TabularSpace, count: int, seed: int) -> np.ndarray:
    """`count` distinct rows with validation accuracy; for one seed, those of a smaller count are among those of a larger one.

    Raises SearchError where there are not so many.
    """
    rows = space.table.evaluated
    if count > len(rows):
        raise SearchError(f"{count} cells are asked for, but only {len(rows)} of {space.table.source} have validation accuracy")
    return np.random.default_rng((seed, 101)).permutation(rows)[:count]


def trained_encoder(settings: Mapping[str, Any], space: Space, seed: int, context: Context) -> Encoder:
    """The encoder, trained on unlabelled cells of `space` by `seed`; kept in the work directory, where others wait for it.

    One that learns nothing of such cells comes as it is.
    """
    untrained = build_encoder(space=space, **settings)
    if untrained.needs_scores:
        return untrained
    identity = {"settings": dict(settings), "space": describe(space), "class": type(space).__name__, "seed": seed}
    if isinstance(space, TabularSpace):
        identity["cells"] = hashlib.sha256(np.ascontiguousarray(space.pool).tobytes()).hexdigest()
        identity["source"] = str(space.table.source)
    cache = EncoderCache(context.directory / "encoders", identity)
    cache.directory.mkdir(parents=True, exist_ok=True)
    with (cache.directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        encoder = cache.load(space)
        if encoder is None:
            encoder = untrained
            encoder.fit(seed)
            cache.save(encoder)
        return encoder


class OwnHead(Predictor):
    """What an encoder that learns scores tells itself."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def fit(self, x: EncodedCells, scores: np.ndarray, seed: int) -> None:
        """The encoder has learned them already."""

    def predict(self, x: EncodedCells) -> np.ndarray:
        return self.encoder.predict_scores(x.vectors)


def fitted(settings: Mapping[str, Any], encoder: Encoder, cells: CellArrays, scores: np.ndarray, seed: int) -> Predictor:
    """A predictor by its settings, trained on N pruned cells and their scores [N], as is before it an encoder that learns them.

    The type "own" stands for the encoder's own head.
    """
    if encoder.learns_scores:
        encoder.fit_scores(cells, scores, seed)
    predictor = OwnHead(encoder) if settings == OWN else build_predictor(**settings)
    predictor.fit(encoder.encode(cells), scores, seed)
    return predictor


def predicted(predictor: Predictor, encoder: Encoder, cells: CellArrays) -> np.ndarray:
    """float64 [B]: the predicted scores of any number of cells."""
    parts = [np.empty(0)]
    for start in range(0, len(cells), CHUNK):
        parts.append(predictor.predict(encoder.encode(prune(cells[start : start + CHUNK]))))
    return np.concatenate(parts)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Kendall's tau, 0 where it is not defined."""
    return float(np.nan_to_num(kendalltau(a, b).statistic))
