"""Encoders of cells, one interface (`search.core.types.Encoder`), chosen by name."""

from __future__ import annotations

import os
from typing import Any

from search.core.registry import build_named
from search.core.types import Encoder, Space
from search.encoders.adjacency import AdjacencyEncoder
from search.encoders.autoencoder import AutoencoderEncoder
from search.encoders.graph_features import GraphFeatureEncoder
from search.encoders.guided_counts import GuidedCountsEncoder
from search.encoders.io import DESCRIPTION, check_settings_of, files_digest, restored, save_encoder
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
    "statistics": GraphFeatureEncoder,
    "svge": SVGeEncoder,
}

__all__ = [
    "DESCRIPTION",
    "ENCODERS",
    "AdjacencyEncoder",
    "AutoencoderEncoder",
    "GraphFeatureEncoder",
    "GuidedCountsEncoder",
    "KernelGuidedEncoder",
    "LandmarkEncoder",
    "SVGe",
    "SVGeEncoder",
    "build_encoder",
    "check_settings_of",
    "files_digest",
    "load_encoder",
    "save_encoder",
]


def build_encoder(type: str, space: Space, **settings: Any) -> Encoder:
    """An untrained encoder by name. Raises SearchError for an unknown name or setting."""
    encoder = build_named("encoder", ENCODERS, type, space, **settings)
    encoder.name = type  # an own one may be known by several
    return encoder


def load_encoder(directory: str | os.PathLike[str], space: Space) -> Encoder:
    """A saved encoder. Raises SearchError, naming the file, for what is not one, or not one of `space`."""
    return restored(directory, space, lambda type, settings: build_encoder(type, space, **settings))
