"""Plots that several parts share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gemnet.drawing.palette import SERIES
from search.experiments.paper.base import Result, of_first_seed
from search.experiments.paper.summary import rows_of, settings_of, summarized


def panels(
    canvas: Figure, results: Sequence[Result], width: float, height: float, sharey: bool = False
) -> Iterator[tuple[Axes, Result]]:
    """A pair of axes, of this size in inches, for each row of the first seed."""
    chosen = of_first_seed(results)
    canvas.set_size_inches(width * len(chosen), height)
    yield from zip(canvas.subplots(1, len(chosen), squeeze=False, sharey=sharey)[0], chosen)


def by_setting(
    canvas: Figure,
    results: Sequence[Result],
    figure: str,
    horizontal: str,
    vertical: str,
    published: Mapping[str, Mapping[int, float]] | None = None,
    logarithmic: bool = False,
) -> None:
    """Draw a line for each row, mean over the seeds with a band of one standard deviation, over the settings.

    published: others' figures, dashed.
    """
    canvas.set_size_inches(9, 4.4)
    axes, summary = canvas.subplots(), summarized(results)
    for (name, figures), colour in zip((published or {}).items(), SERIES):
        axes.plot(list(figures), list(figures.values()), "--", color=colour, alpha=0.6, linewidth=1, label=name)
    for index, name in enumerate(rows_of(summary)):
        cells = sorted((row for row in summary["rows"] if row["row"] == name), key=lambda row: row["setting"])
        settings, values = [cell["setting"] for cell in cells], [cell["figures"][figure] for cell in cells]
        mean, deviation = (np.array([value[key] or 0.0 for value in values]) for key in ("mean", "deviation"))
        colour = SERIES[index % len(SERIES)]
        axes.plot(settings, mean, "o-", color=colour, markersize=4, label=f"{name}, ours")
        axes.fill_between(settings, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(settings_of(summary), [str(setting) for setting in settings_of(summary)])
    axes.minorticks_off()
    axes.set(xlabel=horizontal, ylabel=vertical, title="mean over seeds, band: ± 1 standard deviation")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
