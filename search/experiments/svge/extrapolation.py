"""Cells larger than any that SVGe was trained on, proposed from the latent space and trained beside the best known ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gemnet.cell import Cell
from gemnet.cost import Cost
from search.core.types import CellArrays, EvaluationError, Job, Progress, SearchError
from search.encoders.svge.graph_spaces import enas_space, nasbench101_space
from search.encoders.svge.graphs import GraphSpace
from search.encoders.svge.model import SVGe
from search.experiments.svge.proxy import BenchmarkProxyEvaluator
from search.experiments.svge.results import Results
from search.experiments.svge.tasks import Task
from search.spaces.isomorphism import isomorphism_hash

AT_A_TIME = 2048
"""Graphs decoded between two looks at how many there are."""
LARGER: dict[str, GraphSpace] = {"nasbench101": nasbench101_space(8, 12), "enas": enas_space(12)}
"""The spaces to extrapolate to. 12 edges among 8 nodes are ours; the benchmark allows 9 among 7."""


@dataclass(frozen=True)
class Proposal:
    """A cell, the group that it stands for, its place in the group, and the accuracy that was predicted for it."""

    group: str
    rank: int
    cell: Cell
    predicted: float

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"group": self.group, "rank": self.rank, "cell": self.cell.to_json(), "predicted": self.predicted}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Proposal:
        """What `to_dict` gave."""
        return cls(data["group"], data["rank"], Cell.from_json(data["cell"]), data["predicted"])


def propose(
    model: SVGe,
    tuned: SVGe,
    task: Task,
    larger: GraphSpace,
    seed: int,
    top: int = 5,
    wanted: int = 2000,
    draws: int = 50_000,
    progress: Progress | None = None,
) -> list[Proposal]:
    """`top` cells of `larger.max_nodes` nodes of highest predicted accuracy, as many random ones of these, and the `top` known
    cells of highest accuracy.

    Latent vectors are drawn like the training graphs' and decoded to graphs of the full size, until `wanted` ones that
    are not isomorphic are there, or `draws` are spent. `tuned`, the fine-tuned model, encodes them again and predicts their
    accuracy. Raises SearchError where there are fewer than 2 `top` valid ones.
    """
    graphs = _decoded(model, task, larger, np.random.default_rng((seed, 0)), wanted, draws, progress)
    if len(graphs) < 2 * top:
        raise SearchError(
            f"extrapolation: {draws} latent vectors gave {len(graphs)} different valid graphs of {larger.max_nodes} nodes; "
            f"expected at least {2 * top}: train longer, or draw more"
        )
    predicted = tuned.predict(tuned.for_space(larger).embed(graphs))
    order = np.argsort(-predicted, kind="stable")
    others = np.random.default_rng((seed, 1)).permutation(order[top:])[:top]
    train = task.known(task.train)
    best = train[np.argsort(-task.accuracies[train], kind="stable")[:top]]
    of_best = tuned.predict(tuned.embed(task.graphs[best]))
    size = f"{larger.max_nodes} nodes"
    return [
        *_proposals(f"{size}, highest predicted", task, graphs, order[:top], predicted[order[:top]]),
        *_proposals(f"{size}, random", task, graphs, others, predicted[others]),
        *_proposals(f"{task.space.max_nodes} nodes, most accurate known", task, task.graphs, best, of_best),
    ]


def train_proposals(
    proposals: list[Proposal],
    evaluator: BenchmarkProxyEvaluator,
    results: Results,
    settings: dict[str, Any],
    seeds: list[int],
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Train each proposal under each seed, a unit of `results` each; returns `ranked` rows. A cell that cannot be trained has
    no accuracy, and says why. settings: what decides an accuracy besides cell and seed. Raises SearchError, before any
    training, where a cell has no network within the MACs of `evaluator`."""
    lacking = [p for p in proposals if any(not _found(results, p, seed) for seed in seeds)]
    costs = {p.cell.digest(): evaluator.cost(p.cell) for p in lacking}
    done, total = 0, len(proposals) * len(seeds)
    for seed in seeds:
        for proposal in proposals:
            values = results.unit(
                _key(proposal, seed), settings, partial(_trained, proposal.cell, costs, evaluator, seed, device)
            )
            done += 1
            if progress:
                told = values["error"] or f"{values['accuracy']:.4f}"
                progress(done, total, f"{proposal.group}, {proposal.rank}: {told}")
    return ranked(proposals, results, seeds)


