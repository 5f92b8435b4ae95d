"""Int8 for LiteRT: any mix of int8 and float layers of one network, from one calibration, by the AI Edge Quantizer.

Weights are int8 of 8 bits, a scale a channel, symmetric; activations int8, a scale and a zero point a tensor, from the smallest
and largest value on the calibration images. Images go in and answers come out in float.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gemnet.core.files import replacing
from gemnet.deploy.int8.layers import Layer, QuantizationError, Step, int8_steps, kind_of
from gemnet.deploy.int8.quantizer import Feed, Feeds, errors_alone
from gemnet.deploy.runtimes.table import RUNTIMES

ENTRY = RUNTIMES["litert"]
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators with weights: each set of weights is a layer."""


def quantizer(module: nn.Module, plain: Path, feeds: Feeds) -> LitertQuantizer:
    """As `gemnet.deploy.int8.targets.Target.quantizer`."""
    return LitertQuantizer(plain, module, feeds(1))


@dataclass(frozen=True)
class _Operator(Step):
    """One of a file. If it has weights: the kind of its layer, and how many they are."""

    kind: str = ""
    weights: int = 0


class LitertQuantizer:
    """A network for LiteRT, calibrated once.

    Args:
        source: The float file.
        module: What it was made from, which has the names of the layers.
        feeds: The calibration images, [1, C, H, W] each.

    Raises:
        QuantizationError: The file has no layer.
    """

    weight_bits = 8

    def __init__(self, source: Path, module: nn.Module, feeds: Iterable[Feed]) -> None:
        from ai_edge_litert.interpreter import Interpreter
        from ai_edge_quantizer.calibrator import Calibrator
        from ai_edge_quantizer.utils.qsv_utils import min_max_update

        self._source = source
        self._operators = _operators(source, module)
        if not self.layers:
            raise QuantizationError(f"{source}: has no convolution and no linear layer to quantise")
        ((signature, sides),) = Interpreter(str(source)).get_signature_list().items()
        images = [{sides["inputs"][0]: value} for feed in feeds for value in feed.values()]
        # The quantiser's own way, a moving average over the images, cuts off the largest answers of half of them.
        calibrator = Calibrator(str(source), qsv_update_func=min_max_update)
        with _without_bars():
            calibrator.calibrate({signature: images}, _recipe(int8_steps(self._operators)))
        self._ranges = calibrator.get_model_qsvs()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order in which they are computed."""
        found: dict[str, list[_Operator]] = {}
        for one in self._operators:
            if one.layer:
                found.setdefault(one.layer, []).append(one)
        return tuple(
            Layer(name, same[0].kind, same[0].weights, tuple(one.name for one in same)) for name, same in found.items()
        )

    def write(self, path: Path, kept_float: Collection[str] = ()) -> None:
        """Write the network with the layers in int8 but those of these names, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            self._write(temporary, int8_steps(self._operators, kept_float))

    def errors(self, feeds: Iterable[Feed]) -> dict[str, float]:
        """How much each layer's quantisation alone disturbs what leaves the network, as `errors_alone`."""
        images = np.concatenate([value for feed in feeds for value in feed.values()])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"alone{ENTRY.ending}"

            def alone(layer: Layer) -> list[np.ndarray]:
                self._write(file, layer.nodes)
                return ENTRY.open(file)(images)

            return errors_alone(self.layers, ENTRY.open(self._source)(images), alone)

    def _write(self, path: Path, operators: Collection[str]) -> None:
        """Write the file with the operators of these names in int8."""
        from ai_edge_quantizer.quantizer import Quantizer

        content = self._source.read_bytes()
        if operators:
            quantizer = Quantizer(str(self._source), _recipe(operators).get_quantization_recipe())
            with _without_bars():
                made = quantizer.quantize(self._ranges, enable_progress_report=False)
            content = bytes(made.quantized_model)
        path.write_bytes(content)


def _recipe(operators: Collection[str]) -> Any:
    """What makes the operators of these names int8, and no other."""
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    every = "|".join(map(re.escape, operators))
    recipe.add_static_config(f"^({every})$", "*", activation_num_bits=8, weight_num_bits=8)
    recipe.add_quantization_config(".*", "OUTPUT", algorithm_key="no_quantize")  # it has the last operator's name
    return recipe


@contextmanager
def _without_bars() -> Iterator[None]:
    """Without progress bars and advice, which are about other uses."""
    with redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _operators(source: Path, module: nn.Module) -> list[_Operator]:
    """The operators of a file in the order in which they are computed, their layers named as in the module."""
    from ai_edge_quantizer.utils import tfl_flatbuffer_utils as flatbuffers

    model = flatbuffers.read_model(str(source))
    graph, known = model.subgraphs[0], _layers_by_weights(module)
    makers: dict[int, str] = {}  # by tensor
    found = []
    for one in graph.operators:
        name = flatbuffers.get_op_scope(one, graph.tensors)
        takes = tuple(makers[place] for place in one.inputs if place in makers)
        makers.update(dict.fromkeys(one.outputs, name))
        code = flatbuffers.TFL_OP_CODE_TO_NAME.get(model.operatorCodes[one.opcodeIndex].builtinCode, "")
        values = flatbuffers.get_tensor_data(graph.tensors[one.inputs[1]], model.buffers) if code in WEIGHTED else None
        layer, kind = ("", "") if values is None else known.get(values.tobytes(), (name, code.lower()))
        found.append(_Operator(name, takes, layer, kind, 0 if values is None else values.size))
    return found


def _layers_by_weights(module: nn.Module) -> dict[bytes, tuple[str, str]]:
    """By the bytes of its weights as LiteRT orders them, channels last, the name and kind of each layer."""
    found = {}
    for name, layer in module.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            values, groups = layer.weight.detach(), 1 if isinstance(layer, nn.Linear) else layer.groups
            if isinstance(layer, nn.Conv2d):
                values = values.permute((1, 2, 3, 0) if groups == layer.in_channels > 1 else (0, 2, 3, 1))
            found[values.numpy().tobytes()] = name, kind_of(layer.weight.shape, groups > 1)
    return found
