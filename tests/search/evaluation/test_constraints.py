"""Searches whose candidates may cost, or take, so much and no more."""

from dataclasses import replace

import numpy as np
import pytest
from made import SCHEDULE, SETTINGS, WHOLE, MadeCost, essence, run

from gemnet.cell import Cell
from search.configuration.schedule import Schedule
from search.core.types import SearchError
from search.evaluation.constraints import Constraints
from search.record.study import read_study


def test_a_budget_of_macs_holds_for_every_candidate(tmp_path):
    records = run(tmp_path, schedule=Schedule(start=8, rounds=2, batch=4, draws=2000, max_macs=60_000))
    assert len(records) == 16
    assert max(r.macs for r in records) <= 60_000


def test_a_budget_that_no_cell_meets_is_told(tmp_path):
    with pytest.raises(
        SearchError,
        match=r"^0 of 0 distinct cells from 1600 draws do within max_macs=1 \(the smallest has \d+\); 3 .*search.max_macs",
    ):
        run(tmp_path, schedule=Schedule(start=8, max_macs=1.0))


def test_a_cost_of_ones_own_is_in_the_score_and_its_bound_holds_for_every_candidate(tmp_path):
    cost = MadeCost(max=6)
    records = run(tmp_path, schedule=Schedule(start=8, rounds=2, batch=4, draws=2000), cost=cost)
    assert len(records) == 16
    for r in records:
        assert r.cost == len(r.cell.live_nodes) <= 6
        assert r.score == pytest.approx(r.accuracy - 0.1 * np.log10(r.cost))


def test_what_cost_too_much_is_recorded_and_teaches_later_rounds_to_pass_over_its_like(tmp_path, monkeypatch):
    def dear(directory):
        cost = MadeCost(max=5)
        schedule = Schedule(start=8, rounds=3, batch=4, draws=2000)
        settings = {**SETTINGS, "predictor": {"type": "mlp", "steps": 20}, "penalty": -5.0}
        run(directory, schedule=schedule, settings=settings, cost=cost)  # dear cells score best
        notes = read_study(directory).rounds.values()
        found = [[Cell.from_json(text, "note") for text, _ in note.get("dear", ())] for note in notes]
        assert all(cost(cell) > 5 for cells in found for cell in cells)
        digests = [cell.pruned().digest() for cells in found for cell in cells]
        assert len(digests) == len(set(digests))  # none is asked for twice
        return [len(cells) for cells in found]

    taught = dear(tmp_path / "taught")
    predicted = [r.predicted for r in read_study(tmp_path / "taught").records if r.predicted is not None]
    assert len(predicted) == 12
    assert min(predicted) > -100  # what was predicted, not what cells were ranked by
    monkeypatch.setattr(Constraints, "first", lambda self, predictor, *_: predictor)
    blind = dear(tmp_path / "blind")
    assert taught[0] == blind[0] > 0
    assert 4 * sum(taught[1:]) < sum(blind[1:])


def test_no_cell_whose_model_is_too_slow_is_trained_and_later_rounds_pass_over_its_like(tmp_path, monkeypatch):
    schedule, settings = Schedule(start=8, rounds=3, batch=4, draws=2000), {**SETTINGS, "penalty": -5.0}

    def slow(directory):
        records = run(directory, schedule=schedule, settings=settings, latency=MadeCost(max=5))
        assert max(len(r.cell.live_nodes) for r in records) <= 5
        assert all(r.cost == r.macs / 1e6 for r in records)  # the score counts what it counted
        timed = [
            [Cell.from_json(text, "note") for text, _ in note["latency"]] for note in read_study(directory).rounds.values()
        ]
        digests = [cell.pruned().digest() for cells in timed for cell in cells]
        assert len(digests) == len(set(digests))  # none is asked for twice
        return len(records), [sum(len(cell.live_nodes) > 5 for cell in cells) for cells in timed]

    trained, taught = slow(tmp_path / "taught")
    with monkeypatch.context() as patched:
        patched.setattr(Constraints, "first", lambda self, predictor, *_: predictor)
        trained_blindly, blind = slow(tmp_path / "blind")
    assert taught[0] == blind[0] > 0
    assert 2 * sum(taught[1:]) < sum(blind[1:])
    assert trained == 20 >= trained_blindly
    both = run(tmp_path / "both", schedule=schedule, settings=settings, cost=MadeCost(max=6), latency=MadeCost(max=5))
    assert max(r.cost for r in both) <= 5


def test_a_search_bounded_in_milliseconds_goes_on_to_the_end_of_the_undisturbed_one(tmp_path):
    undisturbed = run(tmp_path / "undisturbed", latency=MadeCost(max=5))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", latency=MadeCost(max=5), patience=9)
    assert essence(run(tmp_path / "stopped", latency=MadeCost(max=5))) == essence(undisturbed)


