"""Make the pictures of README and of the model cards: `python docs/site/pictures.py`.

Each is an SVG of what is tested elsewhere: the shipped cells, the record of the search that found them, and a sheet of
detections that the page of one's own detector explains.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.image
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import gemnet
from gemnet.drawing import draw_on
from gemnet.drawing.palette import BLUE, GREY, ORANGE, save_svg

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs/pictures"
SEARCH = ROOT / "docs/results/search"
RECORD = SEARCH / "nasgem_cifar10.jsonl"
DETECTIONS = PICTURES / "detections_bccd.jpg"


def main() -> None:
    """Write docs/pictures/{gemnet_a,gemnet_b,overview}.svg."""
    for name in ("gemnet_a", "gemnet_b"):
        cell_picture(gemnet.Cell.shipped(name), PICTURES / f"{name}.svg")
    overview(PICTURES / "overview.svg")


def cell_picture(cell: gemnet.Cell, path: Path) -> None:
    """Draw a cell with its legend."""
    figure = Figure(figsize=(4.2, 3.2), layout="constrained")
    draw_on(figure.subplots(), cell)
    save_svg(figure, path)


def overview(path: Path) -> None:
    """Draw a cell, what a detector with it sees, and accuracy against time of all candidates of a search."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    front, cell, detections = figure.subplots(1, 3, width_ratios=(1.2, 1, 1.3))
    accuracy_against_time(front)
    front.set_title("1  candidates are trained")
    draw_on(cell, gemnet.Cell.shipped("gemnet_a"))
    cell.set_title("2  a cell is found")
    detections.imshow(matplotlib.image.imread(DETECTIONS)[:400, :533])  # the first photo of the sheet
    detections.set_axis_off()
    detections.set_title("3  its network finds objects")
    save_svg(figure, path)


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
            axes.annotate(
                f"GEMNet-{shipped[row['digest']][-1].upper()}",
                (row["cost"], row["accuracy"]),
                xytext=(9, 3),
                textcoords="offset points",
            )
    axes.set(xlabel="time, mnasnet1_3 = 1", ylabel="accuracy on validation images")
    axes.legend(loc="lower left")


if __name__ == "__main__":
    main()
