"""NASGEM's three steps: train the encoder, build the estimator from evaluated candidates, pick cells by bootstrap (Fig. 2)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from gemnet.cell import Cell
from search.bootstrap import Draws, bootstrap
from search.configuration.checking import check_search
from search.configuration.schedule import Schedule
from search.configuration.sections import decisive, evaluation_part
from search.core.display import Display
from search.core.efficiency import efficiency_score
from search.core.types import (
    EncodedCells,
    Encoder,
    Evaluator,
    Executor,
    Job,
    Predictor,
    Progress,
    SearchError,
    Space,
    StopSearch,
)
from search.encoders import build_encoder
from search.evaluation.checked import check_evaluator, checked_outcome
from search.evaluation.constraints import Constraints, MeasuredCells
from search.evaluation.cost import CellCost, build_cost, build_latency
from search.evaluation.evaluators import evaluator_of
from search.evaluation.executor import build_executor
from search.evaluation.proxy import fitted_model
from search.evaluation.reach import check_model_budget
from search.evaluation.table_cost import pinned
from search.predictors import build_predictor
from search.predictors.acquisition import Acquisition, upper_confidence_bound
from search.predictors.cross_validation import cross_validated_predictions
from search.predictors.hypervolume import Front
from search.record.ranking import best_table, expected_scores, posterior_scores
from search.record.study import FAILED, JUDGED, PENDING, Evaluated, Proposal, Record, Study, is_evaluated
from search.spaces.dag import build_space, prune
from search.steps.candidates import Candidates
from search.steps.encoder import trained_encoder
from search.steps.first import OVERDRAW, FirstRound
from search.steps.objectives import FrontSearch, objective_values
from search.steps.opening import check_places, check_record, retry_failed_candidates

Callback = Callable[[Record], object]


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
    latency: CellCost | None = None
    callbacks: Sequence[Callback] = ()
    constraints: Constraints = field(init=False)
    candidates: Candidates = field(init=False)
    encoder: Encoder = field(init=False)
    _draws: dict[int, Draws] = field(init=False, default_factory=dict)
    _measured: dict[int, MeasuredCells] = field(init=False, default_factory=dict)
    _known: tuple[tuple[int, ...], EncodedCells] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        check_evaluator(self.evaluator)
        model = self.settings.get("model", {})
        searched = bool(model) and self.space.table is None
        fitted = partial(fitted_model, model=tuple(model.items()))
        self.constraints = Constraints(self.cost, self.latency, self.display, fitted if searched else None)
        self.candidates = Candidates(self.space, self.evaluator, self.constraints, self.seed)

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def run(self) -> list[Record]:
        """All three steps; returns the record. Work that is in the record already is not done again."""
        with suppress(StopSearch):
            self._run()
        return self.study.records()

    def _run(self) -> None:
        if not self.study.rounds():  # before the encoder is trained: what no cell can keep within is told here
            first = FirstRound(self.settings, self.schedule, self.candidates, self._rng(0))
            self._propose(0, *first.propose(), {})
        self.encoder = trained_encoder(self.settings, self.space, self.schedule, self.study, self.display)
        predictor = self._new_predictor()
        for index in range(self.schedule.rounds + 1):
            if index:
                self._fit(predictor, index)
            if index not in self.study.rounds():
                self._propose(index, *self._bootstrapped(predictor, index))
            self._evaluate(index)
            self._judge(index)  # where a stop came between
        self._judge_all()

    def _propose(self, index: int, proposals: list[Proposal], measured: MeasuredCells, figures: Mapping[str, Any]) -> None:
        """Record round `index`. figures: of the predictor that proposed it, by name."""
        self.study.propose(index, proposals, {**figures, **measured.note()})
        self._measured[index] = measured

    def _measured_before(self, index: int) -> MeasuredCells:
        """What was measured in the rounds before `index`; of rounds before a restart by their notes."""
        rounds, measured = self.study.rounds(), MeasuredCells()
        for earlier in sorted(round_ for round_ in rounds if round_ < index):
            if earlier not in self._measured:
                self._measured[earlier] = MeasuredCells.of({earlier: rounds[earlier]}, self.study.path)
            measured.add(self._measured[earlier])
        return measured

    def _new_predictor(self) -> Predictor:
        return build_predictor(**self.settings["predictor"])

    def _fit(self, predictor: Predictor, index: int) -> None:
        """Train the predictor on the evaluations of the rounds before `index`. Raises SearchError where too few succeeded."""
        done = [r for r in self.study.records() if r.round < index and is_evaluated(r)]
        if len(done) < 3:
            errors = [r.error for r in self.study.records() if r.state == FAILED]
            reason = f"; the first error: {errors[0]}; with that mended, --retry-failed tries them again" if errors else ""
            raise SearchError(f"only {len(done)} of {self.schedule.start} candidates could be evaluated{reason}")
        predictor.fit(self._encoded(done), expected_scores(done), self._stream(index))

    def _bootstrapped(self, predictor: Predictor, index: int) -> tuple[list[Proposal], MeasuredCells, dict[str, Any]]:
        """The best predicted cells that are not in the record yet, what was measured of cells, and figures of the predictor."""
        records = self.study.records()
        done = [r for r in records if is_evaluated(r)]
        note: dict[str, Any] = {"evaluated": len(done), **predictor.summary(self._encoded(done))}
        with self.display.progress(f"Round {index}: bootstrap") as progress:
            measured = self._measured_before(index)
            # what was measured above a constraint once would be again
            known = {r.digest for r in records} | self.constraints.reasons(measured).keys()
            wanted = OVERDRAW * self.schedule.batch
            fronts = self._front_search(index, done, measured) if self.schedule.objectives else None
            score = fronts or upper_confidence_bound(predictor, self.schedule.ucb_beta)
            costs = [(r.cell, r.cost) for r in records if r.round < index]
            ranked_by = self.constraints.first(score, measured, costs, partial(self._of_costs, index))
            best = bootstrap(self._draws_of(index), ranked_by, wanted, known, progress)
        del self._draws[index]
        if fronts and best:
            best = fronts.spread(best, self._encode([scored.cell for scored in best]), self.schedule.batch)
        chosen, measured = self.candidates.choose(best, self.schedule.batch)
        if chosen and ranked_by != predictor.predict:  # what cells are ranked by is not what is predicted
            predicted = predictor.predict(self._encode([p.cell for p in chosen]))
            chosen = [replace(p, predicted=float(score)) for p, score in zip(chosen, predicted, strict=True)]
        return chosen, measured, note

    def _front_search(self, index: int, done: Sequence[Evaluated], measured: MeasuredCells) -> FrontSearch:
        """What ranks cells by several objectives, trained for round `index`; measured: in the rounds before."""
        names, encoded = self.schedule.objectives, self._encoded(done)
        values = objective_values(names, done, self.settings["penalty"], measured)
        predictions = []
        for column, name in enumerate(names):
            predictor = self._new_predictor()
            predictor.fit(encoded, values[:, column], self._stream(index))
            beta = self.schedule.ucb_beta if name == "accuracy" else 0.0
            predictions.append(upper_confidence_bound(predictor, beta))
        whole = [not r.stopped for r in done]
        return FrontSearch(Front(values[whole] if any(whole) else values), predictions)

    def _of_costs(self, index: int, cells: Sequence[Cell], costs: np.ndarray) -> Acquisition:
        """What predicts the costs of cells, trained for round `index`."""
        predictor = self._new_predictor()
        predictor.fit(self._encode(cells), costs, self._stream(index))
        return predictor.predict

    def _draws_of(self, index: int) -> Draws:
        """The cells that round `index` chooses from: they depend on no outcome."""
        if index not in self._draws:
            schedule, macs = self.schedule, None if self.schedule.max_macs is None else self.candidates.macs
            self._draws[index] = Draws(self.space, self.encoder, self._rng(index), schedule.draws, macs, schedule.max_macs)
        return self._draws[index]

    def _judge(self, index: int) -> None:
        """Add to the round's note how good the predictor is that proposed it, and which cell would have been chosen before it,
        if that is not there: nothing waits for it."""
        note = self.study.rounds()[index]
        if not index or "kendall_tau" in note:
            return
        done = [r for r in self.study.records() if r.round < index and is_evaluated(r)]
        scores, held_out = self._held_out(done, index)
        tau = float(np.nan_to_num(kendalltau(held_out, scores).statistic))
        worth = np.where([r.stopped for r in done], -np.inf, posterior_scores(scores, held_out, self.schedule.measured_weight))
        self.study.add_to_note(index, {"kendall_tau": tau, "best": done[int(np.argmax(worth))].id})
        lipschitz = "; Lipschitz constant K <= {lipschitz:.3g}, variance {variance:.2e} <= K^2 tr Cov = {bound:.3g}"
        told = lipschitz.format(**note) if "lipschitz" in note else ""
        self.display.line(f"Predictor on {len(done)} cells: Kendall's tau {tau:.2f} (5-fold){told}")

    def _judge_all(self) -> None:
        """Add to the last round's note what each cell is judged, if measured scores are not trusted alone."""
        last, note = max(self.study.rounds().items())
        done = [r for r in self.study.records() if is_evaluated(r)]
        if self.schedule.measured_weight == 1 or JUDGED in note or len(done) < 3:
            return
        with self.display.progress("Judging the cells") as progress:
            scores, held_out = self._held_out(done, last + 1, self.schedule.folds, self.schedule.repeats, progress)
        worth = posterior_scores(scores, held_out, self.schedule.measured_weight)
        self.study.add_to_note(last, {JUDGED: {str(r.id): float(value) for r, value in zip(done, worth, strict=True)}})

    def _held_out(
        self, done: Sequence[Evaluated], index: int, folds: int = 5, repeats: int = 1, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What a predictor would learn of these records, and what predictors tell that have not seen them, [N] both; the latter
        the mean of `repeats` cross-validations."""
        x, scores, told = self._encoded(done), expected_scores(done), []
        for i in range(repeats):
            told.append(cross_validated_predictions(self._new_predictor, x, scores, self._stream(index) + i, folds))
            if progress:
                progress(i + 1, repeats)
        return scores, np.mean(told, axis=0)

    def _evaluate(self, index: int) -> None:
        """Train what is pending in round `index`, and record each result as it comes."""
        records, last = self.study.records(), max(self.study.rounds())
        pending = {r.id: r for r in records if r.state == PENDING and r.round == index}
        if not pending:
            return
        thresholds = self._early_stop_thresholds([r for r in records if r.round < index and is_evaluated(r)])
        jobs = [Job(r.id, r.cell.pruned(), r.seed, thresholds) for r in pending.values()]
        finished, best = len(records) - len(pending), max((r.score for r in records if is_evaluated(r)), default=-np.inf)
        with self.display.progress(f"Round {index}: evaluations") as progress:
            total = self.schedule.evaluations(records)
            progress(finished, total)
            for number, given in enumerate(self.executor.run(jobs)):
                outcome, score = checked_outcome(given, self.evaluator), None
                if outcome.evaluation is not None:
                    accuracy, cost = outcome.evaluation.accuracy, pending[outcome.key].cost
                    score = float(efficiency_score(accuracy, cost, self.settings["penalty"]))
                    best = max(best, score)
                self.study.finish(outcome, score)
                self._call_back(outcome.key)
                finished += 1
                if outcome.error:
                    self.display.line(f"Candidate {outcome.key} failed: {outcome.error}")
                progress(finished, total, f"best score {best:.4f}")
                if number == 0:
                    self._judge(index)  # while other workers train; this one has its next candidate
                elif number + 1 < len(jobs) and index == last < self.schedule.rounds:
                    self._draws_of(index + 1).ahead(-(-self.schedule.draws // max(1, len(jobs) - 2)))
        self.display.table(f"Best after round {index}", *best_table(self.study.records(), 5))

    def _call_back(self, key: int) -> None:
        if self.callbacks:
            (record,) = (r for r in self.study.records() if r.id == key)
            for callback in self.callbacks:
                callback(record)

    def _early_stop_thresholds(self, earlier: Sequence[Record]) -> tuple[tuple[int, float], ...]:
        """(epoch, accuracy) below which a candidate is hopeless: chance, and a quantile of the earlier rounds.

        They depend on finished rounds alone, so that a round gives the same in any order, and after a restart.
        """
        epochs = self.evaluator.epochs
        first = max(1, int(np.ceil(self.schedule.stop_from * epochs)))
        chance = 1.5 / self.evaluator.num_classes
        thresholds = []
        for epoch in range(first, epochs):
            reached = [r.curve[epoch - 1] for r in earlier if len(r.curve) >= epoch]
            typical = float(np.quantile(reached, self.schedule.stop_quantile)) if reached else 0.0
            thresholds.append((epoch, max(chance, typical if self.schedule.stop_quantile else 0.0)))
        return tuple(thresholds)

    def _encoded(self, records: Sequence[Record]) -> EncodedCells:
        """Their cells, encoded once for each set of records, all of them together: a vector's last digits may hang on the
        cells that are embedded with it, and a search that was stopped has to go on as it would have."""
        ids = tuple(r.id for r in records)
        if self._known is None or self._known[0] != ids:
            self._known = ids, self._encode([r.cell for r in records])
        return self._known[1]

    def _encode(self, cells: Sequence[Cell]) -> EncodedCells:
        return self.encoder.encode(prune(self.space.from_cells(cells)))

    def _stream(self, index: int) -> int:
        """A seed for round `index`."""
        return int(self._rng(index, 1).integers(2**31))

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *place))


def _with_pinned_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the digests of the files of times that they name."""
    cost, search = settings["cost"], dict(settings["search"])
    if search.get("latency"):
        search["latency"] = pinned(search["latency"], True)
    return {**settings, "cost": pinned(cost, cost.get("type") == "table"), "search": search}


def run_search(
    settings: Mapping[str, Any],
    directory: str | os.PathLike[str],
    display: Display,
    retry_failed: bool = False,
    callbacks: Sequence[Callback] = (),
    evaluator: Evaluator | None = None,
) -> list[Record]:
    """Run the search that `settings` describe in `directory`, or go on with the one there.

    Args:
        settings: of the search, see docs/settings.md.
        directory: the work directory, made where it is not there.
        display: shows how far the search has come.
        retry_failed: candidates that failed are tried again first. Rounds that are not proposed yet learn from them, those that
            are stay as they are: what is found is what a search without failures would have found only where the last round
            has failed.
        callbacks: called with the record of each candidate, when it is evaluated and recorded.
        evaluator: in the place of the one that the settings name.

    Returns:
        The record, one row a candidate.

    Raises:
        SearchError: for settings, data or a directory that do not do, before anything is written where possible.
    """
    settings = _with_pinned_files(check_search(settings, "settings"))
    space = build_space(**settings["space"])
    schedule = Schedule.of(settings)
    encoder = build_encoder(space=space, **settings["encoder"])  # both are built again later; a mistake is told before any work
    predictor = build_predictor(**settings["predictor"])
    predictor.check_encoder(encoder)
    if schedule.ucb_beta and not predictor.has_std:
        raise SearchError(
            f"search: ucb_beta={schedule.ucb_beta:g}: the predictor {settings['predictor'].get('type', 'mlp')!r} does not tell"
            " how sure it is; take ensemble, graph_ensemble, or bagged, which is made of several others"
        )
    if settings["model"] and space.table is None:
        check_model_budget(space, settings["model"], settings["seed"])
    evaluator = evaluator or evaluator_of(settings, space)
    if schedule.max_macs is not None and evaluator.no_max_macs:
        raise SearchError(evaluator.no_max_macs)
    cost = build_cost(evaluator.cost, settings["model"], space=space, **settings["cost"])
    latency = None
    if schedule.max_latency_ms is not None:
        latency = build_latency(space, settings["model"], schedule.max_latency_ms, **schedule.latency)
    check_record(directory, settings, space)
    check_places(directory, schedule)
    with (
        closing(build_executor(evaluator, **settings["executor"])) as executor,  # its workers start with the first job
        Study(directory, decisive(settings), evaluation_part(settings)) as study,
    ):
        if study.resumed:
            if retry_failed:
                retry_failed_candidates(study, display)
            done = sum(r.state != PENDING for r in study.records())
            total = schedule.evaluations(study.records())
            display.line(f"Going on with the search in {directory}: {done} of {total} evaluations are recorded.")
        return Search(settings, space, schedule, evaluator, study, executor, display, cost, latency, callbacks).run()
