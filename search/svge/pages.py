"""docs/svge: tables and figures of SVGe, made from the work directories of `tools/svge.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemnet import tables
from search.base import SearchError

FOLDER = "docs/svge"
PAGE = f"{FOLDER}/README.md"
TABLES = {
    "measures": "Measures: mean ± standard deviation over the seeds (how many)",
    "smoothness": "Cosine of latent vectors against the WL kernel",
    "optimisation": "Latent optimisation",
    "extrapolation": "Extrapolation to larger cells",
}
FIGURES = ("interpolation", "plane", "kernel", "optimisation")


def marks(space: str) -> tuple[str, str]:
    """What the page's section of `space` stands between."""
    return tables.marks(space, "tools/svge.py --write")


def page_section(found: Mapping[str, Any], space: str) -> str:
    """The section: the tables, and the figures that are there."""
    parts = [f"### {TABLES[name]}\n\n{text.strip()}" for name, text in found["tables"].items()]
    parts += [f"![{space}: {name}]({space}_{name}.png)" for name in found["figures"]]
    return "\n\n".join(parts)


def write(directory: Path, space: str, root: Path) -> list[str]:
    """Put what the work directory has into `root`: `docs/svge/<space>.json`, figures, and the page's section.

    Returns the files' names. Raises SearchError where there is no table yet.
    """
    texts = {name: path.read_text(encoding="utf-8") for name in TABLES if (path := directory / f"{name}.md").exists()}
    if not texts:
        raise SearchError(f"{directory}: has no table yet; run some parts first")
    values = {name: json.loads((directory / f"{name}.json").read_text(encoding="utf-8")) for name in texts}
    figures = [name for name in FIGURES if (directory / f"{name}.png").exists()]
    found = {"space": space, "tables": texts, "values": values, "figures": figures}
    tables.publish(root, f"{FOLDER}/{space}.json", found, PAGE, marks(space), page_section(found, space))
    for name in figures:
        shutil.copyfile(directory / f"{name}.png", root / FOLDER / f"{space}_{name}.png")
    return [PAGE, f"{FOLDER}/{space}.json", *(f"{FOLDER}/{space}_{name}.png" for name in figures)]
