"""What a part leaves: its table as Markdown, every figure of every seed as CSV, a picture; the same in docs/results/paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from gemnet.core import tables
from gemnet.core.files import save_text
from gemnet.core.machine import processor
from gemnet.drawing.palette import save_svg
from search.experiments.paper.base import Part, Result
from search.experiments.paper.pictures import picture
from search.experiments.paper.summary import rounded, seeds_text, summarized

PAGE, FOLDER = "docs/results/paper/README.md", "docs/results/paper"


def marks(name: str) -> tuple[str, str]:
    """The lines of the page between which a part's table stands."""
    return tables.marks(name, f"tools/reproduce.py {name} --write")


def write_files(part: Part, results: Sequence[Result], directory: Path) -> list[Path]:
    """Write <part>.md, .csv, .svg, and <part>_points.csv where the picture shows more than figures; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    table = directory / f"{part.name}.md"
    summary = summarized(results, part.comparisons)
    save_text(table, f"{part.table(summary)}\n\n{seeds_text(summary)}\n")
    return [table, *_csv_and_picture(part, results, directory)]


def publish_part(part: Part, results: Sequence[Result], root: Path, command: str) -> None:
    """Write <part>.json, .csv and .svg to docs/results/paper below `root`, and the table into its page.

    Raises UserError, before anything is written, where the page lacks the part's marks.
    """
    summary = summarized(results, part.comparisons)
    data = {"command": command, "machine": processor(), "date": date.today().isoformat(), **summary}
    tables.publish(root, f"{FOLDER}/{part.name}.json", data, PAGE, marks(part.name), published_table(part, data))
    _csv_and_picture(part, results, root / FOLDER)


def published_table(part: Part, data: Mapping[str, Any]) -> str:
    """The part's section of the page, of what its JSON file holds."""
    made_by = f"`{data['command']}`, {data['date']}, {data['machine']}."
    return f"{part.table(data)}\n\n{seeds_text(data)} {made_by}\n\n![{part.shows}]({part.name}.svg)"


def _csv_and_picture(part: Part, results: Sequence[Result], directory: Path) -> list[Path]:
    names = list(dict.fromkeys(name for result in results for name in result.measured.figures))
    lines = []
    for result in results:
        figures = (result.measured.figures.get(name) for name in names)
        numbers = [None if figure is None else rounded(figure) for figure in figures]
        unit = result.unit
        lines.append((unit.row, unit.setting, unit.seed, *numbers, rounded(result.seconds), unit.key))
    paths = [directory / f"{part.name}.csv"]
    tables.save_csv(paths[0], ("row", "setting", "seed", *names, "seconds", "unit"), lines)
    if part.points:
        paths.append(directory / f"{part.name}_points.csv")
        tables.save_csv(paths[-1], *part.points(results))
    paths.append(directory / f"{part.name}.svg")
    save_svg(picture(part.name, part.draw, directory), paths[-1])
    return paths
