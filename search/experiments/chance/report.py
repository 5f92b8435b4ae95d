"""What the comparison found: a table a benchmark, and the curves; both made from the record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gemnet.core.tables import markdown_table, marks, mean_and_deviation, renew
from gemnet.drawing.palette import BLUE, BROWN, GREY, ORANGE, RED, VIOLET, save_svg
from gemnet.drawing.plots import LETTERS, legend_below, page_figure
from search.experiments.chance.tasks import BENCHMARKS, DEFAULT, ENSEMBLE, EVOLUTION, GRAPHS, NASGEM, RANDOM

PAGE, RECORD, PICTURE = "docs/results/chance.md", "docs/results/chance.jsonl", "docs/results/chance.svg"
MARKS = marks("chance", "tools/compare_searches.py table --write")
COLOURS = {DEFAULT: RED, NASGEM: ORANGE, EVOLUTION: BROWN, RANDOM: GREY, GRAPHS: VIOLET, ENSEMBLE: BLUE}
WANTED, FEWEST = 2, 5
"""Standard errors that a search is to be ahead of random search by; seeds of which they are told."""
FIGURES = {
    "score": "score at the end",
    "mean_score": "score on average",
    "test": "test at the end",
    "mean_test": "test on average",
}
"""What is told of a search: the best score that it has seen, and what the cell that it would choose is worth by what no search
has seen."""


class Difference(NamedTuple):
    """Of two searches over the seeds that both have: the mean and its standard error, 0 for equal ones."""

    mean: float
    error: float
    seeds: int

    @property
    def errors(self) -> float:
        """The mean in standard errors; infinite where there is no spread."""
        return self.mean / self.error if self.error else float(np.copysign(np.inf, self.mean) if self.mean else 0.0)


def latest(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The lines of each benchmark's and search's last recipe: of the first lines of recipes the latest."""
    rows, recipes = list(rows), dict[tuple[str, str], str]()
    first = dict.fromkeys((row["benchmark"], row["method"], row["recipe"]) for row in rows)
    for benchmark, method, recipe in first:
        recipes[benchmark, method] = recipe
    return [row for row in rows if row["recipe"] == recipes[row["benchmark"], row["method"]]]


def figures(row: Mapping[str, Any]) -> dict[str, float]:
    """Of a search: what it ends with, and the averages of its curves, in percent."""
    return {
        "score": 100 * row["score"][-1],
        "mean_score": 100 * mean(row["score"]),
        "test": 100 * row["test"][-1],
        "mean_test": 100 * mean(row["test"]),
    }


def ahead(rows: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]], name: str) -> Difference | None:
    """How far searches are ahead of others in a figure, paired by their seeds; None for fewer than FEWEST pairs."""
    theirs = {row["seed"]: figures(row)[name] for row in other}
    differences = [figures(row)[name] - theirs[row["seed"]] for row in rows if row["seed"] in theirs]
    if len(differences) < FEWEST:
        return None
    return Difference(mean(differences), stdev(differences) / len(differences) ** 0.5, len(differences))


def by_search(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """The latest lines by benchmark and search, both in the order in which they are told."""
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    lines = latest(rows)
    for benchmark, about in BENCHMARKS.items():
        for method in about.methods:
            own = [row for row in lines if (row["benchmark"], row["method"]) == (benchmark, method)]
            if own:
                found.setdefault(benchmark, {})[method] = sorted(own, key=lambda row: row["seed"])
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a table a benchmark, a row a search; means with their standard errors over the seeds, in percent."""
    parts = [_of_benchmark(benchmark, searches) for benchmark, searches in by_search(rows).items()]
    return "\n\n".join(parts) or "Nothing is recorded yet."


def _of_benchmark(benchmark: str, searches: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = []
    for method, rows in searches.items():
        cells = [method, str(len(rows))]
        for name in FIGURES:
            text = _spread([figures(row)[name] for row in rows])
            difference = None if method == RANDOM else ahead(rows, searches.get(RANDOM, ()), name)
            cells.append(text if difference is None else f"{text} ({difference.errors:+.1f})")
        lines.append([*cells, f"{mean(row['cpu_seconds'] for row in rows):.0f}"])
    first = next(iter(searches.values()))[0]
    best = f" The best test accuracy there is: {100 * first['best_test']:.2f}." if first["best_test"] is not None else ""
    head = f"**{BENCHMARKS[benchmark].title}**, {first['budget']} evaluations, in %.{best}"
    body = markdown_table(("search", "seeds", *FIGURES.values(), "CPU s"), lines)
    return "\n\n".join(part for part in (head, body, _verdict(searches)) if part)


def _verdict(searches: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Whether the default search is ahead of each other one by WANTED standard errors, in every figure."""
    ours, parts = searches.get(DEFAULT, ()), []
    for method, rows in searches.items():
        found = {title: ahead(ours, rows, name) for name, title in FIGURES.items()}
        known = {title: difference for title, difference in found.items() if difference is not None}
        if method == DEFAULT or not known:
            continue
        short = [f"{title} {difference.errors:+.1f}" for title, difference in known.items() if difference.errors < WANTED]
        parts.append(f"of {method} {'in all columns' if not short else 'but for ' + ', '.join(short)}")
    if not parts:
        return ""
    return f"The default search is ahead by {WANTED} standard errors or more {'; '.join(parts)}."


def _spread(values: Sequence[float]) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return mean_and_deviation(mean(values), error, 2)


def picture(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw, a line of panels a benchmark, the best score seen and the chosen cell's test figure over the evaluations.

    Mean over the seeds, the band one standard error.
    """
    found = by_search(rows)
    figure = page_figure(0.9 + 2.1 * max(1, len(found)))
    grid = figure.subplots(max(1, len(found)), 2, squeeze=False)
    handles: dict[str, Line2D] = {}
    for (left, right), (benchmark, searches) in zip(grid, found.items()):
        for method, lines in searches.items():
            colour = COLOURS[method]
            for axes, name in ((left, "score"), (right, "test")):
                handles.setdefault(method, _curve(axes, lines, name, colour, method))
        left.set_title(f"{BENCHMARKS[benchmark].title}: score", fontsize=LETTERS)
        right.set_title("test, chosen cell", fontsize=LETTERS)
    for axes in grid[-1]:
        axes.set_xlabel("evaluations")
    figure.supylabel("%", fontsize=LETTERS)
    legend_below(grid[0][0], handles=list(handles.values()))
    return figure


def _curve(axes: Axes, lines: Sequence[Mapping[str, Any]], name: str, colour: str, label: str) -> Line2D:
    at, curves = lines[0]["at"], 100 * np.array([line[name] for line in lines])
    middle = curves.mean(0)
    (line,) = axes.plot(at, middle, color=colour, label=label)
    if len(curves) > 1:
        error = curves.std(0, ddof=1) / len(curves) ** 0.5
        axes.fill_between(at, middle - error, middle + error, color=colour, alpha=0.2, linewidth=0)
    axes.grid(alpha=0.25)
    return line


def write(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Renew the table of the page below `root`, and its picture. Raises UserError where it has no place for the table."""
    renew(root, PAGE, MARKS, table(rows))
    save_svg(picture(rows), root / PICTURE)
