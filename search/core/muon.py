"""Muon for small networks: steps along orthogonal matrices, in float32, all matrices of one shape at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor, nn

COEFFICIENTS = 3.4445, -4.775, 2.0315
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """`torch.optim.Muon` with Nesterov's momentum, at Adam's scale ("match_rms_adamw"), in another precision.

    That one orthogonalises in bfloat16, one matrix after another: on CPUs that only emulate bfloat16 that takes four times as
    long as the network's own forward and backward pass.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the scale: Liu et al., arXiv
    2502.16982, Eq. 4.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        """params: matrices. lr: the root mean square of a step's elements is about .2 of it. weight_decay: each step takes this
        share of lr of the weights away, as AdamW does."""
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(f"Muon: expected matrices, found a parameter {list(p.shape)}")

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step; parameters without a gradient stay."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            shapes: dict[tuple, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)  # each with its gradient
            for p in group["params"]:
                if p.grad is not None:
                    shapes[p.shape, p.device, p.dtype].append((p, p.grad))
            for (shape, *_), parameters in shapes.items():
                steps = orthogonalised(torch.stack([self._ahead(p, grad, group["momentum"]) for p, grad in parameters]))
                for (p, _), step in zip(parameters, steps, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(step, alpha=0.2 * max(shape) ** 0.5 * group["lr"])
        return loss

    def _ahead(self, p: nn.Parameter, grad: Tensor, momentum: float) -> Tensor:
        """The gradient of p with momentum, looked ahead."""
        state = self.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p)
        buffer = state["momentum_buffer"]
        buffer.lerp_(grad, 1 - momentum)
        return grad.lerp(buffer, momentum)


NARROW = 9
"""Matrices with fewer rows or columns are left to Adam: gates, and what ends in a choice of a type or an edge."""


def hidden_weights(net: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters of a network that Muon is for, the matrices of hidden layers, and the others."""
    modules = (module for module in net.modules() if not isinstance(module, nn.Embedding))
    hidden = [p for module in modules for p in module.parameters(recurse=False) if p.ndim == 2 and min(p.shape) >= NARROW]
    known = {id(p) for p in hidden}
    return hidden, [p for p in net.parameters() if id(p) not in known]


def with_muon(
    net: nn.Module,
    muon: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    other: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
) -> list[torch.optim.Optimizer]:
    """Optimizers of all parameters of a network: `muon`'s for `hidden_weights`, where there are some, and `other`'s."""
    hidden, others = hidden_weights(net)
    return [*([muon(hidden)] if hidden else []), other(others)]


def orthogonalised(matrices: Tensor) -> Tensor:
    """[B, m, n] -> about U V^T of each U S V^T, singular values between .7 and 1.2: Newton and Schulz's iteration in a quintic
    whose coefficients are chosen to be steep at 0."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).float()
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
