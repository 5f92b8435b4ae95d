"""NASGEM's three steps: train the encoder, build the estimator from evaluated candidates, pick cells by bootstrap (Fig. 2)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from gemnet.cell import Cell
from search.bootstrap import Draws, bootstrap
from search.configuration.described import check_search, described
from search.configuration.settings import decisive, evaluation_part
from search.core.display import Display
from search.core.efficiency import efficiency_score
from search.core.types import (
    CellArrays,
    EncodedCells,
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
from search.encoders import DESCRIPTION, build_encoder, check_settings_of, files_digest, load_encoder, save_encoder
from search.encoders.cache import EncoderCache
from search.evaluation.checked import check_evaluator, checked_cost, checked_outcome
from search.evaluation.constraints import Limits, Met
from search.evaluation.cost import CellCost, build_cost, build_latency
from search.evaluation.evaluators import evaluator_of
from search.evaluation.executor import build_executor
from search.evaluation.proxy import fitted_model
from search.evaluation.reach import check_model_budget
from search.predictors import build_predictor
from search.predictors.acquisition import Acquisition, upper_confidence_bound
from search.predictors.cross_validation import cross_validated_predictions
from search.record.export import check_fits, read_record
from search.record.file import RECORD, read_snapshot
from search.record.ranking import best_table, expected_scores, judged
from search.record.schedule import Schedule
from search.record.study import DONE, ENCODER_DIRECTORY, FAILED, JUDGED, PENDING, Proposal, Record, Study, differences
from search.spaces.benchmarks import TabularSpace
from search.spaces.dag import build_space, prune, statistics

OVERDRAW = 16
"""Cells that stand by for each one that is evaluated, where some cost more than they may."""
PROBES = 16
"""Random cells whose vectors tell whether the encoder's training has diverged."""


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
    limits: Limits = field(init=False)
    encoder: Encoder = field(init=False)
    _draws: dict[int, Draws] = field(init=False, default_factory=dict)
    _known: tuple[tuple[int, ...], EncodedCells] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        check_evaluator(self.evaluator)
        model = self.settings.get("model", {})
        searched = bool(model) and not isinstance(self.space, TabularSpace)
        fitted = partial(fitted_model, model=tuple(model.items()))
        self.limits = Limits(self.cost, self.latency, self.display, fitted if searched else None)

    @property
    def seed(self) -> int:
        return self.settings["seed"]

    def run(self) -> list[Record]:
        """All three steps; returns the record. Work that is in the record already is not done again."""
        if not self.study.rounds():  # before the encoder is trained: what no cell can keep within is told here
            self.study.propose(0, *self._first())
        self.encoder = self._trained_encoder()
        predictor = self._new_predictor()
        for index in range(self.schedule.rounds + 1):
            if index:
                self._fit(predictor, index)
            if index not in self.study.rounds():
                self.study.propose(index, *self._bootstrapped(predictor, index))
            self._evaluate(index)
            self._judge(index)  # where a stop came between
        self._judge_all()
        return self.study.records()

    def _trained_encoder(self) -> Encoder:
        directory, known = self.study.directory / ENCODER_DIRECTORY, self.study.snapshot().encoder
        encoder = self._saved_encoder(directory, known)
        if encoder is None:
            encoder = self._new_encoder()
            save_encoder(directory, encoder)
            if known and files_digest(directory) != known:
                self.display.line(
                    "The encoder is another one than that of the rounds so far, as on another machine or with another torch:"
                    " rounds from here on are not those of a search that was left alone."
                )
        self.study.note_encoder(files_digest(directory))
        return encoder

    def _saved_encoder(self, directory: Path, known: str) -> Encoder | None:
        """That of this search; None where there is none, or it has to be trained anew. known: the digest of its files, empty in
        older records."""
        if not known and not os.path.lexists(directory / DESCRIPTION):
            return None
        try:
            encoder = load_encoder(directory, self.space)
            check_settings_of(directory, self.settings["encoder"])
            if known and files_digest(directory) != known:
                raise SearchError(f"{directory}: its files are others than this search has written")
        except SearchError as error:
            self.display.line(f"The encoder is damaged and is trained anew: {error}")
            return None
        return encoder

    def _new_encoder(self) -> Encoder:
        """Trained now, or taken from the cache."""
        cache = None
        if self.schedule.encoder_cache:
            key = {name: self.settings[name] for name in ("space", "encoder", "seed")}
            cache = EncoderCache(self.schedule.encoder_cache, key)
        encoder = self._cached(cache) if cache else None
        if encoder is None:
            encoder = build_encoder(space=self.space, **self.settings["encoder"])
            with self.display.progress("Training the encoder") as progress:
                figures = encoder.fit(self.seed, progress)
            self._check_vectors(encoder)
            if figures:
                told = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
                self.display.line(f"Encoder, held-out pairs: {told}")
            if cache:
                cache.save(encoder)
        return encoder

    def _check_vectors(self, encoder: Encoder) -> None:
        """Raises SearchError for an encoder whose training has diverged: before it is saved, or others take it."""
        cells = self.space.sample(np.random.default_rng(self.seed), PROBES)
        if not np.isfinite(encoder.embed(prune(cells))).all():
            settings = dict(self.settings["encoder"])
            lr = {name: s.default for name, s in described("encoder", settings.pop("type")).items()} | settings
            which = f" with encoder.lr={lr['lr']:g}; give a smaller encoder.lr" if "lr" in lr else ""
            raise SearchError(f"encoder: vectors of cells are not finite after its training{which}; nothing of it was kept")

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
        met = Met()
        proposals = self._inherited(met)
        wanted = max(0, self.schedule.start - len(proposals))
        proposals += self._given({p.digest for p in proposals}, met)
        if wanted:
            proposals += self._drawn(wanted, {p.digest for p in proposals}, met)
        return proposals, met.note()

    def _inherited(self, met: Met) -> list[Proposal]:
        """What other searches have evaluated with these evaluation settings; what was measured of cells is added to `met`.

        Raises SearchError where their settings are others.
        """
        found: dict[str, Proposal] = {}
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
            met.dear += Met.of(snapshot.rounds, directory).dear
            for r in snapshot.records:
                if r.state == DONE and not r.stopped and r.macs <= (self.schedule.max_macs or np.inf):
                    self.space.from_cells([r.cell])  # raises SearchError for a cell of another space
                    evaluation = Evaluation(r.accuracy, r.curve, r.stopped, r.seconds)
                    found[r.digest] = Proposal(r.cell, r.digest, r.seed, r.macs, r.params, r.cost, None, evaluation, r.score)
        if self.latency is None:
            return list(found.values())
        timed = self.limits.timed([p.cell for p in found.values()])
        met.timed += timed.timed
        within = {cell.pruned().digest() for cell, _ in timed.timed} - self.limits.reasons(timed).keys()
        return [p for p in found.values() if p.digest in within]

    def _given(self, known: Collection[str], met: Met) -> list[Proposal]:
        """The cells that the user names and that are not `known`; what was measured of them is added to `met`. Raises
        SearchError for one that is not of the space, is above a limit, or of which no network can be made."""
        cells, above = {}, self.limits.reasons(met)
        for path in self.schedule.cells:
            cell = Cell.load(path)
            self.space.from_cells([cell])
            digest = cell.pruned().digest()
            if digest in above:
                raise SearchError(f"search: {path}: {above[digest]}")
            if digest not in known:
                cells[digest] = (path, cell)
        measured = (Scored(0.0, cell, digest=digest) for digest, (_, cell) in cells.items())
        chosen, found = self._chosen(measured, len(cells))
        reasons = self.limits.reasons(found)
        for digest in sorted(cells.keys() - {p.digest for p in chosen}):
            reason = reasons.get(digest) or f"no network can be made of it: {found.impossible[digest]}"
            raise SearchError(f"search: {cells[digest][0]}: {reason}")
        met.timed += found.timed
        limit = self.schedule.max_macs or np.inf
        for p in chosen:
            if p.macs > limit:
                raise SearchError(f"search: {cells[p.digest][0]}: its network has {p.macs} MACs, more than max_macs={limit:g}")
        return [replace(p, predicted=None) for p in chosen]

    def _drawn(self, count: int, known: Collection[str], met: Met) -> list[Proposal]:
        """`count` distinct random cells, or fewer, that are not `known` proposals and not above a limit by what was `met`; what
        was measured of them is added to that."""
        rng, drawn, least = self._rng(0), {}, np.inf
        passed_over = known | self.limits.reasons(met).keys()
        for _ in range(100):
            arrays = self.space.sample(rng, 2 * self.schedule.start)
            if self.schedule.max_macs is not None:
                macs = self._macs(prune(arrays))
                arrays, least = arrays[macs <= self.schedule.max_macs], min(least, macs.min())
            for cell in self.space.to_cells(arrays):
                digest = cell.pruned().digest()
                if digest not in passed_over:
                    drawn.setdefault(digest, cell)
            if len(drawn) >= OVERDRAW * self.schedule.start:
                break
        chosen, found = self._chosen((Scored(0.0, cell, digest=digest) for digest, cell in drawn.items()), count)
        if len(chosen) + len(known) < 3:
            limited = self.schedule.max_macs is not None
            limits = [f"max_macs={self.schedule.max_macs:g} (the smallest has {least:g})"] if limited else []
            limits += self.limits.nearest(found)
            impossible = list(found.impossible.values())
            raise SearchError(
                f"{len(chosen)} of {len(drawn)} distinct cells from {200 * self.schedule.start} draws do"
                + (f" within {' and '.join(limits)}" if limits else "")
                + (f"; of {len(impossible)} no network can be made, such as: {impossible[0]}" if impossible else "")
                + f"; 3 are needed: allow more nodes, operators{', MACs (search.max_macs)' if limited else ''} or cost"
            )
        met.dear += found.dear
        met.timed += found.timed
        return [replace(p, predicted=None) for p in chosen]

    def _chosen(self, cells: Iterable[Scored], count: int) -> tuple[list[Proposal], Met]:
        """The first `count` cells that keep within the limits as proposals, and what was measured on the way."""
        chosen, met = self.limits.choose(cells, count)
        return [self._proposal(found, cost) for found, cost in chosen], met

    def _new_predictor(self) -> Predictor:
        return build_predictor(**self.settings["predictor"])

    def _fit(self, predictor: Predictor, index: int) -> None:
        """Train the predictor on the evaluations of the rounds before `index`. Raises SearchError where too few succeeded."""
        done = [r for r in self.study.records() if r.round < index and r.state == DONE]
        if len(done) < 3:
            errors = [r.error for r in self.study.records() if r.state == FAILED]
            reason = f"; the first error: {errors[0]}; with that mended, --retry-failed tries them again" if errors else ""
            raise SearchError(f"only {len(done)} of {self.schedule.start} candidates could be evaluated{reason}")
        predictor.fit(self._encoded(done), expected_scores(done), self._stream(index))

    def _bootstrapped(self, predictor: Predictor, index: int) -> tuple[list[Proposal], dict[str, Any]]:
        """The best predicted cells that are not in the record yet, and what is known of the predictor."""
        records = self.study.records()
        done = [r for r in records if r.state == DONE]
        note: dict[str, Any] = {"evaluated": len(done), **predictor.summary(self._encoded(done))}
        with self.display.progress(f"Round {index}: bootstrap") as progress:
            earlier = {round_: note for round_, note in self.study.rounds().items() if round_ < index}
            met = Met.of(earlier, self.study.path)
            # what was measured above a limit once would be again
            known, wanted = {r.digest for r in records} | self.limits.reasons(met).keys(), OVERDRAW * self.schedule.batch
            hopeful = upper_confidence_bound(predictor, self.schedule.optimism)
            costs = [(r.cell, r.cost) for r in records if r.round < index]
            ranked_by = self.limits.first(hopeful, met, costs, partial(self._of_costs, index))
            found = bootstrap(self._draws_of(index), ranked_by, wanted, known, progress)
        del self._draws[index]
        chosen, met = self._chosen(found, self.schedule.batch)
        if chosen and ranked_by != predictor.predict:  # what cells are ranked by is not what is predicted
            predicted = predictor.predict(self._encode([p.cell for p in chosen]))
            chosen = [replace(p, predicted=float(score)) for p, score in zip(chosen, predicted, strict=True)]
        return chosen, note | met.note()

    def _of_costs(self, index: int, cells: Sequence[Cell], costs: np.ndarray) -> Acquisition:
        """What predicts the costs of cells, trained for round `index`."""
        predictor = self._new_predictor()
        predictor.fit(self._encode(cells), costs, self._stream(index))
        return predictor.predict

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
        hurdles = self._hurdles([r for r in records if r.round < index and r.state == DONE])
        jobs = [Job(r.id, r.cell.pruned(), r.seed, hurdles) for r in pending.values()]
        finished, best = len(records) - len(pending), max((r.score for r in records if r.state == DONE), default=-np.inf)
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
                finished += 1
                if outcome.error:
                    self.display.line(f"Candidate {outcome.key} failed: {outcome.error}")
                progress(finished, total, f"best score {best:.4f}")
                if number == 0:
                    self._judge(index)  # while other workers train; this one has its next candidate
                elif number + 1 < len(jobs) and index == last < self.schedule.rounds:
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
        counts = checked_cost(self.evaluator, self.evaluator.cost(found.cell))
        seed = candidate_seed(self.seed, found.digest)
        return Proposal(found.cell, found.digest, seed, counts.macs, counts.params, cost, found.score)

    def _macs(self, pruned: CellArrays) -> np.ndarray:
        """MACs [B] of the proxy networks of pruned cells."""
        (any_cell,) = self.space.to_cells(pruned[:1])
        return self.evaluator.cost(any_cell, statistics(self.space, pruned)).macs

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


