"""SVGe on one search space, from the graphs to tables and figures: measures, smoothness, optimisation, extrapolation.

What is done is kept in the work directory, unit by unit, and not done again: a folder for each training with its checkpoint
and, a line a unit, its measures in `results.jsonl`; beside them another `results.jsonl` of all else. Tables and figures are
made anew from them each time.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from gemnet.core.files import replacing, save_png, save_text
from gemnet.drawing import draw_cell
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.processes import RemoteBars, in_processes
from search.core.threads import torch_threads
from search.core.types import Progress, SearchError
from search.encoders.svge.model import SVGe
from search.evaluation.data import ProxyData, build_data
from search.evaluation.proxy import ProxySettings
from search.experiments.svge import measuring, optimisation, pages, smoothness
from search.experiments.svge.extrapolation import LARGER, Proposal, propose, train_proposals
from search.experiments.svge.measuring import MODELS, RESULTS, Effort, check_seeds, measure, trained
from search.experiments.svge.prediction import accuracy_process
from search.experiments.svge.proxy import BenchmarkProxyEvaluator
from search.experiments.svge.results import Results
from search.experiments.svge.tasks import Task, load_task

PARTS = ("measures", "smoothness", "optimisation", "extrapolation")


@dataclass(frozen=True)
class Scale:
    """How much is done. limit: of the graphs. settings: of `SVGe`, in the place of the task's. runs: of each optimisation.
    top: cells of each group that extrapolation trains, wanted: among how many, draws: of so many latent vectors at most.
    encoder: settings of NASGEM's."""

    limit: int | None = None
    settings: Mapping[str, Any] | None = None
    effort: Effort = field(default_factory=Effort)
    budget: optimisation.Budget = field(default_factory=optimisation.Budget)
    runs: int = 10
    side: int = 41
    top: int = 5
    wanted: int = 2000
    draws: int = 50_000
    encoder: Mapping[str, Any] = field(default_factory=dict)


FULL = Scale()
QUICK = Scale(
    limit=600,
    settings={"dim": 16, "state": 32, "epochs": 30, "batch": 32, "lr": 5e-3},
    effort=Effort(held_out=10, points=50, known=100, inducing=50, informing=2, fine_tuned=100, tuning=2, pairs=200),
    budget=optimisation.Budget(start=20, rounds=3, batch=10, candidates=200),
    runs=2,
    side=11,
    top=1,
    wanted=20,
    encoder={"iterations": 50},
)
"""To see that everything works, in minutes: what it gives says nothing about SVGe."""


