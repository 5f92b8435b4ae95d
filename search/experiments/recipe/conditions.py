"""What is trained: a kind of cell in a network of the given MACs, under a condition; all networks of a study in their order."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gemnet.architecture import Architecture
from gemnet.complexity import network_cost
from gemnet.core.settings import expected_name
from gemnet.initialisation import SCHEMES
from search.core.types import SearchError
from search.evaluation.proxy import ProxyEvaluator, fitted_model
from search.experiments.recipe.kinds import KINDS

RULES = ("model", "exact", "doubling")
"""How widths are chosen. model: the last three stages of the model to come, half as deep, all narrowed alike in multiples of 4,
as `proxy.macs` has it. exact: the same in whole channels, so that narrow nodes use up the MACs. doubling: three stages of two
cells, each stage twice as wide as the one before, in whole channels."""
DEPTHS = (2, 2, 2)
STEPS = 4096
"""Shares of the widths that are tried."""


@dataclass(frozen=True)
class Condition:
    """How a network is made and trained.

    kind: of KINDS. rule: of RULES. residual: whether a cell's input is added to its output. scheme: of
    `gemnet.initialisation.SCHEMES`. learning_rate: at its highest. epochs: passes over the images. seed: of all that is drawn.
    """

    kind: str
    rule: str
    residual: bool
    scheme: str
    learning_rate: float
    epochs: int
    seed: int

    @property
    def title(self) -> str:
        """For people."""
        how = "residual" if self.residual else "plain"
        return f"{self.kind}, {self.rule}, {how}, {self.scheme}, rate {self.learning_rate:g}, seed {self.seed}"


def planned(
    kinds: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    schemes: Sequence[str] | None = None,
    residuals: Sequence[bool] = (True, False),
    learning_rates: Sequence[float] = (0.3, 0.1),
    epochs: int = 6,
    seeds: Sequence[int] = (0, 1, 2),
) -> list[Condition]:
    """All conditions, seed by seed and all kinds of cell under one condition together, so that what is stopped early compares.

    None is for all. `small_branch` differs from `fan_out` in residual cells alone, and is left out without them. Raises
    SearchError for an unknown name.
    """
    named = {"kinds": (kinds, tuple(KINDS)), "rules": (rules, RULES), "schemes": (schemes, SCHEMES)}
    for what, (given, known) in named.items():
        for name in given or ():
            if name not in known:
                raise SearchError(f"{what}: {name!r}; {expected_name(name, known)}")
    chosen = [known if given is None else given for given, known in named.values()]
    every = itertools.product(seeds, chosen[1], learning_rates, residuals, chosen[2], chosen[0])
    return [
        Condition(kind, rule, residual, scheme, float(rate), epochs, seed)
        for seed, rule, rate, residual, scheme, kind in every
        if residual or scheme != "small_branch"
    ]


def architecture(condition: Condition, proxy: ProxyEvaluator) -> Architecture:
    """The network of a condition, of the proxy's MACs on its images. Raises BudgetError or SearchError where there is none."""
    cell, s = KINDS[condition.kind], proxy.settings
    model = {**proxy.model, "residual": condition.residual}
    if condition.rule == "model":
        return type(proxy)(proxy.data, s, model).architecture(cell)
    if condition.rule == "exact":
        fitted = fitted_model(cell, tuple(model.items()))
        widths, depths = fitted.widths[-3:], tuple((depth + 1) // 2 for depth in fitted.depths[-3:])
    else:
        widths, depths = (256, 512, 1024), DEPTHS

    def scaled(share: float) -> Architecture:
        narrow = tuple(max(1, round(share * width)) for width in widths)
        return Architecture(cell, narrow, depths, s.stem_width, 0, s.stem_stride, condition.residual)

    return _widest(scaled, proxy)


def _widest(scaled: Callable[[float], Architecture], proxy: ProxyEvaluator) -> Architecture:
    """The widest network of at most the proxy's MACs. scaled: a share of some widths -> network."""
    most, (channels, height, width) = proxy.settings.macs, proxy.data.train_images.shape[1:]
    assert most is not None  # `run.evaluator_for` has checked

    def macs(step: int) -> int:
        return network_cost(scaled(step / STEPS), (height, width), proxy.num_classes, channels).macs

    step = bisect.bisect_right(range(1, STEPS), most, key=macs)
    if step == 0:
        raise SearchError(f"proxy.macs={most:g} is too little: the narrowest network of this cell has {macs(1)}")
    return scaled(step / STEPS)


def described(condition: Condition, network: Architecture, settings: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values that tell a training from others, wherever it runs and its images lie. settings: of the search."""
    data = {name: value for name, value in settings["data"].items() if name not in ("root", "download")}
    numbers = {
        "widths": list(network.widths),
        "depths": list(network.depths),
        "stem": [network.stem_width, network.stem_stride],
    }
    cell = {"nodes": list(network.cell.nodes), "edges": [list(edge) for edge in network.cell.edges]}
    how = {name: getattr(condition, name) for name in ("residual", "scheme", "learning_rate", "epochs", "seed")}
    return {**cell, **numbers, **how, "data": data, "proxy": dict(settings["proxy"])}
