"""What a network costs, counted on its ONNX graph: the same counter for every library that can write one."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import onnx
from onnx import NodeProto, shape_inference

from gemnet.core.errors import UserError
from gemnet.cost import Cost

WEIGHTED = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 0, "BatchNormalization": 1}
"""By operator, the input from which on its constants are parameters; a product of matrices may have its on either side."""


def onnx_cost(path: str | os.PathLike[str]) -> Cost:
    """Count the network of an ONNX file whose shapes are all fixed.

    Params are the constants of convolutions, linear layers and normalisations; what an export has folded into others is not
    counted any more. MACs are those of convolutions and of products of matrices. Activations are not counted.

    Raises:
        UserError: A shape is not known, as with a free batch; names the operator.
    """
    graph = shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        for one in node.attribute:
            if node.op_type == "Constant" and one.name == "value":
                constants[node.output[0]] = tuple(one.t.dims)
    shapes = dict(constants)
    for value in [*graph.input, *graph.value_info, *graph.output]:
        sizes = [one.dim_value for one in value.type.tensor_type.shape.dim]
        if all(sizes):
            shapes.setdefault(value.name, tuple(sizes))
    parameters = {
        name
        for node in graph.node
        if node.op_type in WEIGHTED
        for name in node.input[WEIGHTED[node.op_type] :]
        if name in constants
    }
    macs = sum(_macs(node, shapes, os.fspath(path)) for node in graph.node)
    return Cost(sum(math.prod(constants[name]) for name in parameters), macs)


def _macs(node: NodeProto, shapes: dict[str, tuple[int, ...]], path: str) -> int:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    missing = [name for name in (*node.input[:2], node.output[0]) if name not in shapes]
    if missing:
        raise UserError(
            f"{path}: {node.op_type} {node.name}: the shape of {missing[0]} is not fixed; export one size and batch"
        )
    first, second, out = (shapes[name] for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":
        return math.prod(out) * math.prod(second[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(first) * math.prod(second[1:])
    return math.prod(out) * _inner(node, first)


def _inner(node: NodeProto, first: Sequence[int]) -> int:
    """The length of the sums of a product of matrices."""
    turned = any(one.name == "transA" and one.i for one in node.attribute)
    return first[0] if turned else first[-1]
