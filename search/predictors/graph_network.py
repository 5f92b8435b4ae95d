"""A graph network that ranks cells: messages along edges both ways, and along paths of two edges, trained on pairs."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search.core.layers import one_cycle
from search.core.muon import Muon, with_muon
from search.core.threads import torch_threads
from search.core.types import ABSENT, EncodedCells
from search.encoders.flows import shares

SHARPNESS = 3.0
"""Of the ranking loss: its slope at a tie, in normal scores."""
TIE = 0.02
"""Pairs that differ by less are not ranked, in normal scores."""
WAYS = 7
SHARES = 5
"""Numbers of each node: those of `flows.Shares`."""
NODE_SCALE = (1.0, 1.0, 1.0, 0.25, 0.25)
"""Of these numbers: depth and height count edges."""
FARTHEST = 4.0
"""Numbers of a cell farther from their mean, in standard deviations, count as so far."""
LR, MUON_LR, WEIGHT_DECAY = 1e-3, 4e-3, 1.0
CHUNK = 256


class GraphLayer(nn.Module):
    """Pre-normalised residual layer: a node takes from itself, from where its edges lead to and come from, one or two steps,
    and the means over where they come from and lead to."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.messages = nn.Linear(width, WAYS * width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, ways: Tensor) -> Tensor:
        """h: [B, n, width]; ways: [B, n, WAYS n], the matrices of who takes from whom side by side -> [B, n, width]."""
        batch, n, width = h.shape
        messages = self.messages(self.norm(h)).view(batch, n, WAYS, width).transpose(1, 2).reshape(batch, WAYS * n, width)
        return h + self.dropout(self.out(F.silu(ways @ messages)))


class GraphNetwork(nn.Module):
    """Cells and numbers of theirs -> scores. Equal for isomorphic cells."""

    mean: Tensor
    unit: Tensor

    def __init__(self, kinds: int, numbers: int, width: int, layers: int, dropout: float) -> None:
        """kinds: of operators, the input's among them. numbers: of a cell as a whole. Half of what is made of these is dropped
        in training, so that the graph is learned from as well."""
        super().__init__()
        self.kind = nn.Embedding(kinds + 1, width)  # the first for places without a node
        self.node = nn.Linear(SHARES + 4, width)
        self.layers = nn.ModuleList(GraphLayer(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.numbers = nn.Sequential(nn.Linear(numbers, width), nn.SiLU(), nn.Dropout(0.5))
        self.head = nn.Sequential(nn.Linear(5 * width, width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(width, 1))
        self.register_buffer("mean", torch.zeros(numbers))
        self.register_buffer("unit", torch.ones(numbers))

    def forward(self, numbers: Tensor, nodes: Tensor, adjacency: Tensor, operators: Tensor) -> Tensor:
        """numbers: [B, numbers]; nodes: [B, n, SHARES], the first the share of the output; adjacency: [B, n, n], how many edges
        there are; operators: int [B, n], -1 where there is no node -> [B]."""
        live = (operators >= 0).unsqueeze(2)
        into, out = adjacency.sum(1), adjacency.sum(2)
        features = [nodes * nodes.new_tensor(NODE_SCALE), *(x.unsqueeze(2) for x in (into, out, into > 1, out > 1))]
        two = (adjacency @ adjacency).clamp(max=1)
        itself = torch.eye(operators.shape[1]).expand_as(adjacency)
        means = (adjacency / into.clamp(min=1).unsqueeze(1)).mT, adjacency / out.clamp(min=1).unsqueeze(2)
        ways = torch.cat([itself, adjacency.mT, adjacency, two.mT, two, *means], dim=2)
        h = (self.kind(operators + 1) + self.node(torch.cat(features, dim=2))) * live
        for layer in self.layers:
            h = layer(h, ways) * live
        h = self.norm(h) * live
        ends = live & (out == 0).unsqueeze(2)
        read = [h.sum(1) / 4, (h * ends).sum(1), h.amax(1), (h * nodes[:, :, :1]).sum(1) / 2]
        numbers = ((numbers - self.mean) / self.unit).clamp(-FARTHEST, FARTHEST)
        return self.head(torch.cat([*read, self.numbers(numbers)], dim=1)).squeeze(1)


def train(
    x: EncodedCells,
    targets: np.ndarray,
    seed: int,
    *,
    width: int = 64,
    layers: int = 3,
    epochs: int = 30,
    dropout: float = 0.2,
) -> GraphNetwork:
    """A network that ranks N cells, their vectors beside them, by targets [N] of deviation about 1; deterministic by seed, on
    one thread.

    The loss of a batch is half the mean squared error and the logistic loss of all its pairs. Batches have a twelfth of the
    cells, 16 at least and 64 at most. Weights of hidden layers are Muon's, the others AdamW's.
    """
    inputs = _tensors(x)
    y = torch.from_numpy(targets).float()
    size = min(max(len(y) // 12, 16), 64, len(y))
    steps = epochs * (len(y) // size)
    with torch_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GraphNetwork(int(inputs[3].max()) + 1, inputs[0].shape[1], width, layers, dropout)
        network.mean.copy_(inputs[0].mean(0))
        spread = inputs[0].std(0, correction=0)
        network.unit.copy_(torch.where(spread > 1e-6 * spread.max(), spread, torch.inf))  # what never differs tells nothing
        optimizers = with_muon(
            network,
            partial(Muon, lr=MUON_LR, weight_decay=WEIGHT_DECAY),
            partial(torch.optim.AdamW, lr=LR, weight_decay=WEIGHT_DECAY),
        )
        schedules = [one_cycle(o, o.param_groups[0]["lr"], steps, cycle_momentum=False) for o in optimizers]
        for _ in range(epochs):
            for rows in torch.randperm(len(y)).split(size)[: len(y) // size]:
                loss = _loss(network(*(value[rows] for value in inputs)), y[rows])
                network.zero_grad(set_to_none=True)
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
                for schedule in schedules:
                    schedule.step()
    return network.eval()


@torch.inference_mode()
def predict(network: GraphNetwork, x: EncodedCells) -> np.ndarray:
    """B cells, one or more -> float64 [B]. An operator that the training set lacks counts as no node's."""
    *inputs, operators = _tensors(x)
    operators = torch.where(operators < network.kind.num_embeddings - 1, operators, -1)
    parts = zip(*(value.split(CHUNK) for value in (*inputs, operators)))
    return torch.cat([network(*part) for part in parts]).double().numpy()


def _tensors(x: EncodedCells) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As GraphNetwork takes them."""
    found = shares(x.cells, x.output)
    nodes = np.stack((found.output, found.input, found.width, found.depth, found.height), axis=2)
    nodes *= (x.cells.operators != ABSENT)[:, :, None]
    parts = (x.vectors, nodes, x.cells.adjacency)
    numbers, of_nodes, adjacency = (torch.from_numpy(np.asarray(part, np.float32)) for part in parts)
    return numbers, of_nodes, adjacency, torch.from_numpy(x.cells.operators).long()


def _loss(found: Tensor, y: Tensor) -> Tensor:
    wanted = y[:, None] - y
    wrong = F.softplus(-SHARPNESS * (found[:, None] - found) * wanted.sign())
    return F.mse_loss(found, y) / 2 + (wrong * (wanted.abs() > TIE)).mean()