def candidate_seed(seed: int, digest: str) -> int:
    """The seed with which the cell `digest` is trained in a search with `seed`, wherever in the search it comes up."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:6], "big")


def run_search(
    settings: Mapping[str, Any], directory: str | os.PathLike[str], display: Display, retry_failed: bool = False
) -> list[Record]:
    """Run the search that `settings` describe in `directory`, or go on with the one there; returns the record.

    retry_failed: candidates that failed are tried again first. Rounds that are not proposed yet learn from them, those that are
    stay as they are: what is found is what a search without failures would have found only where the last round has failed.

    Raises SearchError for settings, data or a directory that do not do, before anything is written where possible.
    """
    settings = check_search(settings, "settings")
    space = build_space(**settings["space"])
    schedule = Schedule.of(settings)
    encoder = build_encoder(space=space, **settings["encoder"])  # both are built again later; a mistake is told before any work
    predictor = build_predictor(**settings["predictor"])
    predictor.check_encoder(encoder)
    if schedule.optimism and not predictor.has_std:
        raise SearchError(
            f"search: optimism={schedule.optimism:g}: the predictor {settings['predictor'].get('type', 'mlp')!r} does not tell"
            " how sure it is; take ensemble, graph_ensemble, or bagged, which is made of several others"
        )
    if settings["model"] and not isinstance(space, TabularSpace):
        check_model_budget(space, settings["model"], settings["seed"])
    evaluator = evaluator_of(settings, space)
    if schedule.max_macs is not None and evaluator.no_max_macs:
        raise SearchError(evaluator.no_max_macs)
    cost = build_cost(evaluator.cost, settings["model"], **settings["cost"])
    latency = None
    if schedule.max_latency_ms is not None:
        latency = build_latency(space, settings["model"], schedule.max_latency_ms, **schedule.latency)
    _check_record(directory, settings, space)
    _check_places(directory, schedule)
    with (
        closing(build_executor(evaluator, **settings["executor"])) as executor,  # its workers start with the first job
        Study(directory, decisive(settings), evaluation_part(settings)) as study,
    ):
        if study.resumed:
            if retry_failed:
                _retry(study, display)
            done = sum(r.state != PENDING for r in study.records())
            total = schedule.evaluations(study.records())
            display.line(f"Going on with the search in {directory}: {done} of {total} evaluations are recorded.")
        return Search(settings, space, schedule, evaluator, study, executor, display, cost, latency).run()


def _check_places(directory: str | os.PathLike[str], schedule: Schedule) -> None:
    """Raises SearchError where the encoder could not be kept, in the work directory or in the cache."""
    encoder = Path(directory) / ENCODER_DIRECTORY
    if os.path.lexists(encoder) and not encoder.is_dir():
        raise SearchError(f"{encoder}: is no directory, but the encoder's place: move it away, or name another with --work-dir")
    if not schedule.encoder_cache:
        return
    cache = Path(schedule.encoder_cache).expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SearchError(
            f"search: encoder_cache: {cache}: {error.strerror}; expected a directory, or a place where one can be made"
        ) from None
    if not os.access(cache, os.W_OK | os.X_OK):
        raise SearchError(f"search: encoder_cache: {cache} cannot be written to; name another directory")


def _check_record(directory: str | os.PathLike[str], settings: Mapping[str, Any], space: Space) -> None:
    """Raises SearchError where the record in `directory`, if there is one, does not fit to its own settings: before it is
    opened, which writes to it."""
    path = Path(directory) / RECORD
    there = read_snapshot(path) if os.path.lexists(path) else None
    if there is not None:
        check_fits(there, path, space if there.settings.get("space") == settings["space"] else None)


def _retry(study: Study, display: Display) -> None:
    """Put what failed among the pending evaluations again, and tell."""
    failed, last = study.retry_failed(), max(study.rounds(), default=0)
    early = sorted({r.round for r in failed if r.round < last})
    display.line(f"{len(failed)} failed candidates are tried again.")
    if early:
        display.line(
            f"Those of round {early[0]} come too late for the rounds up to {last}, which were proposed without them and stay as"
            " they are: what follows is not what a search without failures would have found."
        )
