"""A classifier's file of any runtime, open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gemnet.deploy.export import CLASSES
from gemnet.deploy.int8.onnx_files import network_input, open_session
from gemnet.deploy.int8.targets import target
from gemnet.deploy.runtimes.table import Run

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    Network: TypeAlias = "str | Path | InferenceSession | Opened"


@dataclass(frozen=True, eq=False)
class Opened:
    """An open file: what runs it; height and width of its images and names of its classes, None where it does not tell."""

    run: Run
    size: tuple[int, int] | None = None
    classes: Sequence[str] | None = None


def opened(model: Network) -> Opened:
    """Open a file in the runtime of its ending; what is open is given back.

    Raises ExportError for a file that cannot be run, QuantizationError for an ONNX network that takes other than images.
    """
    if isinstance(model, Opened):
        return model
    if isinstance(model, (str, Path)) and (entry := target(model).runtime).name != "onnx":
        return Opened(entry.open(model))
    session = open_session(model)
    name, height, width = network_input(session, model if isinstance(model, (str, Path)) else "the model")
    classes = json.loads(session.get_modelmeta().custom_metadata_map.get(CLASSES, "null"))
    return Opened(lambda images: session.run(None, {name: images}), (height, width), classes)
