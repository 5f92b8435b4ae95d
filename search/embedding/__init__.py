"""Encoders of cells, one interface (`search.base.Encoder`), chosen by name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from search.base import Encoder, SearchError, Space
from search.embedding.adjacency import AdjacencyEncoder
from search.embedding.autoencoder import AutoencoderEncoder
from search.embedding.kernel_guided import KernelGuidedEncoder
from search.embedding.storage import DESCRIPTION, WEIGHTS, read_encoder
from search.embedding.svge import SVGe
from search.embedding.svge_encoder import SVGeEncoder
from search.named import build_named

ENCODERS: dict[str, Any] = {
    "adjacency": AdjacencyEncoder,
    "autoencoder": AutoencoderEncoder,
    "kernel_guided": KernelGuidedEncoder,
    "svge": SVGeEncoder,
}

__all__ = [
    "DESCRIPTION",
    "ENCODERS",
    "AdjacencyEncoder",
    "AutoencoderEncoder",
    "KernelGuidedEncoder",
    "SVGe",
    "SVGeEncoder",
    "build_encoder",
    "load_encoder",
]


def build_encoder(type: str, space: Space, **settings: Any) -> Encoder:
    """An untrained encoder by name. Raises SearchError for an unknown name or setting."""
    return build_named("encoder", ENCODERS, type, space, **settings)


def load_encoder(directory: str | os.PathLike[str], space: Space) -> Encoder:
    """A saved encoder. Raises SearchError, naming the file, for what is not one, or not one of `space`."""
    description, weights = read_encoder(directory, space)
    try:
        encoder = build_encoder(description["type"], space, **description["settings"])
    except SearchError as error:
        raise SearchError(f"{Path(directory) / DESCRIPTION}: {error}") from None
    try:
        encoder.load_weights(weights)
    except RuntimeError as error:
        reason = str(error).replace("\n\t", " ")
        raise SearchError(f"{Path(directory) / WEIGHTS}: not the weights of this encoder: {reason}") from None
    encoder.metrics = description["metrics"]
    return encoder
