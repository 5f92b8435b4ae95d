"""How well cheap proxies rank the cells as their long trainings do: Kendall's tau, made from the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import kendalltau

from gemnet.core.tables import markdown_table, marks, renew
from search.spaces.cell_benchmark import cell_of, key, trainings

PAGE, RECORD = "docs/results/cell_benchmark.md", "docs/results/cell_benchmark.jsonl"
MARKS = marks("cell-benchmark", "tools/cell_benchmark.py table --write")
SHARES = (1 / 6, 1 / 3, 1 / 2, 1)
"""Of a schedule's epochs, after which its accuracy counts as a proxy."""
FEWEST = 4
"""Cells that a rank correlation is told of."""
EXPONENTS = np.linspace(0.1, 2.0, 39)

Row = Mapping[str, Any]


class Proxy(NamedTuple):
    """A cheap measure of cells by their digest, the higher the better; minutes: of a CPU core, or of a GPU, a cell."""

    name: str
    minutes: float
    values: Mapping[str, float]


def converged(rows: Sequence[Row]) -> dict[str, float]:
    """The final accuracy of the long trainings by the digest of the cell, the mean over its seeds."""
    return {digest: fmean(row["accuracy"] for row in own) for digest, own in trainings(rows).items()}


def proxies(rows: Sequence[Row]) -> Iterator[Proxy]:
    """All proxies that the record tells of."""
    long = trainings(rows)
    first = {digest: own[0] for digest, own in long.items()}
    others = [row for row in rows if row["recipe"] not in {row["recipe"] for row in first.values()}]
    for recipe in dict.fromkeys(row["recipe"] for row in others):
        own = [row for row in others if row["recipe"] == recipe]
        by_cell: dict[str, Row] = {}
        for row in sorted(own, key=lambda row: row["seed"]):
            by_cell.setdefault(key(row)[0], row)
        about = f"{own[0]['schedule']}, {own[0]['train_images']:,} images, {own[0]['epochs']} epochs"
        yield from _after(about, by_cell, SHARES)
    if first:
        about = f"long, {next(iter(first.values()))['epochs']} epochs"
        yield from _after(about, first, SHARES[:-1])
        yield from _after(f"{about}, extrapolated", first, SHARES[:-1], extrapolated)
        measures: dict[str, Callable[[Row], float]] = {
            "params": lambda row: row["params"],
            "MACs": lambda row: row["macs"],
            "few activations": lambda row: -row["activations"],
            "few nodes": lambda row: -len(row["nodes"]),
            "few edges": lambda row: -len(row["edges"]),
            "short longest path": lambda row: -_depth(row),
        }
        for name, measure in measures.items():
            yield Proxy(name, 0.0, {digest: measure(row) for digest, row in first.items()})


def _after(
    about: str,
    rows: Mapping[str, Row],
    shares: Sequence[float],
    measure: Callable[[Sequence[float], int], float] = lambda curve, _: curve[-1],
) -> Iterator[Proxy]:
    """Accuracies after shares of the epochs, or what `measure` makes of the curve up to there and the number of all epochs."""
    epochs = next(iter(rows.values()))["epochs"]
    for epoch in sorted({max(1, round(share * epochs)) for share in shares}):
        minutes = fmean(row["cpu_seconds"] for row in rows.values()) * epoch / epochs / 60
        values = {digest: measure(row["curve"][:epoch], epochs) for digest, row in rows.items()}
        yield Proxy(f"{about}: after {epoch}", minutes, values)


def extrapolated(curve: Sequence[float], epochs: int) -> float:
    """The accuracy after `epochs` by the power law a - b t^-c that fits the curve best, b and c positive."""
    time, values = np.arange(1, len(curve) + 1, dtype=float), np.asarray(curve, float)
    best, found = np.inf, float(values[-1])
    for exponent in EXPONENTS if len(curve) > 2 else ():
        columns = np.stack([np.ones_like(time), -(time**-exponent)], axis=1)
        (top, slope), *_ = np.linalg.lstsq(columns, values, rcond=None)
        error = float(((columns @ (top, slope) - values) ** 2).sum())
        if slope > 0 and error < best:
            best, found = error, float(top - slope * epochs**-exponent)
    return found


def _depth(row: Row) -> int:
    """Nodes on the longest path from the input, without it."""
    depths = [0] * len(row["nodes"])
    for u, v in sorted(row["edges"]):
        depths[v] = max(depths[v], depths[u] + 1)
    return max(depths)


def taus(values: Mapping[str, float], accuracy: Mapping[str, float]) -> tuple[int, float | None, float | None]:
    """How many cells have both, and Kendall's tau over them all, and over the better half by accuracy; None for too few."""
    both = sorted((digest for digest in accuracy if digest in values), key=lambda digest: -accuracy[digest])
    half = both[: -(-len(both) // 2)]
    return len(both), _tau(both, values, accuracy), _tau(half, values, accuracy)


def _tau(digests: Sequence[str], values: Mapping[str, float], accuracy: Mapping[str, float]) -> float | None:
    if len(digests) < FEWEST:
        return None
    found = kendalltau([values[d] for d in digests], [accuracy[d] for d in digests])
    return float(np.nan_to_num(found.statistic))


def table(rows: Sequence[Row]) -> str:
    """Markdown: the cells with their accuracies, then the proxies with their rank correlations."""
    long = trainings(rows)
    if not long:
        return "No cell is trained by the long schedule yet."
    lines: list[list[object]] = []
    for own in sorted(long.values(), key=lambda own: -fmean(row["accuracy"] for row in own)):
        row, cell = own[0], cell_of(own[0])
        accuracy = f"{100 * fmean(row['accuracy'] for row in own):.2f}"
        gain = (
            f"{100 * (row['curve'][-1] - row['curve'][-1 - max(1, row['epochs'] // 10)]):+.2f}" if row["epochs"] > 1 else None
        )
        size = (len(cell.nodes) - 1, len(cell.edges), f"{row['params'] / 1e3:.0f}", f"{row['macs'] / 1e6:.2f}")
        lines.append([row["kind"], cell.digest()[:8], *size, accuracy, gain, len(own), f"{row['cpu_seconds'] / 60:.1f}"])
    head = ("kind", "cell", "nodes", "edges", "params k", "MACs M", "accuracy %", "last tenth's gain", "seeds", "CPU minutes")
    first = next(iter(long.values()))[0]
    about = (
        f"{len(long)} cells, {first['epochs']} epochs of {first['train_images']:,} images of {first['data']}, judged on"
        f" {first['val_images']:,} others."
    )
    parts = [about, markdown_table(head, lines)]
    accuracy_of = converged(rows)
    ranked = [(proxy, *taus(proxy.values, accuracy_of)) for proxy in proxies(rows)]
    if len(long) >= FEWEST:
        told = [
            [proxy.name, f"{proxy.minutes:.1f}" if proxy.minutes else "0", count, _shown(whole), _shown(half)]
            for proxy, count, whole, half in ranked
        ]
        parts.append(markdown_table(("proxy", "CPU minutes a cell", "cells", "tau, all", "tau, better half"), told))
    return "\n\n".join(parts)


def _shown(tau: float | None) -> str | None:
    return None if tau is None else f"{tau:.2f}"


def write(root: Path, rows: Sequence[Row]) -> None:
    """Renew the tables of the page below `root`. Raises UserError where it has no place for them."""
    renew(root, PAGE, MARKS, table(rows))
