"""The runtimes by name: what is told of each here, and its module, which is imported when it is used.

A runtime more is one entry of RUNTIMES and one module with two functions, `write` and `load` (see `Form`).
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from gemnet.core.errors import UserError
from gemnet.core.extras import need
from gemnet.core.signals import signal_stack_kept

if TYPE_CHECKING:  # the command line reads the table before it needs torch
    import numpy as np
    import torch
    from torch import Tensor, nn

Run: TypeAlias = "Callable[[np.ndarray], list[np.ndarray]]"
"""Images, float32 [B, C, H, W], to the outputs, each [B, ...], in the module's order."""
Dimensions: TypeAlias = "Mapping[int, torch.export.Dim]"
"""The free dimensions of the images by their place: 0, the batch; 2 and 3, height and width where they are free."""


class ExportError(UserError):
    """A target that is not offered, or an export that does not compute what the model does."""


class Form(Protocol):
    """What a runtime's module holds."""

    def write(self, module: nn.Module, example: Tensor, path: Path, free: Dimensions, texts: Mapping[str, str]) -> None:
        """Write a module in evaluation mode, for images like `example`, to `path` and its companions.

        texts: Go into the file, each under its name, where its format has a place for that.
        """

    def load(self, path: str, threads: int = 0) -> Run:
        """Open what `write` wrote, in the runtime. threads: of a pass, on the CPU; 0 for as many as the runtime takes.

        What it returns takes one image where the runtime does not leave the batch free. It stands alone, with no name of its
        module but np: the script beside a file has it word for word.
        """


@dataclass(frozen=True)
class Runtime:
    """A runtime, as people and other code know it.

    Attributes:
        name: As `gemnet export --to` takes it.
        title: As its makers write it.
        ending: Of its file.
        companions: Endings of further files that it needs beside this one.
        module: That holds its `Form`.
        extra: Of pyproject.toml, which brings what it needs; empty where the core has it.
        writing: Modules that are needed to write.
        running: Modules that are needed to run a file.
        tested: By distribution, the oldest and the newest release that the tests ran with.
        free_batch: Whether one pass takes any number of images; where not, `open` goes through them one by one.
        free_size: Whether height and width can be left free.
        tiny_sizes: Whether these may then be smaller than the network's stride.
    """

    name: str
    title: str
    ending: str
    module: str
    extra: str = ""
    companions: tuple[str, ...] = ()
    writing: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    tested: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    free_batch: bool = True
    free_size: bool = True
    tiny_sizes: bool = True

    def files(self, path: str | Path) -> list[Path]:
        """The file at `path` and its companions, whether they are there or not."""
        path = Path(path)
        return [path, *(path.with_suffix(ending) for ending in self.companions)]

    def bytes_of(self, path: str | Path) -> int:
        """Bytes of the file at `path` and its companions."""
        return sum(file.stat().st_size for file in self.files(path))

    def check(self, to_write: bool = True) -> None:
        """Warn of each library whose release is not among the tested ones.

        Raises MissingExtraError, which has the command that installs it, where a library is not installed.
        """
        if self.extra:
            need(self.extra, *dict.fromkeys((*self.running, *(self.writing if to_write else ()))))
        for name, (oldest, newest) in self.tested.items():
            try:
                found = metadata.version(name)
            except metadata.PackageNotFoundError:  # a build of the same modules under another name
                continue
            if not _numbers(oldest) <= _numbers(found, oldest) or not _numbers(found, newest) <= _numbers(newest):
                told = oldest if oldest == newest else f"{oldest} to {newest}"
                warnings.warn(f"{name} {found} is not tested; tested: {told}", stacklevel=2)

    def write(
        self, module: nn.Module, example: Tensor, path: str | Path, free: Dimensions, texts: Mapping[str, str] | None = None
    ) -> None:
        """Write `module`, as `Form.write`. Raises MissingExtraError; ExportError where the runtime does not take the module."""
        self.check()
        try:
            self._form().write(module, example, Path(path), free, texts or {})
        except (OSError, UserError):
            raise
        except Exception as error:  # whatever a converter raises: its messages are its own
            raise ExportError(f"{self.title} does not take this network: {_reason(error)}") from error

    def open(self, path: str | Path, threads: int = 0) -> Run:
        """Open a file in the runtime, as `Form.load`. Raises MissingExtraError; ExportError for a file that it cannot read."""
        self.check(to_write=False)
        missing = [file for file in self.files(path) if not file.is_file()]
        if missing:
            raise ExportError(f"{missing[0]}: no such file")
        try:
            with signal_stack_kept():
                run = self._form().load(str(path), threads)
        except OSError:
            raise
        except Exception as error:  # each runtime has errors of its own
            raise ExportError(f"{path}: {self.title} cannot read it: {_reason(error)}") from error

        def told(images: np.ndarray) -> list[np.ndarray]:
            try:
                if self.free_batch or len(images) == 1:
                    return run(images)
                import numpy as np

                return [np.concatenate(of_all) for of_all in zip(*(run(images[i : i + 1]) for i in range(len(images))))]
            except Exception as error:
                shape = " x ".join(map(str, images.shape))
                raise ExportError(f"{path}: {self.title} refuses images of {shape}: {_reason(error)}") from error

        return told

    def source(self) -> str:
        """The text of `load`, for the script beside a file, without its docstring and blank lines."""
        head, _, *body = inspect.getsource(import_module(self.module).load).splitlines()
        return "\n".join([head.replace(' -> "Run"', ""), *(line for line in body if line)])

    def _form(self) -> Form:
        return cast(Form, import_module(self.module))


