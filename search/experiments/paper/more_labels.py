"""The picture of what more labels than the goals allow would bring; its figures are a record, see docs/results/paper."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from gemnet.drawing.plots import legend_below, panels
from search.experiments.paper import published
from search.experiments.paper.base import Shown
from search.experiments.paper.figure5 import FIGURE
from search.experiments.paper.plots import KNOWN
from search.experiments.paper.rows import COUNTS, GEMNET
from search.experiments.paper.summary import summarized

NAME = "more_labels"
SIZES: dict[str, tuple[str, str, tuple[int, int], Mapping[str, Mapping[int, float]]]] = {
    "Kendall's tau,\nNAS-Bench-101": (GEMNET.name, "kendall", (4236, 10_000), published.NASBENCH101),
    "Kendall's tau,\nNAS-Bench-201": (GEMNET.name, "kendall", (1563, 15_625), published.NASBENCH201),
    "Fig. 5:\nbias, %": (COUNTS.name, FIGURE, (2000, 10_000), published.FIGURE5),
}
"""Row, figure, the labels that a goal allows and more, and where the goal stands; by the title of its panel."""


def draw(canvas: Figure, shown: Shown) -> None:
    """Draw a panel a goal: mean and deviation with the labels that it allows, and with more."""
    found = {(row["row"], row["setting"]): row["figures"] for row in summarized(shown.results)["rows"]}
    canvas.set_figheight(3.4)
    every = panels(canvas, list(SIZES), columns=3)
    every[1].set_xlabel("known validation accuracies")
    for axes, (row, figure, labels, goals) in zip(every, SIZES.values()):
        mean, deviation = ([found[row, count][figure][part] for count in labels] for part in ("mean", "deviation"))
        axes.errorbar((0, 1), mean, deviation, fmt="o-", color=KNOWN[row], markersize=4, capsize=4, label="ours, ± 1 deviation")
        (goal,) = (figures[labels[0]] for label, figures in goals.items() if "goal" in label)
        axes.axhline(goal, color="black", linewidth=1, linestyle="--", label="goal")
        axes.set(xlim=(-0.3, 1.3))
        axes.set_xticks((0, 1), [f"{count:,}" for count in labels], rotation=20)
        axes.grid(alpha=0.25)
    legend_below(every[0])
