"""What a search leaves: the best cell as file and picture, the next best cells, and what to do with them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemnet.cell import Cell
from gemnet.complexity import BudgetError, fit, network_cost
from gemnet.drawing import draw_cell
from search.configuration.schedule import Schedule
from search.core.display import Display
from search.core.types import SearchError
from search.record.ranking import best_first
from search.record.study import Record
from search.spaces.dag import build_space

BEST, TOP, FRONT = "best_cell", "top_cells", "front"


@dataclass(frozen=True)
class Result:
    """The best record, its cell with provenance, and the files written for it."""

    record: Record
    cell: Cell
    path: Path


def write_result(
    records: Sequence[Record], settings: Mapping[str, Any], directory: str | os.PathLike[str], name: str
) -> Result:
    """Write `best_cell.json`, `.png` and `.svg`, and the best few as `top_cells/<rank>.json`.

    name: what the cells' provenance calls the search. Raises SearchError where no candidate was evaluated.
    """
    ranked = best_first(records)
    if not ranked:
        errors = [r.error for r in records if r.error]
        reason = f"; the first error: {errors[0]}; with that mended, --retry-failed tries them again" if errors else ""
        raise SearchError(f"{directory}: no candidate was evaluated successfully{reason}")
    cells = [with_provenance(r, settings, name) for r in ranked[: Schedule.of(settings).top]]
    path = write_cells(cells, directory)
    return Result(ranked[0], cells[0], path)


def write_front(records: Sequence[Record], settings: Mapping[str, Any], directory: str | os.PathLike[str], name: str) -> Path:
    """Write the cells of a front as `front/<place>.json`, in this order; returns the folder."""
    folder = Path(directory) / FRONT
    _write_numbered([with_provenance(r, settings, name) for r in records], folder)
    return folder


def write_cells(cells: Sequence[Cell], directory: str | os.PathLike[str]) -> Path:
    """Write cells, the best first, as `top_cells/<rank>.json`, and the first as `best_cell.json`, `.png` and `.svg` as well;
    returns the path of that. Files of more cells, which were written there before, are removed."""
    directory = Path(directory)
    _write_numbered(cells, directory / TOP)
    path = directory / f"{BEST}.json"
    draw_cell(cells[0], path.with_suffix(".png"))
    draw_cell(cells[0], path.with_suffix(".svg"))
    cells[0].save(path)
    return path


def _write_numbered(cells: Sequence[Cell], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for rank, cell in enumerate(cells, 1):
        cell.save(folder / f"{rank}.json")
    for former in folder.glob("*.json"):
        if former.stem.isdecimal() and int(former.stem) > len(cells):
            former.unlink()


def show_result(result: Result, settings: Mapping[str, Any], display: Display) -> None:
    """Print the best cell's scores, its files, and what it makes: the cost at 224x224 and the Python that builds it, or, where
    it is a benchmark's, how good it is there."""
    record, cell = result.record, result.cell
    predicted = "none: it is one of the first, before any prediction" if record.predicted is None else f"{record.predicted:.4f}"
    display.line()
    size = f"{len(cell.nodes)} nodes, {len(cell.edges)} edges, {len(cell.leaves)} leaves"
    display.line(f"Best cell {record.digest[:8]}: {size}")
    if record.stopped:
        display.line("  stopped early     as all candidates were: its accuracy is not that of a whole training")
    display.line(f"  efficiency score  {record.score:.4f} measured (predicted: {predicted})")
    if record.judged is not None:
        display.line(f"  judged            {record.judged:.4f}, the best; with what predictors tell who have not seen it")
    network = "proxy network  " if cell.buildable else "table's network"
    display.line(
        f"  {network}   accuracy {record.accuracy:.4f}, {record.macs / 1e6:.2f} M MACs,"
        f" {record.params / 1e3:.0f} k params, cost {record.cost:.4g}"
    )
    files = f"  files             {result.path} (.png, .svg), {result.path.parent / TOP}/"
    if not cell.buildable:
        try:
            verdict = build_space(**settings["space"]).verdict(cell)
        except SearchError as error:  # a table without test accuracies: the search is none the worse
            verdict = str(error)
        if verdict:
            display.line(f"  benchmark         {verdict}")
        display.line(files)
        return
    model = settings["model"]
    if not model:
        display.line(f"{files}; as a model of a budget: gemnet fit {result.path} --target-macs 300e6")
        return
    arguments = f"target_macs={_short(model['target_macs'])}"
    if model.get("target_params"):
        arguments += f", target_params={_short(model['target_params'])}"
    if model.get("residual"):
        arguments += ", residual=True"
    try:
        fitted = fit(cell, **model)
        activations = network_cost(fitted.architecture).activations
        display.line(f"  at 224x224        {fitted.summary()}; {activations / 1e6:.1f} M activations")
    except BudgetError as error:
        display.line(f"  at 224x224        {error}")
    display.line(files)
    display.line("Build it:")
    # at the margin, as Python wants it
    display.line(f"import gemnet, timm; model = timm.create_model('gemnet', cell={str(result.path)!r}, {arguments})")


def with_provenance(record: Record, settings: Mapping[str, Any], name: str, **more: Any) -> Cell:
    """The cell of a record, pruned; its provenance tells how the search called `name` found it, and `more`."""
    cell = record.cell.pruned()
    provenance = {
        "search": name,
        "seed": settings["seed"],
        "accuracy": record.accuracy,
        "macs": record.macs,
        "cost": record.cost,
        "score": record.score,
        "predicted": record.predicted,
        "round": record.round,
        "space": settings["space"],
        "data": settings["data"],
        "proxy": settings["proxy"],
        "penalty": settings["penalty"],
        "cost_settings": settings["cost"],
        **({"stopped": True} if record.stopped else {}),
        **more,
    }
    return Cell(cell.nodes, cell.edges, provenance)


def _short(number: float) -> str:
    short = f"{number:g}".replace("e+0", "e").replace("e+", "e")
    return short if float(short) == number else repr(number)
