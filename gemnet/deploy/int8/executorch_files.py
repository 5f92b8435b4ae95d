"""Int8 for ExecuTorch: any mix of int8 and float layers for XNNPACK's kernels, from one calibration.

Weights are int8 of 8 bits, a scale a channel, symmetric; activations int8, a scale and a zero point a tensor, by histograms of
the calibration images. ExecuTorch's quantiser for XNNPACK says what is quantised together, torchao does it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from gemnet.core.files import replacing
from gemnet.deploy.export import LARGEST_BATCH, quiet
from gemnet.deploy.int8.layers import Layer, QuantizationError, Step, int8_steps, kind_of
from gemnet.deploy.int8.quantizer import Feed, Feeds, errors_alone
from gemnet.deploy.runtimes.table import RUNTIMES

ENTRY = RUNTIMES["executorch"]
WEIGHTED = ("aten.conv2d.default", "aten.linear.default")
"""Operators with weights: each set of weights is a layer."""
ACTIVATIONS = ("aten.relu.default", "aten.relu_.default")
"""Operators that become part of the layer before them."""
CALIBRATION_BATCH = 16
Node: TypeAlias = Any
"""torch.fx.Node, whose arguments may be of any type."""
MARK = "quantization_annotation"
"""Under which a node of a graph is told how it is quantised."""


def quantizer(module: nn.Module, plain: Path, feeds: Feeds) -> ExecutorchQuantizer:
    """As `gemnet.deploy.int8.targets.Target.quantizer`."""
    return ExecutorchQuantizer(module, feeds(CALIBRATION_BATCH))


class ExecutorchQuantizer:
    """A network for ExecuTorch, calibrated once.

    Args:
        module: In evaluation mode, on the CPU. Images to a tensor, or to several.
        feeds: The calibration images, in batches [B, C, H, W].

    Raises:
        QuantizationError: The module has no layer.
    """

    weight_bits = 8

    def __init__(self, module: nn.Module, feeds: Iterable[Feed]) -> None:
        batches = _tensors(feeds)
        first = next(batches)
        free = ({0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)},)
        with quiet(), torch.no_grad():
            program = torch.export.export(module, (first,), dynamic_shapes=free, strict=False)
            self._graph: torch.fx.GraphModule = program.module()
            self._example = first[:1]
            if not self.layers:
                raise QuantizationError("the network has no convolution and no linear layer to quantise")
            self._observed = self._with_observers()
            self._observed(first)
            for batch in batches:
                self._observed(batch)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """In the order in which they are computed."""
        found: dict[str, list[Node]] = {}
        for node in self._graph.graph.nodes:
            if name := _layer(node):
                found.setdefault(name, []).append(node)
        return tuple(
            Layer(name, _kind(nodes[0]), math.prod(_weights(nodes[0]).shape), tuple(node.name for node in nodes))
            for name, nodes in found.items()
        )

    def write(self, path: Path, kept_float: Collection[str] = ()) -> None:
        """Write the program with the layers in int8 but those of these names, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, quiet(), torch.no_grad():
            ENTRY.write(self._quantised(int8_steps(self._steps, kept_float)), self._example, temporary, {})

    def errors(self, feeds: Iterable[Feed]) -> dict[str, float]:
        """As `errors_alone`, computed in PyTorch, with the values rounded as in int8."""
        images = list(_tensors(feeds))

        def alone(layer: Layer) -> list[np.ndarray]:
            return _outputs(self._quantised([step.name for step in self._steps if step.layer == layer.name]), images)

        return errors_alone(self.layers, _outputs(self._graph, images), alone)

    @cached_property
    def _steps(self) -> list[Step]:
        found: list[Step] = []
        of: dict[str, str] = {}  # by layer's node, the layer
        for node in self._graph.graph.nodes:
            if node.op == "call_function":
                before = node.all_input_nodes
                joins = str(node.target) in ACTIVATIONS and before[0].name in of and len(before[0].users) == 1
                layer = of[before[0].name] if joins else _layer(node)
                if layer and not joins:
                    of[node.name] = layer
                found.append(Step(node.name, tuple(one.name for one in before), layer))
        return found

    def _quantised(self, nodes: Collection[str]) -> torch.fx.GraphModule:
        """A copy of the graph in which the nodes of these names are int8, by the ranges of the calibration."""
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        graph = copy.deepcopy(self._observed)
        for observer in _observations(graph):
            (observed,) = observer.args
            for user in list(observer.users):
                if observed.name not in nodes and user.name not in nodes:
                    user.replace_input_with(observer, observed)
            if not observer.users:
                graph.graph.erase_node(observer)
        graph.recompile()
        return convert_pt2e(graph)

    def _with_observers(self) -> torch.fx.GraphModule:
        """A copy of the graph with observers of what is to be known where all that can be int8 is to be."""
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
        from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        annotate, nodes = quantizer.annotate, int8_steps(self._steps)

        def annotate_some(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:  # its own filter lets all concatenations pass
            annotate(graph)
            for node in graph.graph.nodes:
                if node.name not in nodes:
                    node.meta.pop(MARK, None)
            return graph

        quantizer.annotate = annotate_some
        return prepare_pt2e(copy.deepcopy(self._graph), quantizer)


def _tensors(feeds: Iterable[Feed]) -> Iterator[torch.Tensor]:
    return (torch.from_numpy(value) for feed in feeds for value in feed.values())


def _layer(node: Node) -> str:
    """The name of a layer, if a node is one."""
    weighted = node.op == "call_function" and str(node.target) in WEIGHTED and node.args[1].op == "get_attr"
    return node.args[1].target.removesuffix(".weight") if weighted else ""


def _weights(node: Node) -> torch.Tensor:
    return node.args[1].meta["val"]


def _kind(node: Node) -> str:
    shape = _weights(node).shape
    return kind_of(shape, len(shape) == 4 and shape[1] != node.args[0].meta["val"].shape[1])


def _observations(graph: torch.fx.GraphModule) -> list[Node]:
    from torchao.quantization.pt2e.observer import ObserverBase

    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    return [node for node in calls if isinstance(graph.get_submodule(node.target), ObserverBase)]


def _outputs(graph: nn.Module, images: Iterable[torch.Tensor]) -> list[np.ndarray]:
    """Of each output, all its values, [values]."""
    with torch.no_grad():
        answers = [graph(one) for one in images]
    tuples = [one if isinstance(one, (tuple, list)) else (one,) for one in answers]
    return [torch.cat([values.flatten() for values in one]).numpy() for one in zip(*tuples)]
