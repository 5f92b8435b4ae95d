"""What a trial found: the table, how far cells are ahead of random ones, and whether the proxy ranks cells as the test does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import kendalltau, spearmanr

from gemnet.core.files import save_text
from gemnet.core.tables import markdown_table, marks, mean_and_deviation, publish
from gemnet.drawing.palette import SERIES, save_svg
from gemnet.drawing.plots import LETTERS, legend_below, page_figure
from search.evaluation.trainings import deviation
from search.experiments.trial.trial import RANDOM, SHIPPED


class Pages(NamedTuple):
    """Where a trial is told of below the repository."""

    page: str
    data: str
    graph: str
    record: str
    marks: tuple[str, str]


def _pages(name: str, command: str) -> Pages:
    page, data, graph, record = (f"docs/results/{name}.{ending}" for ending in ("md", "json", "svg", "jsonl"))
    return Pages(page, data, graph, record, marks(name, command))


TRIAL = _pages("trial", "tools/evaluate_cells.py --write")
CONVERGED = _pages("converged", "tools/evaluate_cells.py --converged --write")
PAGE, DATA, GRAPH, RECORD, MARKS = TRIAL
HEAD = (
    "network | what | params M | MACs M | test accuracy %, mean ± deviation | ahead of random cells, deviations"
    " | proxy accuracy % | CPU ms"
)
MARGINS = (
    "network | what | params M | MACs M | test accuracy %, mean ± deviation | seeds"
    " | {best} ahead by, % ± standard error | CPU ms"
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
    if len(both) < 2:
        return {"kendall": 0.0, "spearman": 0.0, "n": len(both)}
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


def margins(trial: Mapping[str, Any]) -> str:
    """Markdown: a row a network, the best first; how far the best shipped cell is ahead of each, with the standard error.

    Networks may have different numbers of seeds, as in a trial that is not at its end.
    """
    networks = sorted(trial["networks"], key=lambda n: -np.mean(n["accuracies"]))
    best = next((n for n in networks if n["kind"] == SHIPPED), networks[0])
    rows = []
    for n in networks:
        lead, error = difference(best["accuracies"], n["accuracies"])
        told = None if n is best else mean_and_deviation(100 * lead, None if error is None else 100 * error, 2)
        cost = f"{n['params'] / 1e6:.3f}", f"{n['macs'] / 1e6:.2f}"
        seeds = str(len(n["accuracies"]))
        rows.append([n["name"], n["kind"], *cost, _percent(n["accuracies"]), seeds, told, f"{n['milliseconds']:.2f}"])
    recipes = "; ".join(f"{family}: {_values(own)}" for family, own in trial["recipes"].items() if own)
    chosen = [f"Chosen on held-out training images: {recipes}."] if recipes else []
    head = MARGINS.format(best=best["name"]).split(" | ")
    return "\n\n".join([markdown_table(head, rows), *chosen, _circumstances(trial)])


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float | None]:
    """Of the means, and its standard error; None where one has a single value."""
    lead = float(np.mean(first) - np.mean(second))
    if min(len(first), len(second)) < 2:
        return lead, None
    return lead, float(np.sqrt(sum(deviation(one) ** 2 / len(one) for one in (first, second))))


def _values(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in settings.items())


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
    save_text(directory / "trial.md", table_of(trial) + "\n")
    save_svg(graph(trial), directory / "trial.svg")


def table_of(trial: Mapping[str, Any]) -> str:
    """`margins` of a trial with a recipe a family, or with too few random cells yet; `table` of others."""
    few = sum(n["kind"] == RANDOM for n in trial["networks"]) < 2
    return margins(trial) if few or trial["trial"].get("tune") else table(trial)


def write_docs(root: Path, trial: Mapping[str, Any], pages: Pages = TRIAL) -> None:
    """Renew the table, its data, its graph and the record of its trainings below docs/."""
    publish(root, pages.data, _without_trainings(trial), pages.page, pages.marks, table_of(trial))
    save_svg(graph(trial), root / pages.graph)
    save_text(root / pages.record, "".join(json.dumps(row) + "\n" for row in trial["trainings"]))


def _without_trainings(trial: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in trial.items() if name != "trainings"}
