"""Results summed up over the seeds, and the summary as Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gemnet.core.tables import markdown_table, mean_and_deviation
from search.experiments.paper.base import Comparison, Result

DIGITS = 6
"""Significant digits that are kept in files."""


def summarized(results: Sequence[Result], comparisons: Iterable[Comparison] = ()) -> dict[str, Any]:
    """Sum up results, as JSON has it.

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
        ours, theirs = (
            {result.unit.seed: result.measured.figures[comparison.figure] for result in results} for results in (members, other)
        )
        differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
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


def rounded_series(**series: Iterable[float]) -> dict[str, list[float | None]]:
    """Numbers for plots, by name, as files have them: None for NaN."""
    return {name: [None if math.isnan(value) else rounded(value) for value in values] for name, values in series.items()}


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
    published: Mapping[str, Mapping[int, float]] | None = None,
    digits: int = 3,
    unit: str = "",
) -> str:
    """Markdown, a line for each row and a column for each setting: others' figures first, then ours, then paired differences.

    label: of the first column. published: figures by setting, by the label of their line. unit: after the settings of the head.
    """
    settings = settings_of(summary)
    ours = {(row["row"], row["setting"]): row["figures"].get(figure) for row in summary["rows"]}
    paired = {(pair["row"], pair["against"], pair["setting"]): pair for pair in summary["paired"] if pair["figure"] == figure}
    lines: list[list[str | None]] = []
    for name, figures in (published or {}).items():
        lines.append([name, *(f"{figures[s]:.{digits}f}" if s in figures else None for s in settings)])
    for name in rows_of(summary):
        cells = [shown(ours.get((name, s)), digits) for s in settings]
        lines += [[f"**{name}**{_fewer_seeds(summary, name)}", *cells]] if any(cells) else []
    for name, against in dict.fromkeys(key[:2] for key in paired):
        cells = [_difference(paired.get((name, against, s)), digits) for s in settings]
        lines.append([f"{name} - {against}, paired", *cells])
    return markdown_table([label, *(f"{setting}{unit}" for setting in settings)], lines)


def by_row(summary: Mapping[str, Any], label: str, titles: Mapping[str, str], digits: Mapping[str, int] | None = None) -> str:
    """Markdown, a line for each row and a column for each figure, for a part of one setting; then paired differences.

    label: of the first column. titles: those of the columns, by figure. digits: of a figure, 3 if it is not among them.
    """
    places = {figure: (digits or {}).get(figure, 3) for figure in titles}
    lines = [[row["row"], *(shown(row["figures"].get(f), places[f]) for f in titles)] for row in summary["rows"]]
    for pair in summary["paired"]:
        differences = [shown(pair, places[f], sign=True) if f == pair["figure"] else None for f in titles]
        lines.append([f"{pair['row']} - {pair['against']}, paired", *differences])
    return markdown_table([label, *titles.values()], lines)


def shown(value: Mapping[str, Any] | None, digits: int = 3, sign: bool = False) -> str | None:
    """Mean ± deviation as text; None where there is none."""
    return mean_and_deviation(value["mean"], value["deviation"], digits, sign) if value else None


def _difference(pair: Mapping[str, Any] | None, digits: int) -> str | None:
    return f"{shown(pair, digits, sign=True)} ({pair['larger']} of {pair['count']} larger)" if pair else None


def _fewer_seeds(summary: Mapping[str, Any], name: str) -> str:
    """How many seeds a row has where others have more at the same setting; nothing for a row of one seed alone."""
    most: dict[int, int] = {}
    for row in summary["rows"]:
        most[row["setting"]] = max(row["count"], most.get(row["setting"], 0))
    own = {row["setting"]: row["count"] for row in summary["rows"] if row["row"] == name}
    low, high = min(own.values()), max(own.values())
    if high == 1 or all(own[setting] == most[setting] for setting in own):
        return ""
    return f", {low if low == high else f'{low} to {high}'} seeds"


def seeds_text(summary: Mapping[str, Any]) -> str:
    """How many seeds, and how long a unit took, as a sentence."""
    seeds = summary["seeds"]
    seconds = [row["seconds"] for row in summary["rows"]]
    several = f"Seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"Seed {seeds[0]}"
    span = f"{min(seconds):.1f} to {max(seconds):.1f} s"
    return f"{several}; mean ± standard deviation over them; {span} for a row, setting and seed."
