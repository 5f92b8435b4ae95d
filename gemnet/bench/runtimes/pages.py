"""The tables of the runtimes, and the page and data file in docs/results that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemnet.bench.benchmark import RESOLUTION
from gemnet.bench.runtimes.measuring import DETECTOR, KIND, THREADS
from gemnet.bench.runtimes.networks import DETECTOR_SIDE, NETWORKS, PEER
from gemnet.bench.runtimes.nodes import KINDS
from gemnet.core.errors import UserError
from gemnet.core.files import save_text
from gemnet.core.tables import between, markdown_table, marks
from gemnet.deploy.runtimes.table import RUNTIMES

DATA, PAGE = "docs/results/runtimes.json", "docs/results/runtimes.md"
COMMAND = "tools/benchmark.py runtimes --write"
SPEED_MARKS, FILE_MARKS, DETECTOR_MARKS, NODE_MARKS = (
    marks(name, COMMAND) for name in ("runtimes", "files", "detector files", "nodes")
)
GLUE = ("concatenation", "addition", "reordering")
"""Kinds of nodes that compute nothing: they copy, add, or turn."""


def times_as_fast(rows: Sequence[Mapping[str, Any]], runtime: str, name: str, threads: int) -> float | None:
    """How many times a network is as fast as PEER in a runtime; None where either was refused or not timed so."""
    of_these = {row["name"]: row.get("seconds", {}).get(str(threads)) for row in rows if row["runtime"] == runtime}
    ours_, peer = of_these.get(name), of_these.get(PEER)
    return None if ours_ is None or peer is None else peer["median"] / ours_["median"]


def speed_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a runtime; milliseconds on the most threads, and the first network beside PEER; then circumstances."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    ratios = [f"{_short(names[0])} against {_short(PEER)}, {_threads(count)}" for count in THREADS]
    lines = []
    for runtime in dict.fromkeys(row["runtime"] for row in rows):
        seconds = {row["name"]: row.get("seconds", {}).get(str(THREADS[-1])) for row in rows if row["runtime"] == runtime}
        cells = [_ms(seconds[name]) if seconds.get(name) else None for name in names]
        found = [times_as_fast(rows, runtime, names[0], count) for count in THREADS]
        lines.append((RUNTIMES[runtime].title, *cells, *(None if ratio is None else f"{ratio:.2f} x" for ratio in found)))
    table = markdown_table(("runtime", *(f"{_short(name)} ms" for name in names), *ratios), lines)
    return f"{table}\n\n{_circumstances(rows)}"


def file_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a runtime and network; size, difference, and milliseconds, median (fastest - slowest), by threads."""
    lines: list[Sequence[object]] = []
    for row in rows:
        head = (RUNTIMES[row["runtime"]].title, _short(row["name"]))
        if "refused" in row:
            lines.append((*head, f"refused: {row['refused']}", *[None] * (1 + len(THREADS))))
            continue
        seconds = [row["seconds"].get(str(count)) for count in THREADS]
        spreads = [
            f"{_ms(one)} ({1000 * one['fastest']:.1f} - {1000 * one['slowest']:.1f})" if one else None for one in seconds
        ]
        lines.append((*head, f"{row['bytes'] / 1e6:.1f}", f"{row['difference']:.0e}", *spreads))
    return markdown_table(("runtime", "network", "MB", "differs by", *(f"{_threads(n)}, ms" for n in THREADS)), lines)


