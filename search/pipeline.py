"""NASGEM's three steps: train the encoder, build the estimator from evaluated candidates, pick cells by bootstrap (Fig. 2)."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from gemnet.cell import Cell
from gemnet.complexity import BudgetError
from search.acquisition import AffordableFirst, Optimistic
from search.base import (
    CellArrays,
    Encoder,
    Evaluation,
    Evaluator,
    Executor,
    Job,
    Predictor,
    Progress,
    Scored,
    SearchError,
    Space,
)
from search.bootstrap import Draws, bootstrap
from search.cost import CellCost, build_cost
from search.display import Display
from search.efficiency import efficiency_score
from search.embedding import DESCRIPTION, build_encoder, load_encoder
from search.embedding.cache import EncoderCache
from search.evaluators import evaluator_of
from search.executor import build_executor
from search.exported import read_record
from search.predictor import MLPPredictor, build_predictor, cross_validated_predictions
from search.ranking import best_table, expected_scores, judged
from search.schedule import Schedule
from search.settings import decisive, evaluation_part
from search.space import build_space, prune, statistics
from search.study import DONE, ENCODER_DIRECTORY, FAILED, JUDGED, PENDING, Proposal, Record, Study, differences

OVERDRAW = 16
"""Cells that stand by for each one that is evaluated, where some cost more than they may."""


@dataclass
class Search:
    """The parts of a search, built from its settings."""

    settings: Mapping[str, Any]
    space: Space
    schedule: Schedule
    evaluator: Evaluator
    study: Study
    executor: Executor
    display: Display
    cost: CellCost
    encoder: Encoder = field(init=False)
    _draws: dict[int, Draws] = field(init=False, default_factory=dict)

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def run(self) -> list[Record]:
        """All three steps; returns the record. Work that is in the record already is not done again."""
        self.encoder = self._trained_encoder()
        predictor = build_predictor(**self.settings["predictor"])
        for index in range(self.schedule.rounds + 1):
            if index:
                self._fit(predictor, index)
            if index not in self.study.rounds():
                proposals, note = self._bootstrapped(predictor, index) if index else self._first()
                self.study.propose(index, proposals, note)
            self._evaluate(index)
            self._judge(index)  # where a stop came between
        self._judge_all()
        return self.study.records()

    def _trained_encoder(self) -> Encoder:
        directory = self.study.directory / ENCODER_DIRECTORY
        if (directory / DESCRIPTION).exists():
            return load_encoder(directory, self.space)
        cache = None
        if self.schedule.encoder_cache:
            key = {name: self.settings[name] for name in ("space", "encoder", "seed")}
            cache = EncoderCache(self.schedule.encoder_cache, key)
        encoder = self._cached(cache) if cache else None
        if encoder is None:
            encoder = build_encoder(space=self.space, **self.settings["encoder"])
            with self.display.progress("Training the encoder") as progress:
                figures = encoder.fit(self.seed, progress)
            if figures:
                told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
                self.display.line(f"Encoder, held-out pairs: {told}")
            if cache:
                cache.save(encoder)
        encoder.save(directory)
        return encoder

    def _cached(self, cache: EncoderCache) -> Encoder | None:
        """The encoder of another search; None where there is none that can be used."""
        try:
            encoder = cache.load(self.space)
        except SearchError as error:
            self.display.line(f"The encoder in the cache is damaged and is trained anew: {error}")
            return None
        if encoder is not None:
            self.display.line(f"The encoder is taken from {cache.directory}")
        return encoder

    def _first(self) -> tuple[list[Proposal], dict[str, Any]]:
        """The candidates of round 0: those of other searches, the ones that the user names, and distinct random ones."""
        inherited, dear = self._inherited()
        known = {p.digest for p in inherited}
        given = [p for p in self._given() if p.digest not in known]
        wanted = max(0, self.schedule.start - len(inherited))
        drawn, dear_too = self._drawn(wanted, known | {p.digest for p in given}) if wanted else ([], [])
        return inherited + given + drawn, _told(dear + dear_too)

    def _inherited(self) -> tuple[list[Proposal], list[tuple[Cell, float]]]:
        """What other searches have evaluated with these evaluation settings, and the cells that cost more than they might.

        Raises SearchError where their settings are others.
        """
        found: dict[str, Proposal] = {}
        dear: list[tuple[Cell, float]] = []
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
            dear += _dear(snapshot.rounds.values())
            for r in snapshot.records:
                if r.state == DONE and not r.stopped and r.macs <= (self.schedule.max_macs or np.inf):
                    self.space.from_cells([r.cell])  # raises SearchError for a cell of another space
                    evaluation = Evaluation(r.accuracy, r.curve, r.stopped, r.seconds)
                    found[r.digest] = Proposal(r.cell, r.digest, r.seed, r.macs, r.params, r.cost, None, evaluation, r.score)
        return list(found.values()), dear

    def _given(self) -> list[Proposal]:
        """The cells that the user names. Raises SearchError for one that is not of the space, costs more than it may, or of
        which no network can be made."""
        cells = {}
        for path in self.schedule.cells:
            cell = Cell.load(path)
            self.space.from_cells([cell])
            cells[cell.pruned().digest()] = (path, cell)
        chosen, dear = self._affordable((Scored(0.0, cell, digest=digest) for digest, (_, cell) in cells.items()), len(cells))
        costs = {cell.pruned().digest(): cost for cell, cost in dear}
        for digest in sorted(cells.keys() - {p.digest for p in chosen}):
            reason = "no network can be made of it"
            if digest in costs:
                reason = f"costs {costs[digest]:.4g}, more than cost.max={self.cost.max:g}"
            raise SearchError(f"search: {cells[digest][0]}: {reason}")
        limit = self.schedule.max_macs or np.inf
        for p in chosen:
            if p.macs > limit:
                raise SearchError(f"search: {cells[p.digest][0]}: its network has {p.macs} MACs, more than max_macs={limit:g}")
        return [replace(p, predicted=None) for p in chosen]

    def _drawn(self, count: int, known: Collection[str]) -> tuple[list[Proposal], list[tuple[Cell, float]]]:
        """`count` distinct random cells that are not `known`, or fewer; and those that cost too much."""
        rng, drawn, least = self._rng(0), {}, np.inf
        for _ in range(100):
            arrays = self.space.sample(rng, 2 * self.schedule.start)
            if self.schedule.max_macs is not None:
                macs = self._macs(prune(arrays))
                arrays, least = arrays[macs <= self.schedule.max_macs], min(least, macs.min())
            for cell in self.space.to_cells(arrays):
                digest = cell.pruned().digest()
                if digest not in known:
                    drawn.setdefault(digest, cell)
            if len(drawn) >= OVERDRAW * self.schedule.start:
                break
        found = (Scored(0.0, cell, digest=digest) for digest, cell in drawn.items())
        chosen, dear = self._affordable(found, count)
        if len(chosen) + len(known) < 3:
            limits = [f"max_macs={self.schedule.max_macs:g} (the smallest has {least:g})"] if self.schedule.max_macs else []
            if dear:
                limits.append(f"cost.max={self.cost.max:g} (the cheapest costs {min(cost for _, cost in dear):.4g})")
            without = len(drawn) - len(chosen) - len(dear)
            raise SearchError(
                f"search: {len(chosen)} of {len(drawn)} distinct cells from {200 * self.schedule.start} draws do"
                + (f" within {' and '.join(limits)}" if limits else "")
                + (f"; of {without} no network can be made" if without else "")
                + "; 3 are needed: allow more nodes, operators or cost"
            )
        return [replace(p, predicted=None) for p in chosen], dear

    def _affordable(self, cells: Iterable[Scored], count: int) -> tuple[list[Proposal], list[tuple[Cell, float]]]:
        """The first `count` cells that cost no more than they may, in order, and those met that cost more, with their costs."""
        chosen: list[Proposal] = []
        dear: list[tuple[Cell, float]] = []
        with self.display.progress(f"Cost: {self.cost.name}") as progress:
            for found in cells:
                with contextlib.suppress(BudgetError):  # no model can be made of this cell
                    cost = self.cost(found.cell)
                    if self.cost.max is None or cost <= self.cost.max:
                        chosen.append(self._proposal(found, cost))
                        progress(len(chosen), count, f"{len(dear)} cost more than {self.cost.max:g}" if dear else "")
                    else:
                        dear.append((found.cell, cost))
                if len(chosen) == count:
                    break
        return chosen, dear

    def _affordable_first(self, predictor: Predictor | Optimistic, index: int) -> Predictor | Optimistic | AffordableFirst:
        """`predictor`, but those cells last that probably cost too much, by a predictor of cost on all that was measured.

        Without it, most of the best predicted cells would be measured in vain: what costs too much is never trained, so that
        the predictor of scores cannot know.
        """
        dear = _dear(note for round_, note in self.study.rounds().items() if round_ < index)
        if not dear or self.cost.max is None:
            return predictor
        cells, costs = zip(*dear, *((r.cell, r.cost) for r in self.study.records() if r.round < index), strict=True)
        by_cost = build_predictor(**self.settings["predictor"])
        by_cost.fit(self._embedded(cells), np.log(costs), self._stream(index))
        return AffordableFirst(predictor, by_cost, float(np.log(self.cost.max)))

    def _fit(self, predictor: Predictor, index: int) -> None:
        """Train the predictor on the evaluations of the rounds before `index`. Raises SearchError where too few succeeded."""
        done = [r for r in self.study.records() if r.round < index and r.state == DONE]
        if len(done) < 3:
            errors = [r.error for r in self.study.records() if r.state == FAILED]
            reason = f"; the first error: {errors[0]}" if errors else ""
            raise SearchError(f"only {len(done)} of {self.schedule.start} candidates could be evaluated{reason}")
        vectors, scores = self._vectors(done), expected_scores(done)
        predictor.fit(vectors, scores, self._stream(index))

    def _bootstrapped(self, predictor: Predictor, index: int) -> tuple[list[Proposal], dict[str, Any]]:
        """The best predicted cells that are not in the record yet, and what is known of the predictor."""
        records = self.study.records()
        done = [r for r in records if r.state == DONE]
        note: dict[str, Any] = {"evaluated": len(done)}
        if isinstance(predictor, MLPPredictor):
            note |= predictor.lipschitz_bound(self._vectors(done)).as_dict()
        with self.display.progress(f"Round {index}: bootstrap") as progress:
            known, wanted = {r.digest for r in records} | self._too_dear(), OVERDRAW * self.schedule.batch
            hopeful = Optimistic(predictor, self.schedule.optimism) if self.schedule.optimism else predictor
            ranked_by = self._affordable_first(hopeful, index)
            found = bootstrap(self._draws_of(index), ranked_by, wanted, known, progress)
        del self._draws[index]
        chosen, dear = self._affordable(found, self.schedule.batch)
        if chosen and ranked_by is not predictor:  # what cells are ranked by is not what is predicted
            predicted = predictor.query(self._embedded([p.cell for p in chosen]))
            chosen = [replace(p, predicted=float(score)) for p, score in zip(chosen, predicted, strict=True)]
        return chosen, {**note, **_told(dear)}

    def _too_dear(self) -> set[str]:
        """Digests of the cells that were found to cost more than they may: a second measurement would say the same."""
        limit = np.inf if self.cost.max is None else self.cost.max
        return {cell.pruned().digest() for cell, cost in _dear(self.study.rounds().values()) if cost > limit}

    def _draws_of(self, index: int) -> Draws:
        """The cells that round `index` chooses from: they depend on no outcome."""
        if index not in self._draws:
            schedule, macs = self.schedule, None if self.schedule.max_macs is None else self._macs
            self._draws[index] = Draws(self.space, self.encoder, self._rng(index), schedule.draws, macs, schedule.max_macs)
        return self._draws[index]

    def _judge(self, index: int) -> None:
        """Add to the round's note how good the predictor is that proposed it, and which cell would have been chosen before it,
        if that is not there: nothing waits for it."""
        note = self.study.rounds()[index]
        if not index or "kendall_tau" in note:
            return
        done = [r for r in self.study.records() if r.round < index and r.state == DONE]
        scores, held_out = self._held_out(done, index)
        tau = float(np.nan_to_num(kendalltau(held_out, scores).statistic))
        worth = np.where([r.stopped for r in done], -np.inf, judged(scores, held_out, self.schedule.trust))
        self.study.add_to_note(index, {"kendall_tau": tau, "best": done[int(np.argmax(worth))].id})
        lipschitz = "; Lipschitz constant K <= {lipschitz:.3g}, variance {variance:.2e} <= K^2 tr Cov = {bound:.3g}"
        told = lipschitz.format(**note) if "lipschitz" in note else ""
        self.display.line(f"Predictor on {len(done)} cells: Kendall's tau {tau:.2f} (5-fold){told}")

    def _judge_all(self) -> None:
        """Add to the last round's note what each cell is judged, if measured scores are not trusted alone."""
        last, note = max(self.study.rounds().items())
        done = [r for r in self.study.records() if r.state == DONE]
        if self.schedule.trust == 1 or JUDGED in note or len(done) < 3:
            return
        with self.display.progress("Judging the cells") as progress:
            scores, held_out = self._held_out(done, last + 1, self.schedule.folds, self.schedule.repeats, progress)
        worth = judged(scores, held_out, self.schedule.trust)
        self.study.add_to_note(last, {JUDGED: {str(r.id): float(value) for r, value in zip(done, worth, strict=True)}})

    def _held_out(
        self, done: Sequence[Record], index: int, folds: int = 5, repeats: int = 1, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a predictor would learn of these records, and what predictors tell that have not seen them, [N] both; the latter
        the mean of `repeats` cross-validations."""
        vectors, scores, told = self._vectors(done), expected_scores(done), []
        settings, seed = self.settings["predictor"], self._stream(index)
        for i in range(repeats):
            told.append(cross_validated_predictions(settings, vectors, scores, seed + i, folds))
            if progress:
                progress(i + 1, repeats)
        return scores, np.mean(told, axis=0)

    def _evaluate(self, index: int) -> None:
        """Train what is pending in round `index`, and record each result as it comes."""
        records = self.study.records()
        pending = {r.id: r for r in records if r.state == PENDING and r.round == index}
        if not pending:
            return
        hurdles = self._hurdles([r for r in records if r.round < index and r.state == DONE])
        jobs = [Job(r.id, r.cell.pruned(), r.seed, hurdles) for r in pending.values()]
        finished, best = len(records) - len(pending), max((r.score for r in records if r.state == DONE), default=-np.inf)
        with self.display.progress(f"Round {index}: evaluations") as progress:
            total = self.schedule.evaluations(records)
            progress(finished, total)
            for number, outcome in enumerate(self.executor.run(jobs)):
                score = None
                if outcome.evaluation is not None:
                    accuracy, cost = outcome.evaluation.accuracy, pending[outcome.key].cost
                    score = float(efficiency_score(accuracy, cost, self.settings["penalty"]))
                    best = max(best, score)
                self.study.finish(outcome, score)
                finished += 1
                if outcome.error:
                    self.display.line(f"Candidate {outcome.key} failed: {outcome.error}")
                progress(finished, total, f"best score {best:.4f}")
                if number == 0:
                    self._judge(index)  # while other workers train; this one has its next candidate
                elif number + 1 < len(jobs) and index < self.schedule.rounds:
                    self._draws_of(index + 1).ahead(-(-self.schedule.draws // max(1, len(jobs) - 2)))
        self.display.table(f"Best after round {index}", *best_table(self.study.records(), 5))

    def _hurdles(self, earlier: Sequence[Record]) -> tuple[tuple[int, float], ...]:
        """(epoch, accuracy) below which a candidate is hopeless: chance, and a quantile of the earlier rounds.

        They depend on finished rounds alone, so that a round gives the same in any order, and after a restart.
        """
        epochs = self.evaluator.epochs
        first = max(1, int(np.ceil(self.schedule.stop_from * epochs)))
        chance = 1.5 / self.evaluator.num_classes
        hurdles = []
        for epoch in range(first, epochs):
            reached = [r.curve[epoch - 1] for r in earlier if len(r.curve) >= epoch]
            typical = float(np.quantile(reached, self.schedule.stop_quantile)) if reached else 0.0
            hurdles.append((epoch, max(chance, typical if self.schedule.stop_quantile else 0.0)))
        return tuple(hurdles)

    def _proposal(self, found: Scored, cost: float) -> Proposal:
        counts = self.evaluator.cost(found.cell)
        seed = candidate_seed(self.seed, found.digest)
        return Proposal(found.cell, found.digest, seed, counts.macs, counts.params, cost, found.score)

    def _macs(self, pruned: CellArrays) -> np.ndarray:
        """MACs [B] of the proxy networks of pruned cells."""
        (any_cell,) = self.space.to_cells(pruned[:1])
        return self.evaluator.cost(any_cell, statistics(self.space, pruned)).macs

    def _vectors(self, records: Sequence[Record]) -> np.ndarray:
        return self._embedded([r.cell for r in records])

    def _embedded(self, cells: Sequence[Cell]) -> np.ndarray:
        return self.encoder.embed(prune(self.space.from_cells(cells)))

    def _stream(self, index: int) -> int:
        """A seed for round `index`."""
        return int(self._rng(index, 1).integers(2**31))

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *place))


def candidate_seed(seed: int, digest: str) -> int:
    """The seed with which the cell `digest` is trained in a search with `seed`, wherever in the search it comes up."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:6], "big")


def run_search(settings: Mapping[str, Any], directory: str | os.PathLike[str], display: Display) -> list[Record]:
    """Run the search that `settings` describe in `directory`, or go on with the one there; returns the record.

    Raises SearchError for settings, data or a directory that do not do, before anything is written where possible.
    """
    space = build_space(**settings["space"])
    schedule = Schedule.of(settings)
    build_encoder(space=space, **settings["encoder"])  # both are built again later; a mistake is told before any work
    predictor = build_predictor(**settings["predictor"])
    if schedule.optimism and not hasattr(predictor, "optimistic"):
        raise SearchError(
            f"search: optimism={schedule.optimism:g}: the predictor {settings['predictor'].get('type', 'mlp')!r} does not tell"
            " how sure it is; take ensemble, graph_ensemble, or bagged, which is made of several others"
        )
    evaluator = evaluator_of(settings, space)
    if schedule.max_macs is not None and evaluator.no_max_macs:
        raise SearchError(evaluator.no_max_macs)
    cost = build_cost(evaluator.cost, settings["model"], **settings["cost"])
    with (
        closing(build_executor(evaluator, **settings["executor"])) as executor,  # its workers start with the first job
        Study(directory, decisive(settings), evaluation_part(settings)) as study,
    ):
        if study.resumed:
            done = sum(r.state != PENDING for r in study.records())
            total = schedule.evaluations(study.records())
            display.line(f"Going on with the search in {directory}: {done} of {total} evaluations are recorded.")
        return Search(settings, space, schedule, evaluator, study, executor, display, cost).run()


def _told(dear: Sequence[tuple[Cell, float]]) -> dict[str, Any]:
    """The part of a round's note that tells which cells cost more than they may."""
    return {"dear": [(cell.to_json(), cost) for cell, cost in dear]} if dear else {}


def _dear(notes: Iterable[Mapping[str, Any]]) -> list[tuple[Cell, float]]:
    """The cells that cost more than they may, with their costs, of rounds' notes."""
    return [(Cell.from_json(cell, "the record"), cost) for note in notes for cell, cost in note.get("dear", ())]
