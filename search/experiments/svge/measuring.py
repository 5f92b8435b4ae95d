"""The table of measures of SVGe on a space: trainings under several seeds, what each gives, and the published figures."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from search.core.cosines import cosines
from search.core.registry import build_named
from search.core.types import Progress, SearchError
from search.encoders.similarity import kernel_figures
from search.encoders.svge.measures import Decode, prior, reconstruction
from search.encoders.svge.model import SVGe
from search.encoders.svge.training import Plan, history
from search.encoders.svge.verified_decoding import decode_verified
from search.experiments.svge.prediction import fine_tuned, gaussian_process_figures, network_figures
from search.experiments.svge.results import Results
from search.experiments.svge.tasks import Task
from search.kernel.wl import wl_kernel

RESULTS = "results.jsonl"
MODELS: dict[str, dict[str, Any]] = {"SVGe": {}, "SVGe with WL kernel": {"similarity_weight": 50.0}}
"""Settings by name; the weight of the similarity loss is that of NASGEM's encoder here, `KernelGuidedEncoder`."""
COLUMNS = {
    ("training", "epochs"): ("epochs", "{:.0f}", 1),
    ("training", "seconds an epoch"): ("seconds an epoch", "{:.1f}", 1),
    ("reconstruction", "share"): ("reconstruction, %", "{:.2f}", 100),
    ("prior", "validity"): ("validity, %", "{:.2f}", 100),
    ("prior", "uniqueness"): ("uniqueness, %", "{:.2f}", 100),
    ("prior", "novelty"): ("novelty, %", "{:.2f}", 100),
    ("constrained", "share"): ("constrained decoding: reconstruction, %", "{:.2f}", 100),
    ("constrained", "validity"): ("constrained decoding: validity, %", "{:.2f}", 100),
    ("constrained", "uniqueness"): ("constrained decoding: uniqueness, %", "{:.2f}", 100),
    ("constrained", "novelty"): ("constrained decoding: novelty, %", "{:.2f}", 100),
    ("checked", "share"): ("checked decoding: reconstruction, %", "{:.2f}", 100),
    ("checked", "validity"): ("checked decoding: validity, %", "{:.2f}", 100),
    ("checked", "uniqueness"): ("checked decoding: uniqueness, %", "{:.2f}", 100),
    ("checked", "novelty"): ("checked decoding: novelty, %", "{:.2f}", 100),
    ("gaussian process", "RMSE"): ("Gaussian process: RMSE", "{:.4f}", 1),
    ("gaussian process", "Pearson"): ("Gaussian process: Pearson's r", "{:.4f}", 1),
    ("gaussian process", "Kendall"): ("Gaussian process: Kendall's tau", "{:.4f}", 1),
    ("network", "RMSE"): ("fine-tuned network: RMSE", "{:.4f}", 1),
    ("network", "Pearson"): ("fine-tuned network: Pearson's r", "{:.4f}", 1),
    ("network", "Kendall"): ("fine-tuned network: Kendall's tau", "{:.4f}", 1),
    ("informed", "RMSE"): ("network fine-tuned on all accuracies: RMSE", "{:.4f}", 1),
    ("informed", "Pearson"): ("network fine-tuned on all accuracies: Pearson's r", "{:.4f}", 1),
    ("informed", "Kendall"): ("network fine-tuned on all accuracies: Kendall's tau", "{:.4f}", 1),
    ("informed", "share"): ("network fine-tuned on all accuracies: reconstruction, %", "{:.2f}", 100),
    ("kernel", "R^2"): ("cosine against WL kernel: R²", "{:.3f}", 1),
    ("kernel", "Spearman"): ("cosine against WL kernel: Spearman", "{:.3f}", 1),
}
"""For each part of the work and each of its values: how the table calls it and writes it, and its factor there."""


class Bars(Protocol):
    """Gives a Progress for the time of a `with`; as do `Display` and `RemoteBars`."""

    def progress(self, title: str) -> AbstractContextManager[Progress]: ...


@dataclass(frozen=True)
class Effort:
    """How much is measured. held_out: test graphs that are reconstructed, drawn at random; None for all. points: of the prior.
    known: training graphs at most whose accuracies are told to the Gaussian process, with `inducing` points, and to the network
    that is fine-tuned on all accuracies, for `informing` epochs. fine_tuned: cells, and tuning: epochs, of the other network.
    pairs: for the kernel."""

    held_out: int | None = 2000
    points: int = 1000
    known: int = 20_000
    inducing: int = 2000
    informing: int = 12
    fine_tuned: int = 1000
    tuning: int = 100
    pairs: int = 2000


