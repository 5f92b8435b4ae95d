"""The table of measures of SVGe on a space: trainings under several seeds, what each gives, and the published figures."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gemnet.core.tables import markdown_table, mean_and_deviation
from search.core.cosines import cosines
from search.core.registry import build_part
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


@dataclass(frozen=True)
class Column:
    """How tables call a measure and write it: `factor` times its value, with so many digits."""

    title: str
    digits: int
    factor: int = 1

    def shown(self, values: Mapping[str, Any] | None, seeds: int | None = None) -> str | None:
        """Mean ± standard deviation (seeds) of one measure of a `summary`; None where it is missing. seeds: how many go without
        saying."""
        if values is None:
            return None
        deviation = None if values["deviation"] is None else self.factor * values["deviation"]
        count = len(values["seeds"])
        return mean_and_deviation(self.factor * values["mean"], deviation, self.digits) + f" ({count})" * (count != seeds)

    def quoted(self, value: float | None) -> str | None:
        """A published value, with the digits that it has."""
        return None if value is None else f"{self.factor * value:g}"


def _columns(part: str, title: str, names: Mapping[str, str], digits: int, factor: int = 1) -> dict[str, Column]:
    return {f"{part} {measure}": Column(title + name, digits, factor) for measure, name in names.items()}


RECONSTRUCTION = {"share": "reconstruction, %"}
PRIOR = {"validity": "validity, %", "uniqueness": "uniqueness, %", "novelty": "novelty, %"}
AGREEMENT = {"RMSE": "RMSE", "Pearson": "Pearson's r", "Kendall": "Kendall's tau"}
INFORMED = "network fine-tuned on all accuracies: "
COLUMNS: dict[str, Column] = {
    **_columns("training", "", {"epochs": "epochs"}, 0),
    **_columns("training", "", {"seconds an epoch": "seconds an epoch"}, 1),
    **_columns("reconstruction", "", RECONSTRUCTION, 2, 100),
    **_columns("prior", "", PRIOR, 2, 100),
    **_columns("constrained", "constrained decoding: ", RECONSTRUCTION | PRIOR, 2, 100),
    **_columns("checked", "checked decoding: ", RECONSTRUCTION | PRIOR, 2, 100),
    **_columns("gaussian process", "Gaussian process: ", AGREEMENT, 4),
    **_columns("network", "fine-tuned network: ", AGREEMENT, 4),
    **_columns("informed", INFORMED, AGREEMENT, 4),
    **_columns("informed", INFORMED, RECONSTRUCTION, 2, 100),
    **_columns("kernel", "cosine against WL kernel: ", {"R^2": "R²", "Spearman": "Spearman"}, 3),
}
"""By part of the work and its value, in the order of the table."""


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


@dataclass(frozen=True)
class Training:
    """One training of a model, and where it is kept.

    name: of MODELS. directory: of its checkpoint, its model and RESULTS. threads: torch's. Raises SearchError for another name.
    """

    task: Task
    name: str
    seed: int
    directory: Path
    bars: Bars
    effort: Effort = field(default_factory=Effort)
    threads: int = 1

    def __post_init__(self) -> None:
        if self.name not in MODELS:
            raise SearchError(f"unknown model {self.name!r}; expected one of {', '.join(MODELS)}")

    @cached_property
    def trained(self) -> tuple[SVGe, dict[str, Any]]:
        """The model, trained on the task's training graphs or gone on with from its checkpoint, and saved; and figures of its
        training, "seconds an epoch" those of all its epochs, whatever process they ran in."""
        settings = {**self.task.settings, **MODELS[self.name]}
        model = build_part("model", SVGe, self.task.space, **settings)
        with self._bar("training") as progress:
            figures = model.fit(self.task.graphs[self.task.train], self.seed, progress, self.directory, self.threads)
        model.save(self.directory)
        seconds = [epoch["seconds"] for epoch in history(self.directory)]
        length = {"epochs": model.plan.epochs, "seconds an epoch": statistics.fmean(seconds) if seconds else None}
        return model, {**length, "threads": self.threads, **figures}

    @property
    def model(self) -> SVGe:
        return self.trained[0]

    def tuned(self) -> SVGe:
        """`fine_tuned` of the model on `effort.fine_tuned` accuracies, by the authors' plan."""
        plan = Plan(epochs=self.effort.tuning, lr=1e-3)
        return self._tuned("fine-tuning", "fine_tuned", self.effort.fine_tuned, plan)

    def informed(self) -> SVGe:
        """`fine_tuned` of the model on `effort.known` accuracies, which are all or many, by the plan of its training."""
        plan = replace(self.model.plan, epochs=self.effort.informing)
        return self._tuned("fine-tuning on all accuracies", "informed", self.effort.known, plan)

    def measure(self) -> None:
        """Add each measure that is lacking to RESULTS, with what of the effort it depends on."""
        model, figures = self.trained
        results = Results(self.directory / RESULTS)
        same = {"settings": model.settings, "train": len(self.task.train), "test": len(self.task.test)}

        def unit(part: str, work: Callable[[], Mapping[str, Any]], *decisive: str) -> None:
            key = {"part": part, "space": self.task.name, "model": self.name, "seed": self.seed}
            results.unit(key, same | {name: getattr(self.effort, name) for name in decisive}, work)

        unit("training", lambda: figures)
        unit("reconstruction", lambda: self._reconstruction(model), "held_out")
        unit("prior", self._prior, "points")
        unit("constrained", lambda: self._both(partial(model.decode, constrained=True)), "held_out", "points")
        unit("checked", lambda: self._both(partial(decode_verified, model)), "held_out", "points")
        unit("gaussian process", self._process, "known", "inducing")
        unit("network", lambda: network_figures(self.tuned(), self.task), "fine_tuned", "tuning")
        unit("kernel", self._kernel, "pairs")
        unit("informed", self._informed, "known", "informing", "held_out")

    def _bar(self, what: str) -> AbstractContextManager[Progress]:
        return self.bars.progress(f"{self.name}, seed {self.seed}: {what}")

    def _tuned(self, title: str, folder: str, cells: int, plan: Plan) -> SVGe:
        with self._bar(title) as progress:
            place = self.directory / folder
            return fine_tuned(self.model, self.task, self.seed, cells, plan, progress, place, self.threads)

    def _reconstruction(self, model: SVGe, decode: Decode | None = None) -> dict[str, float]:
        rows = np.random.default_rng((self.seed, 3)).permutation(self.task.test)[: self.effort.held_out]
        with self._bar("reconstruction") as progress:
            return {"share": reconstruction(model, self.task.graphs[rows], self.seed, progress=progress, decode=decode)}

    def _prior(self, decode: Decode | None = None) -> dict[str, float]:
        graphs = self.task.graphs[self.task.train]
        with self._bar("prior") as progress:
            return prior(self.model, graphs, self.seed, self.effort.points, progress=progress, decode=decode)

    def _both(self, decode: Decode) -> dict[str, float]:
        return self._reconstruction(self.model, decode) | self._prior(decode)

    def _process(self) -> dict[str, float]:
        return gaussian_process_figures(self.model, self.task, self.seed, self.effort.inducing, self.effort.known)

    def _informed(self) -> dict[str, float]:
        model = self.informed()
        return network_figures(model, self.task) | self._reconstruction(model)

    def _kernel(self) -> dict[str, float]:
        rng, test = np.random.default_rng((self.seed, 4)), self.task.graphs[self.task.test].padded(self.task.space.max_nodes)
        a, b = (test[rng.integers(len(test), size=self.effort.pairs)] for _ in range(2))
        return kernel_figures(cosines(self.model.embed(a), self.model.embed(b)), wl_kernel(a, b))


