"""Int8 for OpenVINO: NNCF's quantisation after training, of the same network and with the same choice of float layers.

NNCF has scales of its own: symmetric after ReLU, with the bias of each layer corrected. Which layers are sensitive is measured
as for onnxruntime, for it is the network's; what a file loses is measured in OpenVINO.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from gemnet.core.extras import need
from gemnet.core.signals import signal_stack_kept
from gemnet.deploy.int8.graph import Layer, NetworkGraph, QuantizationError
from gemnet.deploy.int8.onnx_files import Feed, OnnxQuantizer

ENDING = ".xml"


class OpenVinoQuantizer:
    """A network for OpenVINO, made from its ONNX file.

    Args:
        source: The float file, ONNX.
        feeds: The calibration images, as the graph takes them.
        float_file: Where the float form for OpenVINO is written, which int8 is compared with.

    Raises:
        MissingExtraError: openvino or nncf is not installed.
        QuantizationError: The file is no network that can be run.
    """

    def __init__(self, source: str | Path, feeds: Iterable[Feed], float_file: Path) -> None:
        need("openvino", "openvino", "nncf")
        import openvino

        self._source, self._feeds = source, [{name: np.array(value) for name, value in feed.items()} for feed in feeds]
        self.graph = NetworkGraph(source)
        self._model = openvino.Core().read_model(str(source))
        openvino.save_model(self._model, str(float_file), compress_to_fp16=False)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """In the order in which they are computed."""
        return self.graph.layers

    def write(self, path: Path, kept_float: Collection[str] = ()) -> None:
        """Write the whole graph with the layers in int8 but those of these names: `path` and, beside it, the weights, .bin."""
        import nncf
        import openvino

        logging.getLogger("nncf").setLevel(logging.ERROR)
        int8 = set(self.graph.int8_nodes(kept_float))
        left_out = [
            name for name in (one.get_friendly_name() for one in self._model.get_ordered_ops() if _computes(one))
            if name.partition("/")[0] not in int8
        ]  # fmt: skip
        model = self._model.clone()
        if int8:
            scope = nncf.IgnoredScope(names=left_out, validate=False)
            data = nncf.Dataset(self._feeds)
            model = nncf.quantize(model, data, subset_size=len(self._feeds), ignored_scope=scope)
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, str(path), compress_to_fp16=False)

    def errors(self, feeds: Iterable[Feed]) -> dict[str, float]:
        """How sensitive each layer is, as `OnnxQuantizer.errors` tells it."""
        return OnnxQuantizer(self._source, self._feeds).errors(feeds)


class OpenVinoSession:
    """A file of OpenVINO on the CPU that answers as a session of onnxruntime does."""

    def __init__(self, path: str | Path) -> None:
        need("openvino", "openvino")
        import openvino

        with signal_stack_kept():
            self._model = openvino.Core().compile_model(str(path), "CPU", {"PERFORMANCE_HINT": "LATENCY"})

    def get_inputs(self) -> Sequence[Any]:
        """Names and shapes; a free dimension has a name instead of a number."""
        return [_value(one) for one in self._model.inputs]

    def get_outputs(self) -> Sequence[Any]:
        """As `get_inputs`."""
        return [_value(one) for one in self._model.outputs]

    def get_modelmeta(self) -> Any:
        """No texts: OpenVINO's files are described beside them."""
        return SimpleNamespace(custom_metadata_map={})

    def run(self, names: Sequence[str] | None, feed: Feed) -> list[np.ndarray]:
        """The outputs, all for None."""
        found = self._model(dict(feed), share_inputs=True, share_outputs=False)
        return [found[one] for one in (self._model.outputs if names is None else names)]


def open_openvino(path: str | Path) -> OpenVinoSession:
    """Open a file in OpenVINO. Raises QuantizationError for a file that is none."""
    if not Path(path).is_file():
        raise QuantizationError(f"{path}: no such file; expected a network of OpenVINO")
    try:
        return OpenVinoSession(path)
    except RuntimeError as error:
        raise QuantizationError(f"{path}: not a network that OpenVINO can run ({str(error).splitlines()[0]})") from error


def bytes_of(path: Path) -> int:
    """Bytes of a file, and of the weights that OpenVINO's files have beside them."""
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ENDING and weights.is_file() else 0)


def _computes(operation: Any) -> bool:
    return operation.get_type_name() not in ("Constant", "Parameter", "Result")


def _value(one: Any) -> Any:
    shape = [f"dim{place}" if side.is_dynamic else side.get_length() for place, side in enumerate(one.partial_shape)]
    return SimpleNamespace(name=one.get_any_name(), shape=shape)
