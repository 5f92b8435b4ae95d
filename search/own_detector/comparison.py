"""The best cells of a search and GEMNet-A's, trained anew by the search's proxy with the same number of other seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from gemnet.cell import Cell
from search.core.efficiency import efficiency_score
from search.core.types import Evaluator, Job
from search.evaluation.cost import build_cost
from search.evaluation.trainings import Trainer, deviation
from search.spaces.dag import build_space
from search.steps.candidates import candidate_seed

REFERENCE = "gemnet_a"
SEEDS = 3
"""Trainings of each cell that is compared."""
NOISE = 0.05
"""A difference that chance alone makes with this probability or a higher one is told as noise (Welch's t-test)."""


@dataclass(frozen=True)
class Trained:
    """A cell, its cost, the seconds of a training, and its validation accuracies, one a seed."""

    cell: Cell
    cost: float
    seconds: float
    accuracies: tuple[float, ...]
    penalty: float

    @property
    def scores(self) -> tuple[float, ...]:
        """The efficiency score of each training."""
        return tuple(float(efficiency_score(accuracy, self.cost, self.penalty)) for accuracy in self.accuracies)

    @property
    def score(self) -> float:
        return float(np.mean(self.scores))

    @property
    def deviation(self) -> float:
        """The sample's standard deviation, of scores as of accuracies."""
        return deviation(self.accuracies)

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        name = self.cell.digest()[:8]
        return {"cell": name, "score": self.score, "accuracies": list(self.accuracies), "cost": self.cost}


def train_again(
    cells: Sequence[Cell], settings: Mapping[str, Any], evaluator: Evaluator, trainer: Trainer, title: str
) -> list[Trained]:
    """Train pruned cells with SEEDS seeds each; what the trainer's record has already is not trained again.

    Raises SearchError where a training fails; the others are kept.
    """
    space = build_space(**settings["space"])
    cost = build_cost(evaluator.cost, settings["model"], space=space, **settings["cost"])
    costs = [cost(cell) for cell in cells]
    common = {"stage": "own_detector", **{name: settings[name] for name in ("data", "proxy", "model")}}
    names = [cell.digest()[:8] for cell in cells]
    runs = {
        (name, index): {**common, "nodes": cell.nodes, "edges": cell.edges}
        | {"seed": candidate_seed(settings["seed"], f"{cell.digest()} {index}")}
        for name, cell in zip(names, cells, strict=True)
        for index in range(1, SEEDS + 1)
    }
    by_name = dict(zip(names, cells, strict=True))
    rows = trainer.run(title, runs, lambda run, key: Job(key, by_name[run[0]], runs[run]["seed"]), evaluator)
    return [
        Trained(
            cell,
            its_cost,
            float(np.mean([rows[name, index]["seconds"] for index in range(1, SEEDS + 1)])),
            tuple(float(rows[name, index]["accuracy"]) for index in range(1, SEEDS + 1)),
            settings["penalty"],
        )
        for name, cell, its_cost in zip(names, cells, costs, strict=True)
    ]


@dataclass(frozen=True)
class Comparison:
    """A found cell beside GEMNet-A's."""

    found: Trained
    reference: Trained

    @property
    def difference(self) -> float:
        """Of the mean scores, above 0 where the found cell is better."""
        return self.found.score - self.reference.score

    @property
    def probability(self) -> float:
        """That chance alone makes such a difference; 1 where there is none, 0 where no training of a cell differs."""
        if not self.difference:
            return 1.0
        if all(len(set(one.accuracies)) == 1 for one in (self.found, self.reference)):
            return 0.0
        return float(ttest_ind(self.found.scores, self.reference.scores, equal_var=False).pvalue)

    def judgement(self) -> str:
        """What the difference means, and what to do."""
        same = self.found.cell.digest() == self.reference.cell.digest()
        if same:
            return "The best cell that the search found is GEMNet-A's own. The detector has it, as it has without --search."
        if self.probability >= NOISE:
            return (
                "The search found no cell that is better than GEMNet-A's beyond the noise. The detector has the best one that"
                " it found; without --search it has GEMNet-A's."
            )
        if self.difference > 0:
            return "The search found a cell that is better than GEMNet-A's on crops of these photos. The detector has it."
        return (
            "GEMNet-A's cell is better on crops of these photos than the best one that the search found, which the detector"
            " has. Train without --search in another --work-dir, or search longer."
        )

    def evidence(self) -> str:
        """The figures."""
        parts = [
            f"{name} score {trained.score:.4f} ± {trained.deviation:.4f} (accuracy {np.mean(trained.accuracies):.4f}, cost"
            f" {trained.cost:.3g})"
            for name, trained in (("the found cell's", self.found), ("GEMNet-A's", self.reference))
        ]
        return (
            f"{parts[0]}, {parts[1]}; difference {self.difference:+.4f}, p = {self.probability:.2g} by Welch's t-test;"
            f" {SEEDS} trainings of each on crops of the training photos, measured on crops of the validation photos"
        )

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        figures = {"found": self.found.figures(), REFERENCE: self.reference.figures()}
        return {**figures, "difference": self.difference, "p": self.probability}
