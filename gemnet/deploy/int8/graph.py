"""The part of an ONNX graph that is a network, and its layers; what stands before and after it stays float."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gemnet.deploy.int8.layers import Layer, QuantizationError, Step, int8_steps, kind_of

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Conv", "Gemm", "MatMul")
"""Operators with weights: each set of weights is a layer."""
BETWEEN = (
    "Add", "AveragePool", "Clip", "Concat", "Flatten", "GlobalAveragePool", "HardSigmoid", "HardSwish", "MaxPool", "Mul", "Pad",
    "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid",
)  # fmt: skip
"""Operators that are int8 where they lie between layers."""
ACTIVATIONS = ("Relu", "Clip")
"""Operators that become part of the convolution before them."""


class NetworkGraph:
    """An ONNX file with normalisation folded and shapes inferred, and where its network lies.

    The network is what has weights and what lies between that. Before it, pixels are resized and normalised; after it, boxes
    are computed and suppressed: a scale for a whole tensor would be too coarse for either.

    Attributes:
        model: The graph.
        layers: In the order in which they are computed.
        nodes: Names of all nodes of the network.
        ends: Tensors that leave the network: logits, maps, or what the heads say.

    Raises:
        QuantizationError: The graph has no layer.
    """

    def __init__(self, path: str | Path) -> None:
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            self.model: onnx.ModelProto = onnx.load(str(prepared))
        self._users: dict[str, list[onnx.NodeProto]] = {}
        self._maker = {output: node for node in self.model.graph.node for output in node.output}
        for node in self.model.graph.node:
            for value in node.input:
                self._users.setdefault(value, []).append(node)
        self.layers = self._layers()
        if not self.layers:
            raise QuantizationError(f"{path}: has no convolution and no linear layer to quantise")
        self._of = {node: layer.name for layer in self.layers for node in layer.nodes}
        self.nodes = self._reached(forward=True) & self._reached(forward=False)
        members = [node for node in self.model.graph.node if node.name in self.nodes]
        outputs = (output for node in members for output in node.output)
        used = {value for node in members for value in node.input}
        self.ends = [output for output in outputs if output not in used or not self._inside(output)]

    def with_ends(self) -> onnx.ModelProto:
        """The graph without what comes after the network: its outputs are `ends`."""
        return with_outputs(self.model, self.ends)

    def int8_nodes(self, kept_float: Collection[str] = ()) -> list[str]:
        """Name the nodes that are int8 when the layers of some names stay float, as `int8_steps`."""
        return int8_steps(self._steps, kept_float)

    def nodes_of(self, layer: Layer) -> list[str]:
        """Name the nodes that a layer is computed by, with the activation that becomes part of it."""
        found = list(layer.nodes)
        for node in self.model.graph.node:
            if node.name in layer.nodes:
                users = self._users.get(node.output[0], [])
                found += [user.name for user in users if len(users) == 1 and user.op_type in ACTIVATIONS]
        return found

    def padded_for_pooling(self) -> list[onnx.NodeProto]:
        """The network's nodes that fill up maps with minus infinity, as before a maximum."""
        from onnx import numpy_helper

        values = {value.name: value for value in self.model.graph.initializer}
        return [
            node for node in self.model.graph.node
            if node.op_type == "Pad" and node.name in self.nodes and len(node.input) > 2 and node.input[2] in values
            and not np.isfinite(numpy_helper.to_array(values[node.input[2]])).all()
        ]  # fmt: skip

    @cached_property
    def tensors(self) -> set[str]:
        """Names of all tensors that the network's nodes take or give."""
        members = [node for node in self.model.graph.node if node.name in self.nodes]
        return {value for node in members for value in (*node.input, *node.output)}

    def _layers(self) -> tuple[Layer, ...]:
        weights = {value.name: list(value.dims) for value in self.model.graph.initializer}
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            if node.op_type in WEIGHTED and node.input[1] in weights:
                found.setdefault(node.input[1], []).append(node)
        return tuple(
            Layer(
                weight.removesuffix(".weight"), _kind(nodes[0], weights[weight]), math.prod(weights[weight]),
                tuple(node.name for node in nodes),
            )
            for weight, nodes in found.items()
        )  # fmt: skip

    def _inside(self, value: str) -> bool:
        """Whether a tensor is used by nodes of the network alone."""
        outputs = {output.name for output in self.model.graph.output}
        return value not in outputs and all(user.name in self.nodes for user in self._users.get(value, []))

    def _reached(self, forward: bool) -> set[str]:
        """Names of the layers' nodes and of all that is reached from them over the operators between layers."""
        found: set[str] = set()
        stack = [node for node in self.model.graph.node if node.name in self._of]
        while stack:
            node = stack.pop()
            if node.name in found:
                continue
            found.add(node.name)
            near = self._next(node) if forward else [self._maker[value] for value in node.input if value in self._maker]
            stack += [other for other in near if other.op_type in BETWEEN]
        return found

    def _next(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        return [user for output in node.output for user in self._users.get(output, [])]

    @cached_property
    def _steps(self) -> list[Step]:
        return [
            Step(
                node.name, tuple(self._maker[value].name for value in node.input if value in self._maker),
                self._of.get(node.name, ""),
            )
            for node in self.model.graph.node if node.name in self.nodes
        ]  # fmt: skip


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """A copy of a graph whose outputs are tensors of other names, float32."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    return copy


def _kind(node: onnx.NodeProto, shape: list[int]) -> str:
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return kind_of(shape, groups > 1)
