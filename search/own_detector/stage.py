"""The stage of `gemnet detect --search` before the training: a cell that is searched on the photos, and what is told of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gemnet.cell import Cell
from gemnet.core.configs import config_path
from gemnet.core.errors import UserError
from gemnet.core.files import save_text
from gemnet.core.machine import cores
from gemnet.core.plans import earlier_plan
from gemnet.core.telling import tell
from gemnet.detection.data import prepare
from gemnet.detection.own_detector.training import PLAN
from gemnet.detection.own_detector.verdict import Sentence
from search.api import rounds_of
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.types import Evaluator, SearchError, StopSearch
from search.evaluation.evaluators import evaluator_of
from search.evaluation.trainings import Trainer, open_trainings
from search.own_detector.comparison import REFERENCE, SEEDS, Comparison, Trained, train_again
from search.own_detector.finalists import DetectorTraining, validation_aps
from search.pipeline import run_search
from search.record.ranking import best_first
from search.record.study import Evaluated, Record
from search.report.report import write_report
from search.report.result import show_result, with_provenance, write_result
from search.spaces.dag import build_space

CONFIG = "gemnet::search/own_detector.py"
FOLDER, CHOICE, CELL = "search", "choice.json", "cell.json"
"""In the detector's work directory; in it, what was chosen and why, and the cell that the detector is trained with."""
CONFIRMED = 3
"""Best cells of the search that are trained again beside GEMNet-A's: the best of many noisy measurements is mostly lucky."""
CANDIDATE = 1.5
"""A candidate takes as long as so many trainings of GEMNet-A's cell, as random cells do on average."""
FEWEST, MOST = 8, 400
"""Evaluations of a search whose time is given."""


@dataclass(frozen=True)
class FoundCell:
    """What a search leaves for the detector.

    Attributes:
        path: The cell's file.
        sentences: What the report says of it.
    """

    path: str
    sentences: tuple[Sentence, ...]


def found_cell(
    folder: str,
    work_dir: str,
    minutes: float | None,
    finalists: int,
    form: str | None,
    training: Mapping[str, Any],
    options: Mapping[str, Any],
) -> FoundCell:
    """Search for the backbone's cell on the photos of a folder, or find what an earlier call found; a stopped one goes on.

    Cells are compared by crops of the boxes (`search.evaluation.box_crops`). The best few are then trained again beside
    GEMNet-A's, by other seeds. Everything is kept in `work_dir`/search.

    Args:
        folder: Photos with boxes.
        work_dir: Of the detector.
        minutes: That the search takes about; None for the candidates that the config says.
        finalists: So many of the best cells are trained for a short time as the detector itself, and the one with the highest
            validation AP is chosen; 0 or 1 for none.
        form: The form of the labels, where several could be meant.
        training: Of the detector, the arguments of DetectorTraining.
        options: Of the search's config.

    Raises:
        UserError: The data cannot be used, or the work directory has another search, or a training without one.
    """
    began, wanted, place = time.monotonic(), DetectorTraining(**training), Path(work_dir)
    directory = place / FOLDER
    if (place / PLAN).is_file() and not directory.exists():
        raise UserError(f"{place}: has a training without a search; name another directory with --work-dir")
    command = {
        "data": os.path.abspath(folder), "search_minutes": minutes, "finalists": finalists, "format": form, "seed": wanted.seed,
        "search_options": dict(options), **(asdict(wanted) if finalists > 1 else {}),
    }  # fmt: skip
    command = json.loads(json.dumps(command, default=str))
    plan = earlier_plan(directory / PLAN, command, "search")
    if "sentences" in (choice := _read(directory / CHOICE)) and (directory / CELL).is_file():
        return _of_choice(directory, choice)
    prepared = prepare(Path(folder), place, format=form, seed=wanted.seed)
    given = {"data.root": str(prepared.root), "data.format": form, "data.seed": wanted.seed, "seed": wanted.seed}
    settings = load_settings(config_path(CONFIG), {**given, "data.without": [os.path.abspath(place)], **options})
    deadline = None if minutes is None else began + 60 * minutes
    reference, ranked, candidates = _compared(settings, directory, plan or {"command": command}, deadline, finalists)
    aps: list[float] = []
    if finalists > 1:
        ranked = ranked[:finalists]
        found = validation_aps([one.cell for one, _ in ranked], prepared, directory / "finalists", wanted, tell)
        order = sorted(range(len(found)), key=lambda i: -found[i])
        ranked, aps = [ranked[i] for i in order], [found[i] for i in order]
    best, chosen = ranked[0]
    comparison = Comparison(best, reference)
    sentences = _sentences(comparison, chosen, candidates, [one for one, _ in ranked], aps)
    with_provenance(chosen, settings, place.name, comparison=comparison.figures()).save(directory / CELL)
    choice = {
        **comparison.figures(), "candidates": candidates, "seconds": round(time.monotonic() - began, 1),
        "finalists": [{**one.figures(), "AP": ap} for (one, _), ap in zip(ranked, aps)],
        "sentences": [asdict(sentence) for sentence in sentences],
    }  # fmt: skip
    save_text(directory / CHOICE, json.dumps(choice, indent=1) + "\n")
    for sentence in sentences:
        tell(f"{sentence.says} ({sentence.evidence})")
    return FoundCell(str(directory / CELL), tuple(sentences))


