"""Fig. 6: how well encoders follow the kernel, against the number of nodes n and the dimension d of the embedding.

Judged on pairs that the encoder has not seen, drawn from the paper's space: the similarity loss (Eq. 3), whose size says
little, since random pairs have nearly equal kernels, and R^2 and Spearman's correlation of cosine and kernel, which a constant
leaves at 0. The paper trains 10,000 iterations on 50,000 pairs; here it is ITERATIONS, on all pairs of fresh batches. Beside
R^2 stands the highest that any cosines of d numbers can have; landmarks' similarity is the inner product (see
`search.encoders.landmarks`), that of the encoder that reads counts the cosine behind its head. It trains on SAMPLE cells,
fewer than by default, for counts of large cells take time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gemnet.drawing.palette import BLUE, BROWN, GREEN, GREY, ORANGE, SERIES
from gemnet.drawing.plots import panels
from search.core.types import Encoder, Space
from search.encoders.landmarks import HIGHEST, highest_r_squared
from search.experiments.paper.base import Context, Measured, Part, Shown, Unit, planned
from search.experiments.paper.cells import trained_encoder
from search.experiments.paper.rows import GUIDED, LANDMARKS, NASGEM
from search.experiments.paper.summary import grid, rows_of, settings_of, summarized
from search.spaces.dag import DagSpace

NODES = (10, 30, 60, 100, 150, 250)
DIMENSIONS = (10, 30, 50)
ITERATIONS = 500
"""Of training, fewer than the paper has: the time of one grows with n^2."""
SAMPLE = 4096
COLOURS = (GREEN, BROWN, ORANGE, BLUE, GREY, SERIES[-2])
"""Of the rows, those of the largest d as in the other pictures."""
FIGURES = {"R^2": "held-out R^2", "Spearman": "held-out Spearman's correlation", "similarity MSE": "held-out similarity loss"}


def units(seeds: Sequence[int], quick: bool) -> list[Unit]:
    encoder, guided = (row.recipe(quick)["encoder"] for row in (NASGEM, GUIDED))
    if not quick:
        encoder |= {"iterations": ITERATIONS}
        guided |= {"iterations": ITERATIONS, "sample": SAMPLE}
    rows = [
        ("", encoder, DIMENSIONS[::2] if quick else DIMENSIONS),
        (f"{GUIDED.name}, ", guided, DIMENSIONS[-1:]),
        (f"{LANDMARKS.name}, ", LANDMARKS.encoder, DIMENSIONS[::2]),
    ]
    recipes = {
        f"{name}d = {dim}": {"encoder": {**settings, "dim": dim}, "figures": [*FIGURES, HIGHEST]}
        for name, settings, dims in rows
        for dim in dims
    }
    return planned("fig6", seeds, recipes, NODES[:2] if quick else NODES)


def measure(unit: Unit, context: Context) -> Measured:
    space, recipe = DagSpace(unit.setting), unit.recipe["encoder"]
    encoder = trained_encoder(recipe, space, unit.seed, context)
    return Measured({name: encoder.metrics[name] for name in FIGURES} | highest(encoder, space, unit.seed, context))


def highest(encoder: Encoder, space: Space, seed: int, context: Context) -> dict[str, float]:
    """HIGHEST, the bound on what the encoder's cosines can reach; nothing for one whose similarity is another."""
    if not encoder.uses_cosine:
        return {}
    return {HIGHEST: highest_r_squared(trained_encoder(LANDMARKS.encoder, space, seed, context).metrics, encoder.dim)}


def table(summary: Mapping[str, Any]) -> str:
    titles = {"R^2": FIGURES["R^2"], HIGHEST: "highest R^2 of any cosines of d numbers"} | FIGURES
    digits = {"similarity MSE": 5}
    return "\n\n".join(
        f"{title}:\n\n{grid(summary, name, 'nodes', digits=digits.get(name, 3))}" for name, title in titles.items()
    )


def draw(canvas: Figure, shown: Shown) -> None:
    summary = summarized(shown.results)
    settings = settings_of(summary)
    canvas.set_figheight(5.4)
    every = panels(canvas, list(FIGURES.values()), "nodes n", sharex=True)
    for axes, figure in zip(every, FIGURES):
        for name, colour in zip(rows_of(summary), COLOURS):
            figures_at = {row["setting"]: row["figures"] for row in summary["rows"] if row["row"] == name}
            mean, deviation = ([figures_at[n][figure][part] or 0.0 for n in settings] for part in ("mean", "deviation"))
            axes.errorbar(settings, mean, deviation, fmt="o-", markersize=3, capsize=2, color=colour, label=name)
            if figure == "R^2" and all(HIGHEST in figures for figures in figures_at.values()):
                bound = [figures_at[n][HIGHEST]["mean"] for n in settings]
                axes.plot(settings, bound, "--", color=colour, alpha=0.6)
        axes.grid(alpha=0.25)
        if figure == "similarity MSE":
            axes.set_yscale("log")
        else:
            axes.set_ylim(-1.05, 1.05)  # below it a constant is far better
    handles = [*every[0].get_legend_handles_labels()[0], Line2D([], [], linestyle="--", color=GREY, label="highest of cosines")]
    canvas.axes[-1].legend(handles=handles, loc="center", fontsize=10, frameon=False, handlelength=1.5, borderpad=0)


ABOUT = "encoders on held-out pairs against nodes and dimension"
SHOWS = (
    "Held-out R², Spearman's correlation and similarity loss against the number of nodes. NASGEM's encoders follow the kernel "
    "up to 60 nodes and lose it from 100 on; NASGEM on counts still ranks pairs there; WL landmarks stay at 1"
)
FIGURE6 = Part("fig6", ABOUT, SHOWS, 1, units, measure, table, draw)