def summary(results: Sequence[Results], space: str) -> dict[str, Any]:
    """For each model of `space` and each measure its values by seed, mean and standard deviation; and the published figures.

    results: of `Training.measure`, a file a training.
    """
    units = [unit for file in results for unit in file.values(space=space)]
    measured: dict[str, dict[str, dict[int, float]]] = {}
    for unit in units:
        for name, value in unit.items():
            if value is not None:
                measured.setdefault(unit["model"], {}).setdefault(f"{unit['part']} {name}", {})[unit["seed"]] = value
    peers = [peer for peer in published() if peer["space"] == space]
    return {"space": space, "models": _in_order(measured), "published": peers}


def joined(earlier: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """The summary `newer` and, of an `earlier` one, the trainings that are not in it; of a training that is in both, nothing
    earlier is kept, so that all its values are of the same weights."""
    measured: dict[str, dict[str, dict[int, float]]] = {}
    for name in MODELS:
        new, old = ({label: _by_seed(v) for label, v in one["models"].get(name, {}).items()} for one in (newer, earlier))
        anew = {seed for values in new.values() for seed in values}
        kept = {label: {seed: v for seed, v in values.items() if seed not in anew} for label, values in old.items()}
        measured[name] = {label: kept.get(label, {}) | new.get(label, {}) for label in COLUMNS}
    return {**newer, "models": _in_order(measured)}


def _in_order(measured: Mapping[str, Mapping[str, Mapping[int, float]]]) -> dict[str, Any]:
    """Values by model, measure and seed -> what `summary` has of them, in the order of MODELS and COLUMNS."""
    models = {
        name: {label: _summarised(measured[name][label]) for label in COLUMNS if measured[name].get(label)}
        for name in MODELS
        if name in measured
    }
    return {name: labels for name, labels in models.items() if labels}


def _summarised(values: Mapping[int, float]) -> dict[str, Any]:
    seeds, ordered = zip(*sorted(values.items()))
    deviation = statistics.stdev(ordered) if len(ordered) > 1 else None
    return {"seeds": list(seeds), "values": list(ordered), "mean": statistics.fmean(ordered), "deviation": deviation}


def _by_seed(summarised: Mapping[str, Any]) -> dict[int, float]:
    return dict(zip(summarised["seeds"], summarised["values"], strict=True))


def published() -> list[dict[str, Any]]:
    """Figures of other methods, with their sources."""
    return json.loads(resources.files("search.experiments.svge").joinpath("published.json").read_text(encoding="utf-8"))


def markdown(measured: Mapping[str, Any]) -> str:
    """The summary as a table, a row a measure: mean ± standard deviation (seeds); what was published, below it from where."""
    models, peers = measured["models"], measured["published"]
    lines: Iterable[list[str | None]] = (
        [
            column.title,
            *(column.shown(values.get(label)) for values in models.values()),
            *(column.quoted(peer["measures"].get(label)) for peer in peers),
        ]
        for label, column in COLUMNS.items()
    )
    table = markdown_table([measured["space"], *models, *(f"{peer['name']}, published" for peer in peers)], lines)
    return "\n".join([table, "", *(f"{peer['name']}: {peer['source']}." for peer in peers)]).rstrip() + "\n"


def rows(measured: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The summary as rows: a measured value of a model and seed each, or a published one without a seed."""
    ours = [
        {"source": name, "measure": label, "seed": seed, "value": value}
        for name, labels in measured["models"].items()
        for label, values in labels.items()
        for seed, value in _by_seed(values).items()
    ]
    theirs = [
        {"source": f"{peer['name']}: {peer['source']}", "measure": label, "seed": None, "value": value}
        for peer in measured["published"]
        for label, value in peer["measures"].items()
    ]
    return ours + theirs


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """The seeds. Raises SearchError for none, a negative one, or one twice."""
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise SearchError(f"seeds: expected different whole numbers from 0, at least one; found {list(seeds)}")
    return list(seeds)
