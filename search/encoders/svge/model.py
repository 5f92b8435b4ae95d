"""SVGe, the smooth two-sided variational graph autoencoder (arXiv 2010.04683), on the graphs of any GraphSpace."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Annotated, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gemnet.core.settings import Setting, settings_of
from search.core.checks import check, check_whole, takes_settings
from search.core.kept import kept_settings
from search.core.threads import torch_threads
from search.core.types import CellArrays, Progress, SearchError
from search.encoders.io import restored, save_encoder
from search.encoders.settings import MAX_WIDTH, Batch, Device, Dim, Epochs, H, LearningRate, check_device
from search.encoders.svge.graphs import GraphSpace
from search.encoders.svge.losses import Loss
from search.encoders.svge.network import AccuracyHead, GraphDecoder, GraphEncoder
from search.encoders.svge.readout import LinearReadout
from search.encoders.svge.repair import connected
from search.encoders.svge.training import Optimizer, Patience, Plan, Schedule, digest, train

CHUNK = 2048
"""Graphs encoded or decoded at a time."""
PLAN = ("epochs", "batch", "lr", "patience", "schedule", "optimizer")
"""Settings of the training that are a `Plan`'s."""
ADDED = ("exchange", "places", "readout")
"""Settings that tell of themselves where they are on alone."""
MAX_LAYERS = 64
"""No saved description may ask for more."""
MAX_LATENT = 1e6
"""Values of latent vectors are about 1; far beyond this one a decoder's numbers overflow."""

State = Annotated[int, Setting("of a node, half of it for each direction; even", at_least=2, at_most=MAX_WIDTH)]


