"""docs/results/svge: an overview and a section a space, made from the work directories of `tools/svge.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gemnet.core import tables
from gemnet.core.files import save_text
from gemnet.drawing.palette import save_svg
from search.core.types import SearchError
from search.experiments.svge.measuring import COLUMNS, joined, markdown
from search.experiments.svge.pictures import DRAWINGS
from search.experiments.svge.tasks import TASKS

FOLDER = "docs/results/svge"
PAGE = f"{FOLDER}/README.md"
POINTS = "_points.json"
"""What pictures show: `<picture>_points.json` in a work directory, `<space>_points.json` with all of them in FOLDER."""
TABLES = {
    "measures": "Measures: mean ± standard deviation over the seeds (how many)",
    "smoothness": "Cosine of latent vectors against the WL kernel",
    "optimisation": "Latent optimisation",
    "extrapolation": "Extrapolation to larger cells",
}
OVERVIEW_MARKS = tables.marks("svge", "tools/svge.py --write")
GOALS = {
    "reconstruction share": "> 99.9",
    "prior validity": "100",
    "checked share": "> 99.9",
    "checked validity": "100",
    "gaussian process RMSE": "< 0.248, ENAS",
    "gaussian process Pearson": "> 0.968, ENAS",
    "network RMSE": "",
    "network Pearson": "",
    "informed RMSE": "< 0.248, ENAS",
    "informed Pearson": "> 0.968, ENAS",
}
"""Measures in the overview, and the project's goals."""
FIGURES = {
    "interpolation": "cells decoded on the straight way from a held-out cell's latent vector to that of the most accurate "
    "training cell: a few nodes or edges change at a time",
    "plane": "accuracy over a plane through the latent space, as the Gaussian process predicts it and, where known, as it is: "
    "the good cells lie together",
    "kernel": "the cosine of two cells' vectors against their WL kernel, a dot a pair: with SVGe, on the left, a cloud off the "
    "diagonal, with NASGEM, on the right, a narrower one along it",
    "optimisation": "the best accuracy found against the number of queries: bootstrap and expected improvement on known cells "
    "are ahead of expected improvement with decoding, and all of random draws",
}
"""Pictures by name, with what they show."""


def marks(space: str) -> tuple[str, str]:
    """What the page's section of `space` stands between."""
    return tables.marks(space, "tools/svge.py --write")


def page_section(data: Mapping[str, Any], space: str) -> str:
    """The section: the tables, and the figures that are there."""
    parts = [f"#### {TABLES[name]}\n\n{text.strip()}" for name, text in data["tables"].items()]
    parts += [f"![{space}: {FIGURES[name]}]({space}_{name}.svg)" for name in data["figures"]]
    return "\n\n".join(parts)


def write(directory: Path, space: str, root: Path) -> list[str]:
    """Put what the work directory has into `root`: `docs/results/svge/<space>.json`, pictures with their points,
    and the page's section.

    What was written there before and is not in the work directory stays: other tables and figures, and the measures of other
    trainings.

    Renews the overview as well. Returns the files' names. Raises SearchError where there is no table yet, UserError where a
    page lacks its marks.
    """
    texts = {name: path.read_text(encoding="utf-8") for name in TABLES if (path := directory / f"{name}.md").exists()}
    if not texts:
        raise SearchError(f"{directory}: has no table yet; run some parts first")
    values = {name: json.loads((directory / f"{name}.json").read_text(encoding="utf-8")) for name in texts}
    points = {
        name: json.loads(path.read_text(encoding="utf-8"))
        for name in FIGURES
        if (path := directory / f"{name}{POINTS}").exists()
    }
    earlier, points = _written(root, space), read_points(root, space) | points
    if "measures" in values and "measures" in earlier["values"]:
        values["measures"] = joined(earlier["values"]["measures"], values["measures"])
        texts["measures"] = markdown(values["measures"])
    data = {
        "space": space,
        "tables": _in_order(TABLES, earlier["tables"] | texts),
        "values": _in_order(TABLES, earlier["values"] | values),
        "figures": [name for name in FIGURES if name in points],
    }
    tables.publish(root, f"{FOLDER}/{space}.json", data, PAGE, marks(space), page_section(data, space))
    tables.renew(root, PAGE, OVERVIEW_MARKS, overview(root))
    lines = (f"{json.dumps(name)}: {json.dumps(shown)}" for name, shown in _in_order(FIGURES, points).items())
    save_text(root / FOLDER / f"{space}{POINTS}", "{\n" + ",\n".join(lines) + "\n}\n")
    for name, shown in points.items():
        save_svg(DRAWINGS[name](shown), root / FOLDER / f"{space}_{name}.svg")
    return [PAGE, f"{FOLDER}/{space}.json", f"{FOLDER}/{space}{POINTS}", *(f"{FOLDER}/{space}_{name}.svg" for name in points)]


def read_points(root: Path, space: str) -> dict[str, Any]:
    """What the space's pictures show, by their names; nothing where nothing was written."""
    path = root / FOLDER / f"{space}{POINTS}"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _written(root: Path, space: str) -> dict[str, Any]:
    """What `write` wrote last."""
    path = root / FOLDER / f"{space}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tables": {}, "values": {}, "figures": []}


def _in_order(names: Iterable[str], entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entries[name] for name in names if name in entries}


def overview(root: Path) -> str:
    """The table of all spaces, of the data files in docs/results/svge below `root`.

    It has a line a space and model, the published figures and the goals; a space that was not measured yet has no line. A
    measure of fewer seeds than were trained says of how many.
    """
    columns = {label: COLUMNS[label] for label in GOALS}
    lines: list[list[Any]] = [["goal", None, *GOALS.values(), None]]
    for space in TASKS:
        measures = _written(root, space)["values"].get("measures", {"models": {}, "published": []})
        for peer in measures["published"]:
            quoted = [column.quoted(peer["measures"].get(label)) for label, column in columns.items()]
            lines.append([f"{space}, {peer['name']}, published", None, *quoted, None])
        for model, values in measures["models"].items():
            trained = values["training epochs"]
            seeds = len(trained["seeds"])
            ours = [column.shown(values.get(label), seeds) for label, column in columns.items()]
            lines.append([f"**{space}, {model}**", f"{trained['mean']:.0f}", *ours, seeds])
    return tables.markdown_table(["space, model", "epochs", *(column.title for column in columns.values()), "seeds"], lines)
