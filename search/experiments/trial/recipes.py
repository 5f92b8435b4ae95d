"""A recipe for each family of networks: settings of the longer training, chosen on held-out training images.

What makes chains learn need not make deep networks learn. A trial with one recipe for all tells which network the recipe suits.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from search.evaluation.data import ProxyData, from_arrays
from search.evaluation.proxy import build_evaluator
from search.evaluation.trainings import Trainer
from search.experiments.trial.baselines import Contestant
from search.experiments.trial.evaluator import Training, TrialEvaluator

HELD_OUT = 10
"""Of so many training images of the smallest class one is held out, and as many of each other."""
SEED = 0
"""Of the trainings that choose, and of what is held out."""


def choices(tune: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of the values that are tried for each setting; one without any setting where nothing is tried."""
    return [dict(zip(tune, values)) for values in itertools.product(*tune.values())]


def held_out(data: ProxyData) -> ProxyData:
    """The training images alone, of each class a tenth of the smallest one as validation images. No test image is looked at."""
    labels = data.train_labels.numpy()
    share = int(np.bincount(labels).min()) // HELD_OUT
    return from_arrays(data.name, data.train_images, labels, data.classes, None, share, SEED)


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