def test_what_is_taken_over_or_given_and_too_slow_is_left_out_or_told(tmp_path):
    settings = {**WHOLE}
    first = run(tmp_path / "first", settings=settings)
    slow = [r for r in first if len(r.cell.live_nodes) > 5 and not r.stopped]
    kept = {r.digest for r in first if len(r.cell.live_nodes) <= 5 and not r.stopped}
    assert slow
    assert kept
    schedule = replace(SCHEDULE, start=len(kept) + 3, rounds=0, warm_start=[str(tmp_path / "first")])
    second = run(tmp_path / "second", settings=settings, schedule=schedule, latency=MadeCost(max=5))
    assert {r.digest for r in second} >= kept
    assert max(len(r.cell.live_nodes) for r in second) <= 5
    odd = MadeCost(max=9, fails=lambda cell: len(cell.live_nodes) % 2 == 0)  # of some no model can be made
    third = run(tmp_path / "odd", settings=settings, schedule=replace(schedule, start=len(first) + 3), latency=odd)
    assert {r.digest for r in third} & {r.digest for r in first}
    assert all(len(r.cell.live_nodes) % 2 for r in third)
    slow[0].cell.save(tmp_path / "slow.json")
    with pytest.raises(SearchError, match=r"slow\.json: takes \d ms, more than max_latency_ms=5"):
        run(tmp_path / "third", schedule=replace(SCHEDULE, cells=[str(tmp_path / "slow.json")]), latency=MadeCost(max=5))


def test_a_bound_on_milliseconds_that_no_model_meets_is_told_with_how_close_it_came(tmp_path):
    with pytest.raises(SearchError, match=r"0 of \d+ .* within max_latency_ms=0\.5 \(the fastest takes 2 ms\); 3 are needed"):
        run(tmp_path, latency=MadeCost(max=0.5))


def test_a_bound_on_the_cost_that_no_cell_meets_is_told_with_how_close_it_came(tmp_path):
    with pytest.raises(SearchError, match=r"0 of \d+ .* within cost\.max=0\.5 \(the cheapest costs 2\); 3 are needed"):
        run(tmp_path, cost=MadeCost(max=0.5))


def test_cells_of_which_no_model_can_be_made_are_passed_over(tmp_path):
    records = run(tmp_path, cost=MadeCost(fails=lambda cell: len(cell.live_nodes) % 2 == 0))
    assert len(records) == 20
    assert all(len(r.cell.live_nodes) % 2 == 1 for r in records)


def test_a_warm_start_knows_what_cost_too_much_and_does_without_where_nothing_is_too_dear(tmp_path):
    cost, settings = MadeCost(max=5), {**WHOLE, "penalty": 0.0}
    run(tmp_path / "first", schedule=Schedule(start=8, rounds=2, batch=4, draws=2000), settings=settings, cost=cost)
    theirs = [row for note in read_study(tmp_path / "first").rounds.values() for row in note.get("dear", ())]
    assert theirs
    schedule = Schedule(start=20, rounds=1, batch=4, draws=2000, warm_start=[str(tmp_path / "first")])
    run(tmp_path / "second", schedule=schedule, settings=settings, cost=cost)
    ours = read_study(tmp_path / "second").rounds[0]["dear"]
    assert ours[: len(theirs)] == theirs
    free = run(tmp_path / "free", schedule=schedule, settings=settings, cost=MadeCost())
    assert max(r.cost for r in free) > 5


class CountingCost(MadeCost):
    """Knows what it was asked."""

    def __init__(self, max=None):
        super().__init__(max)
        self.asked = []

    def __call__(self, cell):
        self.asked.append(cell.pruned().digest())
        return super().__call__(cell)


def test_no_cell_is_timed_twice_and_one_found_too_slow_is_not_drawn_again(tmp_path):
    first = run(tmp_path / "first", settings=WHOLE)
    whole = [r for r in first if not r.stopped]
    fast = next(r for r in whole if len(r.cell.live_nodes) <= 5)
    slow = next(r for r in whole if len(r.cell.live_nodes) > 5)
    fast.cell.save(tmp_path / "fast.json")
    schedule = replace(SCHEDULE, start=60, rounds=0, warm_start=[str(tmp_path / "first")], cells=[str(tmp_path / "fast.json")])
    latency = CountingCost(max=5)
    found = run(tmp_path / "second", settings=WHOLE, schedule=schedule, latency=latency)  # it draws what the first drew
    assert len(latency.asked) == len(set(latency.asked))
    assert fast.digest in {r.digest for r in found}
    slow.cell.save(tmp_path / "slow.json")
    latency, cells = CountingCost(max=5), [str(tmp_path / "slow.json")]
    with pytest.raises(SearchError, match=r"slow\.json: takes \d ms, more than max_latency_ms=5"):
        run(tmp_path / "third", settings=WHOLE, schedule=replace(schedule, cells=cells), latency=latency)
    assert latency.asked.count(slow.digest) == 1
