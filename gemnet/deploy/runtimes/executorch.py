"""ExecuTorch's program, for the XNNPACK kernels of CPUs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gemnet.deploy.runtimes.table import Dimensions, Run

LARGEST = 1024
"""Pixels of height and width that a program with free ones takes at most: its memory is planned before."""


def write(module: nn.Module, example: Tensor, path: Path, free: Dimensions, texts: Mapping[str, str]) -> None:
    """As `gemnet.deploy.runtimes.table.Form.write`; there is no place for the texts. Images go in one by one."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    sides = {place: torch.export.Dim(f"side{place}", min=33, max=LARGEST) for place in (2, 3) if place in free}
    program = torch.export.export(module, (example[:1],), dynamic_shapes=(sides or None,), strict=False)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    with path.open("wb") as file:
        lowered.to_executorch().write_to_file(file)


def load(path: str, threads: int = 0) -> "Run":
    """Open a program of ExecuTorch on the CPU."""
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    if threads:  # of the whole process: the runtime has one pool
        portable_lib._unsafe_reset_threadpool(threads)
    method = Runtime.get().load_program(path).load_method("forward")

    def run(images: np.ndarray) -> list[np.ndarray]:
        return [output.numpy().copy() for output in method.execute([torch.from_numpy(images)])]

    return run
