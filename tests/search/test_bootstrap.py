import numpy as np
import pytest

from search import bootstrap as module
from search.bootstrap import Draws, bootstrap
from search.core.types import EncodedCells
from search.spaces.dag import DagSpace, prune


class EdgeCount:
    """Encoder and predictor in one: a cell's score is its number of live edges, so that the truth is known."""

    embedded = 0

    def embed(self, arrays):
        self.embedded += len(arrays)
        return arrays.adjacency.sum((1, 2))[:, None].astype(np.float32)

    def encode(self, arrays):
        return EncodedCells(arrays, self.embed(arrays))

    def predict(self, x):
        return x.vectors[:, 0].astype(float)


def edges(arrays):
    return arrays.adjacency.sum((1, 2))


def draws(seed=0, count=3000, nodes=8, max_macs=None):
    return Draws(DagSpace(nodes), EdgeCount(), np.random.default_rng(seed), count, edges, max_macs)


def run(seed=0, count=3000, top=5, nodes=8, max_macs=None, **settings):
    return bootstrap(draws(seed, count, nodes, max_macs), EdgeCount().predict, top, **settings)


def test_the_best_cells_of_all_draws_are_found_best_first(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 256)  # draws fall into the same chunks for the brute force below
    space, rng, best = DagSpace(8), np.random.default_rng(0), {}
    for start in range(0, 3000, 256):
        arrays = prune(space.sample(rng, min(256, 3000 - start)))
        for cell in space.to_cells(arrays):
            best[cell.digest()] = len(cell.edges)
    expected = sorted(best.values(), reverse=True)[:5]
    found = run()
    assert [s.score for s in found] == expected
    assert all(len(s.cell.pruned().edges) == s.score == s.macs for s in found)


def test_no_two_of_the_best_are_isomorphic_and_excluded_ones_stay_out():
    first = run(top=10)
    assert len({s.cell.pruned().digest() for s in first}) == 10
    again = run(top=10, exclude={s.digest for s in first[:4]})
    assert [s.digest for s in again[:6]] == [s.digest for s in first[4:]]


def test_a_budget_of_macs_is_kept():
    found = run(max_macs=12)
    assert len(found) == 5
    assert max(s.macs for s in found) == 12


def test_a_budget_that_nothing_meets_and_a_space_that_is_exhausted_give_what_there_is():
    assert run(max_macs=0) == []
    assert len(run(nodes=2, top=5)) == 2  # one edge, two operators


def test_progress_reaches_the_number_of_draws():
    seen = []
    run(count=9000, progress=lambda done, total, note="": seen.append((done, total)))
    assert seen[-1] == (9000, 9000)
    assert len(seen) == 3


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_cells(seed):
    assert [s.cell for s in run(seed)] == [s.cell for s in run(seed)]


@pytest.mark.parametrize("pieces", [[1], [4096, 4097], [100_000], [300, 300, 300]])
def test_what_is_drawn_ahead_is_what_would_be_drawn_later(pieces, monkeypatch):
    monkeypatch.setattr(module, "MOST_AHEAD", 3 * module.CHUNK)
    early = draws(count=20_000)
    for cells in pieces:
        early.ahead(cells)
    assert early.encoder.embedded == min(3, sum(-(-cells // 4096) for cells in pieces)) * 4096
    assert bootstrap(early, EdgeCount().predict, top=20) == run(count=20_000, top=20)
    assert early.encoder.embedded == 20_000
