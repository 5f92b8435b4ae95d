"""Is a searched cell any good? It and its rivals at equal MACs, trained longer than by the proxy, one recipe, several seeds.

Rivals are the best of some random cells by the proxy, other random cells, a chain, a randomly wired one, and the mobile
networks of timm and torchvision. The accuracy is that on test images that no search has seen, after the last epoch. Every
training, the proxy's too, is a line in the record; one that is there is not run again, whatever else is asked for.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import numpy as np
import torch

from gemnet.bench.benchmark import measure_together
from gemnet.cell import Cell
from gemnet.complexity import BudgetError
from gemnet.core.settings import Setting
from gemnet.library import SCALABLE
from gemnet.model_table import MODELS
from search.core.checks import takes_settings
from search.core.display import Display
from search.core.threads import torch_threads
from search.core.types import Job, SearchError, Space
from search.evaluation.data import ProxyData
from search.evaluation.evaluators import evaluator_of
from search.evaluation.proxy import ProxyEvaluator, build_evaluator
from search.evaluation.trainings import Trainer, open_trainings, this_machine
from search.experiments.published.catalogue import NETWORKS as PUBLISHED
from search.experiments.trial.baselines import CHAIN, Contestant, of_cell, of_library, of_published, randwire_cell
from search.experiments.trial.evaluator import Training, TrialEvaluator
from search.experiments.trial.final_data import PerClass, build_final_data
from search.experiments.trial.recipes import choices, tuned
from search.spaces.dag import build_space
from search.steps.candidates import candidate_seed

SHIPPED, CHOSEN, RANDOM = "shipped", "best random by the proxy", "random"
SIMPLEST, RANDWIRE, CITED, KNOWN = "chain", "RandWire", "published", "well-known"
ONE, WIRED = "chain", "Watts-Strogatz"
"""Rivals of any search, by name: one sepconv3x3, and a randomly wired cell."""
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
    rivals: Annotated[Sequence[str], Setting("besides random cells, by name", item=Setting("", str))] = (
        WIRED,
        "timm/mobilenetv2_100",
        "torchvision/mnasnet1_0",
    )
    train_per_class: PerClass = None
    test_per_class: PerClass = None
    test_root: Annotated[str | None, Setting("folder of test images, of an image folder")] = None
    recipe: Annotated[Mapping[str, Any], Setting("of ProxySettings, instead of those of the search")] = field(
        default_factory=dict
    )
    tune: Annotated[
        Mapping[str, Sequence[Any]], Setting("of the recipe, by setting: values tried for each family on held-out images")
    ] = field(default_factory=dict)
    tune_epochs: Annotated[int, Setting("of the trainings that choose a recipe", at_least=1)] = 5
    most: Annotated[int | None, Setting("trainings of this call; None for all that are missing", at_least=1)] = None

    def __post_init__(self) -> None:
        if len(set(self.seeds)) != len(self.seeds):
            raise SearchError(f"trial: seeds: expected each once, found {list(self.seeds)}")
        known = (ONE, WIRED, *PUBLISHED, *SCALABLE)
        for name in self.rivals:
            if name not in known:
                raise SearchError(f"trial: rivals: {name!r} is not offered; expected some of {', '.join(known)}")


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
    for choice in choices(trial.tune):
        build_evaluator(data, **{**recipe, **choice})  # raises for a setting that is none, before anything is trained
    executor = {**settings["executor"], **({} if jobs is None else {"workers": jobs})}
    with open_trainings(directory) as record:
        trainer = Trainer(record, executor, display)
        images = f"{len(data.train_labels)} training images, {len(data.val_labels)} test images"
        display.line(f"{images}, {len(data.classes)} classes")
        networks = _networks(settings, space, trial, proxy, data, display)
        proxies = _proxies(settings, networks, proxy, trainer)
        best = max((n for n in networks if n.kind == CHOSEN), key=lambda n: proxies[n.name]["accuracy"])
        trained = {n.name: n for n in networks if n.kind != CHOSEN or n is best}
        common = {"stage": "test", "data": dict(settings["data"]), **_images(trial)}
        standing = [n for n in trained.values() if n.kind not in (CHOSEN, RANDOM)]
        recipes = tuned(standing, recipe, trial.tune, trial.tune_epochs, data, common, trainer)
        own = {family: build_evaluator(data, **one).settings for family, one in recipes.items()}
        runs = {
            (name, seed): {**common, "recipe": recipes[n.family], "network": n.identity, "seed": seed}
            for seed in trial.seeds
            for name, n in trained.items()
        }
        tests = trainer.run(
            "Trainings",
            runs,
            lambda run, place: Training(place, trained[run[0]], run[1], own[trained[run[0]].family]),
            evaluator,
            trial.most,
        )
    of_network = {name: [tests[name, seed] for seed in trial.seeds if (name, seed) in tests] for name in trained}
    speeds = latencies(trained[name] for name, rows in of_network.items() if rows)
    return {
        "networks": [_row(trained[name], rows, proxies.get(name), speeds[name]) for name, rows in of_network.items() if rows],
        "trainings": [*proxies.values(), *tests.values()],
        "settings": {name: settings[name] for name in ("seed", "space", "data", "proxy", "model")},
        "trial": {**asdict(trial), "seeds": list(trial.seeds)},
        "recipe": recipe,
        "recipes": {family: {name: one[name] for name in trial.tune} for family, one in recipes.items()},
        "images": {"train": len(data.train_labels), "test": len(data.val_labels), "size": data.train_images.shape[2]},
        "machine": this_machine(),
        "versions": {"torch": torch.__version__},
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def shipped_cells() -> dict[str, Cell]:
    """The cells of the models by name; of models with isomorphic cells, the first."""
    shipped: dict[str, tuple[str, Cell]] = {}
    for name, entry in MODELS.items():
        cell = Cell.resolve(entry.cell)
        shipped.setdefault(cell.digest(), (name, cell))
    return dict(shipped.values())


def _row(n: Contestant, tests: Sequence[Mapping[str, Any]], proxy: Mapping[str, Any] | None, seconds: float) -> dict[str, Any]:
    """A network with its trainings under every seed, that by the proxy, and its latency."""
    cost = n.cost()
    return {
        "name": n.name,
        "kind": n.kind,
        "digest": n.architecture and n.architecture.cell.pruned().digest(),
        "params": int(cost.params),
        "macs": int(cost.macs),
        "accuracies": [row["accuracy"] for row in tests],
        "proxy": proxy and proxy["accuracy"],
        "milliseconds": 1000 * seconds,
        "training_seconds": float(np.mean([row["seconds"] for row in tests])),
    }


def _networks(
    settings: Mapping[str, Any], space: Space, trial: Trial, proxy: ProxyEvaluator, data: ProxyData, display: Display
) -> list[Contestant]:
    """All networks, the candidates with kind CHOSEN. Random cells come from the search's space alone: a bound on their cost, as
    measured time, is not asked for. No two cells are isomorphic. Raises SearchError where the MACs are not to be met."""
    cells = shipped_cells()
    channels, height, width = data.train_images.shape[1:]
    shape, classes = (channels, height, width), len(data.classes)

    def of(name: str, kind: str, cell: Cell) -> Contestant:
        proxy.cost(cell)  # raises BudgetError as well, where the proxy has no network of it
        return of_cell(name, kind, cell, settings["model"], trial.macs, shape, classes)

    def made() -> Iterator[Contestant]:
        shipped = [of(name, SHIPPED, cell) for name, cell in cells.items()]
        yield from shipped
        known = {n.architecture.cell.digest() for n in shipped if n.architecture is not None}
        known |= {CHAIN.digest()} if ONE in trial.rivals else set()
        yield from _random_networks(settings["seed"], space, trial, of, known)
        for name in trial.rivals:
            if name == ONE:
                yield of(name, SIMPLEST, CHAIN)
            elif name == WIRED:
                yield of(name, RANDWIRE, randwire_cell(operator=settings["space"]["operators"][-1]))
            elif name in PUBLISHED:
                yield of_published(name, CITED, trial.macs, shape, classes)
            else:
                yield of_library(name, KNOWN, trial.macs, shape, classes)

    networks: list[Contestant] = []
    with display.progress("Networks of equal MACs") as progress:
        try:
            for network in made():
                networks.append(network)
                progress(len(networks), len(cells) + trial.candidates + trial.random + len(trial.rivals))
        except BudgetError as error:
            raise SearchError(f"trial: {error}; another budget: --macs") from None
    return networks


def _random_networks(
    seed: int, space: Space, trial: Trial, of: Callable[[str, str, Cell], Contestant], known: set[str]
) -> Iterator[Contestant]:
    """Those of the candidates, then of the other random cells. known: digests of cells that take part already."""
    wanted = [(f"candidate {i}", CHOSEN) for i in range(1, trial.candidates + 1)]
    wanted += [(f"random {i}", RANDOM) for i in range(1, trial.random + 1)]
    draws, made = DRAWS * len(wanted), 0
    for cell in space.to_cells(space.sample(np.random.default_rng((seed, 0x7121A1)), draws)):
        if made == len(wanted):
            return
        if cell.pruned().digest() not in known:
            with contextlib.suppress(BudgetError):
                yield of(*wanted[made], cell)
                known.add(cell.pruned().digest())
                made += 1
    if made < len(wanted):
        raise SearchError(
            f"trial: of {draws} random cells {made} make distinct networks of {trial.macs / 1e6:g} M MACs; expected"
            f" {len(wanted)}: choose another budget (--macs), or fewer cells"
        )


def _proxies(
    settings: Mapping[str, Any], networks: Sequence[Contestant], proxy: ProxyEvaluator, trainer: Trainer
) -> dict[str, dict[str, Any]]:
    """What a search with these settings measures for the cells of those of `networks` that have one, by name."""
    cells = {n.name: n.architecture.cell.pruned() for n in networks if n.architecture is not None}
    seeds = {name: candidate_seed(settings["seed"], cell.digest()) for name, cell in cells.items()}
    common = {"stage": "proxy", **{name: settings[name] for name in ("data", "proxy", "model")}}
    runs = {name: {**common, "nodes": c.nodes, "edges": c.edges, "seed": seeds[name]} for name, c in cells.items()}
    return trainer.run("Proxies", runs, lambda name, key: Job(key, cells[name], seeds[name]), proxy)


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
