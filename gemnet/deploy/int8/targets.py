"""The runtimes that networks become int8 for, by the endings of their files, and the module of each, imported when it is used.

A runtime more is one entry of TARGETS and one module with what `Target` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from gemnet.core.extras import need
from gemnet.deploy.int8.quantizer import Feeds, Made
from gemnet.deploy.runtimes.table import RUNTIMES, ExportError, Runtime
from gemnet.network import GEMNet


@dataclass(frozen=True)
class Target:
    """A runtime that networks become int8 for.

    Attributes:
        runtime: Its files are what its ending says.
        quantizing: Modules that are needed beside the runtime's.
        weight_bits: Whether these can be chosen; elsewhere they are the quantiser's own.
    """

    runtime: Runtime
    quantizing: tuple[str, ...] = ()
    weight_bits: bool = False

    def check(self) -> None:
        """Raises MissingExtraError where a library is not installed, and warns of releases that are not tested."""
        self.runtime.check()
        if self.quantizing:
            need(self.runtime.extra, *self.quantizing)

    def for_classifier(self, model: GEMNet, folder: Path, feeds: Feeds, how: Mapping[str, Any], **settings: Any) -> Made:
        """Calibrate a classifier, or the maps of a backbone.

        Args:
            model: A GEMNet of timm's kind.
            folder: Where the float file goes.
            feeds: The calibration images.
            how: As `gemnet.deploy.export.export` takes it, for the float form.
            settings: weight_bits, where they can be chosen.

        Raises:
            ExportError: The network cannot be exported or quantised.
            DataError: An image cannot be read.
        """
        module = import_module(f"gemnet.deploy.int8.{self.runtime.name}_files")
        return cast(Made, module.for_classifier(model, folder, feeds, how, **settings))


TARGETS = (
    Target(RUNTIMES["onnx"], weight_bits=True),
    Target(RUNTIMES["openvino"], ("nncf",)),
    Target(RUNTIMES["executorch"], ("torchao",)),
    Target(RUNTIMES["litert"], ("ai_edge_quantizer",)),
)


def target(path: str | Path) -> Target:
    """The runtime that a file's ending says. Raises ExportError for another ending, with those that are offered."""
    found = next((one for one in TARGETS if one.runtime.ending == Path(path).suffix), None)
    if found is None:
        told = ", ".join(f"{one.runtime.ending} for {one.runtime.title}" for one in TARGETS)
        raise ExportError(f"{path}: a file of format int8 ends with {told}")
    return found
