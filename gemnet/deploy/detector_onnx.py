"""A detector as one ONNX graph: photos as they are -> boxes in their pixels.

The network is exported by torch. Before it stands what the test pipeline does, written in ONNX: the resizing has OpenCV's
integer arithmetic, so that the pixels are the same, whatever size the photos have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.tape import Tape
from onnxscript import opset18

from gemnet.core.errors import UserError
from gemnet.deploy.detectors import Exportable
from gemnet.deploy.preprocessing import Preprocessing
from gemnet.deploy.proof import Found

op18: Any = opset18  # whose types are those of the numbers, not of the values in a graph
INPUT, OUTPUTS = "photos", ("dets", "labels")
STEP = 32
"""Height and width of the network's input are multiples of it."""
LARGEST = 4096
"""Largest batch, and largest number of steps of height and width."""
BITS = 11
"""OpenCV's weights of a pixel's neighbours are whole numbers of 2^-11."""


class OnnxDetector:
    """A detector's file, run by onnxruntime on the CPU."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def __call__(self, photos: np.ndarray) -> list[Found]:
        """What is on each of some photos of one size, uint8 [B, H, W, 3] in RGB."""
        dets, labels = (torch.from_numpy(values) for values in self.session.run(list(OUTPUTS), {INPUT: photos}))
        return [Found(one[of >= 0, :4], one[of >= 0, 4], of[of >= 0]) for one, of in zip(dets, labels)]


def write_onnx(detector: Exportable, steps: Preprocessing, metadata: Mapping[str, str], path: Path) -> None:
    """Write a detector and its preprocessing to `path`: `photos` uint8 [B, H, W, 3] RGB -> `dets` [B, K, 5], `labels` [B, K].

    Batch, height and width are free. Raises UserError where the network cannot be exported.
    """
    batch = torch.export.Dim("batch", min=1, max=LARGEST)
    sides = {place: STEP * torch.export.Dim(name, min=1, max=LARGEST) for place, name in ((2, "rows"), (3, "columns"))}
    example = (torch.zeros(2, 3, 4 * STEP, 5 * STEP), torch.tensor([150.0, 120.0]), torch.ones(2))
    program = torch.onnx.export(
        detector, example, None, input_names=["images", "limit", "factor"], output_names=list(OUTPUTS),
        dynamic_shapes=({0: batch, **sides}, None, None), dynamo=True, verbose=False, custom_translation_table={
            torch.ops.gemnet.suppressed.default: _suppressed, torch.ops.gemnet.roi_features.default: _roi_features,
        },
    )  # fmt: skip
    if program is None:  # as it is without dynamo
        raise UserError("torch.onnx gave no program")
    _put_before(program.model.graph, steps)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces with the paths of this machine
    for name, value in metadata.items():
        program.model.metadata_props[name] = value
    program.save(str(path), external_data=False)


def _suppressed(boxes: Any, scores: Any, iou_threshold: float, score_threshold: float, most: int) -> Any:
    """`gemnet.deploy.operators.suppressed` in ONNX."""
    selected = op18.NonMaxSuppression(
        boxes, scores, op18.Constant(value_ints=[most]), op18.Constant(value_floats=[iou_threshold]),
        op18.Constant(value_floats=[score_threshold]),
    )  # fmt: skip
    none = op18.Expand(op18.Constant(value_float=0.0), op18.Shape(scores))
    return op18.ScatterND(none, selected, op18.GatherND(scores, selected))


def _roi_features(maps: Sequence[Any], rois: Any, levels: Any, scales: Sequence[float], size: int, sampling_ratio: int) -> Any:
    """`gemnet.deploy.operators.roi_features` in ONNX."""
    whole = op18.Constant(value_ints=[-1])
    images = op18.Cast(op18.Squeeze(op18.Slice(rois, [0], [1], [1]), [1]), to=7)
    corners = op18.Slice(rois, [1], [5], [1])
    places, found = [], []
    for level, (one, scale) in enumerate(zip(maps, scales)):
        place = op18.Reshape(op18.NonZero(op18.Equal(levels, op18.Constant(value_int=level))), whole)
        found.append(
            op18.RoiAlign(
                one,
                op18.Gather(corners, place),
                op18.Gather(images, place),
                output_height=size,
                output_width=size,
                sampling_ratio=sampling_ratio,
                spatial_scale=scale,
                mode="avg",
                coordinate_transformation_mode="half_pixel",
            )
        )
        places.append(place)
    together = op18.Concat(*found, axis=0)
    none = op18.Expand(op18.Constant(value_float=0.0), op18.Shape(together))
    return op18.ScatterND(none, op18.Unsqueeze(op18.Concat(*places, axis=0), op18.Constant(value_ints=[1])), together)


class _Builder:
    """Nodes of ONNX, one after the other; Python's numbers become constants of the type that is asked for."""

    def __init__(self, graph: ir.Graph) -> None:
        self.tape, self.graph = Tape(), graph

    def __call__(self, kind: str, *inputs: Any, **attributes: Any) -> ir.Value:
        return self.tape.op(kind, list(inputs), attributes)

    def constant(self, value: Any, dtype: type) -> ir.Value:
        return self("Constant", value=ir.tensor(np.array(value, dtype)))


def _put_before(graph: ir.Graph, steps: Preprocessing) -> None:
    """Have a graph take photos in place of what its network takes."""
    photos = ir.Value(name=INPUT, type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape(["batch", "height", "width", 3]))
    build = _Builder(graph)
    made = _prepared(build, photos, steps)
    for old, new in zip(list(graph.inputs), made, strict=True):
        new.shape, new.type = old.shape, old.type
        ir.convenience.replace_all_uses_with(old, new)
    graph.insert_before(graph[0], build.tape.nodes)
    graph.inputs.clear()
    graph.inputs.append(photos)


