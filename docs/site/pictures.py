"""Draw the pictures of the documentation anew from what is shipped: `python docs/site/pictures.py [PART OF A NAME ...]`.

Nothing is trained or measured. Each is an SVG for light and dark pages, made of files that are tested elsewhere: the shipped
cells, and the data beside the pictures. A change of colours, letters or layout needs this command alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.image
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gemnet
from gemnet.core.files import save_text
from gemnet.detection import overfit
from gemnet.drawing import draw_on
from gemnet.drawing.palette import BLUE, GREY, ORANGE, adaptive_svg
from gemnet.drawing.plots import WIDTH, page_figure
from search.experiments import speed
from search.experiments.chance import report as chance
from search.experiments.chance.run import open_record
from search.experiments.paper import more_labels, output
from search.experiments.paper.parts import PARTS
from search.experiments.paper.pictures import picture
from search.experiments.svge import pages
from search.experiments.svge.pictures import DRAWINGS
from search.experiments.svge.tasks import TASKS
from search.experiments.trial import report as trial
from search.record.export import read_record
from search.report.report import shown_elsewhere

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs/pictures"
SEARCH = ROOT / "docs/results/search"
RECORD, CONTINUED = SEARCH / "nasgem_cifar10.jsonl", SEARCH / "nasgem_cifar10_continued.jsonl"
DETECTIONS = PICTURES / "detections_bccd.jpg"


def main(wanted: list[str]) -> None:
    """Write the pictures whose path below docs/ has one of the given parts, all if none is given, and tell their paths."""
    for path, draw in pictures().items():
        if not wanted or any(part in path for part in wanted):
            save_text(ROOT / path, draw())
            print(path)


def pictures() -> dict[str, Callable[[], str]]:
    """What gives the SVG of each picture, by its path below the repository."""
    drawn: dict[str, Callable[[], Figure]] = {
        "docs/pictures/overview.svg": overview,
        **{f"docs/pictures/{name}.svg": partial(shipped_cell, name) for name in ("gemnet_a", "gemnet_b")},
        overfit.PICTURE: lambda: overfit.losses_picture(_read(overfit.PUBLISHED_LOSSES)),
        trial.GRAPH: lambda: trial.graph(_read(trial.DATA)),
        chance.PICTURE: lambda: chance.picture(list(open_record(ROOT / chance.RECORD).rows.values())),
        **dict(_of_the_kernel()),
        **dict(_of_the_paper()),
        **dict(_of_svge()),
    }
    of_a_search = shown_elsewhere(read_record(CONTINUED))
    return {f"docs/results/search/{name}": partial(str, svg) for name, svg in of_a_search.items()} | {
        path: lambda draw=draw: adaptive_svg(draw()) for path, draw in drawn.items()
    }


def _of_the_kernel() -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Its times, where they were written."""
    if (ROOT / speed.KERNEL_TIMES).exists():
        yield speed.KERNEL_PICTURE, lambda: speed.kernel_picture(_read(speed.KERNEL_TIMES)["seconds"])


def _of_the_paper() -> Iterator[tuple[str, Callable[[], Figure]]]:
    drawn = {part.name: part.draw for part in PARTS.values()} | {more_labels.NAME: more_labels.draw}
    for name, draw in drawn.items():
        yield f"{output.FOLDER}/{name}.svg", partial(picture, name, draw, ROOT / output.FOLDER)


def _of_svge() -> Iterator[tuple[str, Callable[[], Figure]]]:
    for space in TASKS:
        for name, points in pages.read_points(ROOT, space).items():
            yield f"{pages.FOLDER}/{space}_{name}.svg", partial(DRAWINGS[name], points)


def _read(path: str) -> Any:
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def shipped_cell(name: str) -> Figure:
    """Draw a cell with its legend."""
    figure = page_figure(3.4)
    draw_on(figure.subplots(), gemnet.Cell.shipped(name))
    return figure


def overview() -> Figure:
    """Draw a cell, what a detector with it sees, and accuracy against time of all candidates of a search.

    It is twice as wide as the others, and has letters twice as large: README shows it over the whole page, a phone at half.
    """
    with rc_context({"font.size": 20, "axes.titlesize": 20, "axes.linewidth": 1.5}):
        figure = Figure(figsize=(2 * WIDTH, 3.6), layout="constrained")
        front, cell, detections = figure.subplots(1, 3, width_ratios=(1.2, 0.9, 1.3))
        accuracy_against_time(front)
        draw_on(cell, gemnet.Cell.shipped("gemnet_a"))
        cell.get_legend().remove()
        detections.imshow(matplotlib.image.imread(DETECTIONS)[:400, :533])  # the first photo of the sheet
        detections.set_axis_off()
        for axes, title in ((front, "1 candidates"), (cell, "2 GEMNet-A"), (detections, "3 its detector")):
            axes.set_title(title)
    return figure


def accuracy_against_time(axes: Axes) -> None:
    """Draw the candidates of the search that found the shipped cells: random ones, proposed ones, and the two shipped."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in RECORD.read_text(encoding="utf-8").splitlines()[1:]]
    done = [row for row in rows if row["state"] == "done"]
    for first, colour, label in ((True, GREY, "random"), (False, BLUE, "proposed")):
        chosen = [row for row in done if (row["round"] == 0) is first]
        axes.scatter([row["cost"] for row in chosen], [row["accuracy"] for row in chosen], s=22, c=colour, label=label)
    shipped = {gemnet.Cell.shipped(name).digest(): name for name in ("gemnet_a", "gemnet_b")}
    for row in done:
        if row["digest"] in shipped:
            axes.scatter([row["cost"]], [row["accuracy"]], s=120, facecolors="none", edgecolors=ORANGE, linewidths=2)
            letter = shipped[row["digest"]][-1].upper()
            axes.annotate(letter, (row["cost"], row["accuracy"]), xytext=(10, 2), textcoords="offset points")
    axes.set(xlabel="time", ylabel="accuracy", xticks=(0.5, 0.7), yticks=(0.3, 0.4, 0.5), xlim=(0.48, 0.78), ylim=(0.2, 0.57))
    axes.legend(loc="lower left", fontsize=20, handletextpad=0, borderpad=0, borderaxespad=0, markerscale=2, frameon=False)


if __name__ == "__main__":
    main(sys.argv[1:])
