"""Encoders of cells, one interface (`search.core.types.Encoder`), chosen by name."""

from __future__ import annotations

import os
from typing import Any

from search.core.registry import build_named
from search.core.types import Encoder, Space
from search.encoders.adjacency import AdjacencyEncoder
from search.encoders.autoencoder import AutoencoderEncoder
from search.encoders.graph_features import StatisticsEncoder
from search.encoders.guided_counts import GuidedCountsEncoder
from search.encoders.io import DESCRIPTION, check_settings_of, files_digest, restored
from search.encoders.kernel_guided import KernelGuidedEncoder
from search.encoders.landmarks import LandmarkEncoder
from search.encoders.svge.encoder import SVGeEncoder
from search.encoders.svge.model import SVGe

ENCODERS: dict[str, Any] = {
    "adjacency": AdjacencyEncoder,
    "autoencoder": AutoencoderEncoder,
    "kernel_guided": KernelGuidedEncoder,
    "guided_counts": GuidedCountsEncoder,
    "landmarks": LandmarkEncoder,
    "statistics": StatisticsEncoder,
    "svge": SVGeEncoder,
}

__all__ = [
    "DESCRIPTION",
    "ENCODERS",
    "AdjacencyEncoder",
    "AutoencoderEncoder",
    "GuidedCountsEncoder",
    "KernelGuidedEncoder",
    "LandmarkEncoder",
    "SVGe",
    "SVGeEncoder",
    "StatisticsEncoder",
    "build_encoder",
    "check_settings_of",
    "files_digest",
    "load_encoder",
]


def build_encoder(type: str, space: Space, **settings: Any) -> Encoder:
    """An untrained encoder by name. Raises SearchError for an unknown name or setting."""
    return build_named("encoder", ENCODERS, type, space, **settings)


def load_encoder(directory: str | os.PathLike[str], space: Space) -> Encoder:
    """A saved encoder. Raises SearchError, naming the file, for what is not one, or not one of `space`."""
    return restored(directory, space, lambda type, settings: build_encoder(type, space, **settings))
