"""Plots that several parts share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.figure import Figure

from gemnet.drawing.palette import BLUE, BROWN, GREEN, GREY, ORANGE, RED, SERIES, VIOLET
from gemnet.drawing.plots import legend_below
from search.experiments.paper.base import Result
from search.experiments.paper.published import HERE
from search.experiments.paper.rows import (
    ADJACENCY,
    AUTOENCODER,
    COUNTS,
    COUNTS_AND_CELLS,
    GEMNET,
    GUIDED,
    HEADLESS,
    LABELS,
    LANDMARKS,
    NASGEM,
    NOISE,
    OWN_RIVALS,
    RIVALS,
    SVGE,
    UNGUIDED,
)
from search.experiments.paper.summary import rows_of, settings_of, summarized

PINK, CYAN, OCHRE = SERIES[-3:]
INDIGO, LIME, TEAL = "#4b5bd6", "#8fb000", "#008f7a"
KNOWN = {
    ADJACENCY.name: GREY,
    AUTOENCODER.name: BROWN,
    NASGEM.name: ORANGE,
    **dict(zip((row.name for row in RIVALS), (INDIGO, LIME, TEAL))),
    **dict(zip((row.name for row in OWN_RIVALS), (INDIGO, LIME, TEAL))),
    LANDMARKS.name: CYAN,
    SVGE.name: GREEN,
    UNGUIDED.name: PINK,
    HEADLESS.name: OCHRE,
    GUIDED.name: BLUE,
    COUNTS.name: RED,
    COUNTS_AND_CELLS.name: VIOLET,
    GEMNET.name: VIOLET,
    LABELS: "black",
    NOISE: "black",
    "random search": GREY,
    "regularized evolution": BROWN,
}
"""A row has one colour in all pictures."""
DASHES = ((0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (2, 2)), (0, (5, 2, 1, 2, 1, 2)), (0, (9, 2)))
"""Of others' lines, which are grey."""
LABEL_EVERY_LINE = 26
"""Letters of the longest label that has another beside it."""


def colours(names: Iterable[str]) -> dict[str, str]:
    """Colours by name: KNOWN ones, others from what is left of the palette, in its order."""
    names = list(names)
    free = iter([colour for colour in SERIES if colour not in {KNOWN.get(name) for name in names}] + list(SERIES))
    return {name: KNOWN.get(name) or next(free) for name in names}


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

    The legend has the lines in the order in which they end, the highest first. published: others' figures, grey and dashed;
    those of one setting alone have no line.
    """
    axes, summary = canvas.subplots(), summarized(results)
    lines = {}
    drawn = {label: figures for label, figures in (published or {}).items() if len(figures) > 1}
    for (label, figures), dashes in zip(drawn.items(), cycle(DASHES)):
        (line,) = axes.plot(list(figures), list(figures.values()), linestyle=dashes, color=GREY, label=_short(label))
        lines[line] = list(figures.values())[-1]
    for name, colour in colours(rows_of(summary)).items():
        cells = sorted((row for row in summary["rows"] if row["row"] == name), key=lambda row: row["setting"])
        settings, values = [cell["setting"] for cell in cells], [cell["figures"][figure] for cell in cells]
        mean, deviation = (np.array([value[key] or 0.0 for value in values]) for key in ("mean", "deviation"))
        (line,) = axes.plot(settings, mean, "o-", color=colour, markersize=4, label=name)
        axes.fill_between(settings, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
        lines[line] = mean[-1]
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(settings_of(summary), [str(setting) for setting in settings_of(summary)])
    axes.minorticks_off()
    axes.set(xlabel=horizontal, ylabel=vertical)
    axes.set_title("mean over seeds, band: ± 1 standard deviation", fontsize=10)
    axes.grid(alpha=0.25)
    handles = sorted(lines, key=lambda line: -lines[line])
    columns = 2 if max(len(str(line.get_label())) for line in lines) <= LABEL_EVERY_LINE else 1
    canvas.set_figheight(3.4 + 0.21 * -(-len(lines) // columns))
    legend_below(axes, columns, handles)


def _short(label: str) -> str:
    """A label of `published` without authors and seeds."""
    return f"{re.split(r', | [(]', label)[0]}, {'run here' if HERE in label else 'published'}"
