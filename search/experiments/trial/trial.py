"""Is a searched cell any good? It and its rivals at equal MACs, trained longer than by the proxy, one recipe, several seeds.

Rivals are the best of some random cells by the proxy, other random cells, a randomly wired one, and the mobile networks of timm
and torchvision. The accuracy is that on test images that no search has seen, after the last epoch. Every training, the
proxy's too, is a line in the record; one that is there is not run again, whatever else is asked for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
import torch
from torch import nn

from gemnet.bench.benchmark import measure_together
from gemnet.cell import Cell
from gemnet.complexity import BudgetError
from gemnet.core.settings import Setting
from gemnet.library import SCALABLE
from search.core.checks import takes_settings
from search.core.display import Display
from search.core.json_lines import Store
from search.core.threads import torch_threads
from search.core.types import Job, SearchError, Space
from search.evaluation.evaluators import evaluator_of
from search.evaluation.proxy import ProxyEvaluator, build_evaluator
from search.experiments.trial.baselines import Contestant, of_cell, of_library, randwire_cell
from search.experiments.trial.final_data import PerClass, build_final_data
from search.experiments.trial.trainings import open_trainings, run_missing, this_machine
from search.pipeline import candidate_seed
from search.spaces.dag import build_space

SHIPPED, CHOSEN, RANDOM, RANDWIRE, KNOWN = "shipped", "best random by the proxy", "random", "RandWire", "well-known"
SHIPPED_CELLS = ("gemnet_a", "gemnet_b")
DRAWS = 64
"""Random cells that are drawn for each one that is wanted, since of some no network can be made."""


@takes_settings("trial")
@dataclass(frozen=True)
class Trial:
    """What is compared, and how it is trained. Images: see `build_final_data`."""

    macs: Annotated[float, Setting("of every network on one image", above=0, unit="MACs")] = 20e6
    epochs: Annotated[int, Setting("of the longer training", at_least=1)] = 30
    seeds: Annotated[
        Sequence[int],
        Setting("of its weights and its order of images, each once", item=Setting("", int, at_least=0), length=(1, None)),
    ] = (0, 1, 2)
    candidates: Annotated[int, Setting("random cells of which the best by the proxy takes part", at_least=1)] = 20
    random: Annotated[int, Setting("other random cells that take part", at_least=2)] = 10
    train_per_class: PerClass = None
    test_per_class: PerClass = None
    test_root: Annotated[str | None, Setting("folder of test images, of an image folder")] = None
    recipe: Annotated[Mapping[str, Any], Setting("of ProxySettings, instead of those of the search")] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        if len(set(self.seeds)) != len(self.seeds):
            raise SearchError(f"trial: seeds: expected each once, found {list(self.seeds)}")


@dataclass(frozen=True)
class Training:
    """A job for TrialEvaluator: train `network` with `seed`, without hurdles."""

    key: int
    network: Contestant
    seed: int
    hurdles: tuple[tuple[int, float], ...] = ()


class TrialEvaluator(ProxyEvaluator):
    """Trains networks as the proxy's are trained, and looks at the test images once, after the last epoch."""

    every_epoch = False

    def build(self, job: Training) -> nn.Module:
        return job.network.build()


