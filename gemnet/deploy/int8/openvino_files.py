"""Int8 for OpenVINO: NNCF's quantisation after training, of the same network and with the same choice of float layers.

NNCF has scales of its own: symmetric after ReLU, with the bias of each layer corrected. Which layers are sensitive is measured
as for onnxruntime, for it is the network's; what a file loses is measured in OpenVINO.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gemnet.deploy.export import LARGEST_BATCH, quiet
from gemnet.deploy.int8.graph import NetworkGraph
from gemnet.deploy.int8.layers import Layer
from gemnet.deploy.int8.onnx_files import OnnxQuantizer
from gemnet.deploy.int8.quantizer import Feed, Feeds
from gemnet.deploy.runtimes.table import RUNTIMES


def quantizer(module: nn.Module, plain: Path, feeds: Feeds) -> OpenVinoQuantizer:
    """As `gemnet.deploy.int8.targets.Target.quantizer`. It reads the network from ONNX, whose nodes have names."""
    (example,) = next(feeds(2)).values()
    source = plain.with_name("named.onnx")
    free = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
    with quiet(), torch.no_grad():
        RUNTIMES["onnx"].write(module, torch.from_numpy(example), source, free)
    return OpenVinoQuantizer(source, feeds(1))


class OpenVinoQuantizer:
    """A network for OpenVINO, made from its ONNX file.

    Args:
        source: The float file, ONNX.
        feeds: The calibration images, as the graph takes them.

    Raises:
        QuantizationError: The file is no network that can be run.
    """

    weight_bits = 8

    def __init__(self, source: str | Path, feeds: Iterable[Feed]) -> None:
        import openvino

        self._source, self._feeds = source, [{name: np.array(value) for name, value in feed.items()} for feed in feeds]
        self.graph = NetworkGraph(source)
        self._model = openvino.Core().read_model(str(source))

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


def _computes(operation: Any) -> bool:
    return operation.get_type_name() not in ("Constant", "Parameter", "Result")
