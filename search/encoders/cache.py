"""Trained encoders that others who want the same space, encoder and seed take as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from search.core.fingerprint import fingerprint
from search.core.types import Encoder, Space
from search.encoders import DESCRIPTION, load_encoder, save_encoder


class EncoderCache:
    """A folder of encoders, each in a folder named by the fingerprint of what its training depends on, torch as well."""

    def __init__(self, directory: str | os.PathLike[str], key: Mapping[str, Any]) -> None:
        """key: JSON values that name the encoder: its space, settings and seed."""
        self.directory = Path(directory).expanduser() / fingerprint({**key, "torch": torch.__version__})

    def load(self, space: Space) -> Encoder | None:
        """The trained encoder, or None where there is none. Raises SearchError, naming the file, where it is damaged.

        Weights and description are read as data alone: nothing in them is run.
        """
        return load_encoder(self.directory, space) if (self.directory / DESCRIPTION).exists() else None

    def save(self, encoder: Encoder) -> None:
        """Keep a trained encoder, in the place of a damaged one."""
        save_encoder(self.directory, encoder)
