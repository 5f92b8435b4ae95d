"""Round 0: cells of other searches, cells that the user names, and random ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from gemnet.cell import Cell
from search.configuration.schedule import Schedule
from search.configuration.sections import evaluation_part
from search.core.types import Evaluation, Scored, SearchError
from search.evaluation.constraints import MeasuredCells
from search.record.export import read_record
from search.record.study import Proposal, differences, is_evaluated
from search.spaces.dag import prune
from search.steps.candidates import Candidates

OVERDRAW = 16
"""Cells that stand by for each one that is evaluated, where some cost more than they may."""


class FirstRound:
    """Chooses the candidates of round 0, the same for the same state of `rng`."""

    def __init__(
        self, settings: Mapping[str, Any], schedule: Schedule, candidates: Candidates, rng: np.random.Generator
    ) -> None:
        self.settings, self.schedule, self.candidates, self.rng = settings, schedule, candidates, rng
        self.space, self.constraints = candidates.space, candidates.constraints

    def propose(self) -> tuple[list[Proposal], MeasuredCells]:
        """The candidates, and what was measured of cells on the way. Raises SearchError where too few keep the constraints."""
        measured = MeasuredCells()
        proposals = self._inherited(measured)
        wanted = max(0, self.schedule.start - len(proposals))
        proposals += self._given({p.digest for p in proposals}, measured)
        if wanted:
            proposals += self._drawn(wanted, {p.digest for p in proposals}, measured)
        return proposals, measured

    def _inherited(self, measured: MeasuredCells) -> list[Proposal]:
        """What other searches have evaluated with these evaluation settings; what was measured of cells is added to `measured`.

        Raises SearchError where their settings are others.
        """
        inherited: dict[str, Proposal] = {}
        over_budget = MeasuredCells()
        for directory in self.schedule.warm_start:
            snapshot = read_record(directory)
            theirs, ours = (evaluation_part(settings) for settings in (snapshot.settings, self.settings))
            differing = [d for d in differences(theirs, ours) if d[0] != "seed"]
            if differing:
                name, there, here = differing[0]
                raise SearchError(
                    f"search: warm_start: {directory} was evaluated with other settings ({name}: {there} there, {here} here);"
                    " its results do not compare. Have its best cells evaluated again: search.cells=[...]"
                )
            over_budget.add(MeasuredCells.of(snapshot.rounds, directory))
            for r in snapshot.records:
                if is_evaluated(r) and not r.stopped and r.macs <= (self.schedule.max_macs or np.inf):
                    self.space.from_cells([r.cell])  # raises SearchError for a cell of another space
                    evaluation = Evaluation(r.accuracy, r.curve, r.stopped, r.seconds)
                    inherited[r.digest] = Proposal(
                        r.cell, r.digest, r.seed, r.macs, r.params, r.cost, None, evaluation, r.score
                    )
        measured.add(self.constraints.comparable(over_budget))
        if not self.constraints.measures_kept:
            return list(inherited.values())
        timed = self.constraints.measure_kept([p.cell for p in inherited.values()])
        measured.add(timed)
        outside = self.constraints.reasons(timed).keys() | timed.impossible.keys()
        return [p for p in inherited.values() if p.digest not in outside]

    def _given(self, known: Collection[str], measured: MeasuredCells) -> list[Proposal]:
        """The cells that the user names and that are not `known`; what was measured of them is added to `measured`. Raises
        SearchError for one that is not of the space, is above a constraint, or of which no network can be made."""
        cells, above = {}, self.constraints.reasons(measured)
        for path in self.schedule.cells:
            cell = Cell.resolve(path)
            self.space.from_cells([cell])
            digest = cell.pruned().digest()
            if digest in above:
                raise SearchError(f"search: {path}: {above[digest]}")
            if digest not in known:
                cells[digest] = (path, cell)
        scored = (Scored(0.0, cell, digest=digest) for digest, (_, cell) in cells.items())
        chosen, theirs = self.candidates.choose(scored, len(cells))
        reasons = self.constraints.reasons(theirs)
        for digest in sorted(cells.keys() - {p.digest for p in chosen}):
            reason = reasons.get(digest) or f"no network can be made of it: {theirs.impossible[digest]}"
            raise SearchError(f"search: {cells[digest][0]}: {reason}")
        measured.add(theirs)
        limit = self.schedule.max_macs or np.inf
        for p in chosen:
            if p.macs > limit:
                raise SearchError(f"search: {cells[p.digest][0]}: its network has {p.macs} MACs, more than max_macs={limit:g}")
        return [replace(p, predicted=None) for p in chosen]

    def _drawn(self, count: int, known: Collection[str], measured: MeasuredCells) -> list[Proposal]:
        """`count` distinct random cells, or fewer, that are not `known` proposals and not above a constraint by what was
        `measured`; what is measured of them is added to that."""
        drawn, least = dict[str, Cell](), np.inf
        passed_over = known | self.constraints.reasons(measured).keys()
        for _ in range(100):
            arrays = self.space.sample(self.rng, 2 * self.schedule.start)
            if self.schedule.max_macs is not None:
                macs = self.candidates.macs(prune(arrays))
                arrays, least = arrays[macs <= self.schedule.max_macs], min(least, macs.min())
            for cell in self.space.to_cells(arrays):
                digest = cell.pruned().digest()
                if digest not in passed_over:
                    drawn.setdefault(digest, cell)
            if len(drawn) >= OVERDRAW * self.schedule.start:
                break
        chosen, theirs = self.candidates.choose((Scored(0.0, cell, digest=digest) for digest, cell in drawn.items()), count)
        if len(chosen) + len(known) < 3:
            raise self._too_few(len(chosen), len(drawn), least, theirs)
        measured.add(theirs)
        return [replace(p, predicted=None) for p in chosen]

    def _too_few(self, chosen: int, drawn: int, least: float, measured: MeasuredCells) -> SearchError:
        limited = self.schedule.max_macs is not None
        limits = [f"max_macs={self.schedule.max_macs:g} (the smallest has {least:g})"] if limited else []
        limits += self.constraints.nearest(measured)
        impossible = list(measured.impossible.values())
        return SearchError(
            f"{chosen} of {drawn} distinct cells from {200 * self.schedule.start} draws do"
            + (f" within {' and '.join(limits)}" if limits else "")
            + (f"; of {len(impossible)} no network can be made, such as: {impossible[0]}" if impossible else "")
            + f"; 3 are needed: allow more nodes, operators{', MACs (search.max_macs)' if limited else ''} or cost"
        )
