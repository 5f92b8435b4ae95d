"""LiteRT's flat buffer (once TensorFlow Lite), converted by litert-torch."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from gemnet.deploy.runtimes.table import Dimensions, Run


def write(module: nn.Module, example: Tensor, path: Path, free: Dimensions, texts: Mapping[str, str]) -> None:
    """As `gemnet.deploy.runtimes.table.Form.write`; there is no place for the texts. Images go in one by one."""
    import litert_torch

    litert_torch.convert(module, (example[:1],)).export(str(path))


def load(path: str, threads: int = 0) -> "Run":
    """Open a LiteRT model on the CPU, with XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(path, num_threads=threads or None)
    network.allocate_tensors()

    def run(images: np.ndarray) -> list[np.ndarray]:
        network.set_tensor(network.get_input_details()[0]["index"], images)
        network.invoke()
        return [network.get_tensor(output["index"]).copy() for output in network.get_output_details()]

    return run
