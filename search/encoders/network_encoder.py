"""What the encoders share that are networks: training, embedding, weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from search.core.layers import one_cycle
from search.core.threads import torch_threads
from search.core.types import CellArrays, Encoder, Progress, Space
from search.encoders.settings import check_device
from search.spaces.dag import prune

CHUNK = 8192
"""Cells embedded at a time."""
BATCHES_AT_A_TIME = 16  # sampled together: a call of the sampler costs more than a few cells


class NetworkEncoder(Encoder):
    """A network of which the part "encoder" makes the vectors; a class of its own says what it reads and learns, and describes
    the settings. The learning rate is that of a one-cycle schedule."""

    def __init__(self, space: Space, dim: int, *, iterations: int, batch: int, lr: float, device: str) -> None:
        check_device(device)
        super().__init__(space, dim)
        self.iterations, self.batch, self.lr, self.device = iterations, batch, lr, device
        self.net: nn.ModuleDict | None = None

    def fit(self, seed: int, progress: Progress | None = None) -> dict[str, float]:
        """Train from new weights on cells drawn by `seed`; returns figures on held-out pairs by name. Deterministic by seed."""
        with torch_threads(1), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = self._new_net().to(self.device)
            self._minimise(self._losses(np.random.default_rng((seed, 0))), self.iterations, progress)
        self.metrics = self._held_out(np.random.default_rng((seed, 1)))
        return self.metrics

    def _minimise(self, losses: Iterable[Tensor], steps: int, progress: Progress | None) -> None:
        """A step for each of `steps` losses; each is asked for after the step before. Leaves the network in eval mode."""
        net = self._trained().train()
        optimizer = torch.optim.Adam(net.parameters(), lr=self.lr)
        schedule = one_cycle(optimizer, self.lr, steps)
        for done, loss in enumerate(losses, 1):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if progress and (done % 20 == 0 or done == steps):
                progress(done, steps, f"loss {loss.item():.4f}")
        net.eval()

    @torch.inference_mode()
    def embed(self, arrays: CellArrays) -> np.ndarray:
        """Pruned cells -> float32 [B, dim]. Raises RuntimeError before the first `fit`."""
        encoder, parts = self._trained()["encoder"], [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(arrays), CHUNK):
            parts.append(encoder(self._tensor(arrays[start : start + CHUNK])).cpu().numpy())
        return np.concatenate(parts)

    def weights(self) -> dict[str, Tensor]:
        """Of the network. Raises RuntimeError before the first `fit`."""
        return self._trained().state_dict()

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take trained weights. Raises RuntimeError where they are those of another network."""
        with torch.device("meta"):  # no memory is taken before all shapes are known to fit
            net = self._new_net()
        net.load_state_dict(weights, assign=True)
        self.net = net.to(self.device).eval()

    def _trained(self) -> nn.ModuleDict:
        if self.net is None:
            raise RuntimeError("the encoder is not trained yet: call fit first")
        return self.net

    def _batches(self, rng: np.random.Generator) -> Iterator[CellArrays]:
        """Fresh cells for each iteration."""
        for start in range(0, self.iterations, BATCHES_AT_A_TIME):
            batches = min(BATCHES_AT_A_TIME, self.iterations - start)
            cells = prune(self.space.sample(rng, batches * self.batch))
            for i in range(batches):
                yield cells[i * self.batch : (i + 1) * self.batch]

    def _new_net(self) -> nn.ModuleDict:
        raise NotImplementedError

    def _tensor(self, arrays: CellArrays) -> Tensor:
        """Pruned cells as the network reads them."""
        raise NotImplementedError

    def _losses(self, rng: np.random.Generator) -> Iterable[Tensor]:
        """Of `iterations` batches."""
        raise NotImplementedError

    def _held_out(self, rng: np.random.Generator) -> dict[str, float]:
        """Figures on pairs drawn by `rng`."""
        raise NotImplementedError