def trained(
    task: Task, name: str, seed: int, directory: str | os.PathLike[str], bars: Bars, threads: int = 1
) -> tuple[SVGe, dict[str, Any]]:
    """The model `name` of MODELS, trained on the task's training graphs or gone on with from its checkpoint in `directory`, and
    saved there; and figures of its training, "seconds an epoch" those of all its epochs, whatever process they ran in."""
    if name not in MODELS:
        raise SearchError(f"unknown model {name!r}; expected one of {', '.join(MODELS)}")
    model = build_named("model", {name: SVGe}, name, task.space, **{**task.settings, **MODELS[name]})
    with bars.progress(f"{name}, seed {seed}: training") as progress:
        figures = model.fit(task.graphs[task.train], seed, progress, directory, threads)
    model.save(directory)
    seconds = [epoch["seconds"] for epoch in history(directory)]
    told = {"epochs": model.plan.epochs, "seconds an epoch": statistics.fmean(seconds) if seconds else None}
    return model, {**told, "threads": threads, **figures}


def tuned(
    model: SVGe,
    task: Task,
    name: str,
    seed: int,
    directory: str | os.PathLike[str],
    bars: Bars,
    effort: Effort | None = None,
    threads: int = 1,
    informed: bool = False,
) -> SVGe:
    """`fine_tuned` of a model of `trained`, or gone on with from its checkpoint below `directory`.

    informed: on all accuracies of training graphs, `effort.known` at most, by the plan of the training itself; else on
    `effort.fine_tuned`, by the authors' plan.
    """
    effort = effort or Effort()
    if informed:
        title, folder = "fine-tuning on all accuracies", "informed"
        cells, plan = effort.known, replace(model.plan, epochs=effort.informing)
    else:
        title, folder = "fine-tuning", "fine_tuned"
        cells, plan = effort.fine_tuned, Plan(epochs=effort.tuning, lr=1e-3)
    with bars.progress(f"{name}, seed {seed}: {title}") as progress:
        return fine_tuned(model, task, seed, cells, plan, progress, Path(directory) / folder, threads)


def measure(
    task: Task,
    name: str,
    seed: int,
    directory: str | os.PathLike[str],
    bars: Bars,
    effort: Effort | None = None,
    threads: int = 1,
) -> None:
    """Train a model, or go on with it from `directory`, and add each measure that is lacking to `directory`/RESULTS."""
    effort, place = effort or Effort(), Path(directory)
    results = Results(place / RESULTS)
    model, figures = trained(task, name, seed, place, bars, threads)
    same = {"settings": model.settings, "train": len(task.train), "test": len(task.test)}

    def unit(measured: str, work: Callable[[], Mapping[str, Any]], *decisive: str) -> None:
        """decisive: what of the effort the measure depends on."""
        key = {"part": measured, "space": task.name, "model": name, "seed": seed}
        results.unit(key, same | {what: getattr(effort, what) for what in decisive}, work)

    def held_out_reconstruction(model: SVGe, decode: Decode | None = None) -> dict[str, float]:
        rows = np.random.default_rng((seed, 3)).permutation(task.test)[: effort.held_out]
        with bars.progress(f"{name}, seed {seed}: reconstruction") as progress:
            return {"share": reconstruction(model, task.graphs[rows], seed, progress=progress, decode=decode)}

    def prior_measures(decode: Decode | None = None) -> dict[str, float]:
        with bars.progress(f"{name}, seed {seed}: prior") as progress:
            return prior(model, task.graphs[task.train], seed, effort.points, progress=progress, decode=decode)

    def both(decode: Decode) -> dict[str, float]:
        return held_out_reconstruction(model, decode) | prior_measures(decode)

    def network() -> dict[str, float]:
        return network_figures(tuned(model, task, name, seed, place, bars, effort, threads), task)

    def informed() -> dict[str, float]:
        knowing = tuned(model, task, name, seed, place, bars, effort, threads, informed=True)
        return network_figures(knowing, task) | held_out_reconstruction(knowing)

    def kernel() -> dict[str, float]:
        rng, graphs = np.random.default_rng((seed, 4)), task.graphs.padded(task.space.max_nodes)
        a, b = (graphs[task.test[rng.integers(len(task.test), size=effort.pairs)]] for _ in range(2))
        return kernel_figures(cosines(model.embed(a), model.embed(b)), wl_kernel(a, b))

    unit("training", lambda: figures)
    unit("reconstruction", lambda: held_out_reconstruction(model), "held_out")
    unit("prior", prior_measures, "points")
    unit("constrained", lambda: both(partial(model.decode, constrained=True)), "held_out", "points")
    unit("checked", lambda: both(partial(decode_verified, model)), "held_out", "points")
    unit(
        "gaussian process",
        lambda: gaussian_process_figures(model, task, seed, effort.inducing, effort.known),
        "known",
        "inducing",
    )
    unit("network", network, "fine_tuned", "tuning")
    unit("kernel", kernel, "pairs")
    unit("informed", informed, "known", "informing", "held_out")


