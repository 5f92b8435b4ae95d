"""Plots of a search's record, as SVG text or PNG; the same record gives the same text."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import binned_statistic_2d, kendalltau

from gemnet.cell import Cell
from gemnet.drawing import draw_on
from gemnet.files import save_png
from search.dynamics import Bin, Dynamics
from search.ranking import pareto_front
from search.study import DONE, Record

SIZE = (6.4, 3.8)  # inches
SURFACE_SIZE = (6.4, 4.8)
SURFACE_BINS = 32
BLUE, ORANGE, GREY = "#2f6db5", "#e0812b", "#9a9a9a"


Draw = Callable[[Axes], None]
"""Fills a pair of axes."""


def to_svg(draw: Draw, size: tuple[float, float] = SIZE) -> str:
    """The SVG text of one pair of axes that `draw` fills."""
    return _saved(_filled(draw, size))


def to_png(draw: Draw, path: str | os.PathLike[str]) -> None:
    """Write the picture of one pair of axes that `draw` fills."""
    save_png(_filled(draw, SIZE), path, dpi=110)


def _filled(draw: Draw, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots())
    return figure


def _saved(figure: Figure) -> str:
    text = io.StringIO()
    with rc_context({"svg.hashsalt": "gemnet"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def data_url(svg: str) -> str:
    """The address of an image that holds the image itself."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def cell_picture(cell: Cell) -> str:
    """A drawing of `cell`."""
    return to_svg(lambda axes: draw_on(axes, cell), (7, 6))


def score_over_time(records: Sequence[Record]) -> Draw:
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

    return draw


def accuracy_against_cost(records: Sequence[Record], cost: str) -> Draw:
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

    return draw


def predicted_against_measured(records: Sequence[Record]) -> Draw:
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

    return draw


@dataclass(frozen=True)
class SurfacePlot:
    """The plot of a surface without the evaluated cells, and where these are on it.

    places: [N, 2], in shares of the plot's width and height from its upper left corner. colours: of the N measured scores.
    """

    svg: str
    places: np.ndarray
    colours: list[str]


def surface_plot(dynamics: Dynamics) -> SurfacePlot:
    """Predicted efficiency score over the two principal components, mean of a bin (Fig. 4)."""
    mean, x, y, _ = binned_statistic_2d(*dynamics.drawn.T, dynamics.surface, bins=SURFACE_BINS)
    figure = Figure(figsize=SURFACE_SIZE, layout="constrained")
    axes = figure.subplots()
    mesh = surface_on(axes, x, y, mean)
    mesh.set_rasterized(True)
    both = np.concatenate([dynamics.places, np.stack([x, y], 1)])
    low, high = both.min(0), both.max(0)
    margin = 0.03 * (high - low) + 1e-9
    axes.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
    axes.set(xlabel="first principal component", ylabel="second principal component")
    svg = _saved(figure)  # this also places the axes
    places = figure.transFigure.inverted().transform(axes.transData.transform(dynamics.places))
    colours = colormaps["viridis"](mesh.norm(dynamics.measured))
    return SurfacePlot(svg, np.stack([places[:, 0], 1 - places[:, 1]], 1), [to_hex(colour) for colour in colours])


def surface_on(axes: Axes, x: np.ndarray, y: np.ndarray, score: np.ndarray) -> QuadMesh:
    """Draw mean scores [X, Y] of bins between the edges x [X + 1] and y [Y + 1], NaN for an empty one, with a colour bar.

    The colours end at the quantiles .02 and .98 of the bins, so that a tail of bad cells does not take all of them.
    """
    low, high = np.nanquantile(score, (0.02, 0.98))
    mesh = axes.pcolormesh(x, y, score.T, cmap="viridis", vmin=low, vmax=high)
    axes.figure.colorbar(mesh, ax=axes, extend="both", label="predicted efficiency score, mean of a bin")
    return mesh


def calibration_plot(bins: Sequence[Bin]) -> str:
    """Mean and deviation of the measured scores against the mean prediction of each bin, and where both would be equal."""

    def draw(axes: Axes) -> None:
        predicted, measured = [b.predicted for b in bins], [b.measured for b in bins]
        ends = [min(predicted + measured), max(predicted + measured)]
        axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--", label="prediction = measurement")
        bars = {"fmt": "o", "color": BLUE, "capsize": 3, "markersize": 5}
        axes.errorbar(predicted, measured, [b.deviation for b in bins], **bars, label="mean ± deviation of a bin")
        axes.set(xlabel="predicted score, cross-validated, mean of a bin", ylabel="measured score")
        axes.legend(fontsize=8)

    return to_svg(draw)


def rank_correlation_plot(held_out: Mapping[int, float], fresh: Mapping[int, float]) -> str:
    """Kendall's tau over the rounds (see `search.dynamics.rank_correlations`)."""

    def draw(axes: Axes) -> None:
        axes.plot(list(held_out), list(held_out.values()), "o-", color=BLUE, label="cross-validated on the cells before it")
        axes.plot(list(fresh), list(fresh.values()), "s--", color=ORANGE, label="on the cells that the round then measured")
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlabel="round for which the predictor was trained", ylabel="Kendall's tau, predicted and measured scores")
        axes.set_ylim(min(-0.05, *held_out.values(), *fresh.values()) - 0.05, 1.05)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)

    return to_svg(draw)
