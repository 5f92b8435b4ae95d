"""OpenVINO's own form (XML and weights), converted from the module itself."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from gemnet.deploy.runtimes.table import Dimensions, Run


def write(module: nn.Module, example: Tensor, path: Path, free: Dimensions, texts: Mapping[str, str]) -> None:
    """As `gemnet.deploy.runtimes.table.Form.write`; the texts are runtime information. Weights stay in float32."""
    import openvino

    model = openvino.convert_model(module, example_input=example)
    model.reshape([-1 if place in free else size for place, size in enumerate(example.shape)])
    model.inputs[0].get_tensor().set_names({"images"})
    for index, output in enumerate(model.outputs):
        output.get_tensor().set_names({f"output{index}"})
    for name, text in texts.items():
        model.set_rt_info(text, name)
    openvino.save_model(model, str(path), compress_to_fp16=False)


def load(path: str, threads: int = 0) -> "Run":
    """Open an OpenVINO model on the CPU, in float32."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda images: list(model(images).values())
