"""TorchScript, traced, for libtorch in C++ and Python."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gemnet.deploy.runtimes.table import Dimensions, Run


def write(module: nn.Module, example: Tensor, path: Path, free: Dimensions, texts: Mapping[str, str]) -> None:
    """As `gemnet.deploy.runtimes.table.Form.write`; the texts are extra files. Every dimension is free."""
    torch.jit.save(torch.jit.trace(module, example, check_trace=False), str(path), _extra_files=dict(texts))


def load(path: str, threads: int = 0) -> "Run":
    """Open a TorchScript file with torch."""
    import torch

    network = torch.jit.load(path)

    def run(images: np.ndarray) -> list[np.ndarray]:
        torch.set_num_threads(threads or torch.get_num_threads())
        with torch.no_grad():
            outputs = network(torch.from_numpy(images))
        return [output.numpy() for output in (outputs if isinstance(outputs, (tuple, list)) else [outputs])]

    return run