def run(
    space: str,
    work_dir: str | os.PathLike[str] | None = None,
    parts: Sequence[str] = PARTS,
    seeds: Sequence[int] = (0, 1, 2),
    models: Sequence[str] = tuple(MODELS),
    quick: bool = False,
    data: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] = "configs/search/svge_extrapolation.py",
    options: Mapping[str, Any] | Sequence[str] | None = None,
    jobs: int = 1,
    threads: int | None = None,
    device: str = "cpu",
    settings: Mapping[str, Any] | None = None,
    write_to: Path | None = None,
    display: Display | None = None,
) -> Path:
    """Do the `parts` for `space` ("enas", "nasbench101", "nasbench201"), print the tables, and return the work directory.

    work_dir: `work_dirs/svge/<space>` if None, with `_quick` for a quick run. seeds: of the trainings. models: of MODELS, the
    first of which, under the first seed, is what all but the measures is made with. data: the space's file or its folder.
    config, options: images and proxy training for the extrapolation, as a search's config has them. jobs: processes that train
    and measure at the same time. threads: torch's and BLAS's in each process, an equal share of the cores if None. device: of
    all trainings. settings: of `SVGe`, in the place of the task's.
    write_to: the repository whose docs/svge is renewed with what the work directory has. Raises SearchError for what the user
    can mend.
    """
    for part in parts:
        if part not in PARTS:
            raise SearchError(f"unknown part {part!r}; expected some of {', '.join(PARTS)}")
    if "extrapolation" in parts and space not in LARGER and tuple(parts) != PARTS:
        raise SearchError(f"extrapolation: {space} has cells of one size; expected one of {', '.join(LARGER)}")
    for name in models:
        if name not in MODELS:
            raise SearchError(f"unknown model {name!r}; expected some of {', '.join(MODELS)}")
    for label, value in {"jobs": jobs, "threads": 1 if threads is None else threads}.items():
        if value < 1:
            raise SearchError(f"{label}: expected a number from 1, found {value}")
    cores = len(os.sched_getaffinity(0))
    display, scale, seeds = display or Display(), QUICK if quick else FULL, check_seeds(seeds)
    directory = Path(work_dir or f"work_dirs/svge/{space}{'_quick' if quick else ''}")
    extrapolates = "extrapolation" in parts and space in LARGER
    images = load_settings(config, options) if extrapolates else None
    task = load_task(space, data, scale.limit, {**(scale.settings or {}), **(settings or {}), "device": device})
    extrapolation = _Extrapolation.of(images) if images else None  # what is missing is told before any training
    directory.mkdir(parents=True, exist_ok=True)
    results = Results(directory / RESULTS)
    alone = threads or cores
    work = _Work(task, scale, results, directory, display, alone)
    with torch_threads(alone), threadpool_limits(alone):
        if "measures" in parts:
            work.measures(models, seeds, jobs, threads or max(1, cores // jobs))
        if set(parts) - {"measures"}:
            model, _ = trained(task, models[0], seeds[0], work.place(models[0], seeds[0]), display, alone)
            if {"smoothness", "optimisation"} & set(parts):
                pool = optimisation.Pool(task, model)
            if "smoothness" in parts:
                work.smoothness(model, models[0], pool, seeds[0])
            if "optimisation" in parts:
                work.optimisation(model, pool, seeds[0])
            if extrapolates:
                work.extrapolation(model, models[0], seeds, extrapolation, device)
            elif "extrapolation" in parts:
                display.line(f"extrapolation: left out, for {space} has cells of one size")
    if write_to:
        display.line(f"Written: {', '.join(pages.write(directory, space, write_to))}")
    return directory


@dataclass(frozen=True)
class _Extrapolation:
    """Images and proxy training that a config asks for; named: the images' settings."""

    data: ProxyData
    proxy: ProxySettings
    named: dict[str, Any]

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> _Extrapolation:
        return cls(build_data(**settings["data"]), ProxySettings(**settings["proxy"]), dict(settings["data"]))


@dataclass(frozen=True)
class _Work:
    task: Task
    scale: Scale
    results: Results
    directory: Path
    display: Display
    threads: int

    def place(self, name: str, seed: int) -> Path:
        """Where a training's checkpoint and model are."""
        return self.directory / f"{name.lower().replace(' ', '_')}_seed{seed}"

    def measures(self, models: Sequence[str], seeds: Sequence[int], jobs: int, threads: int) -> None:
        """threads: of each process where there are several."""
        trainings = [(name, seed) for seed in seeds for name in models]
        if jobs == 1:
            for name, seed in trainings:
                measure(self.task, name, seed, self.place(name, seed), self.display, self.scale.effort, self.threads)
                self._tell_measures()
            return
        bare = replace(self.task, test_accuracy=None)  # not for measures, and not always picklable
        calls = [(bare, name, seed, self.place(name, seed), self.scale.effort, threads) for name, seed in trainings]
        with self.display.progress("measures, %") as progress:
            told = partial(_tell_share, progress, {}, len(calls))
            with closing(in_processes(_measure_apart, calls, jobs, "measures", told)) as ended:
                for _ in ended:
                    self._tell_measures()

    def _tell_measures(self) -> None:
        """The table of all trainings that the work directory has."""
        paths = sorted(self.directory.glob(f"*_seed*/{RESULTS}"))
        found = measuring.summary([Results(path) for path in paths], self.task.name)
        self._write("measures", found, measuring.rows(found), measuring.markdown(found))

    def smoothness(self, model: SVGe, name: str, pool: optimisation.Pool, seed: int) -> None:
        process = accuracy_process(model, self.task, seed, self.scale.effort.inducing, self.scale.effort.known)
        walk = smoothness.interpolation(model, self.task, pool, process, seed)
        self._draw("interpolation", walk.rows, smoothness.draw_walk(walk, self.task))
        rows = smoothness.plane(model, self.task, pool, process, seed, self.scale.side)
        self._draw("plane", rows, smoothness.draw_plane(rows))
        with self.display.progress("NASGEM's encoder, to compare") as progress:
            pairs, figures = smoothness.kernel_pairs(
                model, name, self.task, seed, self.scale.effort.pairs, progress, dict(self.scale.encoder)
            )
        self._draw("kernel", pairs, smoothness.draw_kernel_pairs(pairs, figures))
        rows = [{"encoder": encoder, **values} for encoder, values in figures.items()]
        self._write("smoothness", {"seed": seed, "cosine against WL kernel": figures}, rows, _markdown(rows))

    def optimisation(self, model: SVGe, pool: optimisation.Pool, seed: int) -> None:
        task, budget = self.task, self.scale.budget
        same = {"budget": asdict(budget), "model": model.settings, "seed of the training": seed, "constrained": True}
        found = {}
        for method in optimisation.METHODS:
            with self.display.progress(f"optimisation, {method}") as progress:
                for number in range(self.scale.runs):
                    key = {"part": "optimisation", "space": task.name, "method": method, "run": number}

                    def work(method: str = method, number: int = number) -> dict[str, Any]:
                        trace = optimisation.optimise(method, model, pool, number, budget)
                        rows = pool.rows[trace.asked].tolist()
                        return {"rows": rows, "decoded": trace.decoded, "unknown": trace.unknown}

                    found.setdefault(method, []).append(self.results.unit(key, same, work))
                    progress(number + 1, self.scale.runs)
        told = optimisation.summary(task, found)
        self._write("optimisation", told, optimisation.rows(task, found), optimisation.markdown(told))
        self._draw("optimisation", None, optimisation.draw(task, found, budget))

    def extrapolation(self, model: SVGe, name: str, seeds: Sequence[int], images: _Extrapolation, device: str) -> None:
        larger = LARGER[self.task.name]
        proxy = replace(images.proxy, epochs=1) if self.scale.limit else images.proxy
        evaluator = BenchmarkProxyEvaluator(images.data, proxy, {"benchmark": self.task.name})
        place, effort = self.place(name, seeds[0]), self.scale.effort
        predictor = measuring.tuned(model, self.task, name, seeds[0], place, self.display, effort, self.threads, informed=True)
        amounts = {"top": self.scale.top, "wanted": self.scale.wanted, "draws": self.scale.draws}

        def proposed() -> dict[str, Any]:
            with self.display.progress(f"proposing cells of {larger.max_nodes} nodes") as progress:
                found = propose(model, predictor, self.task, larger, seeds[0], **amounts, progress=progress)
            return {"proposals": [proposal.to_dict() for proposal in found]}

        key = {"part": "proposals", "space": self.task.name, "seed": seeds[0]}
        decisive = {
            **amounts,
            "constrained": True,
            "model": model.settings,
            "known": effort.known,
            "informing": effort.informing,
        }
        proposals = [Proposal.from_dict(data) for data in self.results.unit(key, decisive, proposed)["proposals"]]
        for proposal in proposals:
            path = self.directory / "cells" / f"{proposal.group.replace(', ', '_').replace(' ', '_')}_{proposal.rank}.json"
            path.parent.mkdir(exist_ok=True)
            proposal.cell.save(path)
            draw_cell(proposal.cell, path.with_suffix(".png"))
        same = {"data": images.named, "proxy": asdict(proxy)}
        with self.display.progress("training proposals") as progress:
            rows = train_proposals(proposals, evaluator, self.results, same, list(seeds), device, progress)
        self._write("extrapolation", {"settings": same, "cells": rows}, rows, _markdown(rows))

    def _write(self, name: str, found: Any, rows: Sequence[Mapping[str, Any]], table: str) -> None:
        """`<name>.json`, `.csv` and `.md`; the table is printed as well."""
        save_text(self.directory / f"{name}.json", json.dumps(found, indent=1) + "\n")
        self._csv(name, rows)
        save_text(self.directory / f"{name}.md", table)
        self.display.line(table)

    def _draw(self, name: str, rows: Sequence[Mapping[str, Any]] | None, figure: Figure) -> None:
        """`<name>.png`, and `.csv` where there are rows."""
        if rows is not None:
            self._csv(name, rows)
        save_png(figure, self.directory / f"{name}.png", dpi=120)
        self.display.line(f"{self.directory / name}.png")

    def _csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with replacing(self.directory / f"{name}.csv") as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _measure_apart(task: Task, name: str, seed: int, place: Path, effort: Effort, threads: int) -> None:
    """`measure` in a process of `in_processes`."""
    with torch_threads(threads), threadpool_limits(threads):
        measure(task, name, seed, place, RemoteBars(), effort, threads)


def _tell_share(
    progress: Progress, shares: dict[str, float], trainings: int, title: str, done: int, total: int, note: str
) -> None:
    """A bar over all trainings, in percent of each, from what `RemoteBars` tell of one; shares: those known, renewed here."""
    shares[title] = done / total
    share = sum(value for what, value in shares.items() if what.endswith(": training"))
    running = "; ".join(f"{what} {value:.0%}" for what, value in shares.items() if value < 1)
    progress(int(100 * share), 100 * trainings, running)


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under their names, numbers short."""

    def told(name: str, value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4f}"
        return "" if value is None else f"{value / 1e6:.2f} M" if name in ("MACs", "params") else str(value)

    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(told(n, v) for n, v in row.items()) + " |" for row in rows)]) + "\n"
