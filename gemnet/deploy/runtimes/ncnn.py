"""ncnn's own form (parameters and weights), converted by pnnx from TorchScript."""

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gemnet.core.errors import UserError
from gemnet.deploy.runtimes.table import Dimensions, Run

OTHER_SIDE = 96
"""Pixels by which the second size of images differs, from which pnnx learns that sizes are free."""


def write(module: nn.Module, example: Tensor, path: Path, free: Dimensions, texts: Mapping[str, str]) -> None:
    """As `gemnet.deploy.runtimes.table.Form.write`; there is no place for the texts. Images go in one by one."""
    import pnnx

    one = example[:1]
    sizes = [list(one.shape)]
    if 2 in free:
        sizes.append([1, one.shape[1], one.shape[2] + OTHER_SIDE, one.shape[3] + 2 * OTHER_SIDE])
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "network.pt"
        torch.jit.save(torch.jit.trace(module, one, check_trace=False), str(source))
        shapes = ["inputshape={}", "inputshape2={}"]
        given = [shape.format(str(size).replace(" ", "")) for shape, size in zip(shapes, sizes)]
        command = [str(pnnx.EXEC_PATH), source.name, *given, "fp16=0"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        made = [source.with_name(f"network.ncnn.{ending}") for ending in ("param", "bin")]
        told = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        lines = [line for line in told if "not supported" in line or "error" in line.lower()]
        if done.returncode or not all(file.is_file() for file in made):
            raise UserError(f"pnnx did not convert the network: {(lines or [f'exit code {done.returncode}'])[0]}")
        if lines and "not supported" in lines[0]:
            raise UserError(f"ncnn lacks an operator: {lines[0]}")
        for file, target in zip(made, (path, path.with_suffix(".ncnn.bin"))):
            shutil.copyfile(file, target)


def load(path: str, threads: int = 0) -> "Run":
    """Open an ncnn network on the CPU, in float32."""
    import ncnn

    network = ncnn.Net()
    network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
    network.opt.num_threads = threads or network.opt.num_threads
    assert network.load_param(path) == network.load_model(path.removesuffix(".param") + ".ncnn.bin") == 0, "no ncnn network"

    def run(images: np.ndarray) -> list[np.ndarray]:
        extractor = network.create_extractor()
        extractor.input(network.input_names()[0], ncnn.Mat(np.ascontiguousarray(images[0])).clone())
        return [np.array(extractor.extract(name)[1])[None] for name in sorted(network.output_names())]

    return run
