"""Plots of a search's record, as SVG text or PNG; the same record gives the same text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from scipy.stats import binned_statistic_2d, kendalltau

from gemnet.cell import Cell
from gemnet.drawing import draw_on
from gemnet.drawing.palette import BLUE, GREY, ORANGE, adaptive_svg
from gemnet.drawing.plots import LETTERS, WIDTH, legend_below
from search.record.ranking import best_first, pareto_front
from search.record.study import Evaluated, Record, is_evaluated
from search.report.dynamics import Bin, Dynamics

REPORT_SIZE = (WIDTH, 3.8)  # inches
"""Of the report's plots: as wide as a phone's screen, their letters are about as large as those around them."""
SURFACE_SIZE = (WIDTH, 3.6)
CELL_SIZE = (WIDTH, 4.0)
SMALLEST = (5.0, 3.6)
"""Width and height, in the layout's units, that a drawn cell has at least: the nodes of small ones are not giants."""
SURFACE_BINS = 32

Draw = Callable[[Axes], None]
"""Fills a pair of axes."""


def to_svg(draw: Draw, size: tuple[float, float] = REPORT_SIZE) -> str:
    """The SVG text of one pair of axes that `draw` fills."""
    return adaptive_svg(_filled(draw, size))


def _filled(draw: Draw, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.subplots())
    return figure


def cell_picture(cell: Cell) -> str:
    """A drawing of `cell`."""

    def draw(axes: Axes) -> None:
        draw_on(axes, cell)
        setters: tuple[Callable[..., Any], ...] = (axes.set_xlim, axes.set_ylim)
        for (low, high), set_limits, least in zip((axes.get_xlim(), axes.get_ylim()), setters, SMALLEST):
            margin = max(0.0, least - (high - low)) / 2
            set_limits(low - margin, high + margin)

    return to_svg(draw, CELL_SIZE)


def whole_numbers(axes: Axes, low: float, high: float) -> None:
    """A horizontal axis from `low` to `high`, whole numbers both, whose ticks are whole numbers, however few."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    margin = max(0.5, 0.03 * (high - low))
    axes.set_xlim(low - margin, high + margin)


def logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic horizontal axis with plain numbers at its ticks, also where `values` lie within a decade."""
    axes.set_xscale("log")
    low, high = min(values), max(values)
    if low == high:
        axes.set_xlim(low / 2, 2 * high)
    axes.xaxis.set_major_locator(MaxNLocator(5) if high < 10 * low else LogLocator(numticks=6))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _points(
    axes: Axes, records: Sequence[Evaluated], x: Callable[[Evaluated], float], y: Callable[[Evaluated], float], **look: Any
) -> Any:
    """A disc each record, a cross where it was stopped early. `look` is scatter's; lists in it are of the records. Returns what
    a colour bar needs."""
    drawn = None
    for stopped, marker, meaning in ((False, "o", "evaluated to the end"), (True, "x", "stopped early")):
        label: str | None = meaning
        chosen = [i for i, r in enumerate(records) if bool(r.stopped) is stopped]
        if chosen:
            if "cmap" in look:  # of many colours the legend shows none
                axes.scatter([], [], s=24, marker=marker, linewidths=1.2, c="#555555", label=label)
                label = None
            own: dict[str, Any] = {
                name: [value[i] for i in chosen] if isinstance(value, list) else value for name, value in look.items()
            }
            of = [records[i] for i in chosen]
            drawn = axes.scatter(
                [x(r) for r in of], [y(r) for r in of], s=24, marker=marker, linewidths=1.2, label=label, **own
            )
    return drawn


def score_over_time(records: Sequence[Record]) -> Draw:
    """Efficiency score of each evaluation in the order of proposal, the best so far, and where rounds begin."""
    done = [r for r in records if is_evaluated(r)]

    def draw(axes: Axes) -> None:
        _points(axes, done, lambda r: r.id, lambda r: r.score, c=[GREY if r.stopped else BLUE for r in done])
        first, last = min(r.id for r in records), max(r.id for r in records)
        full = [(r.id, r.score) for r in done if not r.stopped]
        if full:
            best = np.maximum.accumulate([score for _, score in full]).tolist()
            axes.step([*(n for n, _ in full), last + 0.4], [*best, best[-1]], where="post", color=ORANGE, label="best so far")
        for place, index in enumerate(sorted({r.round for r in records} - {0})):
            begin = min(r.id for r in records if r.round == index) - 0.5
            label = None if place else "a round begins"
            axes.axvline(begin, color=GREY, linewidth=0.8, linestyle=":", label=label)
        whole_numbers(axes, first, last)
        axes.set(xlabel="evaluation", ylabel="efficiency score")
        legend_below(axes)

    return draw


