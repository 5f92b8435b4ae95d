"""Searches without a predictor: random search, and regularized evolution (Real et al., AAAI 2019)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gemnet.cell import Cell
from search.configuration.schedule import Schedule
from search.core.display import Display
from search.core.efficiency import efficiency_score
from search.core.types import EvaluationError, Evaluator, Job, Scored, SearchError, Space
from search.evaluation.constraints import Constraints
from search.evaluation.cost import build_cost
from search.evaluation.proxy import fitted_model
from search.experiments.chance.mutation import Children, one_by_one
from search.record.study import Proposal
from search.steps.candidates import Candidates
from search.steps.first import FirstRound

DRAWN = 256
"""Random cells drawn at a time."""
DRAWS = 1000
"""Times that cells are drawn without one that is new before a space counts as exhausted."""


class Evaluated(NamedTuple):
    """A cell and its score; the search's own seed of its training."""

    cell: Cell
    score: float
    seed: int


class Evaluations:
    """The evaluations of one search: they begin with the cells of round 0 of the search with the same settings.

    A candidate is measured as that search measures it: the same seed, the same cost. None is stopped early. One that fails
    counts as an evaluation, with an accuracy of 0.
    """

    def __init__(self, settings: Mapping[str, Any], space: Space, evaluator: Evaluator) -> None:
        self.settings, self.space, self.evaluator = settings, space, evaluator
        model = settings["model"]
        fitted = partial(fitted_model, model=tuple(model.items())) if model and space.table is None else None
        quiet = Display(quiet=True)
        constraints = Constraints(build_cost(evaluator.cost, model, **settings["cost"]), None, quiet, fitted)
        self._candidates = Candidates(space, evaluator, constraints, settings["seed"])
        self.done: list[Evaluated] = []
        self._seen: set[str] = set()

    def first(self) -> None:
        """Evaluate the cells of round 0."""
        rng = np.random.default_rng((self.settings["seed"], 0))  # as the pipeline's
        proposals, _ = FirstRound(self.settings, Schedule.of(self.settings), self._candidates, rng).propose()
        for proposal in proposals:
            self._evaluate(proposal)

    def add(self, cells: Iterator[Cell]) -> bool:
        """Evaluate the first of `cells` that is new and keeps the constraints; whether there was one."""
        for cell in cells:
            digest = cell.pruned().digest()
            if digest in self._seen:
                continue
            chosen, _ = self._candidates.choose([Scored(0.0, cell, digest=digest)], 1)
            if chosen:
                self._evaluate(chosen[0])
                return True
            self._seen.add(digest)
        return False

    def _evaluate(self, proposal: Proposal) -> None:
        try:
            accuracy = self.evaluator.evaluate(Job(len(self.done), proposal.cell.pruned(), proposal.seed), "cpu").accuracy
        except EvaluationError:
            accuracy = 0.0
        score = float(efficiency_score(accuracy, proposal.cost, self.settings["penalty"]))
        self._seen.add(proposal.digest)
        self.done.append(Evaluated(proposal.cell, score, proposal.seed))

    def random(self, rng: np.random.Generator) -> Iterator[Cell]:
        """Random cells of the space, without end."""
        for _ in range(DRAWS):
            yield from one_by_one(self.space, self.space.sample(rng, DRAWN))


def random_search(evaluations: Evaluations, budget: int, rng: np.random.Generator) -> None:
    """Evaluate random cells, all of them different, until there are `budget`."""
    evaluations.first()
    _until(evaluations, budget, lambda: evaluations.random(rng))


def evolve(evaluations: Evaluations, budget: int, rng: np.random.Generator, population: int, tournament: int) -> None:
    """Evaluate children, each of the best of `tournament` of the `population` youngest cells, until there are `budget`.

    Where a cell has no child that is new, a random cell takes its place.
    """
    evaluations.first()
    _until(evaluations, population, lambda: evaluations.random(rng))
    children = Children(evaluations.space)
    living = deque(evaluations.done, maxlen=population)

    def litter() -> Iterator[Cell]:
        rivals = rng.choice(len(living), min(tournament, len(living)), replace=False)
        parent = max((living[rival] for rival in rivals), key=lambda member: member.score)
        yield from children.of(parent.cell, rng)
        yield from evaluations.random(rng)

    def grown() -> None:
        living.append(evaluations.done[-1])  # the oldest one goes

    _until(evaluations, budget, litter, grown)


def _until(
    evaluations: Evaluations,
    budget: int,
    cells: Callable[[], Iterator[Cell]],
    after: Callable[[], None] = lambda: None,
) -> None:
    while len(evaluations.done) < budget:
        if not evaluations.add(cells()):
            raise SearchError(f"{len(evaluations.done)} different cells are all that were found; {budget} are asked for")
        after()
