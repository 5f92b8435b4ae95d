"""Pictures of parts, made of the files that a part leaves: the same from a run and from what is shipped.

So colours, letters and layout change without measuring anything again.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gemnet.core.errors import UserError
from gemnet.core.files import read_text
from gemnet.drawing.plots import page_figure
from search.experiments.paper.base import Draw, Measured, Result, Shown, Unit

HEIGHT = 3.6  # inches, unless a picture sets its own


def picture(name: str, draw: Draw, directory: Path) -> Figure:
    """Draw what `<name>.csv` and, where it is there, `<name>_points.csv` in `directory` hold."""
    figure = page_figure(HEIGHT)
    draw(figure, read_shown(name, directory))
    return figure


def read_shown(name: str, directory: Path) -> Shown:
    """Read what `output.write_files` wrote. Raises UserError, which names the file, where it lacks something."""
    path = directory / f"{name}.csv"
    try:
        results = [_result(name, line) for line in _lines(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: expected row, setting, seed, figures and seconds in each line: {error}") from None
    if not results:
        raise UserError(f"{path}: has no figures")
    points = directory / f"{name}_points.csv"
    return Shown(results, _lines(points) if points.exists() else ())


def _result(name: str, line: dict[str, Any]) -> Result:
    row, setting, seed, seconds = (line.pop(column) for column in ("row", "setting", "seed", "seconds"))
    line.pop("unit", None)
    figures = {figure: float(value) for figure, value in line.items() if value is not None}
    return Result(Unit(name, str(row), int(setting), int(seed), {}), Measured(figures), float(seconds))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [
        {name: _value(text) for name, text in line.items()}
        for line in csv.DictReader(read_text(path).splitlines(keepends=True))
    ]


def _value(text: str) -> float | str | None:
    """A number where it is one; None for nothing."""
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text
