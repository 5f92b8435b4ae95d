"""Milliseconds that a device measured, as a cost: looked up in a file, predicted for the cells that are not in it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any

from gemnet.cell import Cell
from gemnet.complexity import fit
from gemnet.core.settings import Setting, shown
from search.core.checks import takes_settings
from search.core.types import SearchError, Space
from search.devices.columns import read_column
from search.devices.layers import Features, layer_features
from search.devices.predictor import LatencyPredictor
from search.devices.times import file_digest, read_times

File = Annotated[str, Setting("times.json of time_models.py; of a benchmark's cells a CSV with a column `row`")]
Column = Annotated[str | None, Setting("of the CSV that has the milliseconds; only for a benchmark's cells")]
Runtime = Annotated[str | None, Setting("of which the times must be; None for whichever the file names")]
Sha256 = Annotated[str | None, Setting("of the file; a search records it, and refuses to go on with another file")]


class TableCost:
    """Milliseconds on a device, of the model that the cell is searched for; see docs/devices.md.

    A cell that was not measured is priced by `LatencyPredictor`, trained on those that were, when the first such one comes.
    """

    @takes_settings("cost")
    def __init__(
        self,
        model: Mapping[str, Any],
        space: Space,
        file: File,
        column: Column = None,
        runtime: Runtime = None,
        max: Annotated[float | None, Setting("cells that cost more are not evaluated; None for no bound", above=0)] = None,
        sha256: Sha256 = None,
        section: str = "cost",
    ) -> None:
        """
        Args:
            model: the budget of the models to come.
            space: of the cells.
            section: of the settings, for messages.

        Raises:
            SearchError: for a file that is not as it must be, and times of other networks or of another runtime.
        """
        self.name, self.max, self.file, self._section = "milliseconds", max, file, section
        if sha256 is not None and file_digest(file) != sha256:
            raise SearchError(
                f"{section}: {file}: is another file than the search began with, and its times do not compare; bring that one"
                " back, or begin a new search with --work-dir"
            )
        self._key: Callable[[Cell], Hashable]
        if space.table is not None:
            if column is None or runtime is not None:
                raise SearchError(
                    f"{section}: cells of {space.table.name} are priced by a CSV: give file and column, and no runtime"
                )
            self._read_benchmark(space, column)
        else:
            if column is not None:
                raise SearchError(f"{section}: column: only for a benchmark's cells; {file} is the times.json of a device")
            self._read_device(model, runtime)

    def _read_benchmark(self, space: Any, column: str) -> None:
        table = space.table
        rows = read_column(self.file, column, len(table))
        names = ("input", *table.names)
        self.name = f"milliseconds, {column}"
        self._measured: dict[Hashable, float] = {row: value for row, value in rows.items()}
        self._key = space.row
        self._cell_of: Callable[[Hashable], Cell] = lambda row: table.cells.cell(row, names)

        def features(cell: Cell) -> Features:
            counts = space.count(space.from_cells([cell]))
            kinds = {name: float(cell.nodes.count(name)) for name in set(cell.nodes[1:])}
            sums = {"params": counts.params[0], "MACs": counts.macs[0], "activations": counts.activations[0]}
            return {**kinds, **sums, "edges": len(cell.edges)}

        self._features: Callable[[Cell], Features] = features

    def _read_device(self, model: Mapping[str, Any], runtime: str | None) -> None:
        if not model:
            raise SearchError(f"{self._section}: type='table' needs the section model, by which the networks were made")
        times = read_times(self.file)
        times.check_network(model, self._section)
        if runtime is not None:
            times.check_runtime(runtime, self._section)
        self.name = f"milliseconds, {shown(times.device)[1:-1]}, {times.runtime}, threads: {times.threads}"
        self._measured = {digest: value for digest, value in times.milliseconds.items()}
        self._key = lambda cell: cell.pruned().digest()
        self._cell_of = lambda digest: times.cells[str(digest)]
        self._features = lambda cell: layer_features(fit(cell, **model).architecture, times.resolution)

    @cached_property
    def predictor(self) -> LatencyPredictor:
        """Of cells that were not measured. Raises SearchError where too few were."""
        keys: Sequence[Hashable] = list(self._measured)
        if len(keys) > 500:
            keys = keys[:: len(keys) // 500]
        features = [self._features(self._cell_of(key)) for key in keys]
        return LatencyPredictor(features, [self._measured[key] for key in keys], self.file)

    def __call__(self, cell: Cell) -> float:
        """Milliseconds. Raises BudgetError for a cell of which no model can be built."""
        value = self._measured.get(self._key(cell))
        return float(self.predictor.predict([self._features(cell)])[0]) if value is None else value


def pinned(section: Mapping[str, Any], is_table: bool) -> dict[str, Any]:
    """The settings of a cost with the digest of its file, so that a search does not go on with another one."""
    if not is_table or "file" not in section or section.get("sha256"):
        return dict(section)
    return {**section, "sha256": file_digest(section["file"])}
