"""Encoders of cells, one interface (`search.core.types.Encoder`), chosen by name."""

from __future__ import annotations

import os
from typing import Any

from search.core.parts import ENCODERS
from search.core.types import Encoder, Space
from search.encoders.io import DESCRIPTION, check_settings_of, files_digest, restored, save_encoder

__all__ = ["DESCRIPTION", "build_encoder", "check_settings_of", "files_digest", "load_encoder", "save_encoder"]


def build_encoder(type: str, space: Space, **settings: Any) -> Encoder:
    """An untrained encoder by name. Raises SearchError for an unknown name or setting."""
    encoder = ENCODERS.build(type, {"space": lambda: space}, settings)
    encoder.name = type  # an own one may be known by several
    return encoder


def load_encoder(directory: str | os.PathLike[str], space: Space) -> Encoder:
    """A saved encoder. Raises SearchError, naming the file, for what is not one, or not one of `space`."""
    return restored(directory, space, lambda type, settings: build_encoder(type, space, **settings))