@takes_settings("encoder")
class SVGe:
    """Graphs <-> latent vectors, and the accuracy of a latent vector once fine-tuned.

    Defaults are the authors'. The public code sums the Kullback-Leibler divergence over the batch, and takes the mean of the
    rest: its .005 x 32 = .16 is kl_weight here. bfloat16 takes three times as long on CPUs that only emulate it. How the
    training runs: see `Plan`.

    SVGe has no similarity loss, which is NASGEM's (its Eq. 3), and neither exchange nor places (see `GraphEncoder`) nor a
    readout (`LinearReadout`).

    Isomorphic graphs in different orders have the same vector, so at most one of their orders can be reconstructed.

    Two things of the public code are left out: its edge classifier sees the states of other graphs of the batch in the place of
    the graph's own, and its union of both sides' edges in decoding hardly ever adds one (it compares single node numbers).
    """

    name = "svge_graphs"

    def __init__(
        self,
        space: GraphSpace,
        *,
        dim: Dim = 56,
        state: State = 250,
        layers: Annotated[int, Setting("of messages between nodes", at_least=1, at_most=MAX_LAYERS)] = 2,
        noise: Annotated[
            float, Setting("on the latent vector in training", at_least=0, unit="standard deviations of the posterior")
        ] = 0.01,
        kl_weight: Annotated[float, Setting("factor of a graph's Kullback-Leibler divergence", at_least=0)] = 0.005,
        edge_weight: Annotated[float, Setting("alpha in the loss 2 ((1 - alpha) types + alpha edges)", above=0, below=1)] = 0.5,
        similarity_weight: Annotated[
            float, Setting("factor of NASGEM's similarity loss on the means of the latent vectors", at_least=0)
        ] = 0.0,
        h: H = 3,
        half_precision: Annotated[bool, Setting("whether training computes in bfloat16")] = False,
        epochs: Epochs = Plan.epochs,
        batch: Batch = Plan.batch,
        lr: LearningRate = Plan.lr,
        patience: Patience = Plan.patience,
        schedule: Schedule = Plan.schedule,
        optimizer: Optimizer = Plan.optimizer,
        exchange: Annotated[bool, Setting("whether the encoder's directions exchange states from its second layer on")] = False,
        places: Annotated[bool, Setting("whether the encoder's nodes know their places")] = False,
        readout: Annotated[float, Setting("factor of the loss of a linear readout of the latent vector", at_least=0)] = 0.0,
        device: Device = "cpu",
    ) -> None:
        if state % 2:
            raise SearchError(f"encoder: state: expected an even number, found {state}")
        check_device(device)
        self.space, self.dim, self.state, self.layers, self.device = space, dim, state, layers, device
        self.noise, self.kl_weight, self.edge_weight, self.half_precision = noise, kl_weight, edge_weight, half_precision
        self.similarity_weight, self.h = similarity_weight, h
        self.epochs, self.batch, self.lr, self.patience = epochs, batch, lr, patience
        self.schedule, self.optimizer = schedule, optimizer
        self.exchange, self.places, self.readout = exchange, places, readout
        self._loss = Loss(noise, kl_weight, edge_weight, similarity_weight, h, half_precision, readout)
        self.metrics: dict[str, float] = {}
        self.net: nn.ModuleDict | None = None

    @property
    def plan(self) -> Plan:
        """How `fit` trains."""
        return Plan(**{name: getattr(self, name) for name in PLAN})

    @property
    def settings(self) -> dict[str, Any]:
        """What makes this model again, with its space; those ADDED where they are on, else as older files have them."""
        return {name: value for name, value in kept_settings(self).items() if value or name not in ADDED}

    def fit(
        self,
        graphs: CellArrays,
        seed: int,
        progress: Progress | None = None,
        directory: str | os.PathLike[str] | None = None,
        threads: int = 1,
    ) -> dict[str, float]:
        """Train from new weights, deterministic by seed.

        Args:
            graphs: of the space.
            seed: of weights, orders and noise.
            progress: told of steps.
            directory: where a checkpoint is kept after each epoch, and gone on from (`train`).
            threads: of torch's on a CPU.

        Returns:
            Figures of the last epoch by name: losses in nats a graph, and the shares of types and edges that are decided
            rightly with all before them given.

        Raises:
            SearchError: for graphs outside the space, or none, and as `train` does.
        """
        graphs = self._checked(graphs)
        with torch_threads(threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self.net = self._new_net().to(self.device)
            types, adjacency = self._tensors(graphs)

            def loss(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
                return self._loss(net, types[rows], adjacency[rows], generator, self._cells(graphs, rows))[0]

            identity = {"data": digest(graphs.operators, graphs.adjacency), **self._decisive()}
            self.metrics = train(net, loss, len(graphs), self.plan, seed, progress, directory, identity)
        return self.metrics

    def fine_tune(
        self,
        graphs: CellArrays,
        accuracies: np.ndarray,
        seed: int,
        progress: Progress | None = None,
        plan: Plan | None = None,
        share: float = 0.1,
        directory: str | os.PathLike[str] | None = None,
        threads: int = 1,
    ) -> dict[str, float]:
        """Train a new head on accuracies, and the autoencoder on.

        The loss is `share` of the autoencoder's and 1 - share of the squared error of the standardised accuracy, told from the
        mean of the latent vector.

        Args:
            graphs: B graphs of the space.
            accuracies: [B].
            seed, progress, directory, threads: as those of `fit`.
            plan: 100 epochs in batches of 32 at 1e-3 if None, as the authors have it for 1,000 graphs.
            share: of the autoencoder's loss.

        Returns:
            Figures of the last epoch by name, "RMSE" among them.

        Raises:
            SearchError: for accuracies that are not finite or not one a graph, and as `fit` does.
            RuntimeError: before the first `fit`.
        """
        net, graphs = self._trained(), self._checked(graphs)
        accuracies = np.asarray(accuracies, np.float64)
        if accuracies.shape != (len(graphs),) or not np.isfinite(accuracies).all():
            raise SearchError(f"fine-tuning: expected {len(graphs)} finite accuracies, found shape {accuracies.shape}")
        with torch_threads(threads), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = AccuracyHead(self.dim)
            head.mean.fill_(accuracies.mean())
            head.deviation.fill_(max(accuracies.std(), 1e-12))
            net["head"] = head.to(self.device)
            types, adjacency = self._tensors(graphs)
            targets = ((torch.from_numpy(accuracies) - head.mean.cpu()) / head.deviation.cpu()).float().to(self.device)

            def loss(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
                figures, mean = self._loss(net, types[rows], adjacency[rows], generator, self._cells(graphs, rows))
                error = ((head(mean) - targets[rows]) ** 2).mean()
                return figures | {"loss": share * figures["loss"] + (1 - share) * error, "squared error": error}

            identity = {"data": digest(graphs.operators, graphs.adjacency, accuracies), "share": share, **self._decisive()}
            start = [value.detach().cpu().numpy() for key, value in net.state_dict().items() if not key.startswith("head.")]
            plan = plan or Plan(epochs=100, lr=1e-3)
            figures = train(net, loss, len(graphs), plan, seed, progress, directory, {**identity, "start": digest(*start)})
        return figures | {"RMSE": figures["squared error"] ** 0.5}

    @torch.inference_mode()
    def encode(self, graphs: CellArrays) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-variance of each graph's latent vector, float32 [B, dim] each. Raises SearchError for graphs outside the
        space, RuntimeError before the first `fit`."""
        net, graphs = self._trained(), self.space.check(graphs)
        parts = [(np.empty((0, self.dim), np.float32),) * 2]
        for start in range(0, len(graphs), CHUNK):
            found = net["encoder"](*self._tensors(graphs[start : start + CHUNK]))
            parts.append(tuple(value.float().cpu().numpy() for value in found))
        means, log_variances = zip(*parts)
        return np.concatenate(means), np.concatenate(log_variances)

    @torch.inference_mode()
    def evaluate(self, graphs: CellArrays) -> dict[str, float]:
        """The figures of `fit` on other graphs, without noise. Raises SearchError for graphs outside the space, or none."""
        net, graphs, sums = self._trained(), self._checked(graphs), dict[str, float]()
        for start in range(0, len(graphs), CHUNK):
            part = graphs[start : start + CHUNK]
            for name, value in self._loss(net, *self._tensors(part))[0].items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(part) / len(graphs)
        return sums

    def embed(self, graphs: CellArrays) -> np.ndarray:
        """The means, float32 [B, dim]. Raises as `encode` does."""
        return self.encode(graphs)[0]

    @torch.inference_mode()
    def decode(
        self,
        latent: np.ndarray,
        seed: int | None = None,
        two_sided: bool = True,
        max_nodes: int | None = None,
        min_nodes: int = 2,
        constrained: bool = False,
        times: int = 1,
    ) -> CellArrays:
        """Decode latent vectors [B, dim] to graphs.

        Args:
            latent: values within ±MAX_LATENT.
            seed: draws types and edges from their distributions; the likeliest ones are taken if None.
            two_sided: whether both sides of the decoder decide edges (`GraphDecoder.generate`).
            max_nodes: of a graph; the space's if None.
            min_nodes: no graph ends before it has so many; to extrapolate.
            constrained: whether all are graphs of the space, which the model alone does not promise: one input,
                `space.min_nodes`, edges as the surer side has them, and what `space.repair` changes.
            times: graphs of each vector, one after the other.

        Returns:
            B times graphs.

        Raises:
            SearchError: for vectors of another size or beyond their range, `times` below 1, `max_nodes` below 2, and
                constrained graphs of another `max_nodes` than the space's.
            RuntimeError: before the first `fit`.
        """
        decoder, vectors = cast(GraphDecoder, self._trained()["decoder"]), self._checked_latent(latent)
        n = self.space.max_nodes if max_nodes is None else max_nodes
        check_whole("decoding", 1, times=times)
        check_whole("decoding", 2, max_nodes=n)
        repair = None
        if constrained:
            if n != self.space.max_nodes:
                raise SearchError(f"decoding: constrained graphs of {n} nodes: expected a model `for_space` with so many")
            min_nodes, repair = max(min_nodes, self.space.min_nodes), self.space.repair or connected
        generator = None if seed is None else torch.Generator(self.device).manual_seed(seed)
        parts = [CellArrays(np.empty((0, n, n), bool), np.empty((0, n), np.int8))]
        for chunk in vectors.split(max(1, CHUNK // times)) if len(vectors) else ():
            found = decoder.generate(
                chunk.to(self.device),
                n,
                generator,
                two_sided=two_sided,
                min_nodes=min_nodes,
                constrained=constrained,
                times=times,
            )
            types, adjacency, likely = (value.cpu().numpy() for value in found)
            graphs = CellArrays(adjacency, types.astype(np.int8))
            parts.append(repair(graphs, likely) if repair else graphs)
        return CellArrays.concatenate(parts)

    @torch.inference_mode()
    def predict(self, latent: np.ndarray) -> np.ndarray:
        """Accuracy of latent vectors [B, dim], float64 [B]. Raises SearchError as `decode` does; RuntimeError before
        `fine_tune`."""
        net, vectors = self._trained(), self._checked_latent(latent)
        if "head" not in net:
            raise RuntimeError("the model has no accuracy head yet: call fine_tune first")
        head = cast(AccuracyHead, net["head"])
        return (head(vectors.to(self.device)).double() * head.deviation + head.mean).cpu().numpy()

    def for_space(self, space: GraphSpace) -> SVGe:
        """This model, sharing its weights, on a space with the same types of nodes and any number of them: to extrapolate.

        Raises SearchError for other types."""
        if space.types != self.space.types:
            raise SearchError(
                f"space {space.name}: has the types {', '.join(space.types)}; expected {', '.join(self.space.types)}"
            )
        other = SVGe(space, device=self.device, **self.settings)
        other.net, other.metrics = self.net, self.metrics
        return other

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write `encoder.safetensors` and `encoder.json`. Raises RuntimeError before the first `fit`."""
        save_encoder(directory, self)

    def weights(self) -> dict[str, Tensor]:
        """What `load_weights` takes. Raises RuntimeError before the first `fit`."""
        return self._trained().state_dict()

    @classmethod
    def load(cls, directory: str | os.PathLike[str], space: GraphSpace, device: str = "cpu") -> SVGe:
        """A saved model. Raises SearchError, naming the file, for what is not one, or not one of `space`."""

        def build(type: str, settings: dict[str, Any]) -> SVGe:
            if type != cls.name:
                raise SearchError(f"expected type {cls.name!r}, found {type!r}")
            return cls(space, **check(settings_of(cls), settings | {"device": device}, "encoder"))

        return restored(directory, space, build)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take trained weights. Raises RuntimeError where they are those of another network."""
        with torch.device("meta"):  # no memory is taken before all shapes are known to fit
            net = self._new_net(_num_places(weights))
            if any(key.startswith("head.") for key in weights):
                net["head"] = AccuracyHead(self.dim)
        net.load_state_dict({key: value.clone() for key, value in weights.items()}, assign=True)
        self.net = net.to(self.device)

    def _new_net(self, num_places: int | None = None) -> nn.ModuleDict:
        """num_places: that nodes and the readout know of, if not those of the space."""
        sizes, nodes = (len(self.space.types), self.dim, self.state, self.layers), num_places or self.space.max_nodes
        net = nn.ModuleDict(
            {"encoder": GraphEncoder(*sizes, self.exchange, nodes * self.places), "decoder": GraphDecoder(*sizes)}
        )
        if self.readout:
            net["readout"] = LinearReadout(len(self.space.types), self.dim, nodes)
        return net

    def _trained(self) -> nn.ModuleDict:
        if self.net is None:
            raise RuntimeError("the encoder is not trained yet: call fit first")
        return self.net

    def _decisive(self) -> dict[str, Any]:
        """The settings that decide what training gives, however long it lasts."""
        return {"types": list(self.space.types)} | {k: v for k, v in self.settings.items() if k not in PLAN}

    def _checked(self, graphs: CellArrays) -> CellArrays:
        graphs = self.space.check(graphs)
        if not len(graphs):
            raise SearchError("there are no graphs to train on")
        return graphs

    def _checked_latent(self, latent: np.ndarray) -> Tensor:
        latent = np.asarray(latent)
        if latent.ndim != 2 or latent.shape[1] != self.dim or latent.dtype.kind not in "fiu":
            raise SearchError(f"latent vectors: expected numbers [B, {self.dim}], found {latent.dtype} {list(latent.shape)}")
        inside = (np.abs(latent.astype(np.float64)) <= MAX_LATENT).all(1)  # false for NaN
        if not inside.all():
            raise SearchError(f"latent vectors: row {int(np.argmin(inside))} has values that are not within ±{MAX_LATENT:g}")
        return torch.from_numpy(np.ascontiguousarray(latent, np.float32))

    def _tensors(self, graphs: CellArrays) -> tuple[Tensor, Tensor]:
        """types int64 [B, n], adjacency bool [B, n, n]."""
        types = torch.from_numpy(np.ascontiguousarray(graphs.operators)).long()
        return types.to(self.device), torch.from_numpy(np.ascontiguousarray(graphs.adjacency)).to(self.device)

    def _cells(self, graphs: CellArrays, rows: Tensor) -> CellArrays | None:
        """The rows for the kernel, where the loss asks for it."""
        return graphs[rows.cpu().numpy()] if self.similarity_weight else None


def _num_places(weights: Mapping[str, Tensor]) -> int | None:
    """How many places a model with `places` or a readout was trained for: fewer than a larger space has, see `for_space`."""
    if (depth := weights.get("encoder.depth.weight")) is not None and depth.ndim == 2:
        return len(depth)
    edges = weights.get("readout.edges.bias")  # n (n - 1) / 2
    return None if edges is None else round((1 + math.sqrt(1 + 8 * edges.numel())) / 2)