def accuracy_against_cost(records: Sequence[Record], cost: str) -> Draw:
    """Validation accuracy against what the score counts as cost, coloured by efficiency score."""
    done = [r for r in records if is_evaluated(r)]

    def draw(axes: Axes) -> None:
        front = pareto_front(records)
        axes.step(
            [r.cost for r in front], [r.accuracy for r in front], where="post", color=GREY, linewidth=1, label="Pareto front"
        )
        if done:
            scores = [r.score for r in done]
            colours = {"c": scores, "cmap": "viridis", "vmin": min(scores), "vmax": max(scores)}
            points = _points(axes, done, lambda r: r.cost, lambda r: r.accuracy, **colours)
            axes.figure.colorbar(points, ax=axes, label="efficiency score")
            best = best_first(done)[0]
            axes.scatter([best.cost], [best.accuracy], s=110, facecolors="none", edgecolors=ORANGE, linewidths=2, label="best")
            logarithmic(axes, [r.cost for r in done])
        axes.set(xlabel=f"cost: {cost}", ylabel="validation accuracy")
        legend_below(axes)

    return draw


def predicted_against_measured(records: Sequence[Record]) -> Draw:
    """Score that the predictor gave before an evaluation against the score that it then measured, coloured by round."""
    done = [r for r in records if is_evaluated(r) and r.predicted is not None]
    told = [r.predicted for r in done if r.predicted is not None]

    def draw(axes: Axes) -> None:
        if done:
            rounds = [r.round for r in done]
            several = {"c": rounds, "cmap": "viridis", "vmin": min(rounds), "vmax": max(rounds)}
            colours = several if min(rounds) < max(rounds) else {"c": BLUE}
            points = _points(axes, done, lambda r: r.predicted or 0.0, lambda r: r.score, **colours)
            if colours is several:
                axes.figure.colorbar(points, ax=axes, label="round", ticks=MaxNLocator(integer=True, min_n_ticks=1))
            both = told + [r.score for r in done]
            ends = [min(both), max(both)]
            axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--", label="prediction = measurement")
        if len(done) > 2:
            tau = kendalltau(told, [r.score for r in done]).statistic
            if math.isfinite(tau):  # not where all are equal
                axes.set_title(f"Kendall's tau over all rounds {tau:.2f}", fontsize=LETTERS)
        axes.set(xlabel="predicted score, before the evaluation", ylabel="measured score")
        legend_below(axes)

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
    svg = adaptive_svg(figure)  # this also places the axes
    places = figure.transFigure.inverted().transform(axes.transData.transform(dynamics.places))
    colours = np.asarray(colormaps["viridis"](mesh.norm(dynamics.measured)))
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
        bars: dict[str, Any] = {"fmt": "o", "color": BLUE, "capsize": 3, "markersize": 5}
        axes.errorbar(predicted, measured, [b.deviation for b in bins], **bars, label="mean ± deviation of a bin")
        axes.set(xlabel="predicted score, cross-validated, mean of a bin", ylabel="measured score")
        legend_below(axes)

    return to_svg(draw)


def rank_correlation_plot(held_out: Mapping[int, float], fresh: Mapping[int, float]) -> str:
    """Kendall's tau over the rounds (see `search.report.dynamics.rank_correlations`)."""

    def draw(axes: Axes) -> None:
        axes.plot(list(held_out), list(held_out.values()), "o-", color=BLUE, label="cross-validated on the cells before it")
        axes.plot(list(fresh), list(fresh.values()), "s--", color=ORANGE, label="on the cells that the round then measured")
        axes.axhline(0, color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlabel="round for which the predictor was trained", ylabel="Kendall's tau")
        axes.set_ylim(min(-0.05, *held_out.values(), *fresh.values()) - 0.05, 1.05)
        rounds = [*held_out, *fresh]
        whole_numbers(axes, min(rounds), max(rounds))
        legend_below(axes, 1)

    return to_svg(draw)
