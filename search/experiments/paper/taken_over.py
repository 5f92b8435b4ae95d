"""Results that stand in docs/results/paper, taken over instead of measured again."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from gemnet.core.files import read_text
from search.core.types import SearchError
from search.experiments.paper.base import Measured, Part, Result, Unit


def taken_over(part: Part, units: Sequence[Unit], folder: Path) -> dict[str, Result]:
    """The results of `units` that `<part>.csv` in `folder` has, by the units' keys; none without that file.

    A line counts where its unit is the same to the last setting. Figures have the digits of the file. Raises SearchError for a
    part whose picture is made of more than its file has, and for a file of something else.
    """
    if part.points:
        raise SearchError(f"--missing: {part.name}.csv is not all that is shown of {part.name}; measure it anew")
    path = folder / f"{part.name}.csv"
    if not path.exists():
        return {}
    wanted, found = {unit.key: unit for unit in units}, {}
    for line in csv.DictReader(read_text(path).splitlines(keepends=True)):
        try:
            unit, seconds = wanted.get(line.pop("unit")), float(line.pop("seconds"))
            named = (line.pop("row"), int(line.pop("setting")), int(line.pop("seed")))
            figures = {name: float(value) for name, value in line.items() if value}
        except (KeyError, TypeError, ValueError) as error:
            raise SearchError(f"{path}: expected row, setting, seed, figures, seconds and unit in each line: {error}") from None
        if unit and named == (unit.row, unit.setting, unit.seed):
            found[unit.key] = Result(unit, Measured(figures), seconds)
    return found