def summary(results: Sequence[Results], space: str) -> dict[str, Any]:
    """For each model of `space` and each measure its values by seed, mean and standard deviation; and the published figures.

    results: of `measure`, a file a training."""
    models: dict[str, dict[str, Any]] = {}
    for part, value in COLUMNS:
        for name in MODELS:
            units = [unit for one in results for unit in one.values(part=part, space=space, model=name)]
            found = {unit["seed"]: unit[value] for unit in units if unit[value] is not None}
            if found:
                models.setdefault(name, {})[f"{part} {value}"] = _summarised(found)
    peers = [peer for peer in published() if peer["space"] == space]
    return {"space": space, "models": models, "published": peers}


def joined(earlier: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The summary `found` and, of an `earlier` one, the trainings that are not in it; of a training that is in both, nothing
    earlier is kept, so that all its values are of the same weights."""
    models: dict[str, dict[str, Any]] = {}
    for name in MODELS:
        new, old = (one["models"].get(name, {}) for one in (found, earlier))
        anew = {seed for values in new.values() for seed in values["seeds"]}
        for label in map(" ".join, COLUMNS):
            kept = {seed: value for seed, value in _by_seed(old.get(label)).items() if seed not in anew}
            if values := kept | _by_seed(new.get(label)):
                models.setdefault(name, {})[label] = _summarised(values)
    return {**found, "models": models}


def _summarised(found: Mapping[int, float]) -> dict[str, Any]:
    """Values by seed -> what `summary` has of a measure."""
    seeds, values = zip(*sorted(found.items()))
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"seeds": list(seeds), "values": list(values), "mean": statistics.fmean(values), "deviation": deviation}


def _by_seed(summarised: Mapping[str, Any] | None) -> dict[int, float]:
    return {} if summarised is None else dict(zip(summarised["seeds"], summarised["values"], strict=True))


def published() -> list[dict[str, Any]]:
    """Figures of other methods, with their sources."""
    return json.loads(resources.files("search.experiments.svge").joinpath("published.json").read_text(encoding="utf-8"))


def markdown(found: Mapping[str, Any]) -> str:
    """The summary as a table, a row a measure: mean ± standard deviation (seeds); what was published, below it from where."""
    models, peers = found["models"], found["published"]
    lines = [
        f"| {found['space']} | " + " | ".join([*models, *(f"{peer['name']}, published" for peer in peers)]) + " |",
        "|---" * (1 + len(models) + len(peers)) + "|",
    ]
    for key, (title, form, factor) in COLUMNS.items():
        label = " ".join(key)
        ours = [told(models[name].get(label), form, factor) for name in models]
        theirs = [f"{factor * value:g}" if (value := peer["measures"].get(label)) is not None else "" for peer in peers]
        lines.append(f"| {title} | " + " | ".join([*ours, *theirs]) + " |")
    sources = [f"{peer['name']}: {peer['source']}." for peer in peers]
    return "\n".join([*lines, "", *sources]).rstrip() + "\n"


def rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The summary as rows: a measured value of a model and seed each, or a published one without a seed."""
    ours = [
        {"source": name, "measure": label, "seed": seed, "value": value}
        for name, labels in found["models"].items()
        for label, values in labels.items()
        for seed, value in zip(values["seeds"], values["values"])
    ]
    theirs = [
        {"source": f"{peer['name']}: {peer['source']}", "measure": label, "seed": None, "value": value}
        for peer in found["published"]
        for label, value in peer["measures"].items()
    ]
    return ours + theirs


def told(values: Mapping[str, Any] | None, form: str, factor: float, seeds: int | None = None) -> str:
    """Mean ± standard deviation (seeds) of one measure of a `summary`, written as COLUMNS has it; nothing where it is missing.

    seeds: how many go without saying."""
    if values is None:
        return ""
    spread = "" if values["deviation"] is None else f" ± {form.format(factor * values['deviation'])}"
    count = len(values["seeds"])
    return f"{form.format(factor * values['mean'])}{spread}" + ("" if count == seeds else f" ({count})")


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds. Raises SearchError for none, a negative one, or one twice."""
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise SearchError(f"seeds: expected different whole numbers from 0, at least one; found {list(seeds)}")
    return list(seeds)
