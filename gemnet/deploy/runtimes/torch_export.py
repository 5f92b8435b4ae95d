"""The form of torch.export, for PyTorch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gemnet.deploy.runtimes.table import Dimensions, Run


def write(module: nn.Module, example: Tensor, path: Path, free: Dimensions, texts: Mapping[str, str]) -> None:
    """As `gemnet.deploy.runtimes.table.Form.write`; the texts are extra files."""
    program = torch.export.export(module, (example,), dynamic_shapes=(dict(free),), strict=False)
    torch.export.save(program, str(path), extra_files=dict(texts))


def load(path: str, threads: int = 0) -> "Run":
    """Open a file of torch.export with torch."""
    import torch

    network = torch.export.load(path).module()

    def run(images: np.ndarray) -> list[np.ndarray]:
        torch.set_num_threads(threads or torch.get_num_threads())
        with torch.no_grad():
            outputs = network(torch.from_numpy(images))
        return [output.numpy() for output in (outputs if isinstance(outputs, (tuple, list)) else [outputs])]

    return run
