"""SVGe on one search space, from the graphs to tables and figures: measures, smoothness, optimisation, extrapolation.

What is done is kept in the work directory, unit by unit, and not done again: a folder for each training with its checkpoint
and, a line a unit, its measures in `results.jsonl`; beside them another `results.jsonl` of all else. Tables and figures are
made anew from them each time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from gemnet.core.files import save_text
from gemnet.core.machine import cores
from gemnet.core.tables import markdown_table, save_csv
from gemnet.drawing import draw_cell
from gemnet.drawing.palette import save_svg
from search.configuration.settings import load_settings
from search.core.display import Display
from search.core.processes import RemoteBars, in_processes
from search.core.threads import torch_threads
from search.core.types import Progress, SearchError
from search.evaluation.data import build_data
from search.evaluation.proxy import ProxySettings
from search.experiments.svge import measuring, optimisation, pages, pictures, points, smoothness
from search.experiments.svge.extrapolation import LARGER, Proposal, propose, train_proposals
from search.experiments.svge.measuring import MODELS, RESULTS, Effort, Training, check_seeds
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
    write_to: the repository whose docs/results/svge is renewed with what the work directory has. Raises SearchError for what
    the user can mend.
    """
    _check(space, parts, models, jobs, threads)
    scale, seeds = QUICK if quick else FULL, check_seeds(seeds)
    directory = Path(work_dir or f"work_dirs/svge/{space}{'_quick' if quick else ''}")
    images = load_settings(config, options) if "extrapolation" in parts and space in LARGER else None
    task = load_task(space, data, scale.limit, {**(scale.settings or {}), **(settings or {}), "device": device})
    evaluator = _evaluator(images, task.name, scale) if images else None  # what is missing is told before any training
    directory.mkdir(parents=True, exist_ok=True)
    available, display = cores(), display or Display()
    work = _Work(task, scale, directory, display, threads or available, models, seeds)
    with torch_threads(work.threads), threadpool_limits(work.threads):
        if "measures" in parts:
            work.measures(jobs, threads or max(1, available // jobs))
        if "smoothness" in parts:
            work.smoothness()
        if "optimisation" in parts:
            work.optimisation()
        if evaluator and images:
            work.extrapolation(evaluator, images["data"], device)
        elif "extrapolation" in parts:
            display.line(f"extrapolation: left out, for {space} has cells of one size")
    if write_to:
        display.line(f"Written: {', '.join(pages.write(directory, space, write_to))}")
    return directory


def _check(space: str, parts: Sequence[str], models: Sequence[str], jobs: int, threads: int | None) -> None:
    for what, asked, known in (("part", parts, PARTS), ("model", models, MODELS)):
        for name in asked:
            if name not in known:
                raise SearchError(f"unknown {what} {name!r}; expected some of {', '.join(known)}")
    if "extrapolation" in parts and space not in LARGER and tuple(parts) != PARTS:
        raise SearchError(f"extrapolation: {space} has cells of one size; expected one of {', '.join(LARGER)}")
    for label, value in {"jobs": jobs, "threads": 1 if threads is None else threads}.items():
        if value < 1:
            raise SearchError(f"{label}: expected a number from 1, found {value}")


def _evaluator(settings: Mapping[str, Any], space: str, scale: Scale) -> BenchmarkProxyEvaluator:
    """The proxy training that a config asks for, of one epoch in a quick run."""
    proxy = {**settings["proxy"], **({"epochs": 1} if scale.limit else {})}
    return BenchmarkProxyEvaluator(build_data(**settings["data"]), ProxySettings(**proxy), {"benchmark": space})


@dataclass(frozen=True)
class _Work:
    """The parts of a run; all but the measures are made with the first of the models under the first seed."""

    task: Task
    scale: Scale
    directory: Path
    display: Display
    threads: int
    models: Sequence[str]
    seeds: Sequence[int]

    @cached_property
    def results(self) -> Results:
        return Results(self.directory / RESULTS)

    @cached_property
    def first(self) -> Training:
        return self._training(self.models[0], self.seeds[0])

    @cached_property
    def pool(self) -> optimisation.Pool:
        return optimisation.Pool(self.task, self.first.model)

    def _training(self, name: str, seed: int) -> Training:
        place = self.directory / f"{name.lower().replace(' ', '_')}_seed{seed}"
        return Training(self.task, name, seed, place, self.display, self.scale.effort, self.threads)

    def measures(self, jobs: int, threads: int) -> None:
        """threads: of each process where there are several."""
        trainings = [self._training(name, seed) for seed in self.seeds for name in self.models]
        if jobs == 1:
            for training in trainings:
                training.measure()
                self._tell_measures()
            return
        bare = replace(self.task, test_accuracy=None)  # not for measures, and not always picklable
        calls = [(replace(training, task=bare, bars=RemoteBars(), threads=threads),) for training in trainings]
        with self.display.progress("measures, %") as progress:
            tell = partial(_tell_share, progress, {}, len(calls))
            with closing(in_processes(_measure_apart, calls, jobs, "measures", tell)) as ended:
                for _ in ended:
                    self._tell_measures()

    def _tell_measures(self) -> None:
        """The table of all trainings that the work directory has."""
        paths = sorted(self.directory.glob(f"*_seed*/{RESULTS}"))
        summary = measuring.summary([Results(path) for path in paths], self.task.name)
        self._write("measures", summary, measuring.rows(summary), measuring.markdown(summary))

    def smoothness(self) -> None:
        model, task, seed, effort = self.first.model, self.task, self.first.seed, self.scale.effort
        process = accuracy_process(model, task, seed, effort.inducing, effort.known)
        walk = smoothness.interpolation(model, task, self.pool, process, seed)
        self._draw("interpolation", points.walk_points(walk, task), walk.rows)
        rows = smoothness.plane(model, task, self.pool, process, seed, self.scale.side)
        self._draw("plane", points.plane_points(rows), rows)
        with self.display.progress("NASGEM's encoder, to compare") as progress:
            encoder = dict(self.scale.encoder)
            pairs, figures = smoothness.kernel_pairs(model, self.first.name, task, seed, effort.pairs, progress, encoder)
        self._draw("kernel", points.pair_points(pairs, figures), pairs)
        rows = [{"encoder": name, **values} for name, values in figures.items()]
        self._write("smoothness", {"seed": seed, "cosine against WL kernel": figures}, rows)

    def optimisation(self) -> None:
        model, task, budget = self.first.model, self.task, self.scale.budget
        same = {"budget": asdict(budget), "model": model.settings, "seed of the training": self.first.seed, "constrained": True}

        def run(method: str, number: int) -> dict[str, Any]:
            trace = optimisation.optimise(method, model, self.pool, number, budget)
            return {"rows": self.pool.rows[trace.asked].tolist(), "decoded": trace.decoded, "unknown": trace.unknown}

        runs: dict[str, list[dict[str, Any]]] = {method: [] for method in optimisation.METHODS}
        for method in runs:
            with self.display.progress(f"optimisation, {method}") as progress:
                for number in range(self.scale.runs):
                    key = {"part": "optimisation", "space": task.name, "method": method, "run": number}
                    runs[method].append(self.results.unit(key, same, partial(run, method, number)))
                    progress(number + 1, self.scale.runs)
        summary = optimisation.summary(task, runs)
        self._write("optimisation", summary, optimisation.rows(task, runs), optimisation.markdown(summary))
        self._draw("optimisation", points.curve_points(task, runs, budget))

    def extrapolation(self, evaluator: BenchmarkProxyEvaluator, images: Mapping[str, Any], device: str) -> None:
        """images: settings of those that the evaluator trains on."""
        proposals = self._proposals()
        for proposal in proposals:
            path = self.directory / "cells" / f"{proposal.group.replace(', ', '_').replace(' ', '_')}_{proposal.rank}.json"
            path.parent.mkdir(exist_ok=True)
            proposal.cell.save(path)
            draw_cell(proposal.cell, path.with_suffix(".png"))
        same = {"data": dict(images), "proxy": asdict(evaluator.settings)}
        with self.display.progress("training proposals") as progress:
            rows = train_proposals(proposals, evaluator, self.results, same, list(self.seeds), device, progress)
        self._write("extrapolation", {"settings": same, "cells": rows}, rows)

    def _proposals(self) -> list[Proposal]:
        model, seed, larger, effort = self.first.model, self.first.seed, LARGER[self.task.name], self.scale.effort
        amounts = {"top": self.scale.top, "wanted": self.scale.wanted, "draws": self.scale.draws}
        informed = self.first.informed()

        def work() -> dict[str, Any]:
            with self.display.progress(f"proposing cells of {larger.max_nodes} nodes") as progress:
                proposals = propose(model, informed, self.task, larger, seed, **amounts, progress=progress)
            return {"proposals": [proposal.to_dict() for proposal in proposals]}

        known = {"constrained": True, "model": model.settings, "known": effort.known, "informing": effort.informing}
        key = {"part": "proposals", "space": self.task.name, "seed": seed}
        return [Proposal.from_dict(data) for data in self.results.unit(key, amounts | known, work)["proposals"]]

    def _write(self, name: str, values: Any, rows: Sequence[Mapping[str, Any]], table: str | None = None) -> None:
        """Write `<name>.json`, `.csv` and `.md`; the table, that of the rows if there is no other, is printed as well."""
        table = _markdown(rows) if table is None else table
        save_text(self.directory / f"{name}.json", json.dumps(values, indent=1) + "\n")
        save_csv(self.directory / f"{name}.csv", list(rows[0]), [row.values() for row in rows])
        save_text(self.directory / f"{name}.md", table)
        self.display.line(table)

    def _draw(self, name: str, shown: pictures.Points, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write `<name>.svg` and its `<name>_points.json`, and `.csv` where there are rows."""
        if rows:
            save_csv(self.directory / f"{name}.csv", list(rows[0]), [row.values() for row in rows])
        save_text(self.directory / f"{name}{pages.POINTS}", json.dumps(shown) + "\n")
        save_svg(pictures.DRAWINGS[name](shown), self.directory / f"{name}.svg")
        self.display.line(f"{self.directory / name}.svg")


def _measure_apart(training: Training) -> None:
    """`Training.measure` in a process of `in_processes`."""
    with torch_threads(training.threads), threadpool_limits(training.threads):
        training.measure()


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

    def short(name: str, value: Any) -> Any:
        if isinstance(value, float):
            return f"{value:.4f}"
        return f"{value / 1e6:.2f} M" if name in ("MACs", "params") and value is not None else value

    return markdown_table(list(rows[0]), [[short(*entry) for entry in row.items()] for row in rows]) + "\n"