def _numbers(version: str, as_long_as: str | None = None) -> tuple[int, ...]:
    """The numbers of a release, as (1, 20) of 1.20.1 if only as many are wanted as another release has."""
    numbers = tuple(map(int, re.findall(r"\d+", version.partition("+")[0])))
    return numbers[: len(_numbers(as_long_as))] if as_long_as else numbers


def _reason(error: Exception) -> str:
    """The line of a message that tells most: the last but for advice, cut short."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line.lower() for word in TELLING)]
    return ((telling or lines or [type(error).__name__])[0])[:300]


TELLING = ("not supported", "unsupported", "no conversion", "not implemented", "cannot", "expected", "mismatch", "must be")
"""Words of the lines by which converters and runtimes name an operator or a size."""


def runtime(name: str) -> Runtime:
    """The runtime of this name. Raises ExportError for one that is not offered, with those that are."""
    if name not in RUNTIMES:
        raise ExportError(f"runtime {name!r} is not offered; expected {', '.join(RUNTIMES)}")
    return RUNTIMES[name]


def _entries(*entries: Runtime) -> dict[str, Runtime]:
    return {entry.name: entry for entry in entries}


HERE = "gemnet.deploy.runtimes"
RUNTIMES: dict[str, Runtime] = _entries(
    Runtime(
        "onnx", "ONNX Runtime", ".onnx", f"{HERE}.onnx", "export", writing=("onnx", "onnxscript"), running=("onnxruntime",),
        tested={"onnxruntime": ("1.20", "1.32")},
    ),
    Runtime(
        "openvino", "OpenVINO", ".xml", f"{HERE}.openvino", "openvino", companions=(".bin",), running=("openvino",),
        tested={"openvino": ("2026.4", "2026.4")}, tiny_sizes=False,
    ),
    Runtime(
        "ncnn", "ncnn", ".param", f"{HERE}.ncnn", "ncnn", companions=(".ncnn.bin",), writing=("pnnx",), running=("ncnn",),
        tested={"ncnn": ("1.0.20261020", "1.0.20261020"), "pnnx": ("20261020", "20261020")}, free_batch=False,
        tiny_sizes=False,
    ),
    Runtime(
        "executorch", "ExecuTorch", ".pte", f"{HERE}.executorch", "executorch", running=("executorch",),
        tested={"executorch": ("1.5", "1.5")}, free_batch=False, tiny_sizes=False,
    ),
    Runtime(
        "litert", "LiteRT", ".tflite", f"{HERE}.litert", "litert", writing=("litert_torch",), running=("ai_edge_litert",),
        tested={"litert-torch": ("0.10", "0.10"), "ai-edge-litert": ("2.3", "2.3")}, free_batch=False, free_size=False,
    ),
    Runtime("torchscript", "TorchScript", ".pt", f"{HERE}.torchscript"),
    Runtime("torch.export", "torch.export", ".pt2", f"{HERE}.torch_export", tiny_sizes=False),
)  # fmt: skip
"""The runtimes by name."""