def run_trial(
    settings: Mapping[str, Any], trial: Trial, directory: str | os.PathLike[str], display: Display, jobs: int | None = None
) -> dict[str, Any]:
    """Run a trial, or what is missing of it, with the space, the proxy, the data and the model of a search's `settings`.

    jobs: trainings at a time, instead of the settings' executor.workers. Returns JSON values: "networks", a row each with its
    accuracies, what they were measured with, and "trainings", the rows of the record that they come from. Raises SearchError,
    also where a training fails: the others are kept.
    """
    space = build_space(**settings["space"])
    proxy = evaluator_of(settings, space)
    if not isinstance(proxy, ProxyEvaluator):
        raise SearchError("trial: expected the config of a search that trains its candidates, not one on a benchmark's table")
    data = build_final_data(settings["data"], trial.train_per_class, trial.test_per_class, trial.test_root)
    recipe = {**asdict(proxy.settings), **trial.recipe, "epochs": trial.epochs, "macs": None}
    evaluator = TrialEvaluator(data, build_evaluator(data, **recipe).settings)
    shape, classes = tuple(data.train_images.shape[1:]), len(data.classes)

    def network(name: str, kind: str, cell: Cell) -> Contestant:
        proxy.cost(cell)  # raises BudgetError as well, where the proxy has no network of it
        return of_cell(name, kind, cell, settings["model"], trial.macs, shape, classes)

    def library(name: str) -> Contestant:
        return of_library(name, KNOWN, trial.macs, shape, classes)

    executor = {**settings["executor"], **({} if jobs is None else {"workers": jobs})}
    with open_trainings(directory) as record:
        display.line(f"{len(data.train_labels)} training images, {len(data.val_labels)} test images, {classes} classes")
        with display.progress("Networks of equal MACs") as progress:
            try:
                networks = _networks(settings, space, trial, network, library, progress)
            except BudgetError as error:
                raise SearchError(f"trial: {error}; another budget: --macs") from None
        with_proxy = [n for n in networks if n.architecture is not None]
        accuracies = _proxy_accuracies(settings, with_proxy, proxy, executor, record, display)
        candidates = [n for n in networks if n.kind == CHOSEN]
        best = max(candidates, key=lambda n: accuracies[n.name]["accuracy"])
        trained = [n for n in networks if n.kind != CHOSEN or n is best]
        common = {"stage": "test", "data": dict(settings["data"]), **_images(trial), "recipe": recipe}
        runs = {(n.name, seed): {**common, "network": n.identity, "seed": seed} for seed in trial.seeds for n in trained}
        by_name = {n.name: n for n in trained}
        results = run_missing(
            "Trainings", runs, lambda key, place: Training(place, by_name[key[0]], key[1]), evaluator, executor, record, display
        )
    speeds = latencies(trained)
    rows = []
    for n in trained:
        cost, found = n.cost(), [results[n.name, seed] for seed in trial.seeds]
        rows.append(
            {
                "name": n.name,
                "kind": n.kind,
                "digest": n.architecture and n.architecture.cell.pruned().digest(),
                "params": int(cost.params),
                "macs": int(cost.macs),
                "accuracies": [row["accuracy"] for row in found],
                "proxy": accuracies[n.name]["accuracy"] if n.name in accuracies else None,
                "milliseconds": 1000 * speeds[n.name],
                "training_seconds": float(np.mean([row["seconds"] for row in found])),
            }
        )
    return {
        "networks": rows,
        "trainings": [*accuracies.values(), *results.values()],
        "settings": {name: settings[name] for name in ("seed", "space", "data", "proxy", "model")},
        "trial": {**asdict(trial), "seeds": list(trial.seeds)},
        "recipe": recipe,
        "images": {"train": len(data.train_labels), "test": len(data.val_labels), "size": shape[1]},
        "machine": this_machine(),
        "versions": {"torch": torch.__version__},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def _networks(
    settings: Mapping[str, Any],
    space: Space,
    trial: Trial,
    network: Callable[[str, str, Cell], Contestant],
    library: Callable[[str], Contestant],
    progress: Callable[[int, int], None],
) -> list[Contestant]:
    """All networks, the candidates with kind CHOSEN. Random cells come from the search's space alone: a bound on their cost, as
    measured time, is not asked for. No two cells are isomorphic."""
    total = len(SHIPPED_CELLS) + trial.candidates + trial.random + 1 + len(SCALABLE)
    found: list[Contestant] = []

    def add(made: Contestant) -> None:
        found.append(made)
        progress(len(found), total)

    for name in SHIPPED_CELLS:
        add(network(name, SHIPPED, Cell.shipped(name)))
    known = {n.architecture.cell.digest() for n in found}
    rng = np.random.default_rng((settings["seed"], 0x7121A1))
    wanted = [("candidate", CHOSEN)] * trial.candidates + [("random", RANDOM)] * trial.random
    for cell in space.to_cells(space.sample(rng, DRAWS * len(wanted))):
        done = len(found) - len(SHIPPED_CELLS)
        if done == len(wanted):
            break
        if cell.pruned().digest() not in known:
            word, kind = wanted[done]
            with contextlib.suppress(BudgetError):
                add(network(f"{word} {done + 1 - trial.candidates * (kind == RANDOM)}", kind, cell))
                known.add(cell.pruned().digest())
    missing = len(wanted) - len(found) + len(SHIPPED_CELLS)
    if missing:
        raise SearchError(
            f"trial: of {DRAWS * len(wanted)} random cells {len(wanted) - missing} make distinct networks of"
            f" {trial.macs / 1e6:g} M MACs; expected {len(wanted)}: choose another budget (--macs), or fewer cells"
        )
    add(network("Watts-Strogatz", RANDWIRE, randwire_cell(operator=settings["space"]["operators"][-1])))
    for name in SCALABLE:
        add(library(name))
    return found


def _proxy_accuracies(
    settings: Mapping[str, Any],
    networks: Sequence[Contestant],
    proxy: ProxyEvaluator,
    executor: Mapping[str, Any],
    record: Store[dict[str, Any]],
    display: Display,
) -> dict[str, dict[str, Any]]:
    """What a search with these settings measures for the cells of `networks`, by name."""
    cells = {n.name: n.architecture.cell.pruned() for n in networks}
    seeds = {name: candidate_seed(settings["seed"], cell.digest()) for name, cell in cells.items()}
    common = {"stage": "proxy", **{name: settings[name] for name in ("data", "proxy", "model")}}
    runs = {name: {**common, "nodes": c.nodes, "edges": c.edges, "seed": seeds[name]} for name, c in cells.items()}
    return run_missing("Proxies", runs, lambda name, key: Job(key, cells[name], seeds[name]), proxy, executor, record, display)


def _images(trial: Trial) -> dict[str, Any]:
    return {name: getattr(trial, name) for name in ("train_per_class", "test_per_class", "test_root")}


def latencies(networks: Iterable[Contestant], repeats: int = 20) -> dict[str, float]:
    """Seconds for one image on one core of the CPU, channels last, of each network by name, measured by turns.

    As in `evaluation.cost.Latency`, the fastest of `repeats` passes counts: what disturbs the machine can only slow one down.
    """
    calls = {}
    with torch_threads(1), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        for n in networks:
            network = n.build().eval().to(memory_format=torch.channels_last)
            images = torch.randn(1, *n.shape).contiguous(memory_format=torch.channels_last)
            calls[n.name] = lambda network=network, images=images: network(images)
        return {name: timing.fastest for name, timing in measure_together(calls, repeats).items()}
