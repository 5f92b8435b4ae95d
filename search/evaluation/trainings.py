"""Trainings of named networks, each recorded when it ends and never run again: what trials and retrainings are made of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gemnet.core.machine import cores, processor
from search.core.display import Display
from search.core.fingerprint import fingerprint
from search.core.json_lines import Format, Store
from search.core.types import Evaluation, Evaluator, SearchError
from search.evaluation.checked import checked_outcome
from search.evaluation.executor import build_executor
from search.record.rows import number, share, shown
from search.record.study import TIME, take_lock

RECORD = "trainings.jsonl"


def open_trainings(directory: str | os.PathLike[str]) -> Store[dict[str, Any]]:
    """The record of trainings that have ended well, by id. While it is open, no second command may open it.

    Raises SearchError where the directory is in use or the record is none.
    """
    return Store(Path(directory) / RECORD, TRAININGS, take_lock)


@dataclass(frozen=True)
class Trainer:
    """Runs trainings that the record lacks. executor: settings of `build_executor`."""

    record: Store[dict[str, Any]]
    executor: Mapping[str, Any]
    display: Display

    def run(
        self,
        title: str,
        runs: Mapping[Any, Mapping[str, Any]],
        job: Callable[[Any, int], Any],
        evaluator: Evaluator,
        most: int | None = None,
    ) -> dict[Any, dict[str, Any]]:
        """Run what is missing of `runs`, which are described by JSON values; returns the recorded row of each, with the name
        that it has here, whatever it was called when it was recorded.

        job: a name and a place -> what the evaluator takes. most: so many of the missing at most, the first ones; what is
        not recorded then is left out of the rows. Raises SearchError where trainings fail; the others are kept.
        """
        ids, rows = {name: fingerprint(run) for name, run in runs.items()}, self.record.rows
        missing = [name for name, key in ids.items() if key not in rows][:most]
        errors: list[str] = []
        with self.display.progress(title) as progress, closing(build_executor(evaluator, **self.executor)) as workers:
            progress(sum(key in rows for key in ids.values()), len(ids))
            for outcome in workers.run([job(name, place) for place, name in enumerate(missing)]):
                outcome = checked_outcome(outcome, evaluator, one_length=False)  # stages of a trial have their own
                name, note = missing[outcome.key], ""
                if outcome.evaluation is None:
                    errors.append(f"{_words(name)}: {outcome.error}")
                    self.display.line(f"{title}: {errors[-1]}")
                else:
                    note = f"{_words(name)} {outcome.evaluation.accuracy:.4f}"
                    self.record.add(_row(ids[name], _words(name), runs[name], outcome.evaluation))
                progress(sum(key in rows for key in ids.values()), len(ids), note)
        if errors:
            raise SearchError(f"{len(errors)} of {len(ids)} trainings failed, the others are kept; the first: {errors[0]}")
        return {name: {**rows[key], "name": _words(name)} for name, key in ids.items() if key in rows}


def _checked(row: Any) -> dict[str, Any]:
    """A row of the record. Raises ValueError, TypeError or KeyError for what is none."""
    if not isinstance(row, dict) or not isinstance(row["id"], str):
        raise ValueError(f"expected an object with an id, found {shown(row)}")
    share(row, "accuracy")
    if "seconds" in row:
        number(row, "seconds")
    return row


TRAININGS: Format[dict[str, Any]] = Format(
    _checked, itemgetter("id"), ": no record of trainings: line {number}: {reason}; remove that line, or name another directory"
)


def _row(key: str, name: str, run: Mapping[str, Any], e: Evaluation) -> dict[str, Any]:
    row = {"id": key, "stage": run["stage"], "name": name, "seed": run["seed"], "accuracy": e.accuracy, "seconds": e.seconds}
    return {**row, "finished": time.strftime(TIME, time.gmtime()), "machine": this_machine()}


def _words(name: Any) -> str:
    """The name of a run: a network, or a network and its seed."""
    return name if isinstance(name, str) else f"{name[0]}, seed {name[1]}"


def deviation(accuracies: Sequence[float]) -> float:
    """The sample's standard deviation, over the trainings of one network; 0 of a single one."""
    return float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0


def this_machine() -> str:
    """The GPU's name, or the processor's and how many of its cores are free to be used."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{processor()}, {cores()} cores"