def node_table(nodes: Mapping[str, Any]) -> str:
    """Markdown: a row a kind of node; of each network nodes, milliseconds, their share, and MACs a second; then a sum."""
    networks = nodes["networks"]
    total = {name: sum(one["seconds"] for one in kinds.values()) for name, kinds in networks.items()}
    lines = []
    for kind in KINDS:
        cells: list[str] = []
        for name, kinds in networks.items():
            one = kinds[kind]
            rate = f"{1e-9 * one['macs'] / one['seconds']:.0f}" if one["macs"] else ""
            share = f"{one['seconds'] / total[name]:.1%}" if total[name] else ""
            cells += [f"{one['nodes']:.0f}", f"{1000 * one['seconds']:.2f}", share, rate]
        lines.append((kind, *cells))
    units = ("nodes", "ms", "share", "G MACs/s")
    first, peer = networks
    free = total[first] - sum(networks[first][kind]["seconds"] for kind in GLUE)
    sums = (
        f"All nodes: {', '.join(f'{_short(name)} {1000 * taken:.2f} ms' for name, taken in total.items())}, "
        f"{total[peer] / total[first]:.2f} x; it would be {total[peer] / free:.2f} x if {', '.join(GLUE[:-1])} and {GLUE[-1]} "
        f"took no time in {_short(first)}. ONNX Runtime {nodes['version']}, 1 thread, {nodes['machine']}, {nodes['date']}, "
        f"medians of {nodes['rounds']} passes."
    )
    table = markdown_table(("kind of node", *(f"{_short(name)} {unit}" for name in networks for unit in units)), lines)
    return f"{table}\n\n{sums}"


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the rows of those runtimes that were measured in `new` renewed, in RUNTIMES' order; others stay."""
    renewed = {(row["runtime"], row["kind"]) for row in new["rows"]}
    kept = [row for row in old["rows"] if (row["runtime"], row["kind"]) not in renewed]
    rows = sorted([*kept, *new["rows"]], key=lambda row: list(RUNTIMES).index(row["runtime"]))
    return {**old, **new, "rows": rows}


def write(root: Path, measured: Mapping[str, Any]) -> None:
    """Renew the page and its data file below `root` by what was measured.

    Raises UserError, before anything is written, where not the table's networks were measured, or not at its resolution.
    """
    for runtime in {row["runtime"] for row in measured["rows"]}:
        rows = [row for row in measured["rows"] if (row["runtime"], row["kind"]) == (runtime, KIND)]
        if [row["name"] for row in rows] != list(NETWORKS) or any(row["resolution"] != RESOLUTION for row in rows):
            raise UserError(f"{PAGE} has other networks, or at another size: leave --models and --resolution out with --write")
    file = root / DATA
    old = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"rows": []}
    data = merged(old, measured)
    text = (root / PAGE).read_text(encoding="utf-8")
    for around, table in tables(data):
        text = between(around, text, table, PAGE)
    save_text(file, json.dumps(data, indent=1) + "\n")
    save_text(root / PAGE, text)


def tables(data: Mapping[str, Any]) -> list[tuple[tuple[str, str], str]]:
    """The tables of the data file's content, each with the marks that it stands between."""
    rows, detectors = ([row for row in data["rows"] if row["kind"] == kind] for kind in (KIND, DETECTOR))
    found = [(SPEED_MARKS, speed_table(rows)), (FILE_MARKS, file_table(rows))] if rows else []
    found += [(DETECTOR_MARKS, f"{file_table(detectors)}\n\n{_circumstances(detectors)}")] if detectors else []
    return found + ([(NODE_MARKS, node_table(data["nodes"]))] if "nodes" in data else [])


def _circumstances(rows: Sequence[Mapping[str, Any]]) -> str:
    """Versions, and on which processor, when, and in how many rounds: a line for each that differs."""
    found: dict[str, list[str]] = {}
    for row in rows:
        where = f"{row['machine']}, {row['date']}, medians of {row['rounds']} rounds"
        usual = RESOLUTION if row["kind"] == KIND else DETECTOR_SIDE
        where += "" if row["resolution"] == usual else f", at {row['resolution']}x{row['resolution']}"
        of_these, title = found.setdefault(where, []), f"{RUNTIMES[row['runtime']].title} {row['version']}"
        of_these += [title] * (title not in of_these)
    return "\n\n".join(f"{', '.join(titles)}: {where}." for where, titles in found.items())


def _short(name: str) -> str:
    return name.rpartition("/")[2].rpartition("::")[2].partition("_8xb")[0].removesuffix(".py")


def _ms(seconds: Mapping[str, float]) -> str:
    return f"{1000 * seconds['median']:.1f}"


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"
