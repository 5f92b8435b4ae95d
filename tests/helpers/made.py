"""A made evaluator, cost and executor, and searches with them: what the tests of the pipeline are made of."""

import random

import numpy as np

from gemnet.architecture import Architecture
from gemnet.complexity import BudgetError, network_cost
from search.configuration.schedule import Schedule
from search.core.display import Display
from search.core.efficiency import efficiency_score
from search.core.types import Evaluation, Outcome
from search.evaluation.cost import build_cost
from search.pipeline import Search
from search.record.study import Study
from search.spaces.dag import DagSpace

SETTINGS = {
    "seed": 0,
    "penalty": 0.1,
    "encoder": {"type": "adjacency"},
    "predictor": {"type": "mlp", "steps": 5},
}
WHOLE = {**SETTINGS, "space": {}, "data": {}, "proxy": {}, "model": {}, "cost": {}, "search": {}}
SCHEDULE = Schedule(start=8, rounds=3, batch=4, draws=500)


class MadeEvaluator:
    """Accuracy grows with the share of 3x3 convolutions: what a search can find out."""

    epochs, num_classes = 4, 10

    def __init__(self, fails=lambda job: False):
        self.fails = fails
        self.trained = []

    def cost(self, cell, statistics=None):
        architecture = Architecture(cell, (4, 8), (1, 1), 4, 0, 1)
        return network_cost(architecture, (8, 8), self.num_classes, in_chans=1, statistics=statistics)

    def outcome(self, job):
        self.trained.append(job.cell.pruned().digest())
        if self.fails(job):
            return Outcome(job.key, error="the loss is NaN", seconds=0.1)
        share = np.mean([name == "sepconv3x3" for name in job.cell.nodes[1:]])
        final = 0.4 + 0.5 * float(share) + 0.01 * (job.seed % 7)
        curve = tuple(final * e / self.epochs for e in range(1, self.epochs + 1))
        for epoch, accuracy in job.early_stop_thresholds:
            if curve[epoch - 1] < accuracy:
                return Outcome(job.key, Evaluation(curve[epoch - 1], curve[:epoch], True, 0.1))
        return Outcome(job.key, Evaluation(final, curve, False, 0.1))


class MadeCost:
    """As many as there are live nodes."""

    name = "live nodes"

    def __init__(self, max=None, fails=lambda cell: False):
        self.max, self.fails = max, fails

    def __call__(self, cell):
        if self.fails(cell):
            raise BudgetError("out of reach")
        return float(len(cell.live_nodes))


class MadeExecutor:
    """Yields outcomes in a random order, and is interrupted after `patience` of them."""

    def __init__(self, evaluator, patience=10**9, seed=0):
        self.evaluator, self.patience, self.random = evaluator, patience, random.Random(seed)

    def run(self, jobs):
        for job in self.random.sample(list(jobs), len(jobs)):
            if self.patience == 0:
                raise KeyboardInterrupt
            self.patience -= 1
            yield self.evaluator.outcome(job)


def run(directory, evaluator=None, settings=SETTINGS, schedule=SCHEDULE, space=None, cost=None, latency=None, **executor):
    evaluator = evaluator or MadeEvaluator()
    cost = cost or build_cost(evaluator.cost, {})
    with Study(directory, settings, {}) as study:
        executor = MadeExecutor(evaluator, **executor)
        parts = settings, space or DagSpace(8), schedule, evaluator, study, executor, Display(quiet=True), cost, latency
        return Search(*parts).run()


def score(accuracy, cost, penalty=SETTINGS["penalty"]):
    """What the record of a search with this penalty has to have as the score."""
    return float(f"{efficiency_score(accuracy, cost, penalty):.9g}")  # as an export has it


def essence(records):
    return [(r.id, r.round, r.digest, r.seed, r.state, r.predicted, r.accuracy, r.score, r.stopped) for r in records]
