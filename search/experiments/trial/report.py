"""What a trial found: the table, how far cells are ahead of random ones, and whether the proxy ranks cells as the test does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import kendalltau, spearmanr

from gemnet.core.files import save_text
from gemnet.core.tables import markdown_table, marks, mean_and_deviation, publish
from gemnet.drawing.palette import SERIES, save_svg
from gemnet.drawing.plots import LETTERS, legend_below, page_figure
from search.evaluation.trainings import deviation
from search.experiments.trial.trial import RANDOM

PAGE, DATA, GRAPH, RECORD = (
    "docs/results/trial.md",
    "docs/results/trial.json",
    "docs/results/trial.svg",
    "docs/results/trial.jsonl",
)
MARKS = marks("trial", "tools/evaluate_cells.py --write")
HEAD = (
    "network | what | params M | MACs M | test accuracy %, mean ± deviation | ahead of random cells, deviations"
    " | proxy accuracy % | CPU ms"
)
ENOUGH = 12
"""Cells from which on a rank correlation is told as more than a hint."""


def random_cells(networks: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Mean of the random cells' mean accuracies, and their standard deviation."""
    means = [np.mean(n["accuracies"]) for n in networks if n["kind"] == RANDOM]
    return float(np.mean(means)), float(np.std(means, ddof=1))


def ahead(networks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By how many standard deviations of the random cells each network's mean accuracy is above their mean."""
    mean, deviation = random_cells(networks)
    return {n["name"]: float((np.mean(n["accuracies"]) - mean) / max(deviation, 1e-12)) for n in networks}


def correlation(networks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Kendall's tau and Spearman's rho of the proxy's accuracy with the mean test accuracy, over the n cells that have both."""
    both = [(n["proxy"], np.mean(n["accuracies"])) for n in networks if n["proxy"] is not None]
    proxy, test = zip(*both)
    return {
        "kendall": float(np.nan_to_num(kendalltau(proxy, test).statistic)),
        "spearman": float(np.nan_to_num(spearmanr(proxy, test).statistic)),
        "n": len(both),
    }


def table(trial: Mapping[str, Any]) -> str:
    """Markdown: a row a network, the best first of each kind; below, the random cells, the proxy, and the circumstances."""
    networks = trial["networks"]
    distances, kinds = ahead(networks), list(dict.fromkeys(n["kind"] for n in networks))
    rows = []
    for n in sorted(networks, key=lambda n: (kinds.index(n["kind"]), -np.mean(n["accuracies"]))):
        cost = f"{n['params'] / 1e6:.3f}", f"{n['macs'] / 1e6:.2f}"
        proxy = None if n["proxy"] is None else f"{100 * n['proxy']:.2f}"
        ahead_by = f"{distances[n['name']]:+.2f}"
        rows.append([n["name"], n["kind"], *cost, _percent(n["accuracies"]), ahead_by, proxy, f"{n['milliseconds']:.2f}"])
    return "\n\n".join([markdown_table(HEAD.split(" | "), rows), _ranks(networks), _circumstances(trial)])


def _ranks(networks: Sequence[Mapping[str, Any]]) -> str:
    (mean, spread), count = random_cells(networks), sum(n["kind"] == RANDOM for n in networks)
    c = correlation(networks)
    hint = "" if c["n"] >= ENOUGH else f", too few to say much (fewer than {ENOUGH})"
    return (
        f"Random cells: {mean_and_deviation(100 * mean, 100 * spread, 2)} % over {count} cells."
        " The proxy's accuracy against that on the test images:"
        f" Kendall's tau {c['kendall']:.2f}, Spearman's rho {c['spearman']:.2f}, n = {c['n']} cells{hint}."
    )


def _circumstances(trial: Mapping[str, Any]) -> str:
    asked, images = trial["trial"], trial["images"]
    return (
        f"{trial['settings']['data']['type']}, {images['train']} training and {images['test']} test images of"
        f" {images['size']} pixels; {asked['epochs']} epochs, seeds {', '.join(map(str, asked['seeds']))}; best of"
        f" {asked['candidates']} random cells by the proxy. {trial['machine']}, torch {trial['versions']['torch']},"
        f" {trial['date']}."
    )


def _percent(accuracies: Sequence[float]) -> str:
    spread = 100 * deviation(accuracies) if len(accuracies) > 1 else None
    return mean_and_deviation(100 * float(np.mean(accuracies)), spread, 2)


def graph(trial: Mapping[str, Any]) -> Figure:
    """Draw the proxy's accuracy of each cell against its mean test accuracy with the deviation over the seeds."""
    figure = page_figure(4.4)
    axes, c = figure.subplots(), correlation(trial["networks"])
    kinds = dict.fromkeys(n["kind"] for n in trial["networks"] if n["proxy"] is not None)
    for kind, marker, colour in zip(kinds, cycle("osD^v"), cycle(SERIES)):
        cells = [n for n in trial["networks"] if n["kind"] == kind]
        proxy, test = ([100 * np.mean(n[name]) for n in cells] for name in ("proxy", "accuracies"))
        spread = [100 * deviation(n["accuracies"]) for n in cells]
        axes.errorbar(proxy, test, spread, fmt=marker, color=colour, capsize=2, label=kind)
    axes.set(xlabel="accuracy by the proxy, %", ylabel="test accuracy after the longer training, %")
    axes.set_title(f"Kendall's tau {c['kendall']:.2f}, Spearman's rho {c['spearman']:.2f}, {c['n']} cells", fontsize=LETTERS)
    legend_below(axes)
    return figure


def write(trial: Mapping[str, Any], directory: str | os.PathLike[str]) -> None:
    """Write `trial.json`, `trial.md` and `trial.svg` into the work directory."""
    directory = Path(directory)
    save_text(directory / "trial.json", json.dumps(_without_trainings(trial), indent=1) + "\n")
    save_text(directory / "trial.md", table(trial) + "\n")
    save_svg(graph(trial), directory / "trial.svg")


def write_docs(root: Path, trial: Mapping[str, Any]) -> None:
    """Renew the table, its data, its graph and the record of its trainings below docs/."""
    publish(root, DATA, _without_trainings(trial), PAGE, MARKS, table(trial))
    save_svg(graph(trial), root / GRAPH)
    save_text(root / RECORD, "".join(json.dumps(row) + "\n" for row in trial["trainings"]))


def _without_trainings(trial: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trial.items() if name != "trainings"}
