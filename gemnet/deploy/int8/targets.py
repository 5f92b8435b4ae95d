"""The runtimes that networks become int8 for, by the endings of their files, and the module of each, imported when it is used.

A runtime more is one entry of TARGETS and one module with what `Target` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from torch import nn

from gemnet.core.extras import need
from gemnet.deploy.int8.quantizer import Feeds, Quantizer
from gemnet.deploy.runtimes.table import RUNTIMES, ExportError, Runtime


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

    def quantizer(self, module: nn.Module, plain: Path, feeds: Feeds, weight_bits: int | None = None) -> Quantizer:
        """Calibrate a network.

        Args:
            module: In evaluation mode, normalisation folded: images to a tensor, or to several.
            plain: Its float file for the runtime, in a folder where further files may be put, as long as the quantiser is used.
            feeds: The calibration images.
            weight_bits: Where they can be chosen, see `target`; None leaves the choice to the quantiser.

        Raises:
            ExportError: The network cannot be quantised.
            DataError: An image cannot be read.
        """
        files = import_module(f"gemnet.deploy.int8.{self.runtime.name}_files")
        settings = {} if weight_bits is None else {"weight_bits": weight_bits}
        return cast(Quantizer, files.quantizer(module, plain, feeds, **settings))


TARGETS = (
    Target(RUNTIMES["onnx"], weight_bits=True),
    Target(RUNTIMES["openvino"], ("nncf",)),
    Target(RUNTIMES["executorch"], ("torchao",)),
    Target(RUNTIMES["litert"], ("ai_edge_quantizer",)),
)


def target(path: str | Path, weight_bits: int | None = None) -> Target:
    """The runtime that a file's ending says.

    Raises ExportError for another ending, with those that are offered, and where the bits of weights are not for choice.
    """
    found = next((one for one in TARGETS if one.runtime.ending == Path(path).suffix), None)
    if found is None:
        told = ", ".join(f"{one.runtime.ending} for {one.runtime.title}" for one in TARGETS)
        raise ExportError(f"{path}: a file of format int8 ends with {told}")
    if weight_bits is not None and not found.weight_bits:
        raise ExportError(f"{path}: the bits of weights are not for choice in {found.runtime.title}; leave --weight-bits out")
    return found
