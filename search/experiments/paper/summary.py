"""Results summed up over the seeds, and the summary as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search.experiments.paper.base import Comparison, Result

DIGITS = 6
"""Significant digits that are kept in files."""


def summarized(results: Sequence[Result], comparisons: Iterable[Comparison] = ()) -> dict[str, Any]:
    """What is told of results, as JSON has it.

    "rows": for each row and setting the number of seeds, the mean and the sample standard deviation (None for one seed) of each
    figure, and the mean seconds of a unit. "paired": for each comparison and setting the same of the differences
    row - against in the seeds that both have, and in how many of them the row has the larger figure.
    """
    cells: dict[tuple[str, int], list[Result]] = {}
    for result in results:
        cells.setdefault((result.unit.row, result.unit.setting), []).append(result)
    return {
        "seeds": sorted({result.unit.seed for result in results}),
        "rows": [
            {
                "row": row,
                "setting": setting,
                "count": len(members),
                "seconds": rounded(statistics.fmean(member.seconds for member in members)),
                "figures": {
                    name: spread([member.measured.figures[name] for member in members]) for name in members[0].measured.figures
                },
            }
            for (row, setting), members in cells.items()
        ],
        "paired": [pair for comparison in comparisons for pair in _paired(cells, comparison)],
    }


def _paired(cells: Mapping[tuple[str, int], Sequence[Result]], comparison: Comparison) -> Iterable[dict[str, Any]]:
    for (row, setting), members in cells.items():
        other = cells.get((comparison.against, setting))
        if row != comparison.row or other is None:
            continue
        there = {result.unit.seed: result.measured.figures[comparison.figure] for result in other}
        here = {result.unit.seed: result.measured.figures[comparison.figure] for result in members}
        differences = [here[seed] - there[seed] for seed in here if seed in there]
        if differences:
            yield {
                "row": row,
                "against": comparison.against,
                "figure": comparison.figure,
                "setting": setting,
                "count": len(differences),
                "larger": sum(difference > 0 for difference in differences),
                **spread(differences),
            }


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation; None for the deviation of one value."""
    deviation = rounded(statistics.stdev(values)) if len(values) > 1 else None
    return {"mean": rounded(statistics.fmean(values)), "deviation": deviation}


def rounded(value: float) -> float:
    """To as many digits as files have."""
    return float(f"{value:.{DIGITS}g}")


def settings_of(summary: Mapping[str, Any]) -> list[int]:
    """The settings of a summary, ascending."""
    return sorted({row["setting"] for row in summary["rows"]})


def rows_of(summary: Mapping[str, Any]) -> list[str]:
    """The rows of a summary, in the order of the results."""
    return list(dict.fromkeys(row["row"] for row in summary["rows"]))


def grid(
    summary: Mapping[str, Any],
    figure: str,
    label: str,
    published: Iterable[tuple[str, Mapping[int, float]]] = (),
    digits: int = 3,
    unit: str = "",
) -> str:
    """Markdown, a line for each row and a column for each setting: others' figures first, then ours, then paired differences.

    label: of the first column. published: the label of a line, and its figures by setting. unit: after the numbers of the head.
    """
    settings = settings_of(summary)
    found = {(row["row"], row["setting"]): row for row in summary["rows"]}
    lines = [[label, *(f"{setting}{unit}" for setting in settings)]]
    for name, figures in published:
        lines.append([name, *(f"{figures[setting]:.{digits}f}" if setting in figures else "" for setting in settings)])
    for name in rows_of(summary):
        values = [found[name, s]["figures"].get(figure) if (name, s) in found else None for s in settings]
        if any(values):
            lines.append([f"**{name}**", *("" if value is None else shown(value, digits) for value in values)])
    for name, against in dict.fromkeys(
        (pair["row"], pair["against"]) for pair in summary["paired"] if pair["figure"] == figure
    ):
        pairs = {p["setting"]: p for p in summary["paired"] if (p["row"], p["against"], p["figure"]) == (name, against, figure)}
        line = [
            f"{shown(pairs[s], digits, sign=True)} ({pairs[s]['larger']} of {pairs[s]['count']} larger)" if s in pairs else ""
            for s in settings
        ]
        lines.append([f"{name} - {against}, paired", *line])
    return markdown(lines)


def shown(value: Mapping[str, float | None], digits: int = 3, sign: bool = False) -> str:
    """Mean ± deviation as text."""
    text = f"{value['mean']:{'+' if sign else ''}.{digits}f}"
    return text if value["deviation"] is None else f"{text} ± {value['deviation']:.{digits}f}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table of lines of cells, the head first."""
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])


def seeds_text(summary: Mapping[str, Any]) -> str:
    """How many seeds, and how long a unit took, as a sentence."""
    seeds = summary["seeds"]
    seconds = [row["seconds"] for row in summary["rows"]]
    several = f"Seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"Seed {seeds[0]}"
    span = f"{min(seconds):.1f} to {max(seconds):.1f} s"
    return f"{several}; mean ± standard deviation over them; {span} for a row, setting and seed."
