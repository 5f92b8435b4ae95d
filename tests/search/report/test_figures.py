"""What the plots of a record have on them, and where."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.text import Text

from gemnet.cell import Cell
from search.record.ranking import STOPPED, best_table
from search.record.study import DONE, FAILED, Record
from search.report import figures
from search.report.dynamics import Bin

PHONE = 358
"""Pixels of a phone's screen that a plot gets."""


def record(i, round=0, stopped=False, score=0.5, cost=1.5, predicted=None, state=DONE):
    cell = Cell(("input", "conv1x1"), ((0, 1),))
    done = state == DONE
    return Record(
        id=i, round=round, digest=f"{i:08x}", cell=cell, seed=0, state=state, predicted=predicted,
        accuracy=score if done else None, macs=1000, params=10, cost=cost, score=score if done else None, stopped=stopped,
        curve=(score,) if done else (), seconds=1.0 if done else None, error="" if done else "memory", judged=None,
    )  # fmt: skip


def search(count, rounds):
    """Every third candidate was stopped early, the last one failed."""
    rng = np.random.default_rng(0)
    return [
        record(i, i * rounds // (count + 1), i % 3 == 0, *rng.uniform(0.3, 0.9, 2).tolist(), float(rng.random()))
        for i in range(1, count + 1)
    ] + [record(count + 1, rounds - 1, state=FAILED)]


RECORDS = {
    "one": [record(1)],
    "one that was predicted": [record(1, predicted=0.4)],
    "one stopped": [record(1, stopped=True, predicted=0.4)],
    "three alike": [record(i, predicted=0.4) for i in (1, 2, 3)],
    "some": search(12, 2),
    "many": search(200, 20),
    "far apart": [record(i, cost=10.0**i, score=0.1 * i, predicted=0.1 * i) for i in range(1, 6)],
}


def drawn(monkeypatch, plot, *arguments):
    """The figure that one of `search.report.figures` draws, with everything in its place."""
    made = []
    filled = figures._filled
    monkeypatch.setattr(figures, "_filled", lambda *given: made.append(filled(*given)) or made[0])
    found = plot(*arguments)
    if callable(found):
        figures.to_svg(found)
    (figure,) = made
    FigureCanvasAgg(figure).draw()
    return figure


PLOTS = {
    "score": (figures.score_over_time,),
    "cost": (figures.accuracy_against_cost, "MACs of the proxy network, millions"),
    "predicted": (figures.predicted_against_measured,),
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("plot", PLOTS)
def test_a_legend_covers_nothing_and_is_within_the_figure(monkeypatch, plot, name):
    make, *more = PLOTS[plot]
    check_places(drawn(monkeypatch, make, RECORDS[name], *more))


def check_places(figure):
    inside = figure.bbox.padded(1)
    for legend in figure.legends:
        box = legend.get_window_extent()
        assert not any(box.overlaps(axes.get_tightbbox()) for axes in figure.axes)
        assert inside.contains(box.x0, box.y0)
        assert inside.contains(box.x1, box.y1)
    assert not any(axes.get_legend() for axes in figure.axes)
    shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in shown) * PHONE / (72 * figure.get_figwidth()) >= 8  # pixels on a phone


@pytest.mark.parametrize("rounds", [1, 2, 3, 20])
def test_plots_over_rounds_have_their_legend_below_and_whole_numbers_at_their_ticks(monkeypatch, rounds):
    tau = {index: 0.5 for index in range(1, rounds + 1)}
    figure = drawn(monkeypatch, figures.rank_correlation_plot, tau, {})
    check_places(figure)
    check_whole(figure.axes[0], rounds)
    monkeypatch.undo()
    check_places(drawn(monkeypatch, figures.calibration_plot, [Bin(2, 0.1 * i, 0.2 * i, 0.1) for i in range(1, rounds + 1)]))


def check_whole(axes, most):
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert 1 <= len(ticks) <= min(most + 2, 12)
    assert all(tick == round(tick) for tick in ticks)


@pytest.mark.parametrize("name", RECORDS)
def test_evaluations_are_whole_numbers(monkeypatch, name):
    check_whole(drawn(monkeypatch, figures.score_over_time, RECORDS[name]).axes[0], len(RECORDS[name]))


def test_the_rounds_of_the_colour_bar_are_whole_numbers_and_one_round_has_none(monkeypatch):
    bar = drawn(monkeypatch, figures.predicted_against_measured, RECORDS["some"]).axes[1]
    assert bar.get_ylabel() == "round"
    assert set(bar.get_yticks()) == {0, 1}
    monkeypatch.undo()
    assert len(drawn(monkeypatch, figures.predicted_against_measured, RECORDS["three alike"]).axes) == 1


@pytest.mark.parametrize("plot", PLOTS)
def test_what_was_stopped_early_has_another_shape_and_a_name_in_the_legend(monkeypatch, plot):
    make, *more = PLOTS[plot]
    figure = drawn(monkeypatch, make, RECORDS["some"], *more)
    shapes = {}
    for points in figure.axes[0].findobj(PathCollection):
        if len(points.get_offsets()) > 1:  # neither the ring around the best nor what stands for it in the legend
            shapes[len(points.get_paths()[0].vertices)] = sorted(points.get_offsets()[:, 0].tolist())
    x = {"score": lambda r: r.id, "cost": lambda r: r.cost, "predicted": lambda r: r.predicted}[plot]
    done = [r for r in RECORDS["some"] if r.state == DONE]
    expected = [sorted(x(r) for r in done if r.stopped is stopped) for stopped in (False, True)]
    assert len(shapes) == 2
    assert sorted(shapes.values()) == sorted(expected)
    (legend,) = figure.legends
    assert {"evaluated to the end", STOPPED} <= {text.get_text() for text in legend.get_texts()}


@pytest.mark.parametrize(("name", "least"), [("some", 3), ("many", 3), ("one", 1), ("far apart", 4)])
def test_costs_are_told_in_plain_numbers(monkeypatch, name, least):
    axes = drawn(monkeypatch, figures.accuracy_against_cost, RECORDS[name], "MACs").axes[0]
    low, high = axes.get_xlim()
    told = [label.get_text() for tick, label in zip(axes.get_xticks(), axes.get_xticklabels()) if low <= tick <= high]
    assert len(told) >= least
    assert all(float(text) > 0 and "$" not in text for text in told)
    assert axes.get_xscale() == "log"


def test_scores_that_are_all_equal_have_no_rank_correlation(monkeypatch):
    assert drawn(monkeypatch, figures.predicted_against_measured, RECORDS["three alike"]).axes[0].get_title() == ""


def test_a_table_of_the_best_says_which_were_stopped_early():
    columns, rows = best_table([record(1, score=0.9, stopped=True), record(2, score=0.1)])
    assert [(row[0], row[columns.index("note")]) for row in rows] == [("00000002", ""), ("00000001", STOPPED)]
    assert "note" not in best_table([record(2)])[0]
