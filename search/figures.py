"""Plots of a search's record, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import kendalltau

from gemnet.cell import Cell
from gemnet.drawing import draw_on
from search.ranking import pareto_front
from search.study import DONE, Record

SIZE = (6.4, 3.8)  # inches
BLUE, ORANGE, GREY = "#2f6db5", "#e0812b", "#9a9a9a"


def to_svg(draw: Callable[[Axes], None], size: tuple[float, float] = SIZE) -> str:
    """The SVG text of one pair of axes that `draw` fills."""
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots())
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()


def cell_picture(cell: Cell) -> str:
    """A drawing of `cell`."""
    return to_svg(lambda axes: draw_on(axes, cell), (7, 6))


def score_over_time(records: Sequence[Record]) -> str:
    """Efficiency score of each evaluation in the order of proposal, the best so far, and where rounds begin."""
    done = [r for r in records if r.state == DONE]

    def draw(axes: Axes) -> None:
        number, score = [r.id for r in done], [r.score for r in done]
        full = [(r.id, r.score) for r in done if not r.stopped]
        axes.scatter(
            number, score, s=18, c=[GREY if r.stopped else BLUE for r in done], label="evaluated (grey: stopped early)"
        )
        if full:
            axes.step(*zip(*full), where="post", alpha=0)  # same limits with and without stopped candidates
            axes.step(
                [n for n, _ in full],
                np.maximum.accumulate([s for _, s in full]),
                where="post",
                color=ORANGE,
                label="best so far",
            )
        for index in sorted({r.round for r in records} - {0}):
            axes.axvline(min(r.id for r in records if r.round == index) - 0.5, color=GREY, linewidth=0.6, linestyle=":")
        axes.set(xlabel="evaluation (dotted: a round begins)", ylabel="efficiency score")
        axes.legend(fontsize=8)

    return to_svg(draw)


def accuracy_against_cost(records: Sequence[Record], cost: str) -> str:
    """Validation accuracy against what the score counts as cost, coloured by efficiency score."""
    done = [r for r in records if r.state == DONE]

    def draw(axes: Axes) -> None:
        points = axes.scatter(
            [r.cost for r in done], [r.accuracy for r in done], s=22, c=[r.score for r in done], cmap="viridis"
        )
        axes.figure.colorbar(points, ax=axes, label="efficiency score")
        front = pareto_front(records)
        axes.step(
            [r.cost for r in front], [r.accuracy for r in front], where="post", color=GREY, linewidth=1, label="Pareto front"
        )
        if done:
            best = max(done, key=lambda r: (not r.stopped, r.score))
            axes.scatter([best.cost], [best.accuracy], s=110, facecolors="none", edgecolors=ORANGE, linewidths=2, label="best")
            axes.legend(fontsize=8)
            axes.set_xscale("log")
        axes.set(xlabel=f"cost: {cost}", ylabel="validation accuracy")

    return to_svg(draw)


def predicted_against_measured(records: Sequence[Record]) -> str:
    """Score that the predictor gave before an evaluation against the score that it then measured, a colour each round."""
    done = [r for r in records if r.state == DONE and r.predicted is not None]

    def draw(axes: Axes) -> None:
        for index in sorted({r.round for r in done}):
            of_round = [r for r in done if r.round == index]
            axes.scatter([r.predicted for r in of_round], [r.score for r in of_round], s=22, label=f"round {index}")
        if done:
            both = [r.predicted for r in done] + [r.score for r in done]
            axes.plot([min(both), max(both)], [min(both), max(both)], color=GREY, linewidth=0.8, linestyle="--")
            axes.legend(fontsize=8)
        if len(done) > 2:
            tau = kendalltau([r.predicted for r in done], [r.score for r in done]).statistic
            axes.set_title(f"Kendall's tau over all rounds {tau:.2f}", fontsize=9)
        axes.set(xlabel="predicted score, before the evaluation", ylabel="measured score")

    return to_svg(draw)
