"""Int8 for onnxruntime: any mix of int8 and float layers of one network, from one calibration.

Weights are int8, a scale a channel, symmetric (s = max |w| / 63 for 7 bits); activations uint8, a scale and a zero point a
tensor, from the smallest and largest value on the calibration images. The file is plain ONNX in QDQ form.
Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import nn

from gemnet.core.extras import need
from gemnet.core.files import replacing
from gemnet.deploy.int8.graph import NetworkGraph
from gemnet.deploy.int8.layers import Layer, QuantizationError
from gemnet.deploy.int8.quantizer import Feed, Feeds, errors_alone

if TYPE_CHECKING:
    import onnx
    from onnxruntime import InferenceSession

    Network: TypeAlias = str | Path | InferenceSession

WEIGHT_BITS = 7
"""CPUs without VNNI add two products of 8 bits in 16, which saturates; 7 bits are right everywhere."""
CALIBRATION_BATCH = 16


def quantizer(module: nn.Module, plain: Path, feeds: Feeds, weight_bits: int = WEIGHT_BITS) -> OnnxQuantizer:
    """As `gemnet.deploy.int8.targets.Target.quantizer`. weight_bits: 7, or 8 for CPUs that have VNNI."""
    return OnnxQuantizer(plain, feeds(CALIBRATION_BATCH), weight_bits)


class OnnxQuantizer:
    """A network in ONNX, calibrated once.

    Attributes:
        graph: The network and its layers.

    Args:
        source: The float file.
        feeds: The calibration images, as the graph takes them.
        weight_bits: 7, or 8 for CPUs that have VNNI.

    Raises:
        QuantizationError: The file is no network that can be run, or `weight_bits` is another number.
    """

    def __init__(self, source: str | Path, feeds: Iterable[Feed], weight_bits: int = WEIGHT_BITS) -> None:
        from onnxruntime.quantization.calibrate import TensorsData, create_calibrator

        if weight_bits not in (7, 8):
            raise QuantizationError(f"weights of {weight_bits} bits are not offered; expected 7 or 8")
        open_session(source)
        self.graph = NetworkGraph(source)
        self.weight_bits = weight_bits
        kinds = sorted({node.op_type for node in self.graph.model.graph.node if node.name in self.graph.nodes})
        values = iter(feeds)
        reader = SimpleNamespace(get_next=lambda: next(values, None))  # onnxruntime's CalibrationDataReader
        with tempfile.TemporaryDirectory() as folder:
            float_file = Path(folder) / "float.onnx"
            _save(self.graph.with_ends(), float_file)
            calibrator = create_calibrator(float_file, kinds, augmented_model_path=str(Path(folder) / "augmented.onnx"))
            calibrator.collect_data(reader)
            found = calibrator.compute_data()
        ranges = {name: found[name] for name in found.keys() if name in self.graph.tensors}  # noqa: SIM118
        self._padded = self.graph.padded_for_pooling()
        for node in self._padded:
            ranges[node.output[0]] = ranges[node.input[0]]
        self._ranges, self._kinds = TensorsData(found.calibration_method, ranges), kinds

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order in which they are computed."""
        return self.graph.layers

    def write(self, path: Path, kept_float: Collection[str] = ()) -> None:
        """Write the whole graph with the layers in int8 but those of these names, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            _save(self._quantised(self.graph.model, self.graph.int8_nodes(kept_float)), temporary)
            open_session(temporary)

    def errors(self, feeds: Iterable[Feed]) -> dict[str, float]:
        """How much each layer's quantisation alone disturbs what leaves the network, as `errors_alone`."""
        feeds, model = list(feeds), self.graph.with_ends()

        def alone(layer: Layer) -> list[np.ndarray]:
            return self._ends(self._quantised(model, self.graph.nodes_of(layer)), feeds)

        return errors_alone(self.layers, self._ends(model, feeds), alone)

    def _quantised(self, model: onnx.ModelProto, nodes: Collection[str]) -> onnx.ModelProto:
        """A copy of a graph in which some nodes are int8."""
        from onnxruntime.quantization import QuantType
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        copy = type(model)()
        copy.CopyFrom(model)
        if not nodes:  # to onnxruntime, no names are all names
            return copy
        self._fill_up(copy, nodes)
        quantizer = QDQQuantizer(
            copy, True, self.weight_bits == 7, QuantType.QInt8, QuantType.QUInt8, self._ranges, list(nodes), [], self._kinds, {}
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        return quantizer.model.model

    def _fill_up(self, model: onnx.ModelProto, nodes: Collection[str]) -> None:
        """Have int8 nodes that fill up maps with minus infinity take the smallest value: to a maximum it is the same."""
        import onnx

        padded = {node.name for node in self._padded} & set(nodes)
        for node in model.graph.node:
            if node.name in padded:
                least = np.float32(self._ranges[node.input[0]].range_value[0])
                node.input[2] = f"{node.name}_least"
                model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(least), node.input[2]))

    def _ends(self, model: onnx.ModelProto, feeds: Iterable[Feed]) -> list[np.ndarray]:
        """Of each tensor that leaves the network, all its values, [values]."""
        session = _of_bytes(model.SerializeToString())
        outputs = [session.run(self.graph.ends, dict(feed)) for feed in feeds]
        return [np.concatenate([values.ravel() for values in one]) for one in zip(*outputs)]


def open_session(model: Network) -> InferenceSession:
    """Open a file in onnxruntime on the CPU; a session is given back. Raises QuantizationError for a file that is none."""
    need("export", "onnxruntime")
    import onnxruntime

    if isinstance(model, onnxruntime.InferenceSession):
        return model
    if not Path(model).is_file():
        raise QuantizationError(f"{model}: no such file; expected an ONNX network")
    try:
        return onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    except Exception as error:  # each of onnxruntime's errors is a class of its own
        raise QuantizationError(f"{model}: not an ONNX network that can be run ({str(error).splitlines()[0]})") from error


def network_input(session: InferenceSession, told: str | Path) -> tuple[str, int, int]:
    """Name, height and width of the one input, images [B, 3, H, W] with a free batch. Raises QuantizationError for others."""
    inputs = session.get_inputs()
    shape: Sequence[Any] = inputs[0].shape if len(inputs) == 1 else ()
    fits = len(shape) == 4 and not isinstance(shape[0], int) and shape[1] == 3
    if not fits or not isinstance(shape[2], int) or not isinstance(shape[3], int):
        found = ", ".join(str(one.shape) for one in inputs)
        raise QuantizationError(f"{told}: takes {found}; expected images ['batch', 3, height, width], the batch free")
    return inputs[0].name, shape[2], shape[3]


def _of_bytes(content: bytes) -> InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _save(model: onnx.ModelProto, path: Path) -> None:
    import onnx

    onnx.save(model, str(path))