def _prepared(build: _Builder, photos: ir.Value, steps: Preprocessing) -> tuple[ir.Value, ir.Value, ir.Value]:
    """images [B, 3, H, W], limit [2] and factor [2] as `Exportable.forward` takes them."""
    shape = build("Shape", photos, start=1, end=3)  # height, width
    sides = build("Cast", shape, to=ir.DataType.DOUBLE)
    if steps.keep_ratio:
        longer, shorter = (build(kind, sides, keepdims=0) for kind in ("ReduceMax", "ReduceMin"))
        factors = [
            build("Div", build.constant(float(most), np.float64), side)
            for most, side in ((max(steps.scale), longer), (min(steps.scale), shorter))
        ]
        scaled = build("Mul", sides, build("Min", *factors))
        new = build("Floor", build("Add", scaled, build.constant(0.5, np.float64)))
        new = build("Max", new, build.constant([1, 1], np.float64))
    else:
        new = build.constant(steps.scale[::-1], np.float64)
    new_shape = build("Cast", new, to=ir.DataType.INT64)
    images = _resized(build, photos, sides, new)
    if steps.order == "BGR":
        images = build("Gather", images, build.constant([2, 1, 0], np.int64), axis=3)
    images = build("Cast", build("Transpose", images, perm=[0, 3, 1, 2]), to=ir.DataType.FLOAT)
    limit = new_shape
    if steps.fill_size is not None:
        limit = build("Max", new_shape, build.constant(steps.fill_size[::-1], np.int64))
        images = _filled(build, images, new_shape, limit, steps.fill_value)
    mean, std = (build.constant(np.reshape(values, (3, 1, 1)), np.float32) for values in (steps.mean, steps.std))
    images = build("Div", build("Sub", images, mean), std)
    divisor = build.constant([steps.divisor] * 2, np.int64)
    rounded = build("Add", limit, build.constant([steps.divisor - 1] * 2, np.int64))
    images = _filled(build, images, limit, build("Mul", build("Div", rounded, divisor), divisor), 0.0)
    swap = build.constant([1, 0], np.int64)
    factor = build("Cast", build("Gather", build("Div", sides, new), swap), to=ir.DataType.FLOAT)
    return images, build("Cast", build("Gather", limit, swap), to=ir.DataType.FLOAT), factor


def _filled(build: _Builder, images: ir.Value, shape: ir.Value, target: ir.Value, value: float) -> ir.Value:
    """images [B, C, h, w] filled up to the height and width `target` [2] at the right and below."""
    more = build("Concat", build.constant([0] * 6, np.int64), build("Sub", target, shape), axis=0)
    return build("Pad", images, more, build.constant(value, np.float32))


def _resized(build: _Builder, photos: ir.Value, sides: ir.Value, new: ir.Value) -> ir.Value:
    """Photos uint8 [B, H, W, 3] in the size `new` (height, width), int32 [B, h, w, 3]: bilinear as OpenCV resizes bytes.

    Sums of a row keep 7 of their 11 binary places, so that they fit into 16 bits with the weights of the rows.
    """
    rows = _neighbours(build, sides, new, 0)
    columns = _neighbours(build, sides, new, 1)
    shift = {bits: build.constant(1 << bits, np.int32) for bits in (2, 4, 16)}
    terms = []
    for row, row_weight in rows:
        line = build("Gather", photos, row, axis=1)
        parts = [
            build("Mul", build("Cast", build("Gather", line, column, axis=2), to=ir.DataType.INT32), weight)
            for column, weight in columns
        ]
        line = build("Div", build("Add", *parts), shift[4])
        terms.append(build("Div", build("Mul", line, row_weight), shift[16]))
    total = build("Add", build("Add", *terms), build.constant(2, np.int32))
    return build("Div", total, shift[2])


def _neighbours(build: _Builder, sides: ir.Value, new: ir.Value, axis: int) -> list[tuple[ir.Value, ir.Value]]:
    """Of each new pixel along an axis the two old ones between which it lies [n], and their weights, whole numbers [n, 1, 1].

    For columns (axis 1), weights are [n, 1].
    """
    place = build.constant(axis, np.int64)
    old, count = build("Gather", sides, place), build("Gather", new, place)
    zero, half, one = (build.constant(value, np.float64) for value in (0, 0.5, 1))
    pixels = build("Add", build("Range", zero, count, one), half)
    step = build("Div", one, build("Div", count, old))
    at = build("Cast", build("Sub", build("Mul", pixels, step), half), to=ir.DataType.FLOAT)
    low = build("Floor", at)
    share = build("Sub", at, low)
    last = build("Sub", build("Cast", old, to=ir.DataType.FLOAT), build.constant(1, np.float32))
    if axis == 1:  # beside the photo, OpenCV takes the edge for columns, and both neighbours, which are the edge, for rows
        inside = build("And", build("GreaterOrEqual", low, build.constant(0, np.float32)), build("Less", low, last))
        share = build("Where", inside, share, build.constant(0, np.float32))
    found = []
    for offset, part in ((0, build("Sub", build.constant(1, np.float32), share)), (1, share)):
        index = build(
            "Min", build("Max", build("Add", low, build.constant(offset, np.float32)), build.constant(0, np.float32)), last
        )
        weight = build("Round", build("Mul", part, build.constant(1 << BITS, np.float32)))
        weight = build("Cast", weight, to=ir.DataType.INT32)
        shape = build.constant([-1, 1, 1] if axis == 0 else [-1, 1], np.int64)
        found.append((build("Cast", index, to=ir.DataType.INT64), build("Reshape", weight, shape)))
    return found