def ranked(proposals: list[Proposal], results: Results, seeds: list[int]) -> list[dict[str, Any]]:
    """A row a proposal, by its mean accuracy over the seeds, the best first, those without one last."""
    rows = []
    for proposal in proposals:
        found = [values for seed in seeds for values in _found(results, proposal, seed)]
        accuracies = [v["accuracy"] for v in found if v["accuracy"] is not None]
        rows.append(
            {
                "group": proposal.group,
                "rank in group": proposal.rank,
                "cell": proposal.cell.digest()[:8],
                "predicted accuracy": proposal.predicted,
                "mean accuracy": float(np.mean(accuracies)) if accuracies else None,
                "deviation": float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None,
                "seeds": len(accuracies),
                "MACs": found[0]["macs"] if found else None,
                "params": found[0]["params"] if found else None,
                "error": next((v["error"] for v in found if v["error"]), ""),
            }
        )
    return sorted(rows, key=lambda row: -1.0 if row["mean accuracy"] is None else row["mean accuracy"], reverse=True)


def _decoded(
    model: SVGe,
    task: Task,
    larger: GraphSpace,
    rng: np.random.Generator,
    wanted: int,
    draws: int,
    progress: Progress | None,
) -> CellArrays:
    """Graphs of `larger` with as many nodes as it allows, no two isomorphic, in the order in which they were found."""
    means, decoder, n = model.embed(task.graphs[task.train]), model.for_space(larger), larger.max_nodes
    centre, deviation = means.mean(0), means.std(0)
    found = CellArrays(np.empty((0, n, n), bool), np.empty((0, n), np.int8))
    for start in range(0, draws, AT_A_TIME):
        latent = centre + deviation * rng.standard_normal((min(AT_A_TIME, draws - start), model.dim))
        graphs = decoder.decode(latent, seed=int(rng.integers(2**62)), min_nodes=n, constrained=True)
        found = CellArrays.concatenate([found, graphs[larger.valid(graphs) & (graphs.sizes == n)]])
        _, first = np.unique(isomorphism_hash(found), return_index=True)
        found = found[np.sort(first)]
        if progress:
            progress(start + len(latent), draws, f"{len(found)} cells of {n} nodes")
        if len(found) >= wanted:
            break
    return found[:wanted]


def _proposals(group: str, task: Task, graphs: CellArrays, rows: np.ndarray, predicted: np.ndarray) -> list[Proposal]:
    found = []
    for rank, (row, value) in enumerate(zip(rows.tolist(), predicted.tolist()), 1):
        cell = task.cell(graphs, row)
        told = {"search": f"SVGe on {task.name}", "group": group, "rank": rank, "predicted": value}
        found.append(Proposal(group, rank, Cell(cell.nodes, cell.edges, told), value))
    return found


def _key(proposal: Proposal, seed: int) -> dict[str, Any]:
    return {"part": "extrapolation", "cell": proposal.cell.digest(), "seed": seed}


def _found(results: Results, proposal: Proposal, seed: int) -> list[dict[str, Any]]:
    """The unit of this training, alone in a list, if it is there."""
    return results.values(**_key(proposal, seed))


def _trained(
    cell: Cell, costs: Mapping[str, Cost], evaluator: BenchmarkProxyEvaluator, seed: int, device: str
) -> dict[str, Any]:
    cost = costs[cell.digest()]
    values: dict[str, Any] = {"accuracy": None, "macs": cost.macs, "params": cost.params, "seconds": None, "error": ""}
    try:
        evaluation = evaluator.evaluate(Job(0, cell, seed), device)
    except EvaluationError as error:
        return values | {"error": str(error)}
    return values | {"accuracy": evaluation.accuracy, "seconds": evaluation.seconds}
