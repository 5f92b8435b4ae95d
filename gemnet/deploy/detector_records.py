"""The figures of exported detectors for docs/export.md: a row each, made anew by an export with `--record NAME`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.core.tables import markdown_table, marks, publish
from gemnet.deploy.detector_export import ExportedDetector

DATA, PAGE = "docs/results/exported_detectors.json", "docs/export.md"
MARKS = marks("exported detectors", "gemnet export ... --record NAME")
HEAD = ("detector", "fitted into", "file", "export", "photos", "boxes", "IoU at least", "scores within", "ties")


def record(root: Path, name: str, found: ExportedDetector) -> None:
    """Put the figures of an export into the data file and the page below `root`, in place of those of the same name."""
    file = root / DATA
    rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    agreement = found.agreement
    row = {
        "name": name, "scale": list(found.about["preprocessing"]["scale"]), "bytes": found.size,
        "seconds": round(found.seconds, 1), "photos": agreement.photos, "boxes": agreement.boxes,
        "overlap": agreement.overlap, "score_difference": agreement.score, "ties": agreement.ties,
    }  # fmt: skip
    rows = sorted([other for other in rows if other["name"] != name] + [row], key=lambda other: other["name"])
    publish(root, DATA, rows, PAGE, MARKS, table(rows))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown of recorded figures."""
    cells = []
    for row in rows:
        sides, size = "{}x{}".format(*row["scale"]), f"{row['bytes'] / 1e6:.1f} MB"
        proof = (row["photos"], f"{row['boxes']:,}", f"{row['overlap']:.6f}", f"{row['score_difference']:.0e}", row["ties"])
        cells.append((f"`{row['name']}`", sides, size, f"{row['seconds']:.0f} s", *proof))
    return markdown_table(HEAD, cells)
