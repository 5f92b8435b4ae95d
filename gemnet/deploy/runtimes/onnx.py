"""ONNX, written by torch, run by ONNX Runtime on the CPU."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from gemnet.deploy.runtimes.table import Dimensions, Run


def write(module: nn.Module, example: Tensor, path: Path, free: Dimensions, texts: Mapping[str, str]) -> None:
    """As `gemnet.deploy.runtimes.table.Form.write`; the texts are metadata."""
    outputs = module(example)
    names = [f"output{index}" for index in range(len(outputs) if isinstance(outputs, (tuple, list)) else 1)]
    program = torch.onnx.export(
        module, (example,), None, input_names=["images"], output_names=names, dynamic_shapes=(dict(free),), dynamo=True,
        verbose=False,
    )  # fmt: skip
    assert program is not None  # with dynamo
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces with the paths of this machine
    program.model.metadata_props.update(texts)
    program.save(str(path), external_data=False)


def load(path: str, threads: int = 0) -> "Run":
    """Open an ONNX file with ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})
