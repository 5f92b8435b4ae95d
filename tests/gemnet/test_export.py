"""Exported models compute what the models compute."""

import random
import runpy
import sys
from pathlib import Path

import onnx
import onnxruntime
import pytest
import timm
import torch

from gemnet.export import FORMATS, ExportError, create, export
from gemnet.models import architecture
from gemnet.weights import WeightsError, convert

HEAD = architecture("gemnet_a").head_width
ROOT = Path(__file__).parents[2]
SIZE = (3, 64, 48)


@pytest.fixture(scope="module")
def model(random_cell, settled):
    cell = random_cell(random.Random(3), 7, 0.5)
    return settled(timm.create_model("gemnet", cell=cell, target_macs=100e6, num_classes=10))


@pytest.mark.parametrize("form", list(FORMATS))
@pytest.mark.parametrize("features", [False, True])
def test_every_format_computes_what_the_model_computes(form, features, model, tmp_path):
    path = tmp_path / f"model{FORMATS[form][0]}"
    assert export(model, path, form, SIZE, features) < 1e-5
    assert path.exists()


def test_an_onnx_file_is_valid_whole_and_takes_any_batch(model, tmp_path):
    path = tmp_path / "model.onnx"
    export(model, path, "onnx", SIZE)
    onnx.checker.check_model(str(path), full_check=True)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for count in (1, 7):
        images = torch.randn(count, *SIZE)
        (logits,) = session.run(None, {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(images).detach(), rtol=1e-4, atol=1e-5)
    assert not any(node.op_type == "BatchNormalization" for node in onnx.load(path).graph.node)
    assert b".py" not in path.read_bytes()  # no stack traces with the paths of the machine that exported it


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [("m.onnx", "keras", "'keras' is not offered"), ("m.pt", "onnx", r"ends with \.onnx"), ("m", "torchscript", r"with \.pt")],
)
def test_what_is_not_offered_is_told(name, form, message, model, tmp_path):
    with pytest.raises(ExportError, match=message):
        export(model, tmp_path / name, form, SIZE)


def test_a_file_that_computes_something_else_is_told_and_removed(model, tmp_path):
    with pytest.raises(ExportError, match="outputs differ from the model's by"):
        export(model, tmp_path / "model.pt", "torchscript", SIZE, tolerance=-1)
    assert not list(tmp_path.iterdir())


def test_a_model_is_created_with_the_weights_of_any_library(tmp_path):
    network = timm.create_model("gemnet_a", num_classes=3)
    torch.save(network.state_dict(), tmp_path / "timm.pth")
    for form in ("timm", "mmpretrain"):
        convert(tmp_path / "timm.pth", tmp_path / "weights.safetensors", form)
        found = create("gemnet_a", tmp_path / "weights.safetensors", num_classes=3)
        assert torch.equal(found.classifier.weight, network.classifier.weight)
    with pytest.raises(WeightsError, match=rf"of another shape: classifier.weight \(3, {HEAD}\), expected \(5, {HEAD}\)"):
        create("gemnet_a", tmp_path / "timm.pth", num_classes=5)
    with pytest.raises(ExportError, match="'resnet18' is not offered"):
        create("resnet18")
    with pytest.raises(ExportError, match="cell: only for the model gemnet"):
        create("gemnet_a", cell="mine.json")


def test_the_tool_writes_and_tells(tmp_path, monkeypatch, capsys):
    out = tmp_path / "b.pt"
    arguments = ["gemnet_b", str(out), "--format", "torchscript", "--input-size", "64", "64", "--num-classes", "2"]
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "tools/export.py"), run_name="__main__")
    assert stopped.value.code == 0
    assert "outputs equal the model's to" in capsys.readouterr().out
    assert torch.jit.load(str(out))(torch.zeros(4, 3, 64, 64)).shape == (4, 2)
