"""Times that a device gave back, `times.json`: read as untrusted, with the cell and the network that each is of."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemnet.architecture import Architecture
from gemnet.cell import Cell, CellError
from gemnet.complexity import BudgetError, fit
from gemnet.core.errors import UserError
from gemnet.core.files import TextError, read_text
from gemnet.core.settings import REQUIRED, Setting, plain, settings_of, shown
from search.core.checks import check
from search.core.types import SearchError

FORMAT, VERSION = "gemnet.device_times", 1
LONGEST = 1 << 26
"""Bytes of a file that is read: over ten thousand entries."""
AGAIN = "time it again with time_models.py"
WIDTHS = Setting("channels of a node, a stage each", list, item=Setting("", int, at_least=1), length=(1, None))
HEAD: Mapping[str, Setting] = {
    "format": Setting("of the file", str),
    "version": Setting("of the format", int),
    "device": Setting("name of the device", str),
    "runtime": Setting("that ran the networks", str),
    "threads": Setting("of the CPU", int, at_least=1),
    "clock": Setting("what was measured", str, choices=("wall", "cpu")),
    "unit": Setting("of times", str, choices=("ms",)),
    "network": Setting("the budget that each cell's network is made for", dict),
    "entries": Setting("times by the cell's digest", dict),
    "runtime_version": Setting("release of the runtime", str, default=""),
}
ENTRY: Mapping[str, Setting] = {
    "nodes": Setting("of the cell", list),
    "edges": Setting("of the cell", list),
    "widths": WIDTHS,
    "depths": Setting("cells, a stage each", list, item=Setting("", int, at_least=1), length=(1, None)),
    "head_width": Setting("channels of the head", int, at_least=0),
    "sha256": Setting("of the file that was timed", str),
    "median": Setting("time of an image", float, above=0, unit="ms"),
    "spread": Setting("between the quartiles of the rounds", float, at_least=0, unit="ms"),
    "runs": Setting("passes that were timed", int, at_least=1),
}


@dataclass(frozen=True)
class DeviceTimes:
    """What a device told of networks.

    source: the file. network: settings of `gemnet.fit` by which each cell became its network. cells, architectures,
    milliseconds: by digest of the cell.
    """

    source: str
    device: str
    runtime: str
    threads: int
    clock: str
    network: Mapping[str, Any]
    cells: Mapping[str, Cell]
    architectures: Mapping[str, Architecture] = field(repr=False)
    milliseconds: Mapping[str, float] = field(repr=False)

    @property
    def resolution(self) -> tuple[int, int]:
        height, width = whole_network(self.network)["resolution"]
        return height, width

    def check_network(self, model: Mapping[str, Any], where: str) -> None:
        """Raises SearchError where the networks that were timed are not those of `model`."""
        theirs, ours = whole_network(self.network), whole_network(model)
        for name in ours:
            if theirs[name] != ours[name]:
                raise SearchError(
                    f"{where}: {self.source}: timed networks of another size: {name} is {shown(theirs[name])} there,"
                    f" {shown(ours[name])} in this search (section model); take the model of the search that was exported, or"
                    " export and time anew"
                )

    def check_runtime(self, runtime: str, where: str) -> None:
        """Raises SearchError where the times are of another runtime."""
        if self.runtime != runtime:
            raise SearchError(
                f"{where}: {self.source}: times of the runtime {shown(self.runtime)}, wanted are those of {shown(runtime)};"
                f" export with --to {runtime} and time these, or leave out runtime"
            )


def whole_network(given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of `gemnet.fit` in plain values, those that are not given by their defaults."""
    defaults = {name: s.default for name, s in settings_of(fit).items() if s.default is not REQUIRED}
    values = {name: plain(value) for name, value in {**defaults, **given}.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in sorted(values.items())}


def file_digest(path: str | os.PathLike[str]) -> str:
    """64 hexadecimal digits of what a text file holds. Raises SearchError for one that cannot be read."""
    try:
        return hashlib.sha256(read_text(path, LONGEST).encode()).hexdigest()
    except TextError as error:
        raise SearchError(str(error)) from None


def read_times(path: str | os.PathLike[str]) -> DeviceTimes:
    """Read and check a file of device times.

    Each entry's cell must have the digest that it stands under, and the network that `fit` makes of it must be the one that was
    timed.

    Raises:
        SearchError: that names file, entry and remedy, for everything else.
    """
    name = os.fsdecode(path)
    document = _document(Path(path), name)
    for key, expected in (("format", FORMAT), ("version", VERSION)):
        if document.get(key) != expected:
            raise SearchError(
                f"{name}: {key}: expected {expected!r}, found {shown(document.get(key))}; a file of times is written by"
                " time_models.py of `gemnet search export-devices`, of this release"
            )
    head = check(HEAD, document, name)
    network = _checked_network(head["network"], name)
    if not head["entries"]:
        raise SearchError(f"{name}: entries: there are none; {AGAIN}")
    cells, architectures, milliseconds = {}, {}, {}
    for digest, entry in head["entries"].items():
        place = f"{name}: entry {shown(digest)}"
        cells[digest], architectures[digest], milliseconds[digest] = _entry(digest, entry, network, place)
    return DeviceTimes(
        name, head["device"], head["runtime"], head["threads"], head["clock"], network, cells, architectures, milliseconds
    )


def _document(path: Path, name: str) -> dict[str, Any]:
    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict[str, Any]()
        for key, value in pairs:
            if key in found:
                raise SearchError(f"{name}: {shown(key)} is there twice; keep one of both entries, or {AGAIN}")
            found[key] = value
        return found

    try:
        document = json.loads(read_text(path, LONGEST), object_pairs_hook=once, parse_constant=float)
    except TextError as error:
        raise SearchError(f"{error}: no file of device times") from None
    except SearchError:
        raise
    except (ValueError, RecursionError) as error:
        raise SearchError(f"{name}: no JSON: {error}; {AGAIN}") from None
    if not isinstance(document, dict):
        raise SearchError(f"{name}: expected an object, found {shown(document)}; {AGAIN}")
    return document


def _checked_network(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    return check(settings_of(fit), given, f"{name}: network")


def _entry(digest: str, entry: Any, network: Mapping[str, Any], place: str) -> tuple[Cell, Architecture, float]:
    """Its cell, the network of it, and the median in milliseconds."""
    try:
        found = check(ENTRY, entry, place)
        cell = Cell(tuple(found["nodes"]), tuple((u, v) for u, v in found["edges"]))
        cell.check_buildable()
    except CellError as error:
        raise SearchError(f"{place}: no cell: {error}") from None
    except UserError as error:
        raise SearchError(f"{error}; {AGAIN}") from None
    except (TypeError, ValueError) as error:
        raise SearchError(f"{place}: no cell: {error}") from None
    if cell.pruned().digest() != digest:
        raise SearchError(f"{place}: its time is of another cell, {cell.pruned().digest()[:16]}; {AGAIN}")
    try:
        architecture = fit(cell, **network).architecture
    except BudgetError as error:
        raise SearchError(f"{place}: its time is of another size: {error}; {AGAIN}") from None
    given = (tuple(found["widths"]), tuple(found["depths"]), found["head_width"])
    if given != (architecture.widths, architecture.depths, architecture.head_width):
        raise SearchError(
            f"{place}: its time is of another size: widths {found['widths']}, depths {found['depths']}, head"
            f" {found['head_width']}; the network of the file's budget has {list(architecture.widths)},"
            f" {list(architecture.depths)}, {architecture.head_width}; export with this release and {AGAIN}"
        )
    value = float(found["median"])
    assert math.isfinite(value)
    return cell, architecture, value