def _compared(
    settings: dict[str, Any], directory: Path, plan: dict[str, Any], deadline: float | None, finalists: int
) -> tuple[Trained, list[tuple[Trained, Evaluated]], int]:
    """GEMNet-A's cell, the best cells of the search with their records, the best mean score first, and how many it evaluated.

    plan: what the command was, and, once it is known, how long the search is; it is written to `directory`.
    """
    display, space = Display(), build_space(**settings["space"])
    evaluator = evaluator_of(settings, space)
    with open_trainings(directory / "comparison") as record:
        trainer = Trainer(record, settings["executor"], display)
        (reference,) = train_again([Cell.shipped(REFERENCE)], settings, evaluator, trainer, "GEMNet-A's cell")
        if "search" not in plan:
            plan["search"] = {} if deadline is None else _schedule(deadline, reference, settings["executor"])
            save_text(directory / PLAN, json.dumps(plan, indent=1) + "\n")
        settings["search"] = {**settings["search"], **plan["search"]}
        records = _searched(settings, directory, display, evaluator, deadline)
        ranked = best_first(records)
        best = ([r for r in ranked if not r.stopped] or ranked)[: max(CONFIRMED, finalists)]
        trained = train_again([r.cell.pruned() for r in best], settings, evaluator, trainer, "The best cells again")
    return reference, sorted(zip(trained, best, strict=True), key=lambda pair: -pair[0].score), len(ranked)


def _read(path: Path) -> dict[str, Any]:
    """What a file holds; empty where it is not there, or broken."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_choice(directory: Path, choice: Mapping[str, Any]) -> FoundCell:
    try:
        sentences = tuple(Sentence(str(one["kind"]), str(one["says"]), str(one["evidence"])) for one in choice["sentences"])
    except (KeyError, TypeError) as error:
        told = f"not what a search left ({type(error).__name__}: {error}); remove it to choose anew"
        raise SearchError(f"{directory / CHOICE}: {told}") from None
    return FoundCell(str(directory / CELL), sentences)


def _schedule(deadline: float, reference: Trained, executor: Mapping[str, Any]) -> dict[str, int]:
    """The section `search` for so many evaluations as are done until the deadline, by the pace of GEMNet-A's cell."""
    workers = executor.get("workers", "auto")
    count = (torch.cuda.device_count() or cores()) if workers == "auto" else workers
    affordable = int((deadline - time.monotonic()) * count / (CANDIDATE * reference.seconds)) - CONFIRMED * SEEDS
    return rounds_of(max(FEWEST, min(MOST, affordable)))


def _searched(
    settings: Mapping[str, Any], directory: Path, display: Display, evaluator: Evaluator, deadline: float | None
) -> Sequence[Record]:
    """Run the search or go on with it; after the deadline it ends with what is evaluated."""

    def stop(record: Record) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise StopSearch

    records = run_search(settings, directory, display, callbacks=[stop], evaluator=evaluator)
    show_result(write_result(records, settings, directory, directory.parent.name), settings, display)
    display.line(f"Report: {write_report(directory)}")
    return records


def _sentences(
    comparison: Comparison, chosen: Evaluated, candidates: int, ranked: Sequence[Trained], aps: Sequence[float]
) -> list[Sentence]:
    """What is told of the found cell, and of the finalists if there were some."""
    nodes = len(chosen.cell.pruned().nodes) - 1
    cell = (
        f"cell {chosen.digest[:8]} of {nodes} node{'s' * (nodes != 1)}, found in round {chosen.round}, {candidates} candidates"
    )
    found = [Sentence("search", comparison.judgement(), f"{cell}; {comparison.evidence()}")]
    if aps:
        told = ", ".join(f"{one.cell.digest()[:8]} {ap:.3f}" for one, ap in zip(ranked, aps))
        says = (
            "The finalists were trained for a short time as the detector itself; that with the highest validation AP was taken."
        )
        found.append(Sentence("search", says, f"{told}; one training each"))
    return found
