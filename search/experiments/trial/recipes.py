"""A recipe for each family of networks: settings of the longer training, chosen on held-out training images.

What makes chains learn need not make deep networks learn. A trial with one recipe for all tells which network the recipe suits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from search.evaluation.data import ProxyData
from search.evaluation.proxy import build_evaluator
from search.evaluation.trainings import Trainer
from search.experiments.trial.baselines import Contestant
from search.experiments.trial.evaluator import Training, TrialEvaluator

HELD_OUT = 10
"""Of so many training images of a class one is held out."""
SEED = 0
"""Of the trainings that choose."""


def choices(tune: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of the values that are tried for each setting; one without any setting where nothing is tried."""
    return [dict(zip(tune, values)) for values in itertools.product(*tune.values())]


def held_out(data: ProxyData) -> ProxyData:
    """The training images alone, a tenth of each class as validation images. No test image is looked at."""
    rng = np.random.default_rng(0)
    labels = data.train_labels.numpy()
    rows = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    for_validation = [len(of_class) // HELD_OUT for of_class in rows]
    val = torch.from_numpy(np.concatenate([of_class[:count] for of_class, count in zip(rows, for_validation)]))
    train = torch.from_numpy(np.concatenate([of_class[count:] for of_class, count in zip(rows, for_validation)]))
    images, targets = data.train_images, data.train_labels
    return ProxyData(data.name, data.classes, images[train], targets[train], images[val], targets[val])


def tuned(
    networks: Iterable[Contestant],
    recipe: Mapping[str, Any],
    tune: Mapping[str, Sequence[Any]],
    epochs: int,
    data: ProxyData,
    common: Mapping[str, Any],
    trainer: Trainer,
) -> dict[str, dict[str, Any]]:
    """The recipe of each family: of all choices the one with the best mean accuracy on held-out images.

    Args:
        networks: Those that stand for their families.
        recipe: What the choices change, as ProxySettings.
        tune: The values that are tried, by setting.
        epochs: Of each of these trainings.
        data: The trial's. Only its training images are used.
        common: What else tells these trainings from others in the record.
        trainer: Runs and records them.
    """
    tried = choices(tune)
    of_family: dict[str, list[Contestant]] = {}
    for network in networks:
        of_family.setdefault(network.family, []).append(network)
    if len(tried) == 1:
        return {family: {**recipe, **tried[0]} for family in of_family}

    images = held_out(data)
    recipes = [{**recipe, **choice, "epochs": epochs} for choice in tried]
    settings = [build_evaluator(images, **one).settings for one in recipes]
    tries = {
        (f"{network.name}, {_told(choice)}", SEED): (network, place)
        for place, choice in enumerate(tried)
        for members in of_family.values()
        for network in members
    }
    runs = {
        name: {**common, "stage": "tuning", "recipe": recipes[place], "network": network.identity, "seed": SEED}
        for name, (network, place) in tries.items()
    }

    def job(name: tuple[str, int], key: int) -> Training:
        network, place = tries[name]
        return Training(key, network, SEED, settings[place])

    rows = trainer.run("Recipes", runs, job, TrialEvaluator(images, settings[0]))
    found: dict[str, dict[str, Any]] = {}
    for family, members in of_family.items():
        means = [np.mean([rows[f"{one.name}, {_told(choice)}", SEED]["accuracy"] for one in members]) for choice in tried]
        found[family] = {**recipe, **tried[int(np.argmax(means))]}
    return found


def _told(choice: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in choice.items())
