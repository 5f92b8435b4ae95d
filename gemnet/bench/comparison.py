"""Classifiers beside each other: configs trained with one recipe under several seeds, accuracy with its spread, cost and time.

Every run is `tools/train.py CONFIG --resume` in a process and a folder of its own; one that is done is not done again, one that
was stopped goes on. What they gave is read from the folders, so that the table can be made anew at any time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, init_default_scope

from gemnet.core import tables
from gemnet.core.errors import UserError
from gemnet.core.machine import cores
from gemnet.counting import counted
from gemnet.openmmlab import engine

RESULT = "comparison.json"
PAGE = "docs/results/classifiers.md"
HEAD = "config | params M | MACs M | image | epochs | top-1 %, mean ± deviation | seeds | minutes a run"


@dataclass(frozen=True)
class Run:
    """One config under one seed, in its folder."""

    config: str
    seed: int
    folder: Path

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return (self.folder / RESULT).is_file()

    @property
    def result(self) -> dict[str, Any]:
        """What the finished run gave. Raises OSError where it is not `done`."""
        return json.loads((self.folder / RESULT).read_text(encoding="utf-8"))


def runs(configs: Sequence[str], seeds: Sequence[int], work_dir: str) -> list[Run]:
    """All runs, one seed of every config before the next seed."""
    return [Run(config, seed, Path(work_dir) / f"{Path(config).stem}_seed{seed}") for seed in seeds for config in configs]


def compare(
    configs: Sequence[str],
    seeds: Sequence[int],
    work_dir: str,
    jobs: int = 1,
    amp: bool = False,
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Train what is not done yet, `jobs` at a time with an equal share of the CPU's cores each; returns a row for each config.

    options: overrides of every config. Raises UserError where a run fails, with the end of what it said; the others are kept.
    """
    costs = {config: cost(config, options) for config in configs}
    planned = runs(configs, seeds, work_dir)
    threads = max(1, cores() // jobs)
    with ThreadPoolExecutor(jobs) as pool, Children() as children:
        for run in pool.map(lambda run: _train(run, threads, amp, options, children), planned):
            print(f"{run.folder.name}: top-1 {run.result['top1']:.2f} %, {run.result['seconds'] / 60:.0f} minutes", flush=True)
    return [_row(config, costs[config], [run for run in planned if run.config == config]) for config in configs]


def cost(config: str, options: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Params, MACs and pixels a side of the config's classifier on an image of its test set, counted on shapes."""
    settings = engine.load_config(config, options)
    engine.complete(settings)
    init_default_scope("mmpretrain")
    size = image_size(settings)
    with torch.device("meta"):
        model = MODELS.build(settings.model).eval()
        _, counts = counted(model, torch.empty(1, 3, size, size))
    return {"params": counts.params, "macs": counts.macs, "size": size}


def image_size(settings: Any) -> int:
    """Pixels a side of the images that a config trains on."""
    for step in reversed(settings.train_dataloader.dataset.pipeline):
        size = step.get("crop_size") or step.get("scale")
        if isinstance(size, int):
            return size
    raise UserError(f"{settings.filename}: no step of the training pipeline tells the images' size as one number")


class Children:
    """Processes started by several threads, none of which outlives a body that is stopped, as by Ctrl-C: they end as well, and
    no further one starts. After an error they are waited for."""

    def __init__(self) -> None:
        self._lock, self._running, self._ended = threading.Lock(), set[subprocess.Popen[bytes]](), False

    def __enter__(self) -> Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):
            return
        with self._lock:
            self._ended = True
            for process in self._running:
                process.terminate()

    def run(self, command: Sequence[str], **options: Any) -> int:
        """The exit code of a command, once it has ended. Raises UserError where no more are started."""
        with self._lock:
            if self._ended:
                raise UserError("stopped")
            process = subprocess.Popen(command, **options)
            self._running.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.discard(process)


def _train(run: Run, threads: int, amp: bool, options: Mapping[str, Any] | None, children: Children) -> Run:
    """Train to the end, unless that was done."""
    if run.done:
        return run
    run.folder.mkdir(parents=True, exist_ok=True)
    overrides = {**(options or {}), "randomness.seed": run.seed}
    command = [sys.executable, "-m", "gemnet", "train", run.config, "--work-dir", str(run.folder), "--resume", *["--amp"] * amp]
    command += ["--cfg-options", *(f"{key}={value}" for key, value in overrides.items())]
    paths = os.pathsep.join(filter(None, sys.path))  # as this process finds modules
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}
    with (run.folder / "output.txt").open("a", encoding="utf-8") as output:
        code = children.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    if code:
        last = (run.folder / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise UserError(f"{run.folder}: training failed with exit code {code}: {' '.join(last)}")
    rows = list(_scalars(run.folder))
    measured = [row for row in rows if "accuracy/top1" in row]
    if not measured:
        raise UserError(f"{run.folder}: the log holds no accuracy/top1; expected a config whose val_evaluator is Accuracy")
    result = {
        "config": run.config,
        "seed": run.seed,
        "epochs": len({row["step"] for row in measured}),
        "top1": measured[-1]["accuracy/top1"],
        "top5": measured[-1].get("accuracy/top5"),
        "seconds": statistics.fmean(row["time"] for row in rows if "loss" in row) * max(r["iter"] for r in rows if "iter" in r),
        "amp": amp,
    }
    (run.folder / RESULT).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return run


def _scalars(folder: Path) -> Iterator[dict[str, Any]]:
    """Every line of mmengine's logs of scalars, oldest first; folders are named by time."""
    for path in sorted(folder.glob("*/vis_data/scalars.json")):
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _row(config: str, costs: dict[str, int], done: Sequence[Run]) -> dict[str, Any]:
    results = [run.result for run in done]
    accuracies = [result["top1"] for result in results]
    return {
        "config": config,
        **costs,
        "epochs": results[0]["epochs"],
        "seeds": [run.seed for run in done],
        "top1": accuracies,
        "mean": statistics.fmean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        "seconds": statistics.fmean(result["seconds"] for result in results),
        "amp": results[0]["amp"],
        "date": date.today().isoformat(),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row a config."""
    lines = []
    for row in rows:
        top1 = tables.mean_and_deviation(row["mean"], row["deviation"], 2)
        measured = f"{row['params'] / 1e6:.2f}", f"{row['macs'] / 1e6:.1f}", row["size"], row["epochs"], top1
        lines.append((tables.link(row["config"], PAGE), *measured, len(row["seeds"]), f"{row['seconds'] / 60:.0f}"))
    return tables.markdown_table(HEAD.split(" | "), lines)


def write(root: Path, name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write `configs/<name>.json` below `root` and renew its table in PAGE."""
    tables.publish(root, f"configs/{name}.json", list(rows), PAGE, marks(name), table(rows))


def marks(name: str) -> tuple[str, str]:
    """The lines of PAGE between which the table `name` stands."""
    return tables.marks(name, f"tools/compare.py --write {name}")
