"""The layers of a network, whatever the graph that holds them, and which of its nodes become int8."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from gemnet.deploy.export import ExportError


class QuantizationError(ExportError):
    """A network that cannot be quantised or measured, or settings that do not fit it."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer.

    name: of its weights in PyTorch, as "backbone.stem.conv". kind: as "depthwise 3x3". weights: how many. nodes: of the graph,
    several where a head takes more than one map.
    """

    name: str
    kind: str
    weights: int
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A node of a graph: its name, the nodes whose outputs it takes, and the layer whose weights it has, "" for none."""

    name: str
    takes: tuple[str, ...]
    layer: str = ""


def int8_steps(steps: Sequence[Step], kept_float: Collection[str] = ()) -> list[str]:
    """Name the nodes that are int8 when the layers of some names stay float.

    These are the other layers and what lies between layers, but what follows a float layer stays float up to the next one.

    Args:
        steps: In the order in which they are computed.
        kept_float: Names of layers.
    """
    before: dict[str, set[str]] = {}  # by node, the layers that come to it without another one between, itself if it is one
    leads: set[str] = set()  # what comes to a layer
    for step in steps:
        before[step.name] = {step.layer} if step.layer else set().union(*(before.get(name, set()) for name in step.takes))
    for step in reversed(steps):
        if step.layer or step.name in leads:
            leads.update(step.takes)
    return [
        step.name for step in steps
        if (step.layer or step.name in leads) and before[step.name] and not before[step.name] & set(kept_float)
    ]  # fmt: skip


def kind_of(shape: Sequence[int], grouped: bool) -> str:
    """Tell the kind of a layer by its weights in PyTorch, [out, in of a group, ...], and whether the channels are in groups."""
    if len(shape) == 2:
        return "linear"
    size = "x".join(map(str, shape[2:]))
    if grouped:
        return f"{'depthwise' if shape[1] == 1 else 'grouped'} {size}"
    return "pointwise" if size == "1x1" else f"convolution {size}"


def relative_error(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Root mean square of the difference, relative to the standard deviation of what is expected, mean over the tensors."""
    return float(np.mean([_of_one(*pair) for pair in zip(found, expected)]))


def _of_one(found: np.ndarray, expected: np.ndarray) -> float:
    deviation = float(np.std(expected, dtype=np.float64))
    return float(np.sqrt(np.mean(np.square(found.astype(np.float64) - expected)))) / max(deviation, 1e-12)
