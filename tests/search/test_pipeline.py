"""The pipeline on a made evaluator whose truth is known; the real one is run by test_search_tool.py."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from made import SCHEDULE, SETTINGS, WHOLE, MadeCost, MadeEvaluator, essence, run

from gemnet.cell import Cell
from search.configuration.schedule import Schedule
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.types import SearchError
from search.encoders import build_encoder
from search.encoders.adjacency import AdjacencyEncoder
from search.encoders.kernel_guided import KernelGuidedEncoder
from search.pipeline import run_search
from search.predictors import build_predictor
from search.predictors.cross_validation import cross_validated_predictions
from search.predictors.ensemble import EnsemblePredictor
from search.record.export import write_export
from search.record.ranking import best_first, best_table
from search.record.study import DONE, FAILED, PENDING, read_study
from search.report.result import write_result
from search.spaces.dag import DagSpace, prune


def test_every_planned_candidate_is_evaluated_once_and_no_two_are_isomorphic(tmp_path):
    evaluator = MadeEvaluator()
    records = run(tmp_path, evaluator)
    assert [r.round for r in records] == [0] * 8 + [1] * 4 + [2] * 4 + [3] * 4
    assert {r.state for r in records} == {DONE}
    assert len(set(evaluator.trained)) == len(evaluator.trained) == 20
    assert {r.cell.pruned().digest() for r in records} == set(evaluator.trained)


def test_later_rounds_find_better_cells_than_random_ones(tmp_path):
    settings = {**SETTINGS, "predictor": {"type": "mlp", "steps": 40}}
    records = run(tmp_path, settings=settings, schedule=Schedule(start=30, rounds=3, batch=5, draws=2000))
    first, last = [r.score for r in records if r.round == 0], [r.score for r in records if r.round == 3]
    assert np.mean(last) > np.mean(first) + 1.5 * np.std(first)


def test_scores_are_equation_5_of_accuracy_and_analytic_macs(tmp_path):
    for r in run(tmp_path):
        assert r.macs == MadeEvaluator().cost(r.cell).macs
        assert r.score == pytest.approx(r.accuracy - 0.1 * np.log10(r.macs / 1e6))


@pytest.mark.long
@pytest.mark.parametrize("mode", ["retrain", "finetune"])
def test_a_search_stopped_at_any_moment_goes_on_to_the_end_of_the_undisturbed_one(tmp_path, mode):
    settings = {**SETTINGS, "predictor": {"type": "mlp", "steps": 10, "mode": mode}}
    undisturbed = essence(run(tmp_path / "undisturbed", settings=settings))
    for patience, expected in ((0, 4), (3, 4), (8, 3), (10, 2)):
        directory, evaluator, attempts = tmp_path / f"stopped{patience}", MadeEvaluator(), 0
        while True:
            attempts += 1
            try:
                records = run(directory, evaluator, settings, patience=patience if attempts < 4 else 10**9, seed=attempts)
                break
            except KeyboardInterrupt:
                continue
        assert attempts == expected
        assert essence(records) == undisturbed
        assert len(evaluator.trained) == 20  # nothing was trained twice


def test_the_predictor_is_judged_while_candidates_train_and_a_stop_in_between_loses_nothing(tmp_path, monkeypatch):
    undisturbed = essence(run(tmp_path / "undisturbed"))
    notes = read_study(tmp_path / "undisturbed").rounds
    assert all(-1 <= notes[index]["kendall_tau"] <= 1 for index in (1, 2, 3))

    def stopped(*arguments):
        states = [r.state for r in read_study(tmp_path / "stopped").records if r.round == 1]
        assert sorted(states) == [DONE, PENDING, PENDING, PENDING]  # the others are under way
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("search.pipeline.cross_validated_predictions", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped")
    assert "kendall_tau" not in read_study(tmp_path / "stopped").rounds[1]
    assert essence(run(tmp_path / "stopped")) == undisturbed
    assert read_study(tmp_path / "stopped").rounds == notes


def test_the_cells_of_a_round_are_encoded_once_for_all_that_learns_from_them(tmp_path, monkeypatch):
    sizes, encode = [], AdjacencyEncoder.encode
    monkeypatch.setattr(AdjacencyEncoder, "encode", lambda self, arrays: sizes.append(len(arrays)) or encode(self, arrays))
    run(tmp_path)
    assert [size for size in sizes if size != SCHEDULE.draws] == [8, 12, 16]


def test_the_predictor_does_not_hang_on_the_order_in_which_workers_end(tmp_path):
    assert essence(run(tmp_path / "one", seed=1)) == essence(run(tmp_path / "two", seed=2))


def test_another_seed_gives_another_search(tmp_path):
    large = {**SETTINGS, "penalty": -5.0}  # dear cells score best; of small ones there are so few that any search meets them
    one, two = (run(tmp_path / str(seed), settings={**large, "seed": seed}) for seed in (0, 1))
    assert {r.digest for r in one}.isdisjoint(r.digest for r in two[:8])


def test_failed_candidates_are_recorded_and_the_search_goes_on(tmp_path):
    records = run(tmp_path, MadeEvaluator(fails=lambda job: job.key % 3 == 0))
    failed = [r for r in records if r.state == FAILED]
    assert [r.id for r in failed] == [3, 6, 9, 12, 15, 18]
    assert {r.error for r in failed} == {"the loss is NaN"}
    assert len(records) == 20
    assert PENDING not in {r.state for r in records}


def test_a_search_whose_candidates_all_fail_says_why(tmp_path):
    with pytest.raises(SearchError, match="only 0 of 8 candidates could be evaluated; the first error: the loss is NaN"):
        run(tmp_path, MadeEvaluator(fails=lambda job: True))


def test_a_search_of_one_round_whose_candidates_all_fail_says_why_and_how_to_go_on(tmp_path):
    schedule = {"start": 4, "rounds": 0}
    settings = {**WHOLE, "search": schedule}
    records = run(tmp_path, MadeEvaluator(fails=lambda job: True), settings, Schedule(**schedule, draws=200))
    with pytest.raises(
        SearchError, match=r"no candidate was evaluated successfully; the first error: the loss is NaN.*--retry-failed"
    ):
        write_result(records, settings, tmp_path, "x")


@pytest.mark.parametrize("encoder", [{"type": "kernel_guided", "dim": 4, "hidden": [8], "iterations": 3, "lr": 1e30}])
def test_an_encoder_that_has_diverged_is_told_and_nothing_of_it_is_kept(tmp_path, encoder):
    settings = {**SETTINGS, "encoder": encoder, "space": {"num_nodes": 8}}
    schedule = Schedule(start=4, rounds=1, batch=2, draws=200, encoder_cache=str(tmp_path / "cache"))
    with pytest.raises(SearchError, match=r"not finite after its training with encoder\.lr=1e\+30; give a smaller encoder\.lr"):
        run(tmp_path / "w", settings=settings, schedule=schedule)
    assert not (tmp_path / "w/encoder").exists()
    assert not list(tmp_path.glob("cache/*"))


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_place_where_no_encoder_can_be_kept_is_told_before_any_work(tmp_path, place):
    (tmp_path / "file").touch()
    settings = load_settings("configs/search/digits.py", {"search.encoder_cache": str(tmp_path / place)})
    with pytest.raises(SearchError, match=f"search: encoder_cache: {tmp_path}/{place}: .*expected a directory"):
        run_search(settings, tmp_path / "w", Display(quiet=True))
    assert not (tmp_path / "w").exists()


def test_a_file_in_the_place_of_the_encoder_is_told_before_any_work(tmp_path):
    (tmp_path / "encoder").touch()
    with pytest.raises(SearchError, match=f"{tmp_path}/encoder: is no directory, but the encoder's place: move it away"):
        run_search(load_settings("configs/search/digits.py"), tmp_path, Display(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_hopeless_candidates_are_stopped_early_and_never_win(tmp_path):
    schedule = Schedule(start=12, rounds=2, batch=6, draws=500, stop_quantile=0.9)
    records = run(tmp_path, schedule=schedule)
    stopped = [r for r in records if r.stopped]
    assert stopped
    assert all(r.round > 0 and 2 <= len(r.curve) < 4 for r in stopped)
    for r in stopped:  # against the earlier rounds alone
        epoch = len(r.curve)
        earlier = [q.curve[epoch - 1] for q in records if q.round < r.round and len(q.curve) >= epoch]
        assert r.curve[-1] < np.quantile(earlier, 0.9)


def test_a_space_smaller_than_the_search_ends_when_it_is_exhausted(tmp_path):
    space = DagSpace(3, operators=("conv1x1", "sepconv3x3"))
    records = run(tmp_path, space=space, schedule=Schedule(start=4, rounds=5, batch=4, draws=3000))
    assert len(records) == len({r.digest for r in records})
    # by hand: one node: 2; a chain of two: 4; two side by side: 3; a chain of two with the input in both: 4
    assert len(records) == 13


def test_a_finished_search_goes_on_with_more_rounds_to_what_it_would_have_found_with_them_at_once(tmp_path):
    schedules = [{"start": 8, "rounds": rounds, "batch": 4, "draws": 2000} for rounds in (1, 3)]
    for schedule in schedules:
        evaluator = MadeEvaluator()
        grown = run(tmp_path / "grown", evaluator, {**SETTINGS, "search": schedule}, Schedule(**schedule))
    assert len(evaluator.trained) == 8  # the two further rounds
    assert essence(grown) == essence(run(tmp_path / "at once", None, {**SETTINGS, "search": schedule}, Schedule(**schedule)))
    with pytest.raises(SearchError, match=r"search\.rounds: 3 there, 1 here"):
        run(tmp_path / "grown", None, {**SETTINGS, "search": schedules[0]}, Schedule(**schedules[0]))


def test_a_search_starts_from_another_ones_record_without_training_its_cells_again(tmp_path):
    first = run(tmp_path / "first", settings={**WHOLE})
    evaluator, settings = MadeEvaluator(), {**WHOLE, "seed": 5}
    schedule = replace(SCHEDULE, start=23, rounds=1, warm_start=[str(tmp_path / "first")])
    records = run(tmp_path / "second", evaluator, settings, schedule)
    kept = {r.digest: (r.accuracy, r.score) for r in first if not r.stopped}
    assert len(records) == schedule.evaluations(records) == schedule.evaluations() == 23 + 4
    assert {r.digest: (r.accuracy, r.score) for r in records if r.digest in kept} == kept
    assert set(evaluator.trained).isdisjoint(kept)
    assert len(evaluator.trained) == 27 - len(kept)
    limit = float(np.median([r.macs for r in first]))
    bounded = run(tmp_path / "bounded", schedule=replace(schedule, max_macs=limit), settings=settings)
    assert {r.digest for r in bounded} & set(kept)
    assert max(r.macs for r in bounded) <= limit
    exported = tmp_path / "first.jsonl"
    write_export(read_study(tmp_path / "first"), exported)
    again = run(tmp_path / "exported", None, settings, replace(schedule, warm_start=[str(exported)]))
    assert [r.digest for r in again[:23]] == [r.digest for r in records[:23]]  # then scores that were rounded are learned from
    assert [r.score for r in again[:23]] == pytest.approx([r.score for r in records[:23]], abs=1e-6)
    other = {**settings, "proxy": {"epochs": 9}}
    with pytest.raises(SearchError, match=r"was evaluated with other settings \(proxy.epochs: null there, 9 here\)"):
        run(tmp_path / "third", None, other, schedule)


def test_cells_of_the_users_own_are_evaluated_first(tmp_path):
    mine = [Cell(("input", "conv1x1", "conv1x1"), ((0, 1), (1, 2))), Cell(("input", *["sepconv3x3"] * 5), ((0, 1), (1, 3)))]
    paths = [str(tmp_path / f"{i}.json") for i in range(2)]
    for cell, path in zip(mine, paths):
        cell.save(path)
    records = run(tmp_path / "search", schedule=replace(SCHEDULE, cells=paths))
    assert [r.digest for r in records[:2]] == [cell.pruned().digest() for cell in mine]
    assert len(records) == 22
    with pytest.raises(SearchError, match=r"1\.json: costs 3, more than cost\.max=2"):
        run(tmp_path / "costly", schedule=replace(SCHEDULE, cells=paths[1:]), cost=MadeCost(max=2))
    with pytest.raises(SearchError, match=r"[01]\.json: no network can be made of it"):
        run(tmp_path / "impossible", schedule=replace(SCHEDULE, cells=paths), cost=MadeCost(fails=lambda cell: True))
    with pytest.raises(SearchError, match=r"[01]\.json: its network has \d+ MACs, more than max_macs=1000"):
        run(tmp_path / "large", schedule=replace(SCHEDULE, cells=paths, max_macs=1000.0))
    Cell(("input", "conv3x3"), ((0, 1),)).save(paths[0])
    with pytest.raises(SearchError, match="a cell has the operator 'conv3x3'"):
        run(tmp_path / "foreign", schedule=replace(SCHEDULE, cells=paths))


class LuckyEvaluator(MadeEvaluator):
    """Every cell is worth the same but a few, whose accuracy is far above by luck alone."""

    def outcome(self, job):
        found = super().outcome(replace(job, early_stop_thresholds=()))
        return replace(found, evaluation=replace(found.evaluation, accuracy=0.6 + 0.3 * (job.seed % 5 == 0)))


def test_at_the_end_predictors_that_have_not_seen_a_cell_weigh_in_the_choice_as_much_as_one_says(tmp_path):
    settings = {**SETTINGS, "penalty": 0.0, "search": {"measured_weight": 0.25}}
    schedule = replace(SCHEDULE, measured_weight=0.25, folds=4, repeats=2)
    records = run(tmp_path / "search", LuckyEvaluator(), settings, schedule)
    scores, judged = np.array([r.score for r in records]), np.array([r.judged for r in records])
    space, seed = DagSpace(8), int(np.random.default_rng((0, 4, 1)).integers(2**31))
    x = build_encoder("adjacency", space).encode(prune(space.from_cells([r.cell for r in records])))
    build = partial(build_predictor, **settings["predictor"])
    held_out = [cross_validated_predictions(build, x, scores, seed + i, 4) for i in (0, 1)]
    assert judged == pytest.approx(0.25 * scores + 0.75 * np.mean(held_out, axis=0), abs=1e-9)
    assert len(set(scores)) == 2
    assert best_first(records)[0].judged == judged.max()
    assert [r.judged for r in best_first(records)] == sorted(judged, reverse=True)
    columns, rows = best_table(records, 3)
    assert [row[columns.index("judged")] for row in rows] == [f"{value:.4f}" for value in sorted(judged, reverse=True)[:3]]
    notes = read_study(tmp_path / "search").rounds
    assert all(notes[index]["best"] in {r.id for r in records if r.round < index} for index in (1, 2, 3))
    again = run(tmp_path / "search", LuckyEvaluator(), settings, schedule)  # nothing is judged anew
    assert [r.judged for r in again] == judged.tolist()
    trusting = run(tmp_path / "trusting", LuckyEvaluator(), {**SETTINGS, "penalty": 0.0})
    assert {r.judged for r in trusting} == {None}
    assert "judged" not in best_table(trusting)[0]


def test_a_search_that_goes_on_judges_all_cells_anew(tmp_path, monkeypatch):
    found = []
    for rounds in (1, 2):
        schedule = {"start": 8, "rounds": rounds, "batch": 4, "draws": 2000, "measured_weight": 0.5}
        found.append(run(tmp_path / "grown", None, {**SETTINGS, "search": schedule}, Schedule(**schedule)))
    assert all(r.judged is not None for records in found for r in records)
    assert [r.judged for r in found[0]] != [r.judged for r in found[1][:12]]
    at_once = run(tmp_path / "at once", None, {**SETTINGS, "search": schedule}, Schedule(**schedule))
    assert [r.judged for r in found[1]] == [r.judged for r in at_once]


def test_optimism_asks_for_what_is_uncertain_and_records_what_is_predicted(tmp_path, monkeypatch):
    settings = {**SETTINGS, "encoder": {"type": "statistics", "sample": 50}, "predictor": {"type": "ensemble", "trees": 10}}
    plain = run(tmp_path / "plain", settings=settings)
    schedule, asked = replace(SCHEDULE, ucb_beta=3.0), []
    ucb = EnsemblePredictor.ucb

    def watched(self, x, beta):
        asked.append(beta)
        return ucb(self, x, beta) + 100

    monkeypatch.setattr(EnsemblePredictor, "ucb", watched)
    records = run(tmp_path / "optimistic", settings=settings, schedule=schedule)
    assert set(asked) == {3.0}
    assert [r.digest for r in records[:8]] == [r.digest for r in plain[:8]]
    assert {r.digest for r in records[8:12]} != {r.digest for r in plain[8:12]}
    assert all(r.predicted < 2 for r in records[8:])


def test_optimism_with_a_predictor_that_does_not_know_how_sure_it_is_is_refused(tmp_path):
    settings = load_settings("configs/search/digits.py", {"search.ucb_beta": 0.5})
    with pytest.raises(SearchError, match=r"search: ucb_beta=0\.5: the predictor 'mlp' does not tell how sure it is"):
        run_search(settings, tmp_path / "search", Display(quiet=True))
    assert not (tmp_path / "search").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"start": 2},
        {"rounds": -1},
        {"batch": 0},
        {"stop_quantile": 1.0},
        {"stop_from": 0.0},
        {"ucb_beta": -1.0},
        {"measured_weight": 1.5},
        {"folds": 1},
        {"repeats": 0},
        {"batch": 2.5},
        {"draws": 0},
        {"top": 0},
        {"max_macs": 0},
        {"max_latency_ms": -1},
        {"cells": "a.json"},
        {"warm_start": "work_dirs/a"},
        {"encoder_cache": ""},
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(settings):
    with pytest.raises(SearchError, match=f"search: {next(iter(settings))}: expected"):
        Schedule(**settings)


def test_an_encoder_is_trained_once_for_searches_that_share_a_cache_and_anew_where_its_file_is_damaged(tmp_path, monkeypatch):
    encoder = {"type": "kernel_guided", "dim": 4, "hidden": [8], "iterations": 3}
    settings = {**SETTINGS, "encoder": encoder, "space": {"num_nodes": 8}}
    schedule = Schedule(start=4, rounds=1, batch=2, draws=200, encoder_cache=str(tmp_path / "cache"))
    fitted, real = [], KernelGuidedEncoder.fit
    monkeypatch.setattr(
        KernelGuidedEncoder, "fit", lambda self, seed, progress: fitted.append(seed) or real(self, seed, progress)
    )
    first = run(tmp_path / "first", settings=settings, schedule=schedule)
    assert essence(run(tmp_path / "second", settings=settings, schedule=schedule)) == essence(first)
    assert fitted == [0]
    (kept,) = (tmp_path / "cache").iterdir()
    assert (tmp_path / "second/encoder/encoder.safetensors").read_bytes() == (kept / "encoder.safetensors").read_bytes()
    for name, content in (("encoder.safetensors", b"broken"), ("encoder.json", b"[]")):
        whole = (kept / name).read_bytes()
        (kept / name).write_bytes(content)
        assert essence(run(tmp_path / name, settings=settings, schedule=schedule)) == essence(first)
        assert (kept / name).read_bytes() == whole
    assert fitted == [0, 0, 0]
    run(tmp_path / "other", settings={**settings, "encoder": {**encoder, "iterations": 4}}, schedule=schedule)
    run(tmp_path / "seed", settings={**settings, "seed": 1}, schedule=schedule)
    assert fitted == [0, 0, 0, 0, 1]
    assert len(list((tmp_path / "cache").iterdir())) == 3
