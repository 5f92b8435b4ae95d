"""What the encoders share that are networks of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from search.core.types import Space
from search.encoders.network_encoder import NetworkEncoder


class FullyConnectedEncoder(NetworkEncoder):
    """A NetworkEncoder whose layers have the widths `hidden` between what is read and the vector."""

    def __init__(
        self, space: Space, dim: int, *, hidden: Sequence[int], iterations: int, batch: int, lr: float, device: str
    ) -> None:
        super().__init__(space, dim, iterations=iterations, batch=batch, lr=lr, device=device)
        self.hidden = tuple(hidden)
